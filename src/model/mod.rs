//! Models: the package on disk, the ONNX Runtime session, the workers that own sessions, and explanation.
//! (Interface; the body is being written.)

use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

/// A package that passed its checks: `model.onnx`, `manifest.toml`, `golden.json`, `baseline.json`.
#[derive(Debug, Clone)]
pub struct Package {
    /// Model name, e.g. `fraud`.
    pub name: String,
    /// Version, e.g. `1`.
    pub version: String,
    /// SHA-256 of `model.onnx`, lower-case hex.
    pub sha256: String,
    /// Inputs, in order, by catalogue name.
    pub features: Vec<String>,
    /// Scores at or above it are flagged.
    pub threshold: f32,
    /// Where it lies.
    pub directory: PathBuf,
}

/// How sessions are made.
#[derive(Debug, Clone)]
pub struct RuntimeOptions {
    /// ONNX Runtime's shared library; `None` searches `ORT_DYLIB_PATH`, then the places named in docs/CONFIG.md.
    pub library: Option<PathBuf>,
    /// Worker threads, each with a session of its own.
    pub workers: usize,
    /// The most rows a batch takes.
    pub max_batch: usize,
    /// The most rows that wait.
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

/// A package loaded and warmed: scores rows on its own worker threads.
#[derive(Debug)]
pub struct Model {
    /// What it was loaded from.
    pub package: Package,
}

impl Package {
    /// Reads and checks a package directory: all four files, the hash, the manifest's keys.
    ///
    /// # Errors
    /// The first thing that is wrong, in one sentence.
    pub fn read(_directory: &Path) -> Result<Self, ModelError> {
        todo!()
    }
}

impl Model {
    /// Loads, warms every batch size and holds the golden set against the session. Blocking: never on a serving thread.
    ///
    /// # Errors
    /// What failed, in one sentence.
    pub fn load(_package: Package, _options: &RuntimeOptions) -> Result<Self, ModelError> {
        todo!()
    }

    /// Scores one row (`features.len()` values in manifest order), waiting at most `wait`.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn infer(&self, _row: Vec<f32>, _wait: Duration) -> Result<f32, InferError> {
        todo!()
    }

    /// Scores a matrix, row-major, on the calling thread (files): blocking.
    ///
    /// # Errors
    /// See [`InferError`].
    pub fn infer_matrix(&self, _values: &[f32]) -> Result<Vec<f32>, InferError> {
        todo!()
    }

    /// For each feature, by how much the score of `row` would fall were the feature at its baseline; blocking.
    ///
    /// # Errors
    /// See [`InferError`].
    pub async fn explain(&self, _row: Vec<f32>, _score: f32, _wait: Duration) -> Result<Vec<f32>, InferError> {
        todo!()
    }
}
