//! Snapshots of what the engine knows, shard by shard, while it goes on; and a start from one.
//!
//! ```text
//! hold ─▶ positions of the sources ─▶ ids (256) ─▶ models ─▶ waiting labels ─▶ history ─▶ release
//! ```
//!
//! Out: shards, each taken under the ledger's lock for itself, and a header that says from where on the sources have to
//! be read. In: the same. Shards are of different moments; what the sources bring again from those positions on makes
//! them one state (see `features::history::export`).
//! Invariant: the order above. An id that a snapshot knows stands in every profile that is written after it, or the
//! index would keep its event from a history that never had it. Models come after the ids that name them. A label
//! that leaves the waiting ones for history is in one of the two, since history comes last.
//! Why nothing open is kept: a transaction without a decision is in the index as undecided, its event in history; who
//! owns it reads it again from the source and decides then.

mod build;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::core::Core;
use super::ledger::{Ledger, Whole};
use super::ports::Scorer;
use super::unconfirmed::Unconfirmed;
use super::{Engine, Label, SetUp, empty_ledger};
use crate::base::clock::Millis;
use crate::decision::ModelRef;
use crate::features::history::export::{HELD_EVENTS, ImportError, Lapsed, Walk, key_check, plan_hash};

pub use self::build::{Admitted, Build, Built};

const IDS: u8 = 0;
const MODELS: u8 = 1;
const WAITING: u8 = 2;
const HISTORY: u8 = 3;
/// Waiting labels in a shard.
const LABELS: usize = 1_024;

/// From where on the sources have to be read for a snapshot to be whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadFrom {
    /// The next offset of every partition, by topic.
    Offsets(BTreeMap<String, Vec<i64>>),
    /// Every event that occurred from this moment on.
    Moment(Millis),
}

/// What a snapshot says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// When it was begun, wall time.
    pub created_at: Millis,
    /// The newest `occurred_at` then.
    pub stream_time: Option<Millis>,
    /// From where on the sources have to be read.
    pub read_from: ReadFrom,
    /// Which state it is of.
    pub state: State,
    /// Whether the history lacked something.
    pub incomplete: bool,
    /// The stream's time from which an incomplete history will lack nothing, where that is known.
    pub complete_from: Option<Millis>,
}

/// What a snapshot has to agree in with who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Hash of what is kept and how: catalogue, options, base currency, encoding.
    pub plan: u64,
    /// Tells the key of history's hashes and names nobody.
    pub key: u64,
}

/// How much a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Entities; one that was moved while the snapshot was written counts twice.
    pub entities: u64,
    /// Events kept one by one, once for each entity they belong to.
    pub events: u64,
    /// Ids.
    pub ids: u64,
    /// Labels that wait for their transaction.
    pub waiting_labels: u64,
}

/// Why there is no snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// Another one is being taken.
    #[error("a snapshot is being taken already")]
    Busy,
    /// It took too long.
    #[error(transparent)]
    Lapsed(#[from] Lapsed),
}

/// Why a snapshot could not be read; the engine is as it was.
#[derive(Debug, Error)]
pub enum RestoreError<E> {
    /// The engine takes requests already.
    #[error("the engine runs already; a snapshot is read before that")]
    Running,
    /// It is of another state.
    #[error("the snapshot is of another catalogue, other options of history or another key")]
    Foreign,
    /// Its shards could not be had.
    #[error(transparent)]
    Source(E),
    /// Bytes that are no shard.
    #[error("shard {0} cannot be read: {1}")]
    Malformed(u64, String),
}

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// Of what.
    pub counts: Counts,
    /// How long it took.
    pub took: Duration,
}

/// Gives a snapshot, shard by shard.
pub trait Shards {
    /// Why there is no next one.
    type Error: std::error::Error + 'static;

    /// What the snapshot says of itself.
    fn header(&self) -> &Header;

    /// Appends the next shard to `shard`; `false` when there was none left, and what was appended then is none.
    ///
    /// # Errors
    /// What was written until then is of no use.
    fn next_shard(&mut self, shard: &mut Vec<u8>) -> Result<bool, Self::Error>;

    /// What was given so far.
    fn counts(&self) -> Counts;
}

