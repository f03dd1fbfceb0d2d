//! What every request shares: the ledger, the log, the active model; and how a transaction leaves `deciding`.
//!
//! Invariant: a [`Claim`] ends in exactly one of: settled by the log's answer, or released to the background queue. It
//! holds when a caller goes away at any await: a claim that is dropped releases itself, and the log's answer settles
//! the record whether anybody waits for it or not.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use compact_str::CompactString;
use moka::sync::Cache;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::active::{Active, Chosen};
use super::challenge::Challenge;
use super::delivery::RecordId;
use super::explain::{Reasons, single};
use super::fingerprint::id_of;
use super::ledger::{Challenged, Ledger, Marked, Observed};
use super::line::Lacks;
use super::lineup::Recent;
use super::ports::{Done, Entry, Features, Log, LogError, Observer, Record, Stored, Written};
use super::{Durability, EngineError, Limits, SetUp};
use crate::base::clock::{Clock, Millis};
use crate::base::hash::HashKey;
use crate::base::money::{BaseAmount, Rates};
use crate::decision::{Decision, DecisionKind, ModelRef, Source};
use crate::features::Catalogue;
use crate::transaction::Transaction;

const RETRY_AFTER: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Core<S> {
    pub(super) active: ArcSwap<Active<S>>,
    pub(super) ledger: Mutex<Ledger<S>>,
    pub(super) cache: Cache<CompactString, Arc<Decision>>,
    pub(super) log: Arc<dyn Log>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rates: Arc<Rates>,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) key: HashKey,
    pub(super) limits: Limits,
    pub(super) reasons: Reasons,
    pub(super) durability: Durability,
    pub(super) ready: AtomicBool,
    pub(super) closing: AtomicBool,
    pub(super) flying: AtomicUsize,
    pub(super) landed: Notify,
    pub(super) due: Arc<Notify>,
    pub(super) set_up: SetUp,
    /// Drawn when the process started; names its records.
    pub(super) instance: u64,
    pub(super) made: AtomicU64,
    /// Whether the reader of the topics is behind.
    pub(super) behind: AtomicBool,
    /// The newest payments that were decided; bounded by [`MOST_RECENT`].
    pub(super) recent: Mutex<VecDeque<Recent>>,
}

/// Payments that a new version is tried on.
const MOST_RECENT: usize = 2_048;

/// A transaction that this request, and no other, decides.
#[derive(Debug)]
pub(super) struct Claim<S> {
    core: Arc<Core<S>>,
    pub(super) transaction: Arc<Transaction>,
    pub(super) base: BaseAmount,
    /// Taken when the claim ends.
    observed: Option<Observed<S>>,
}

/// How a record was settled.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is the decision.
    First,
    /// Another record was.
    Superseded,
}

impl<S> Claim<S> {
    pub(super) fn new(
        core: &Arc<Core<S>>,
        transaction: Arc<Transaction>,
        base: BaseAmount,
        observed: Observed<S>,
    ) -> Self {
        Self { core: Arc::clone(core), transaction, base, observed: Some(observed) }
    }

    pub(super) fn observed(&self) -> Option<&Observed<S>> {
        self.observed.as_ref()
    }

    /// Ends the claim: what was observed goes on with the record.
    pub(super) fn end(mut self) -> Option<Observed<S>> {
        self.observed.take()
    }
}

impl<S> Drop for Claim<S> {
    fn drop(&mut self) {
        if let Some(observed) = self.observed.take() {
            drop(self.core.ledger().leave(&self.transaction.transaction_id, Some(observed)));
            self.core.due.notify_one();
        }
    }
}

/// Counts a request in and out.
pub(super) struct Flight<'a>(&'a AtomicUsize, &'a Notify);

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        if self.0.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.1.notify_waiters();
        }
    }
}

impl<S> Core<S> {
    /// Panics never: a lock whose holder panicked is taken as it is.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger<S>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a record that is made now.
    pub(super) fn next_record(&self) -> RecordId {
        RecordId { instance: self.instance, sequence: self.made.fetch_add(1, Ordering::Relaxed) }
    }

