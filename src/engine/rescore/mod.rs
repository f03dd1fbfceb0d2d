//! Rescoring: payments of before are decided again, or for the first time, beside the line and never through it.
//!
//! ```text
//! payments in order ─▶ scratch history: insert, read ─▶ encode ▸ infer ▸ judge ─▶ record r + 1 ─▶ acknowledged ─▶ position
//!                              └─ before the range: insert alone
//! ```
//!
//! In: payments with their verdicts, ascending by (occurred_at, transaction_id), and what is decided of them. Out: for each that
//! is wanted one record of the next revision. Live history, index and line are not touched: nothing here knows them.
//!
//! **Features are complete.** A reading as of an event counts what is ≤ (t, id). In this order everything that is ≤ (t, id) was
//! inserted before the event is read, and nothing that comes later can change the reading: what "complete" means.
//!
//! **Nothing is doubled.** A record's identity is (run, hash of id and revision): whatever is sent again is the same record. A
//! payment whose newest decision is of this run has been done. So a run may end at any point and be taken up at any position
//! that it had saved, provided that [`Outside::decided`] shows what was acknowledged before it was taken up.

mod look;
mod run;
mod scratch;
mod select;
mod stored;
#[cfg(test)]
mod tests;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

pub use self::look::{count, first};
pub use self::run::{Rescore, RescoreParts};
pub use self::stored::lacking;
use super::Label;
use super::delivery::RecordId;
use super::ports::Record;
use crate::base::clock::Millis;
use crate::transaction::Transaction;

/// Which payments are wanted: those of [from, to) that have no full decision, and with `replace` the others too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The first moment.
    pub from: Millis,
    /// The first moment after them.
    pub to: Millis,
    /// Whether a payment that is decided gets the next revision.
    pub replace: bool,
}

/// A payment and what is known of it afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Payment {
    /// The payment.
    pub transaction: Transaction,
    /// The verdicts on it.
    pub labels: Vec<Label>,
}

/// The newest full decision of a payment.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided {
    /// Its revision.
    pub revision: u32,
    /// The record that made it.
    pub record: RecordId,
    /// The payment, as it was decided.
    pub transaction: Transaction,
}

/// How far a run is: every payment up to and including this one is done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// When it happened.
    pub occurred_at: Millis,
    /// Its id.
    pub transaction_id: CompactString,
}

/// What became of the payments of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Payments of the range that were looked at.
    pub looked: u64,
    /// Records made: revision 0 of payments that had none.
    pub first: u64,
    /// Records made: the next revision of those that had one.
    pub replaced: u64,
    /// Left alone: decided, and not to be replaced.
    pub decided: u64,
    /// Left alone: this run's own, acknowledged before it was interrupted.
    pub done: u64,
    /// Left alone: the source has other required fields under the id than were decided.
    pub conflicts: u64,
    /// Left alone: the same payment stood twice in the source.
    pub repeated: u64,
    /// Left alone: the model gave no score.
    pub unscored: u64,
    /// Left alone: stored features were asked for, and none of its newest decision are kept.
    #[serde(default)]
    pub lacking: u64,
}

impl Tally {
    /// Records made.
    #[must_use]
    pub const fn scored(&self) -> u64 {
        self.first + self.replaced
    }
}

/// Where the model's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inputs {
    /// Computed anew: complete as of the payment.
    Scratch,
    /// Those that are kept with the newest decision: what was known then.
    Stored,
}

/// Stored values in the order they were asked for; `None` for what is not there.
pub type StoredRow = Vec<Option<f64>>;

/// What a run needs of others. Each call may be its last one.
pub trait Outside {
    /// Why it cannot go on.
    type Error;

    /// The next payments, ascending by (occurred_at, transaction_id); none at the end.
    ///
    /// # Errors
    /// When the source cannot be read.
    fn payments(&mut self) -> Result<Vec<Payment>, Self::Error>;

    /// The newest full decision of each of these ids. Invariant: what was acknowledged before the run was begun or taken up
    /// is shown; and the run is the only one, also at this moment.
    ///
    /// # Errors
    /// When it cannot be said, or the run is no longer the only one.
    fn decided(&mut self, ids: &[&str]) -> Result<Vec<Option<Decided>>, Self::Error>;

    /// The stored features of these decisions (id, revision), in the order of `names`: `None` where none of that revision are
    /// kept, and for a name that the stored ones lack.
    ///
    /// # Errors
    /// When the store cannot be read, or there is none.
    fn features(&mut self, of: &[(&str, u32)], names: &[String]) -> Result<Vec<Option<StoredRow>>, Self::Error>;

    /// Appends records to the log of decisions; returns when all of them are acknowledged.
    ///
    /// # Errors
    /// When that cannot be said of one of them.
    fn append(&mut self, records: Vec<Record>) -> Result<(), Self::Error>;

    /// Notes how far the run is; when that is kept for good is its own business.
    ///
    /// # Errors
    /// When it cannot be noted.
    fn note(&mut self, position: &Position, tally: &Tally) -> Result<(), Self::Error>;

    /// Waits until so many records more may be made.
    fn pace(&mut self, records: usize);

    /// The wall clock.
    fn now(&self) -> Millis;
}
