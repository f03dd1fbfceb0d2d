//! The line itself: observe → encode → infer → judge → commit.
//!
//! In: validated transactions and labels, from any mouth. Out: the one decision of an id, recorded in the log as the
//! durability promises. The engine knows no HTTP and no SQL: the log, the model and the counters are [`ports`].
//!
//! Invariants: an id has one decision and moves history once; what the log refuses is kept and committed later; no
//! wait, queue or table is without a bound; a log or a model that is away delays nobody beyond the deadline.

mod active;
mod background;
mod challenge;
mod comparison;
pub mod completeness;
mod copies;
mod core;
pub mod delivery;
mod explain;
mod fingerprint;
pub mod follow;
mod ids;
mod label_json;
mod labels;
mod ledger;
mod limits;
mod line;
pub mod lineup;
mod matrix;
pub mod models;
pub mod ports;
mod rebuild;
mod recall;
pub mod rescore;
mod share;
pub mod snapshot;
mod tally;
mod unconfirmed;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::active::Active;
pub use self::challenge::ChallengerOptions;
pub use self::comparison::{Compared, Kept, Labels};
pub use self::copies::Copies;
use self::core::{Core, of_log, unavailable};
use self::explain::{Reasons, explain_later};
use self::labels::Waiting;
use self::ledger::{Ledger, Whole};
pub use self::limits::{Durability, Limits, SetUp, TimeSource};
use self::lineup::Lineup;
pub use self::ports::event_label;
use self::ports::{Gauges, Log, Observer, Scorer};
pub use self::rebuild::Rebuilt;
pub use self::share::{ALL as ALL_BASIS_POINTS, Share};
pub use self::tally::Counts;
use crate::base::clock::{Clock, Millis};
use crate::base::money::Rates;
use crate::decision::{Decision, Policy, ReasonRules, Source};
use crate::features::{Catalogue, CatalogueError, History, HistoryOptions};
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
    /// Whether reasons are asked for even if the decision is not flagged.
    pub explain: bool,
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

/// What an engine is made of.
#[derive(Clone)]
pub struct EngineParts<S = Model> {
    /// For what happens in the background; requests bring their own time.
    pub clock: Arc<dyn Clock>,
    /// Exchange rates.
    pub rates: Arc<Rates>,
    /// Every feature.
    pub catalogue: Arc<Catalogue>,
    /// The key, lateness and exactness of history.
    pub history: HistoryOptions,
    /// Where decisions are kept.
    pub log: Arc<dyn Log>,
    /// The model in force; `None` leaves every answer to the policy.
    pub model: Option<Arc<S>>,
    /// The policy.
    pub policy: Policy,
    /// Bounds.
    pub limits: Limits,
    /// Which reasons are told, and how.
    pub reasons: ReasonRules,
    /// What an answer promises.
    pub durability: Durability,
    /// Whose the log is.
    pub set_up: SetUp,
    /// A number that no other process has: it names the records made here.
    pub instance: u64,
    /// Who counts.
    pub observer: Arc<dyn Observer>,
}

/// The line with everything it owns. Cheap to clone.
#[derive(Debug)]
pub struct Engine<S = Model> {
    core: Arc<Core<S>>,
    background: Arc<Mutex<Option<JoinHandle<()>>>>,
    history: HistoryOptions,
}

impl<S> Clone for Engine<S> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core), background: Arc::clone(&self.background), history: self.history }
    }
}

impl<S: Scorer> Engine<S> {
    /// An engine that is not ready yet: [`Engine::rebuild`] makes it so.
    ///
    /// # Errors
    /// When the catalogue lacks a feature of the model.
    pub fn new(parts: EngineParts<S>) -> Result<Self, CatalogueError> {
        let EngineParts { clock, rates, catalogue, history, log, model, policy, limits, reasons, durability, .. } =
            parts;
        let EngineParts { set_up, instance, observer, .. } = parts;
        let core = Core {
            active: ArcSwap::from_pointee(Active::none(policy)),
            ledger: Mutex::new(empty_ledger(&catalogue, history, limits, set_up)),
            cache: moka::sync::Cache::new(limits.cache),
            log,
            observer,
            clock,
            rates,
            reasons: Reasons::new(reasons, &catalogue),
            catalogue,
            key: history.key,
            limits,
            durability,
            ready: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            flying: AtomicUsize::new(0),
            landed: Notify::new(),
            due: Arc::new(Notify::new()),
            set_up,
            instance,
            made: AtomicU64::new(0),
            behind: AtomicBool::new(false),
            recent: Mutex::default(),
        };
        let engine = Self { core: Arc::new(core), background: Arc::default(), history };
        if let Some(model) = model {
            engine.activate(model)?;
        }
        Ok(engine)
    }

