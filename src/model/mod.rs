//! Models: the package on disk, the ONNX Runtime session, the workers that own sessions, and explanation.
//!
//! In: rows of f32 in the manifest's order. Out: probabilities of fraud, and what moved them. A [`Model`] exists only after
//! its checks: the hashes, the graph's input and outputs against the manifest, a run of every batch size, the golden rows
//! and their explanations within tolerance.
//! It knows neither features nor decisions.

mod bare;
mod contents;
mod device;
mod explain;
mod gate;
mod golden;
mod library;
mod load;
mod manifest;
mod package;
mod session;
mod signature;
#[cfg(test)]
mod testing;
pub mod trees;
mod workers;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

pub use contents::Contents;
use device::Runtime;
pub use device::{Device, OnDeviceFailure, Placement};
use explain::{Explain as _, Explainer, ExplanationThread};
pub use explain::{Explanation, Method};
pub use gate::{Check, Checks, Gate, Met};
pub use package::{PACKAGE_FILES, Package};
use session::Session;
use signature::Feed;
use workers::{Pool, checked, run};

/// Rows of one run in [`Model::infer_matrix`]: enough to make a call's cost vanish, few enough to stay in the cache.
const MATRIX_ROWS: usize = 1024;

/// How sessions are made.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// ONNX Runtime's shared library; `None` searches `ORT_DYLIB_PATH`, then the places named in docs/CONFIG.md. The
    /// first model that a process loads settles it for all.
    pub library: Option<PathBuf>,
    /// Worker threads, each with a session of its own; 0 counts as 1.
    pub workers: usize,
    /// The most rows a batch takes; 0 counts as 1.
    pub max_batch: usize,
    /// The most rows that wait; 0 counts as 1.
    pub max_queue: usize,
    /// The most rows that wait to be explained; 0 counts as 1.
    pub max_explanations: usize,
    /// The longest that one row may take, the median of several; `None` asks for none.
    pub latency_budget: Option<Duration>,
    /// Where sessions run.
    pub device: Device,
    /// What is done when the model cannot run whole on its device.
    pub on_device_failure: OnDeviceFailure,
    /// The most bytes of the device's memory that each session's arena takes; `None`: all there is.
    pub device_memory: Option<u64>,
}

impl RuntimeOptions {
    /// For scoring matrices on the calling thread: one session, no waiting rows.
    #[must_use]
    pub const fn of_files() -> Self {
        Self {
            library: None,
            workers: 1,
            max_batch: MATRIX_ROWS,
            max_queue: 1,
            max_explanations: 1,
            latency_budget: None,
            device: Device::Cpu,
            on_device_failure: OnDeviceFailure::Refuse,
            device_memory: None,
        }
    }
}

/// Why a package is refused or a model cannot run.
#[derive(Debug, Error)]
pub enum ModelError {
    /// One sentence: what is wrong with which file, and what to do.
    #[error("{0}")]
    Package(String),
    /// ONNX Runtime's library is absent or unusable: one clear sentence.
    #[error("{0}")]
    Runtime(String),
}

/// Why a row got no score.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum InferError {
    /// The queue is full.
    #[error("{0} rows wait for the model, the most allowed")]
    Overloaded(usize),
    /// The deadline passed first.
    #[error("no answer of the model within the deadline")]
    Deadline,
    /// The runtime failed, the score was not a finite number of 0 to 1, or an input of whole numbers got another.
    #[error("the model failed: {0}")]
    Failed(String),
}

/// A package loaded and warmed: scores single rows through its workers, matrices on the caller's thread.
#[derive(Debug)]
pub struct Model {
    /// What it was loaded from.
    pub package: Package,
    pool: Pool<Session>,
    /// `None` for a bare file, which names no method.
    explaining: Option<ExplanationThread>,
    /// For matrices of explanations, made with the first one.
    spare_explainer: Mutex<Option<Explainer>>,
    /// Sessions for matrices, apart from the workers': as many as threads ever scored matrices at once.
    spare: Mutex<Vec<Session>>,
    /// What feeds the graph's inputs.
    feeds: Vec<Feed>,
    runtime: Runtime,
    placement: Placement,
}

impl Model {
    /// Where its sessions run.
    #[must_use]
    pub const fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Scores one row (`features.len()` values in manifest order), waiting at most `wait`.
    ///
    /// A model that scores a row within 200 µs does so on the caller's thread when it is idle (see `workers`).
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn infer(&self, row: Vec<f32>, wait: Duration) -> Result<f32, InferError> {
        self.check_row(&row)?;
        let scores = self.pool.score(row, wait).await?;
        scores.first().copied().ok_or_else(|| InferError::Failed("the model gave no score".to_owned()))
    }

    /// Scores a matrix, row-major, on the calling thread (files): blocking. Threads may call it at once; each gets a
    /// session of its own.
    ///
    /// # Errors
    /// `Failed`: the length is not whole rows, an input of whole numbers got another, the runtime failed, or a score is not
    /// a finite number of 0 to 1.
    pub fn infer_matrix(&self, values: &[f32]) -> Result<Vec<f32>, InferError> {
        let width = self.package.features.len().max(1);
        if !values.len().is_multiple_of(width) {
            return Err(InferError::Failed(format!("{} values are not rows of {width}", values.len())));
        }
        let mut session = self.spare_session()?;
        let mut scores = Vec::with_capacity(values.len() / width);
        for rows in values.chunks(MATRIX_ROWS * width) {
            scores.extend(run(&mut session, rows).and_then(checked)?);
        }
        self.spare.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Ok(scores)
    }

    /// What moved the margin of `row`, computed on the model's own explanation thread, waiting at most `wait`. It takes no
    /// worker and no caller's thread: scores go on meanwhile.
    ///
    /// # Errors
    /// See [`InferError`]; `Failed` for a bare file, which names no method.
    pub async fn explain(&self, row: Vec<f32>, wait: Duration) -> Result<Explanation, InferError> {
        self.check_row(&row)?;
        let thread = self.explaining.as_ref().ok_or_else(no_method)?;
        thread.explain(row, wait).await
    }

    /// Explains a matrix, row-major, on the calling thread (files): blocking, one call at a time.
    ///
    /// # Errors
    /// `Failed`: a bare file, the length is not whole rows, or the runtime failed.
    pub fn explain_matrix(&self, values: &[f32]) -> Result<Vec<Explanation>, InferError> {
        let width = self.package.features.len().max(1);
        if !values.len().is_multiple_of(width) {
            return Err(InferError::Failed(format!("{} values are not rows of {width}", values.len())));
        }
        let mut spare = self.spare_explainer.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.is_none() {
            let made = Explainer::new(&self.package, &self.runtime);
            *spare = made.map_err(|error| InferError::Failed(error.to_string()))?;
        }
        let explainer = spare.as_mut().ok_or_else(no_method)?;
        values.chunks(width).map(|row| explainer.explain(row)).collect()
    }

    fn check_row(&self, row: &[f32]) -> Result<(), InferError> {
        let width = self.package.features.len();
        if row.len() == width {
            // Before it joins others: what one row breaks is no fault of the batch.
            return self.feeds.iter().try_for_each(|feed| feed.check(row));
        }
        Err(InferError::Failed(format!("a row of {} values for a model of {width} features", row.len())))
    }

    fn spare_session(&self) -> Result<Session, InferError> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let open = || load::open(&self.package, &self.runtime);
        spare.map_or_else(open, Ok).map_err(|error| InferError::Failed(error.to_string()))
    }
}

fn no_method() -> InferError {
    InferError::Failed("a bare .onnx file names no method of explanation: make a package of it".to_owned())
}
