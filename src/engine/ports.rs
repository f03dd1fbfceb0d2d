//! What the engine needs of others: a log that keeps what was decided, a model that scores, someone who counts.
//!
//! Invariant of [`Log`]: entries take effect in the order of `append`; of a transaction id, the first full record stays.
//! A call that cannot be answered fails; none waits without end on a caller's behalf: the engine bounds every wait.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};
use thiserror::Error;

use super::completeness::Completeness;
use super::delivery::RecordId;
use super::models::{Action, Change};
use super::{Label, LabelOutcome};
use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::{Column, Decision, DecisionKind, ModelRef};
use crate::features::EventLabel;
use crate::model::{Explanation, InferError, Model};
use crate::transaction::{RejectionCode, Transaction};

/// A full decision with everything that a reader of the log needs.
#[derive(Debug, Clone)]
pub struct Record {
    /// Which record.
    pub id: RecordId,
    /// When the mouth, or the log of transactions, took it: wall time.
    pub received_at: Millis,
    /// The payment.
    pub transaction: Arc<Transaction>,
    /// Its amount in the base currency.
    pub base: BaseAmount,
    /// What was decided.
    pub decision: Arc<Decision>,
    /// The model that scored.
    pub model: Arc<ModelRef>,
    /// The features as they were used.
    pub features: Arc<Features>,
}

/// Feature values, in the order of `columns`.
#[derive(Debug, Clone)]
pub struct Features {
    /// Their names.
    pub columns: Arc<[Column]>,
    /// Their values, always finite.
    pub values: Vec<f64>,
}

/// The stored document: `{"name": value, …}` in the columns' order, integers without a fraction.
impl Serialize for Features {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(Some(self.columns.len()))?;
        for (column, value) in self.columns.iter().zip(&self.values) {
            if column.integer {
                document.serialize_entry(&column.name, &(*value as i64))?;
            } else {
                document.serialize_entry(&column.name, value)?;
            }
        }
        document.end()
    }
}

/// The identifiers that a feature may look back by, besides those that the schema adds.
const ENTITIES: [&str; 8] =
    ["customer_id", "terminal_id", "merchant_id", "card_id", "device_id", "product_id", "country", "channel"];

/// The verdict with the entities it counts for.
#[must_use]
pub fn event_label(transaction: &Transaction, base: BaseAmount, label: &Label) -> EventLabel {
    let known = ENTITIES.into_iter().filter_map(|field| Some((field.into(), transaction.entity(field)?.into())));
    EventLabel {
        transaction_id: label.transaction_id.clone(),
        occurred_at: transaction.occurred_at,
        entities: known.chain(transaction.extra.iter().cloned()).collect(),
        base_minor: base.minor,
        is_fraud: label.is_fraud,
        labelled_at: label.labelled_at,
    }
}

/// What is appended to the log.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A full decision. The first of an id stays; a later one changes nothing and is answered `first: false`.
    Full(Record),
    /// A fallback: the transaction, without a decision yet, and the audit of what was answered.
    Fallback {
        /// Which record.
        id: RecordId,
        /// The payment.
        transaction: Arc<Transaction>,
        /// Its amount in the base currency.
        base: BaseAmount,
        /// What was answered.
        decision: Arc<Decision>,
    },
    /// A later copy of a transaction: fills optional fields that are absent, changes none.
    Fill(Arc<Transaction>),
    /// A verdict. The same one again is answered `first: false`.
    Label(Label),
    /// A change of the models in force.
    Changed(Box<Change>),
}

/// How an entry was written.
#[derive(Debug, Default)]
pub struct Written {
    /// Whether it was new to the log.
    pub first: bool,
    /// Of a label: its transaction and the amount in the base currency, where the log has it.
    pub transaction: Option<Box<(Transaction, BaseAmount)>>,
    /// Of a copy: what it filled, if anything.
    pub filled: Option<Box<Filled>>,
}

/// A transaction before and after a copy of it filled fields.
#[derive(Debug)]
pub struct Filled {
    /// As it was.
    pub before: Transaction,
    /// As it is now.
    pub after: Transaction,
    /// Its amount in the base currency.
    pub base: BaseAmount,
    /// The verdicts on it.
    pub labels: Vec<Label>,
}

/// Called once, when the fate of an entry is known. It runs on the log's own thread and must be brief.
pub type Done = Box<dyn FnOnce(Result<Written, LogError>) + Send>;

