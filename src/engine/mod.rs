//! The line itself: observe → encode → infer → judge → commit. (Interface; the body is being written.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::base::clock::Millis;
use crate::decision::{Decision, Source};
use crate::model::Model;
use crate::transaction::{Rejection, Transaction};

/// What the mouth knows of a request besides its transaction.
#[derive(Debug, Clone, Copy)]
pub struct Received {
    /// The wall clock, read once at the mouth.
    pub now: Millis,
    /// The same moment, for measuring.
    pub at: Instant,
    /// How long the caller waits.
    pub deadline: Duration,
    /// Which mouth.
    pub source: Source,
}

/// An answer of the line.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The decision: the first that was recorded of this id, or a fallback.
    pub decision: Arc<Decision>,
    /// Whether the id was decided before this request.
    pub repeated: bool,
}

/// A label as it was received (`POST /labels`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Label {
    /// The transaction.
    pub transaction_id: String,
    /// Fraud or not.
    pub is_fraud: bool,
    /// When the verdict was given.
    pub labelled_at: Millis,
    /// `chargeback`, `review`, `customer` or another word of at most 32 letters, digits, `_`, `-`.
    pub source: String,
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelOutcome {
    /// It counts from now on.
    Recorded,
    /// The same label was here before.
    Repeated,
    /// Its transaction is unknown: it waits for it.
    Waiting,
}

/// Why the line gives no decision. One class each; `api` and later `stream` map the class, nobody else does.
#[derive(Debug, Error)]
pub enum EngineError {
    /// Bad input: malformed, rejected, or a conflict, by `code`.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too much at once; try again after this long.
    #[error("overloaded: {reason}; try again in {retry_after:?}")]
    Overloaded {
        /// Which limit.
        reason: String,
        /// When.
        retry_after: Duration,
    },
    /// Something needed is away.
    #[error("unavailable: {reason}; try again in {retry_after:?}")]
    Unavailable {
        /// What.
        reason: String,
        /// When.
        retry_after: Duration,
    },
    /// No answer in time, and the policy says to say so.
    #[error("no decision within the deadline of {0:?}")]
    Deadline(Duration),
    /// A defect.
    #[error("internal: {0}")]
    Internal(String),
}

/// The line with everything it owns. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Engine {}

impl Engine {
    /// Decides one transaction: the earlier decision when its id is known.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn decide(&self, _transaction: Transaction, _received: Received) -> Result<Answer, EngineError> {
        todo!()
    }

    /// Records a verdict. Idempotent; the latest `labelled_at` wins.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot be read or written.
    pub async fn label(&self, _label: Label) -> Result<LabelOutcome, EngineError> {
        todo!()
    }

    /// The decision of an id: the newest revision, or `revision`; a fallback while there is no full one.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot be read.
    pub async fn decision(
        &self,
        _transaction_id: &str,
        _revision: Option<u32>,
    ) -> Result<Option<Arc<Decision>>, EngineError> {
        todo!()
    }

    /// The features a decision used, as the stored JSON document; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot be read.
    pub async fn features(&self, _transaction_id: &str) -> Result<Option<serde_json::Value>, EngineError> {
        todo!()
    }

    /// The model in force.
    #[must_use]
    pub fn model(&self) -> Option<Arc<Model>> {
        todo!()
    }

    /// Whether the history is rebuilt and the log accepts writes; the reasons why not.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        todo!()
    }

    /// Finishes what is in flight, flushes the log and ends the background queue, within `grace`.
    pub async fn shutdown(&self, _grace: Duration) {
        todo!()
    }
}
