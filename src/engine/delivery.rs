//! What leaves the line for others to keep: a decision with everything it rests on, and the port of who keeps it.
//!
//! In: records in the order of the log that settles races. Out: acknowledgement, when all of a batch is kept.
//! Invariant of [`Destination`]: writing a batch again changes nothing; of a (transaction id, revision) the first record
//! that was ever written stays.

use std::fmt::{self, Debug};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::Decision;
use crate::transaction::Transaction;

/// What tells one record from every other: the same record sent twice keeps it, a second decision has its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecordId {
    /// Drawn at random when the process that made the record started.
    pub instance: u64,
    /// Counted by that process.
    pub sequence: u64,
}

impl RecordId {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (instance, sequence) = text.split_once('-')?;
        Some(Self { instance: u64::from_str_radix(instance, 16).ok()?, sequence: sequence.parse().ok()? })
    }
}

impl fmt::Display for RecordId {
    /// `0123456789abcdef-42`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}-{}", self.instance, self.sequence)
    }
}

/// A decision as it is published: complete for every reader.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// Which record.
    pub record: RecordId,
    /// When the mouth, or the log of transactions, took the transaction: wall time.
    pub received_at: Millis,
    /// The payment.
    pub transaction: Arc<Transaction>,
    /// Its amount in the base currency.
    pub base: BaseAmount,
    /// What was decided: a full decision with its revision, or a fallback.
    pub decision: Arc<Decision>,
    /// The features as they were used; `None` in a fallback.
    pub features: Option<PublishedFeatures>,
}

/// Feature values by name, in the model's order, always finite.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedFeatures {
    /// Their names, shared by the records of one model.
    pub names: Arc<[String]>,
    /// Their values.
    pub values: Vec<f64>,
}

/// A published record and where it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivered {
    /// The record.
    pub published: Published,
    /// Partition of the log of decisions.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
    /// When the log took the record, wall time.
    pub taken_at: Millis,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// Records that were new.
    pub new: usize,
    /// Records that were there already: the same record again.
    pub repeated: usize,
    /// Records of a (transaction id, revision) that another record had taken, or of a revision below the stored one where
    /// the newest alone is kept.
    pub superseded: usize,
    /// Of the new full ones, those whose target was completed at once; the rest wait for it.
    pub applied: usize,
    /// Records that can never be kept there, each once. Whoever delivers sends them to the dead letters before their
    /// offsets are committed; the rest of the batch is kept.
    pub refused: Vec<Refused>,
}

/// A record that a destination can never keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its place in the batch.
    pub index: usize,
    /// Code of its dead letter: [`TOO_LARGE`] or [`REFUSED`].
    pub code: &'static str,
    /// Why, in one sentence without a personal identifier.
    pub message: String,
}

/// It is larger than the destination allows.
pub const TOO_LARGE: &str = "too_large";
/// The destination refuses it for another reason, which the message tells.
pub const REFUSED: &str = "internal";

/// Why a batch was not kept. Nothing of it counts; it is written again.
#[derive(Debug, Error)]
pub enum DestinationError {
    /// The destination is away or slow: try again after a pause.
    #[error("{destination} is unavailable: {reason}")]
    Unavailable {
        /// Which destination.
        destination: &'static str,
        /// One sentence.
        reason: String,
    },
    /// It answers, and a person is needed: its schema or its rights are not what they must be.
    #[error("{destination} needs a person: {reason}")]
    Misconfigured {
        /// Which destination.
        destination: &'static str,
        /// One sentence that says what to do.
        reason: String,
    },
}

/// What waits in a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Decisions whose target has not appeared.
    pub count: u64,
    /// Age of the oldest of them.
    pub oldest: Duration,
}

/// Keeps decisions: PostgreSQL, MongoDB. Each has a consumer group of its own and fails alone.
pub trait Destination: Send + Sync + Debug + 'static {
    /// Its name: label of its metrics and part of its group's name.
    fn name(&self) -> &'static str;

    /// Keeps a batch, in its order; returns when all of it is kept for good but what is handed back as refused, so that its
    /// offsets may be committed.
    ///
    /// # Errors
    /// See [`DestinationError`]; the batch is written again, whole.
    fn write(&self, batch: &[Delivered]) -> impl Future<Output = Result<Kept, DestinationError>> + Send;

    /// Looks after what waits, once; how much waits now. Called in the pauses, at least every half second.
    ///
    /// # Errors
    /// See [`DestinationError`].
    fn look_after(&self) -> impl Future<Output = Result<Waiting, DestinationError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_from_its_name() {
        for id in [RecordId { instance: 0, sequence: 0 }, RecordId { instance: u64::MAX, sequence: u64::MAX }] {
            assert_eq!(RecordId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(RecordId::parse("0123456789abcdef-42").unwrap().sequence, 42);
        assert!(["", "12", "x-1", "1-x", "-"].iter().all(|text| RecordId::parse(text).is_none()));
    }
}