/// Why the log could not do it.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
pub enum LogError {
    /// Its queue is full.
    #[error("the log's queue is full at {0} entries")]
    Full(usize),
    /// It is closed.
    #[error("the log is closed")]
    Closed,
    /// It could not be read or written: why.
    #[error("the log failed: {0}")]
    Failed(String),
    /// No answer in time.
    #[error("the log did not answer within {0:?}")]
    Late(Duration),
}

/// What the log holds of an id.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The payment, as it was first accepted.
    pub transaction: Transaction,
    /// Its amount in the base currency.
    pub base: BaseAmount,
    /// The first full decision, or the newest fallback while there is none.
    pub decision: Option<Decision>,
}

/// A row of the log as rebuilding needs it. Optional fields may be absent.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The payment.
    pub transaction: &'a Transaction,
    /// Its amount in the base currency.
    pub base: BaseAmount,
    /// Score, flag and degradation of the full decision, and its model.
    pub outcome: Option<ReplayedOutcome>,
}

/// What the index of ids keeps of a full decision.
#[derive(Debug, Clone)]
pub struct ReplayedOutcome {
    /// Its score.
    pub score: f32,
    /// Whether it was flagged.
    pub flagged: bool,
    /// Whether it was degraded.
    pub degraded: bool,
    /// Which model.
    pub model: Arc<ModelRef>,
}

/// Takes what [`Log::replay`] reads.
pub trait Sink {
    /// A transaction; they come in the order in which they were written.
    fn transaction(&mut self, row: &Replayed<'_>);
    /// A verdict on a transaction that the log has.
    fn label(&mut self, label: &EventLabel);
    /// A verdict that waits for its transaction.
    fn waiting(&mut self, label: Label);
}

/// The answer of a read, later.
pub type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// The log: what was decided, kept.
pub trait Log: Send + Sync + Debug {
    /// Enqueues an entry and returns at once. `done` is called exactly once if this returns `Ok`, never otherwise.
    /// An entry without `done` is tried again until it is written.
    ///
    /// # Errors
    /// `Full` or `Closed`.
    fn append(&self, entry: Entry, done: Option<Done>) -> Result<(), LogError>;

    /// Whether `append` would take an entry now.
    fn has_room(&self) -> bool;

    /// The transaction of an id and its first decision: what a repetition is answered with.
    fn find<'a>(&'a self, transaction_id: &'a str) -> Reading<'a, Option<Stored>>;

    /// A decision of an id: of this revision, or of the newest there is; the newest fallback while there is none.
    fn decision<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>>;

    /// The features of its full decision of this revision, or of the newest one whose features are kept.
    fn features<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>)
    -> Reading<'a, Option<serde_json::Value>>;

    /// At most `limit` transactions without a full decision, oldest first.
    fn undecided(&self, limit: usize) -> Reading<'_, Vec<(Transaction, BaseAmount)>>;

    /// What is complete now. A log of this process's own knows it up to `upto`; a shared one by who audits it.
    fn completeness(&self, upto: Millis) -> Reading<'_, Completeness>;

    /// Returns once everything appended before was written or has failed.
    fn flush(&self) -> Reading<'_, ()>;

    /// Flushes and ends: later appends are `Closed`.
    fn close(&self) -> Reading<'_, ()>;

    /// The newest changes of the models in force, oldest first, at most `most`. A shared log keeps none.
    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>>;

    /// The newest `occurred_at`. Blocking.
    ///
    /// # Errors
    /// When the log cannot be read.
    fn newest(&self) -> Result<Option<Millis>, LogError>;

    /// Reads every transaction from `since` on, then the labels of those, then those labels without a transaction that
    /// were given from `since` on. Blocking.
    ///
    /// # Errors
    /// When the log cannot be read; what was read until then has been given to `sink`.
    fn replay(&self, since: Millis, sink: &mut dyn Sink) -> Result<(), LogError>;

    /// Why it does not accept writes, if it does not.
    ///
    /// # Errors
    /// One sentence for a person.
    fn health(&self) -> Result<(), String>;

    /// Entries that wait.
    fn depth(&self) -> usize;
}

/// Where decisions can be looked up that the shared log brought there.
pub trait Lookup: Send + Sync + Debug {
    /// As [`Log::find`].
    fn find<'a>(&'a self, transaction_id: &'a str) -> Reading<'a, Option<Stored>>;

    /// What is complete now.
    fn completeness(&self) -> Reading<'_, Completeness>;

    /// As [`Log::decision`].
    fn decision<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>>;

    /// As [`Log::features`], `{"name": value, …}`; `None` where none of that revision are kept.
    fn features<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>)
    -> Reading<'a, Option<serde_json::Value>>;
}