    /// The record of a claim's decision; the claim ends with it.
    pub(super) fn record_of(
        &self,
        claim: Claim<S>,
        chosen: &Chosen<S>,
        decision: Decision,
        received_at: Millis,
    ) -> Record {
        let (transaction, base) = (Arc::clone(&claim.transaction), claim.base);
        let decision = Arc::new(decision);
        let (values, challenged) =
            claim.end().map(|observed| (observed.values, observed.challenged)).unwrap_or_default();
        if let Some(Challenged { challenger, values: own }) = challenged {
            let row = single(own.as_ref().unwrap_or(&values));
            let id = id_of(self.key, &transaction.transaction_id);
            challenger.challenge(Challenge { id, decision: Arc::clone(&decision), row });
        }
        if let Some(score) = decision.score {
            let model = Arc::clone(&chosen.reference);
            self.note_recent(Recent { transaction: Arc::clone(&transaction), base, score, model });
        }
        let features = Arc::new(Features { columns: Arc::clone(&chosen.columns), values });
        let model = Arc::clone(&chosen.reference);
        Record { id: self.next_record(), received_at, transaction, base, decision, model, features }
    }

    fn note_recent(&self, one: Recent) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= MOST_RECENT {
            recent.pop_front();
        }
        recent.push_back(one);
    }

    /// The newest payments that `model` decided, newest first.
    pub(super) fn recent(&self, most: usize, model: &ModelRef) -> Vec<Recent> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.iter().rev().filter(|one| *one.model == *model).take(most).cloned().collect()
    }

    /// Lets a verdict count where a challenger is compared.
    pub(super) fn compare_label(&self, transaction_id: &str, labelled_at: Millis, is_fraud: bool) {
        if let Some(challenger) = &self.active.load().challenger {
            challenger.comparison.label(id_of(self.key, transaction_id), labelled_at, is_fraud);
        }
    }

    /// What a reading of now may lack besides what history itself says.
    pub(super) fn lacks(&self, history: bool) -> Lacks {
        Lacks { history, recent: self.behind.load(Ordering::Relaxed), partition: false }
    }

    /// Whether requests are taken at all.
    pub(super) fn accepting(&self) -> Result<Flight<'_>, EngineError> {
        self.flying.fetch_add(1, Ordering::SeqCst);
        let flight = Flight(&self.flying, &self.landed);
        if self.closing.load(Ordering::SeqCst) {
            return Err(unavailable("the service is shutting down"));
        }
        if !self.ready.load(Ordering::SeqCst) {
            return Err(unavailable("the history is being rebuilt"));
        }
        Ok(flight)
    }

    /// What the log holds of an id, with its first decision. Where the index knows more of it than the log says, it may still be in the log's
    /// queue: that is written first.
    pub(super) async fn find(&self, transaction_id: &str) -> Result<Option<Stored>, LogError> {
        // Asked before the reading: what is written between the two is neither in the queue nor in what was read.
        let queued = self.log.depth() > 0;
        let found = self.log.find(transaction_id).await?.map(|stored| self.redacted(stored));
        let decision = found.as_ref().and_then(|stored| stored.decision.as_ref());
        let full = decision.is_some_and(|decision| decision.kind == DecisionKind::Full);
        if full || !queued || !self.knows_more(transaction_id, found.is_some()) {
            return Ok(found);
        }
        self.log.flush().await?;
        Ok(self.log.find(transaction_id).await?.map(|stored| self.redacted(stored)))
    }

    /// A decision that the log holds of an id, likewise.
    pub(super) async fn decision(
        &self,
        transaction_id: &str,
        revision: Option<u32>,
    ) -> Result<Option<Decision>, LogError> {
        let queued = self.log.depth() > 0;
        let mut found = self.log.decision(transaction_id, revision).await?;
        let full = found.as_ref().is_some_and(|decision| decision.kind == DecisionKind::Full);
        if !full && queued && self.knows_more(transaction_id, found.is_some()) {
            self.log.flush().await?;
            found = self.log.decision(transaction_id, revision).await?;
        }
        if let Some(decision) = &mut found {
            self.reasons.redact(decision);
        }
        Ok(found)
    }

    /// Without what reasons told before it was hidden.
    fn redacted(&self, mut stored: Stored) -> Stored {
        if let Some(decision) = &mut stored.decision {
            self.reasons.redact(decision);
        }
        stored
    }

    /// Whether the index knows a decision of an id, or knows the id where the log does not.
    pub(super) fn knows_more(&self, transaction_id: &str, found: bool) -> bool {
        let seen = self.ledger().ids.get(id_of(self.key, transaction_id));
        seen.is_some_and(|seen| seen.decided || !found)
    }

    /// Appends and waits, at most `wait`, until it is written.
    pub(super) async fn append_and_wait(&self, entry: Entry, wait: Duration) -> Result<Written, EngineError> {
        let (sender, receiver) = oneshot::channel();
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        self.log.append(entry, Some(done)).map_err(of_log)?;
        let answered = timeout(wait, receiver).await.map_err(|_| of_log(LogError::Late(wait)))?;
        answered.unwrap_or(Err(LogError::Closed)).map_err(of_log)
    }

    /// Appends a record of `entry`; the receiver has its fate. Under `queued` that is known at once.
    fn append(
        self: &Arc<Self>,
        entry: Entry,
        settle: impl FnOnce(&Arc<Self>, Result<bool, LogError>) -> Result<Settled, LogError> + Send + 'static,
    ) -> oneshot::Receiver<Result<Settled, LogError>>
    where
        S: Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        if self.durability == Durability::Queued {
            let taken = self.log.append(entry, None);
            drop(sender.send(settle(self, taken.map(|()| true))));
            return receiver;
        }
        self.append_then(entry, move |core, result| drop(sender.send(settle(core, result))));
        receiver
    }

    /// Appends; `settle` has the answer, on the log's thread, or here and now when the log does not take the entry.
    fn append_then(
        self: &Arc<Self>,
        entry: Entry,
        settle: impl FnOnce(&Arc<Self>, Result<bool, LogError>) + Send + 'static,
    ) where
        S: Send + Sync + 'static,
    {
        // The log takes the cell's content, or leaves it here.
        let cell = Arc::new(Mutex::new(Some(settle)));
        let (theirs, core) = (Arc::clone(&cell), Arc::clone(self));
        let done: Done = Box::new(move |result| {
            if let Some(settle) = take(&theirs) {
                settle(&core, result.map(|written| written.first));
            }
        });
        if let Err(error) = self.log.append(entry, Some(done))
            && let Some(settle) = take(&cell)
        {
            settle(self, Err(error));
        }
    }

    /// Commits a full decision and gives it out meanwhile. It stays open until it is acknowledged: offsets wait for that.
    fn record_and_go(self: &Arc<Self>, record: Record) -> oneshot::Receiver<Result<Settled, LogError>>
    where
        S: Send + Sync + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        self.give_out(&record.transaction.transaction_id, &record.decision);
        let cell = Arc::new(Mutex::new(Some(sender)));
        let theirs = Arc::clone(&cell);
        self.record_then(record, move |fate| {
            // An acknowledgement may come before the answer below: the sender stays there for it.
            if let Err(error) = fate
                && let Some(sender) = take(&theirs)
            {
                drop(sender.send(Err(error)));
            }
        });
        // Where the log did not even take it, the error is there already.
        if let Some(sender) = take(&cell) {
            drop(sender.send(Ok(Settled::First)));
        }
        receiver
    }

    /// Answers whoever asks for an open transaction with a decision that is not acknowledged yet.
    pub(super) fn give_out(&self, transaction_id: &CompactString, decision: &Arc<Decision>) {
        let waiters = self.ledger().give_out(transaction_id, decision);
        waiters.into_iter().for_each(|waiter| drop(waiter.send(Arc::clone(decision))));
    }

    /// Commits a full decision without a waiter: `settled` is told its fate, on the log's thread.
    pub(super) fn record_then(
        self: &Arc<Self>,
        record: Record,
        settled: impl FnOnce(Result<Settled, LogError>) + Send + 'static,
    ) where
        S: Send + Sync + 'static,
    {
        self.append_then(Entry::Full(record.clone()), move |core, result| settled(core.settle(record, result)));
    }

    /// Commits a full decision.
    pub(super) fn record(self: &Arc<Self>, record: Record) -> oneshot::Receiver<Result<Settled, LogError>>
    where
        S: Send + Sync + 'static,
    {
        if self.set_up == SetUp::Stack && self.durability == Durability::Queued {
            return self.record_and_go(record);
        }
        self.append(Entry::Full(record.clone()), move |core, result| core.settle(record, result))
    }

    pub(super) fn settle(&self, record: Record, result: Result<bool, LogError>) -> Result<Settled, LogError> {
        let mut first = match result {
            Ok(first) => first,
            Err(error) => {
                drop(self.ledger().keep(record));
                self.due.notify_one();
                return Err(error);
            }
        };
        let (decision, id) = (&record.decision, &record.transaction.transaction_id);
        if first {
            self.observer.decided(decision.kind, decision.flagged, decision.degraded);
        } else {
            self.cache.invalidate(id);
            self.observer.superseded();
        }
        let marked = Marked::new(&record.transaction, self.key);
        let waiters = {
            let mut ledger = self.ledger();
            // In the shared log another record may stand before this one; whoever saw it put it into index and cache.
            let seen = ledger.open.get(id).and_then(|open| open.first);
            let overtaken = first && seen.is_some_and(|seen| seen != record.id);
            first &= !overtaken;
            if first {
                // Nobody waits for an answer of the stream; whoever asks later finds it in the store.
                if decision.source != Source::Stream {
                    self.cache.insert(id.clone(), Arc::clone(decision));
                }
                let score = decision.score.unwrap_or_default();
                ledger.remember(marked, Some((score, decision.flagged, decision.degraded, &record.model)));
            }
            ledger.close(id)
        };
        if first {
            waiters.into_iter().for_each(|waiter| drop(waiter.send(Arc::clone(decision))));
            return Ok(Settled::First);
        }
        Ok(Settled::Superseded)
    }

    /// Commits a fallback and leaves its transaction to the background queue.
    pub(super) fn record_fallback(
        self: &Arc<Self>,
        claim: Claim<S>,
        decision: Arc<Decision>,
    ) -> oneshot::Receiver<Result<Settled, LogError>>
    where
        S: Send + Sync + 'static,
    {
        let (transaction, base) = (Arc::clone(&claim.transaction), claim.base);
        let entry = Entry::Fallback {
            id: self.next_record(),
            transaction: Arc::clone(&transaction),
            base,
            decision: Arc::clone(&decision),
        };
        let observed = claim.end();
        self.append(entry, move |core, result| core.settle_fallback(&transaction, observed, decision, result))
    }

    fn settle_fallback(
        &self,
        transaction: &Transaction,
        observed: Option<Observed<S>>,
        decision: Arc<Decision>,
        result: Result<bool, LogError>,
    ) -> Result<Settled, LogError> {
        let id = &transaction.transaction_id;
        if result.is_ok() {
            self.cache.insert(id.clone(), Arc::clone(&decision));
            self.observer.decided(decision.kind, decision.flagged, decision.degraded);
        }
        let waiters = {
            let mut ledger = self.ledger();
            if result.is_ok() && ledger.due.len() >= self.limits.max_background {
                // The log has it: it comes back from there when the queue is empty.
                ledger.overflowed = true;
                ledger.close(id)
            } else {
                ledger.leave(id, observed)
            }
        };
        self.due.notify_one();
        result?;
        waiters.into_iter().for_each(|waiter| drop(waiter.send(Arc::clone(&decision))));
        Ok(Settled::First)
    }
}

impl<S> std::fmt::Debug for Core<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Engine").field("durability", &self.durability).finish_non_exhaustive()
    }
}

fn take<T>(cell: &Mutex<Option<T>>) -> Option<T> {
    cell.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// An error of the class "unavailable".
pub(super) fn unavailable(reason: impl Into<String>) -> EngineError {
    EngineError::Unavailable { reason: reason.into(), retry_after: RETRY_AFTER }
}

/// An error of the class "overloaded".
pub(super) fn overloaded(reason: impl Into<String>) -> EngineError {
    EngineError::Overloaded { reason: reason.into(), retry_after: RETRY_AFTER }
}

/// The class of a log's error.
pub(super) fn of_log(error: LogError) -> EngineError {
    match error {
        LogError::Full(_) => overloaded(error.to_string()),
        LogError::Closed | LogError::Failed(_) | LogError::Late(_) => unavailable(error.to_string()),
    }
}