/// A snapshot that is being taken. Nothing is forgotten meanwhile; dropping it ends that.
#[derive(Debug)]
pub struct Snapshot<S> {
    core: Arc<Core<S>>,
    header: Header,
    course: Course,
    longest: Duration,
}

impl<S: Scorer> Engine<S> {
    /// What a snapshot must be of for this engine.
    #[must_use]
    pub fn state(&self) -> State {
        let core = &self.core;
        State { plan: plan_hash(&core.catalogue, &self.history, core.rates.base()), key: key_check(&core.key) }
    }

    /// Begins a snapshot. `read_from` is called once nothing is forgotten any more: what was applied before the positions
    /// it gives need not come again. `complete_from` is told of an incomplete history, where it is known here.
    ///
    /// # Errors
    /// `Busy`.
    pub fn snapshot(
        &self,
        created_at: Millis,
        complete_from: Option<Millis>,
        read_from: impl FnOnce() -> ReadFrom,
    ) -> Result<Snapshot<S>, SnapshotError> {
        let (course, stream_time, incomplete, whole) = {
            let mut ledger = self.core.ledger();
            let course = Course::begin(&mut ledger).ok_or(SnapshotError::Busy)?;
            (course, ledger.newest, ledger.is_incomplete(), ledger.whole)
        };
        let known = if let Whole::From(complete) = whole { Some(complete) } else { None };
        let (state, complete_from) = (self.state(), complete_from.or(known).filter(|_| incomplete));
        // From here on, a panic in `read_from` included, dropping it lets go.
        let moment = ReadFrom::Moment(created_at);
        let header = Header { created_at, stream_time, read_from: moment, state, incomplete, complete_from };
        let mut snapshot = Snapshot { core: Arc::clone(&self.core), header, course, longest: Duration::ZERO };
        snapshot.header.read_from = read_from();
        Ok(snapshot)
    }

    /// Puts in place what `next` reads: it fills its buffer with the next shard and says `false` at the end. Blocking.
    /// Then the sources must be read from `header.read_from` on, and only then the engine may take requests.
    ///
    /// # Errors
    /// See [`RestoreError`].
    pub fn restore<E>(
        &self,
        header: &Header,
        mut next: impl FnMut(&mut Vec<u8>) -> Result<bool, E>,
    ) -> Result<Restored, RestoreError<E>> {
        let started = Instant::now();
        if self.core.ready.load(Ordering::SeqCst) {
            return Err(RestoreError::Running);
        }
        if header.state != self.state() {
            return Err(RestoreError::Foreign);
        }
        let mut ledger = empty_ledger(&self.core.catalogue, self.history, self.core.limits, self.core.set_up);
        let (mut shard, mut number, mut unmatched) = (Vec::new(), 0, 0);
        while next(&mut shard).map_err(RestoreError::Source)? {
            unmatched += take(&mut ledger, &shard).map_err(|fault| RestoreError::Malformed(number, fault))?;
            shard.clear();
            number += 1;
        }
        ledger.newest = header.stream_time;
        ledger.whole = match header.complete_from {
            _ if !header.incomplete => Whole::Yes,
            Some(complete) => Whole::From(complete),
            None => Whole::Unknown,
        };
        // Where the log is the instance's own nothing is ever confirmed.
        if self.core.set_up == SetUp::Stack {
            ledger.unconfirmed = Unconfirmed::of(&ledger.ids);
        }
        ledger.history.keep_from(ledger.unconfirmed.oldest());
        if unmatched > 0 {
            self.core.observer.unmatched(unmatched);
        }
        let counts = Counts {
            entities: ledger.history.entities() as u64,
            events: ledger.history.size().events as u64,
            ids: ledger.ids.len() as u64,
            waiting_labels: ledger.waiting.len() as u64,
        };
        *self.core.ledger() = ledger;
        Ok(Restored { counts, took: started.elapsed() })
    }
}

impl<S> Snapshot<S> {
    /// The longest that a shard held the lock.
    #[must_use]
    pub const fn longest_hold(&self) -> Duration {
        self.longest
    }
}

impl<S> Shards for Snapshot<S> {
    type Error = SnapshotError;

    fn header(&self) -> &Header {
        &self.header
    }