/// What scores a row.
pub trait Scorer: Send + Sync + Debug + 'static {
    /// Which model it is.
    fn reference(&self) -> ModelRef;

    /// Its inputs, in order, by catalogue name.
    fn features(&self) -> &[String];

    /// The score of a row (values in the manifest's order), within `wait`.
    fn infer(&self, row: Vec<f32>, wait: Duration) -> impl Future<Output = Result<f32, InferError>> + Send;

    /// The scores of a matrix, row-major, one or more rows. Blocking, on the caller's thread, which serves no request.
    ///
    /// # Errors
    /// When any row of it gets no score.
    fn infer_rows(&self, rows: &[f32]) -> Result<Vec<f32>, InferError>;

    /// What moved the margins of a matrix. Blocking likewise.
    ///
    /// # Errors
    /// When any row of it cannot be explained.
    fn explain_rows(&self, rows: &[f32]) -> Result<Vec<Explanation>, InferError>;

    /// What moved the margin of a row, within `wait`. It may take no thread that scores or answers.
    fn explain(&self, row: Vec<f32>, wait: Duration) -> impl Future<Output = Result<Explanation, InferError>> + Send;

    /// The median of every input in training, in order; empty where that is not known.
    fn medians(&self) -> &[f32] {
        &[]
    }
}

impl Scorer for Model {
    fn reference(&self) -> ModelRef {
        let package = &self.package;
        ModelRef {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256.clone(),
            threshold: package.threshold,
        }
    }

    fn features(&self) -> &[String] {
        &self.package.features
    }

    fn infer(&self, row: Vec<f32>, wait: Duration) -> impl Future<Output = Result<f32, InferError>> + Send {
        Self::infer(self, row, wait)
    }

    fn explain(&self, row: Vec<f32>, wait: Duration) -> impl Future<Output = Result<Explanation, InferError>> + Send {
        Self::explain(self, row, wait)
    }

    fn infer_rows(&self, rows: &[f32]) -> Result<Vec<f32>, InferError> {
        self.infer_matrix(rows)
    }

    fn explain_rows(&self, rows: &[f32]) -> Result<Vec<Explanation>, InferError> {
        self.explain_matrix(rows)
    }

    fn medians(&self) -> &[f32] {
        self.package.medians()
    }
}

/// The steps of the line that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Insert into history and read the features, the lock included.
    Observe,
    /// Values to a model's row.
    Encode,
    /// The model, its queue included.
    Infer,
    /// The decision, its reasons included.
    Judge,
    /// The log, the wait for the disk included under `committed`.
    Commit,
}

impl Step {
    /// Every step, in the order of the line.
    pub const ALL: [Self; 5] = [Self::Observe, Self::Encode, Self::Infer, Self::Judge, Self::Commit];

    /// Its name: metric label and documentation.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Encode => "encode",
            Self::Infer => "infer",
            Self::Judge => "judge",
            Self::Commit => "commit",
        }
    }
}

/// Told what happens, to count it. Every method does nothing unless it is implemented; all must be brief.
pub trait Observer: Send + Sync + Debug {
    /// A step was done.
    fn step(&self, _step: Step, _took: Duration) {}
    /// A decision was made, full or fallback.
    fn decided(&self, _kind: DecisionKind, _flagged: bool, _degraded: bool) {}
    /// A transaction was refused by the line (`too_far_ahead`, `too_old`, `conflict`).
    fn rejected(&self, _code: RejectionCode) {}
    /// A known id was answered with its decision.
    fn repeated(&self) {}
    /// Another record was first in the log.
    fn superseded(&self) {}
    /// A label was taken.
    fn labelled(&self, _outcome: LabelOutcome) {}
    /// Labels were given up: their transaction never came.
    fn unmatched(&self, _labels: usize) {}
    /// A change of the models was recorded.
    fn model_changed(&self, _action: Action) {}
    /// A version was held against its gates, and passed or did not.
    fn model_prepared(&self, _took: Duration) {}
}

/// Counts nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {}

/// How much the engine holds, for gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Ids in the index.
    pub ids: usize,
    /// Bytes of the index.
    pub id_bytes: usize,
    /// Transactions between observe and commit, or without a full decision yet.
    pub open: usize,
    /// Of those, in the background queue.
    pub background: usize,
    /// Entries in the log's queue.
    pub log_queue: usize,
    /// Labels that wait for their transaction.
    pub waiting_labels: usize,
}