    /// Makes `model` the one that decides, alone. A request that has been observed keeps the model it was observed for:
    /// plan, session, threshold and version change together or not at all. [`models::Models`] also records it.
    ///
    /// # Errors
    /// When the catalogue lacks a feature of the model; the active one stays.
    pub fn activate(&self, model: Arc<S>) -> Result<(), CatalogueError> {
        let champion = Some(self.prepare(model)?);
        self.line_up(Lineup { champion, canary: None, challenger: None });
        Ok(())
    }

    /// Rebuilds history and the index of ids from the log, then takes requests and starts the background queue. When
    /// the log cannot be read to its end, requests are taken too, but their decisions say `history_incomplete`.
    ///
    /// # Errors
    /// `Unavailable` when the log could not be read to its end.
    pub async fn rebuild(&self) -> Result<Rebuilt, EngineError> {
        let (core, options) = (Arc::clone(&self.core), self.history);
        let reading = tokio::task::spawn_blocking(move || {
            let mut ledger = empty_ledger(&core.catalogue, options, core.limits, core.set_up);
            let rebuilt = rebuild::rebuild(&core, &mut ledger);
            ledger.whole = if rebuilt.is_err() { Whole::Unknown } else { Whole::Yes };
            *core.ledger() = ledger;
            rebuilt
        });
        let rebuilt = reading.await.map_err(|error| EngineError::Internal(error.to_string()))?;
        self.take_requests();
        rebuilt.map_err(of_log)
    }

    /// Takes requests and starts the background queue: after [`Engine::restore`], once the sources were read as far as they
    /// go. [`Engine::rebuild`] does so by itself.
    pub fn take_requests(&self) {
        self.core.ready.store(true, Ordering::SeqCst);
        let task = background::start(&self.core);
        if let Some(earlier) = self.task().replace(task) {
            earlier.abort();
        }
    }