    /// Takes the ledger's lock for this one shard.
    fn next_shard(&mut self, shard: &mut Vec<u8>) -> Result<bool, SnapshotError> {
        let mut ledger = self.core.ledger();
        let taken = Instant::now();
        let more = self.course.next(&mut ledger, shard);
        drop(ledger);
        self.longest = self.longest.max(taken.elapsed());
        Ok(more?)
    }

    fn counts(&self) -> Counts {
        self.course.counts()
    }
}

impl<S> Drop for Snapshot<S> {
    fn drop(&mut self) {
        self.course.end(&mut self.core.ledger());
    }
}

/// The walk over a ledger.
#[derive(Debug)]
pub(super) struct Course {
    stage: Stage,
    history: Walk,
    counts: Counts,
}

#[derive(Debug)]
enum Stage {
    Ids(u8),
    Models,
    Waiting(Option<String>),
    History,
}

impl Course {
    /// Begins; `None` while another walk goes on.
    pub(super) fn begin<S>(ledger: &mut Ledger<S>) -> Option<Self> {
        let history = ledger.history.hold()?;
        let horizon = ledger.horizon();
        ledger.ids.hold(horizon, HELD_EVENTS);
        Some(Self { stage: Stage::Ids(0), history, counts: Counts::default() })
    }

    /// Ends, done or not.
    pub(super) fn end<S>(&self, ledger: &mut Ledger<S>) {
        if ledger.history.release(&self.history) {
            ledger.ids.release();
        }
    }

    pub(super) const fn counts(&self) -> Counts {
        Counts { entities: self.history.profiles, events: self.history.events, ..self.counts }
    }

    pub(super) fn next<S>(&mut self, ledger: &mut Ledger<S>, shard: &mut Vec<u8>) -> Result<bool, Lapsed> {
        match &mut self.stage {
            Stage::Ids(number) => {
                shard.extend_from_slice(&[IDS, *number]);
                let many = ledger.ids.write_shard(usize::from(*number), shard);
                self.counts.ids += many.unwrap_or_default() as u64;
                self.stage = number.checked_add(1).map_or(Stage::Models, Stage::Ids);
            }
            Stage::Models => {
                let models: Vec<&ModelRef> = ledger.models.iter().map(|model| &**model).collect();
                append(shard, MODELS, &models);
                self.stage = Stage::Waiting(None);
            }
            Stage::Waiting(after) => {
                let labels = ledger.waiting.after(after.as_deref(), LABELS);
                append(shard, WAITING, &labels);
                self.counts.waiting_labels += labels.len() as u64;
                let last = labels.last().map(|label| label.transaction_id.clone());
                self.stage = last.map_or(Stage::History, |last| Stage::Waiting(Some(last)));
            }
            Stage::History => {
                shard.push(HISTORY);
                return ledger.history.write(&mut self.history, shard);
            }
        }
        Ok(true)
    }
}

fn append(shard: &mut Vec<u8>, kind: u8, what: &impl Serialize) {
    shard.push(kind);
    // Panics never: strings and numbers into memory; nothing is appended if it ever failed, which reading refuses.
    shard.extend(postcard::to_stdvec(what).unwrap_or_default());
}

/// Takes a shard into `ledger`; labels for which there was no room, or a sentence where it is no shard.
fn take<S>(ledger: &mut Ledger<S>, shard: &[u8]) -> Result<usize, String> {
    let (kind, bytes) = shard.split_first().ok_or("it is empty")?;
    match *kind {
        IDS => {
            let (number, entries) = bytes.split_first().ok_or("it is cut")?;
            ledger.ids.read_shard(usize::from(*number), entries).ok_or("its bytes are no ids")?;
        }
        MODELS => {
            let models: Vec<ModelRef> = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
            ledger.models = models.into_iter().map(Arc::new).collect();
        }
        WAITING => {
            let labels: Vec<Label> = postcard::from_bytes(bytes).map_err(|error| error.to_string())?;
            return Ok(labels.into_iter().filter(|label| !ledger.waiting.put(label.clone())).count());
        }
        HISTORY => ledger.history.read_shard(bytes).map_err(|error: ImportError| error.to_string())?,
        other => return Err(format!("there is no kind {other}")),
    }
    Ok(0)
}
