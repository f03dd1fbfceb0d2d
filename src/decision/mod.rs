//! What the line concludes: a decision, its reasons, and the policy for when there is no score. Pure.
//!
//! In: a score (or the cause why there is none), what is true of the inputs, and the policy. Out: a [`Decision`].

pub mod explained;
pub mod judge;
pub mod policy;
pub mod reasons;

use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::model::Method;
pub use explained::{By, Column, Explained, ReasonRules};
pub use judge::{Circumstances, ModelRef, fall_back, judge};
pub use policy::{FallbackCause, OnFallback, Policy};
pub use reasons::DegradedCause;

/// What was decided about one transaction, as it is answered, stored and published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The transaction.
    pub transaction_id: String,
    /// Full, or a fallback that stands in until the full one is made.
    pub kind: DecisionKind,
    /// 0 for the first full decision; `None` in a fallback.
    pub revision: Option<u32>,
    /// Probability of fraud, 0 to 1; `None` in a fallback.
    pub score: Option<f32>,
    /// Whether someone should look: score ≥ threshold, or what the policy says in a fallback.
    pub flagged: bool,
    /// The threshold the score was held against; `None` where no model was at hand.
    pub threshold: Option<f32>,
    /// Name of the model; empty where there was none.
    pub model: String,
    /// Its version.
    pub model_version: String,
    /// SHA-256 of its `model.onnx`, hex.
    pub model_sha256: String,
    /// Why: what moved the score, and what was not as it should be.
    pub reasons: Vec<Reason>,
    /// How the contributions of `reasons` add up to the margin; `None` where the decision was not explained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// A fallback, or a full decision on incomplete or stale inputs; `reasons` says which.
    pub degraded: bool,
    /// Which mouth the transaction came in by.
    pub source: Source,
    /// Wall time of the decision.
    pub scored_at: Millis,
    /// Microseconds from the mouth to the decision.
    pub took_micros: u64,
}

/// Whether a decision is final for its revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Made by a model from features.
    Full,
    /// Made by policy because a model's score could not be had in time.
    Fallback,
}

/// The mouths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `POST /predict`.
    Predict,
    /// `POST /predict/batch`.
    Batch,
    /// A file.
    File,
    /// The background queue, after a fallback.
    Background,
    /// The topic of transactions.
    Stream,
    /// `assay rescore`.
    Rescore,
}

impl Source {
    /// Every mouth, in the order of the enum.
    pub const ALL: [Self; 6] = [Self::Predict, Self::Batch, Self::File, Self::Background, Self::Stream, Self::Rescore];

    /// Its word in answers, logs and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Predict => "predict",
            Self::Batch => "batch",
            Self::File => "file",
            Self::Background => "background",
            Self::Stream => "stream",
            Self::Rescore => "rescore",
        }
    }

    /// The mouth of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == word)
    }
}

/// The whole of which reasons list the largest parts. All in log-odds, before calibration:
/// baseline + Σ contributions of the decision's reasons + other = margin.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// How the contributions were computed (docs/MODELS.md).
    pub method: Method,
    /// The margin before anything is known of a transaction.
    pub baseline: f64,
    /// The transaction's own margin; its calibrated probability is the score.
    pub margin: f64,
    /// What moved it besides the reasons listed: smaller ones, and hidden ones.
    pub other: f64,
}

/// One reason: a stable code, and for features the value and how far it moved the margin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable: the name of a feature or of a group of features, or one of [`DegradedCause`].
    pub code: String,
    /// A sentence for a person.
    pub message: String,
    /// The feature's value; a group has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// How far it moved the margin, log-odds: above 0 towards fraud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contribution: Option<f64>,
}
