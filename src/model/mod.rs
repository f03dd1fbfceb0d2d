//! Models: the package on disk, the ONNX Runtime session, the workers that own sessions, and explanation.
//!
//! In: rows of f32 in the manifest's order. Out: probabilities of fraud. A [`Model`] exists only after its checks: the
//! hash, the graph's input and output against the manifest, a run of every batch size, the golden rows within tolerance.
//! It knows neither features nor decisions.

mod bare;
mod explain;
mod golden;
mod library;
mod load;
mod manifest;
mod package;
mod session;
#[cfg(test)]
mod testing;
mod workers;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;

use explain::Ablation;
pub use package::Package;
use session::Session;
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
    #[error("all model workers are busy and {0} rows wait, the most allowed")]
    Overloaded(usize),
    /// The deadline passed first.
    #[error("no score within the deadline")]
    Deadline,
    /// The runtime failed or the score was not a finite number of 0 to 1.
    #[error("the model failed: {0}")]
    Failed(String),
}

/// A package loaded and warmed: scores single rows through its workers, matrices on the caller's thread.
#[derive(Debug)]
pub struct Model {
    /// What it was loaded from.
    pub package: Package,
    pool: Pool<Session>,
    /// Sessions for matrices, apart from the workers': as many as threads ever scored matrices at once.
    spare: Mutex<Vec<Session>>,
    library: Option<PathBuf>,
}

impl Model {
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
    /// `Failed`: the length is not whole rows, the runtime failed, or a score is not a finite number of 0 to 1.
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

    /// For each feature, by how much the score of `row` would fall were the feature at its training median, computed as
    /// one request of up to `features.len()` rows, waiting at most `wait`. Empty when the package has no baseline (a bare
    /// file). The method's limits: see `explain`.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn explain(&self, row: Vec<f32>, score: f32, wait: Duration) -> Result<Vec<f32>, InferError> {
        self.check_row(&row)?;
        let Some(medians) = &self.package.medians else { return Ok(Vec::new()) };
        let mut ablation = Ablation::new(&row, medians);
        let scores = self.pool.score(std::mem::take(&mut ablation.rows), wait).await?;
        Ok(ablation.contributions(row.len(), score, &scores))
    }

    fn check_row(&self, row: &[f32]) -> Result<(), InferError> {
        let width = self.package.features.len();
        if row.len() == width {
            return Ok(());
        }
        Err(InferError::Failed(format!("a row of {} values for a model of {width} features", row.len())))
    }

    fn spare_session(&self) -> Result<Session, InferError> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let open = || load::open(&self.package, self.library.as_deref());
        spare.map_or_else(open, Ok).map_err(|error| InferError::Failed(error.to_string()))
    }
}