    /// Decides one transaction: the earlier decision when its id is known. Cancel safety: when the future is dropped,
    /// the transaction is decided in the background.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn decide(&self, transaction: Transaction, received: Received) -> Result<Answer, EngineError> {
        line::decide(&self.core, transaction, received).await
    }

    /// Records a verdict. Idempotent; the latest `labelled_at` wins.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot be read or written, `Overloaded` when its queue is full.
    pub async fn label(&self, label: Label) -> Result<LabelOutcome, EngineError> {
        self.core.label(label).await
    }

    /// The decision of an id: the newest revision, or `revision`; a fallback while there is no full one. While the store
    /// does not answer, the first decision where it is at hand.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot be read.
    pub async fn decision(
        &self,
        transaction_id: &str,
        revision: Option<u32>,
    ) -> Result<Option<Arc<Decision>>, EngineError> {
        let cached = self.core.cache.get(transaction_id);
        let cached = cached.filter(|decision| revision.is_none() || decision.revision == revision);
        // What is cached is the first decision: where the log is shared, a later one may be in the store.
        if cached.is_some() && (revision.is_some() || self.core.set_up == SetUp::Embedded) {
            return Ok(cached);
        }
        match (self.within(self.core.decision(transaction_id, revision)).await, cached) {
            (Ok(stored), cached) => Ok(newer(stored.map(Arc::new), cached)),
            (Err(_), Some(cached)) => Ok(Some(cached)),
            (Err(error), None) => Err(error),
        }
    }

    /// A decision with its reasons, also where it was not flagged: computed from its stored features when the model that
    /// scored is in force, within `store_wait`. Where they cannot be computed, its reasons say why by
    /// `model_not_loaded` or `reasons_unavailable`; a fallback stays as it is.
    pub async fn explain(&self, decision: Arc<Decision>) -> Arc<Decision> {
        explain_later(&self.core, decision, self.core.limits.store_wait).await
    }

    /// The features that the decision of this revision used, or the newest one whose features are kept: the stored JSON
    /// document without those that are hidden; `None` when there is none.
    ///
    /// # Errors
    /// `Unavailable` when the log cannot be read.
    pub async fn features(
        &self,
        transaction_id: &str,
        revision: Option<u32>,
    ) -> Result<Option<serde_json::Value>, EngineError> {
        let mut found = self.within(self.core.stored_features(transaction_id, revision)).await?;
        if let Some(document) = &mut found {
            self.core.reasons.redact_features(document);
        }
        Ok(found)
    }

    /// Which clock bounds `occurred_at`.
    #[must_use]
    pub fn clock(&self) -> TimeSource {
        self.core.limits.time
    }

    /// The model in force.
    #[must_use]
    pub fn model(&self) -> Option<Arc<S>> {
        self.core.active.load().chosen.as_ref().map(|chosen| Arc::clone(&chosen.model))
    }

    /// Whether the history is rebuilt and the log accepts writes; the reasons why not.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.core.closing.load(Ordering::SeqCst) {
            reasons.push("the service is shutting down".to_owned());
        }
        if !self.core.ready.load(Ordering::SeqCst) {
            reasons.push("the history is being rebuilt".to_owned());
        } else if self.core.set_up == SetUp::Embedded && self.core.ledger().is_incomplete() {
            reasons.push("the history could not be rebuilt from the log".to_owned());
        }
        reasons.extend(self.core.log.health().err());
        if self.core.active.load().chosen.is_none() {
            reasons.push("no model is active".to_owned());
        }
        reasons
    }

    /// How much is held at the moment.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let ledger = self.core.ledger();
        Gauges {
            ids: ledger.ids.len(),
            id_bytes: ledger.ids.bytes(),
            open: ledger.open.len(),
            background: ledger.due.len(),
            log_queue: self.core.log.depth(),
            waiting_labels: ledger.waiting.len(),
        }
    }

    /// Takes no more requests, finishes what is in flight, ends the background queue and closes the log, within
    /// `grace`; whether all of it was in time.
    pub async fn shutdown(&self, grace: Duration) -> bool {
        let started = Instant::now();
        self.core.closing.store(true, Ordering::SeqCst);
        let landed = async {
            loop {
                let next = self.core.landed.notified();
                tokio::pin!(next);
                next.as_mut().enable();
                if self.core.flying.load(Ordering::SeqCst) == 0 {
                    return;
                }
                next.await;
            }
        };
        let all_landed = timeout(grace, landed).await.is_ok();
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            drop(task.await);
        }
        let rest = grace.saturating_sub(started.elapsed());
        let closed = timeout(rest, self.core.log.close()).await;
        all_landed && matches!(closed, Ok(Ok(())))
    }

    async fn within<T>(&self, reading: impl Future<Output = Result<T, ports::LogError>>) -> Result<T, EngineError> {
        let wait = self.core.limits.store_wait;
        timeout(wait, reading).await.unwrap_or(Err(ports::LogError::Late(wait))).map_err(of_log)
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.background.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what the store and the cache have of an id the later revision; a full decision before a fallback.
fn newer(stored: Option<Arc<Decision>>, cached: Option<Arc<Decision>>) -> Option<Arc<Decision>> {
    match (stored, cached) {
        (Some(stored), Some(cached)) => Some(if stored.revision < cached.revision { cached } else { stored }),
        (stored, cached) => stored.or(cached),
    }
}

fn empty_ledger<S>(catalogue: &Catalogue, options: HistoryOptions, limits: Limits, set_up: SetUp) -> Ledger<S> {
    let waiting = Waiting::new(limits.max_waiting_labels, catalogue.reach().saturating_add(options.lateness));
    let history = History::new(catalogue, options);
    Ledger::new(history, waiting, options.key, options.lateness, (limits.max_open, set_up))
}
