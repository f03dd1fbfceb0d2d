//! The line behind the topics: what their reader brings in merged order moves history, settles races and is scored.
//!
//! ```text
//! merged ─▶ labels and first records into history and index ─▶ transactions: observe ▸ encode ▸ infer ▸ judge ▸ commit
//! ```
//!
//! In: batches of what was merged. Out: every transaction that is to be scored ends, later and on any thread, in one call
//! of [`Settlement`]. Blocking; one thread follows.
//!
//! Invariants: of an id the first full record that was followed is the decision, whatever was answered before it; a copy
//! moves no window twice; what has no score or no acknowledgement yet is given back to come again, and nothing of it is
//! lost. The stream's time is what was followed here and nothing else.

mod ledger;
mod score;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use compact_str::CompactString;
use tokio::runtime::Handle;

use super::active::Active;
use super::core::{Claim, Core};
use super::delivery::{Published, RecordId};
use super::fingerprint::{fingerprint_of, id_of};
use super::ids::{Seen, second_of};
use super::ledger::{Found, Ledger, Marked, Observed, State, Whole};
use super::ports::{Scorer, Step};
use super::{Engine, Label};
use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::DecisionKind;
use crate::features::{Event, EventLabel};
use crate::transaction::{Rejection, Transaction};

/// Where a transaction stands in its topic, and in which ownership it was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// The ownership: what is settled after it is over changes nothing.
    pub epoch: u64,
}

/// A message as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Original {
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What the reader of the topics brings.
#[derive(Debug, Clone)]
pub enum Followed {
    /// A verdict with the entities it counts for.
    Label(EventLabel),
    /// A verdict on a transaction that whoever sent it did not know: it waits for it.
    LooseLabel(Label),
    /// A record of the log of decisions.
    Decision(FollowedDecision),
    /// A transaction.
    Transaction(FollowedTransaction),
}

/// A record of the log of decisions.
#[derive(Debug, Clone)]
pub struct FollowedDecision {
    /// Which record.
    pub record: RecordId,
    /// Full or fallback.
    pub kind: DecisionKind,
    /// `None` in a fallback.
    pub revision: Option<u32>,
    /// The transaction.
    pub transaction_id: CompactString,
    /// All of it; `None` when this process made it.
    pub published: Option<Box<Published>>,
}

/// A transaction of the topic.
#[derive(Debug, Clone)]
pub struct FollowedTransaction {
    /// The payment.
    pub transaction: Arc<Transaction>,
    /// Where it stands, and as what it came, when this instance is to score it.
    pub place: Option<(Place, Arc<Original>)>,
    /// When Kafka took it, wall time.
    pub taken_at: Millis,
    /// Whether history has passed it before: it is read again for its decision alone.
    pub again: bool,
    /// Whether a partition was not waited for before it.
    pub late: bool,
}

/// Told how transactions with a [`Place`] end: one call each. Brief, on any thread.
pub trait Settlement: Send + Sync + 'static {
    /// It has its decision, acknowledged or followed.
    fn decided(&self, place: Place);
    /// It is refused; it happened then.
    fn refused(&self, place: Place, original: Arc<Original>, rejection: Rejection, at: Millis);
    /// It has no decision yet: bring it again after a pause.
    fn again(&self, transaction: FollowedTransaction);
}

/// Follows the topics for an engine.
#[derive(Debug)]
pub struct Follower<S, T> {
    core: Arc<Core<S>>,
    settlement: Arc<T>,
    /// Where questions to the store are waited for.
    runtime: Handle,
}

impl<S, T> Clone for Follower<S, T> {
    fn clone(&self) -> Self {
        let Self { core, settlement, runtime } = self;
        Self { core: Arc::clone(core), settlement: Arc::clone(settlement), runtime: runtime.clone() }
    }
}

impl<S: Scorer> Engine<S> {
    /// Whoever follows the topics for this engine; `settlement` is told the ends.
    pub fn follower<T: Settlement>(&self, settlement: Arc<T>, runtime: Handle) -> Follower<S, T> {
        Follower { core: Arc::clone(&self.core), settlement, runtime }
    }

    /// Says whether the reader of the topics is behind: decisions of meanwhile say so.
    pub fn set_behind(&self, behind: bool) {
        self.core.behind.store(behind, Ordering::Relaxed);
    }

    /// Says that the topics begin in the midst of the stream: decisions say so until the windows are full, counted from the
    /// first event that is followed.
    pub fn begin_midway(&self) {
        let mut ledger = self.core.ledger();
        ledger.whole = Whole::After(ledger.waiting.retention());
    }

    /// The stream's time.
    #[must_use]
    pub fn stream_time(&self) -> Option<Millis> {
        self.core.ledger().newest
    }
}

/// A transaction that is scored in this batch.
struct Scored<S> {
    claim: Claim<S>,
    followed: FollowedTransaction,
}

/// One that is opened, with what was read of it before, if anything.
struct Opened<S> {
    followed: FollowedTransaction,
    base: BaseAmount,
    /// Whether it is not in history yet: inserted and read in one.
    new: bool,
    observed: Option<Observed<S>>,
}

/// A transaction of the batch with what needs no lock.
struct Met {
    followed: FollowedTransaction,
    base: BaseAmount,
    marked: Marked,
}

impl<S: Scorer, T: Settlement> Follower<S, T> {
    /// Takes a batch. `now` is the wall clock.
    pub fn follow(&self, batch: Vec<Followed>, now: Millis) {
        let (core, at) = (&self.core, Instant::now());
        let mut transactions = Vec::with_capacity(batch.len());
        let mut facts = Vec::with_capacity(batch.len());
        for followed in batch {
            match followed {
                Followed::Transaction(followed) => transactions.push(self.met(followed)),
                fact => facts.push(fact),
            }
        }
        let active = core.active.load_full();
        let (mut opened, mut unknown) = (Vec::new(), Vec::new());
        let scored = {
            let mut ledger = core.ledger();
            for fact in facts {
                self.learn(&mut ledger, fact);
            }
            for met in transactions {
                self.meet(&mut ledger, met, &active, &mut opened, &mut unknown);
            }
            if let Some(newest) = ledger.newest {
                let retention = ledger.waiting.retention();
                ledger.unconfirmed.forget_before(Millis(newest.0.saturating_sub(retention)));
                let given_up = ledger.waiting.give_up(newest);
                if given_up > 0 {
                    core.observer.unmatched(given_up);
                }
            }
            let kept = ledger.unconfirmed.oldest();
            ledger.history.keep_from(kept);
            self.read(&mut ledger, opened, &active)
        };
        core.observer.step(Step::Observe, at.elapsed());
        for met in unknown {
            self.ask(met);
        }
        if !scored.is_empty() {
            self.decide(scored, now, at);
        }
    }

    fn met(&self, followed: FollowedTransaction) -> Met {
        let transaction = &followed.transaction;
        let base = self.core.rates.to_base(transaction.amount_minor, transaction.currency, transaction.occurred_at);
        let marked = Marked::new(transaction, self.core.key);
        Met { followed, base, marked }
    }

    /// Labels and records.
    fn learn(&self, ledger: &mut Ledger<S>, fact: Followed) {
        match fact {
            Followed::Label(label) => {
                self.core.compare_label(&label.transaction_id, label.labelled_at, label.is_fraud);
                ledger.history.label(&label);
            }
            Followed::LooseLabel(label) => {
                self.core.compare_label(&label.transaction_id, label.labelled_at, label.is_fraud);
                if !ledger.waiting.put(label) {
                    self.core.observer.unmatched(1);
                }
            }
            Followed::Decision(followed) => self.confirm(ledger, followed),
            Followed::Transaction(_) => {}
        }
    }

    /// A record of the log: the first full one of an id is its decision.
    fn confirm(&self, ledger: &mut Ledger<S>, followed: FollowedDecision) {
        let FollowedDecision { record, kind, revision, transaction_id, published } = followed;
        if kind == DecisionKind::Fallback {
            return;
        }
        // A later revision moves nothing and answers no repetition: whoever asks for it finds it in the store.
        if revision != Some(0) {
            return;
        }
        let cache = &self.core.cache;
        let id = id_of(self.core.key, &transaction_id);
        let known = ledger.ids.get(id);
        if known.is_some_and(|seen| seen.confirmed) {
            if record.instance == self.core.instance {
                // What this process answered came second.
                self.core.observer.superseded();
            }
            return;
        }
        let open = ledger.open.get_mut(&transaction_id);
        let wanted = open.is_some() || cache.contains_key(&transaction_id);
        if let Some(open) = open {
            open.first = Some(record);
        }
        let Some(published) = published else {
            if let Some(seen) = known {
                ledger.unconfirmed.remove(id, seen.second);
                ledger.put(id, Seen { confirmed: true, ..seen });
            }
            return;
        };
        let transaction = &published.transaction;
        let beyond = transaction.occurred_at < ledger.horizon();
        match known {
            None if beyond => return,
            None => {
                ledger.passes(transaction.occurred_at);
                ledger.insert(transaction, published.base);
            }
            Some(_) => ledger.fill(transaction, published.base),
        }
        let decision = &published.decision;
        let model = ledger.model_of(decision);
        let seen = Seen {
            score: decision.score.unwrap_or_default(),
            model,
            decided: true,
            flagged: decision.flagged,
            degraded: decision.degraded,
            confirmed: true,
            ..Seen::undecided(fingerprint_of(self.core.key, transaction), second_of(transaction.occurred_at))
        };
        ledger.unconfirmed.remove(id, seen.second);
        ledger.put(id, seen);
        if wanted {
            let mut decision = (*published.decision).clone();
            self.core.reasons.redact(&mut decision);
            cache.insert(transaction_id, Arc::new(decision));
        }
    }

    fn meet(
        &self,
        ledger: &mut Ledger<S>,
        met: Met,
        active: &Arc<Active<S>>,
        opened: &mut Vec<Opened<S>>,
        unknown: &mut Vec<Met>,
    ) {
        let Met { followed, base, marked } = &met;
        let FollowedTransaction { transaction, place, again, .. } = followed;
        let seen = ledger.ids.get(marked.id);
        let first = if let Some(open) = ledger.open.get(&transaction.transaction_id) {
            Some(fingerprint_of(self.core.key, &open.transaction))
        } else {
            seen.map(|seen| seen.fingerprint)
        };
        match first {
            Some(first) if first != marked.fingerprint => {
                return self.refuse(followed, Rejection::conflict(transaction));
            }
            Some(_) if !again => ledger.fill(transaction, *base),
            Some(_) => {}
            // One that comes again was passed in its time: what the index forgot was decided, or refused.
            None if transaction.occurred_at < ledger.horizon() || *again => {
                if place.is_some() {
                    unknown.push(met);
                }
                return;
            }
            None => {
                ledger.passes(transaction.occurred_at);
                ledger.remember(*marked, None);
                // One that is scored in this batch is observed with the others of it.
                if place.is_none() || !ledger.has_room() {
                    ledger.insert(transaction, *base);
                }
            }
        }
        if seen.is_none_or(|seen| !seen.confirmed) {
            ledger.unconfirmed.put(marked.id, transaction.occurred_at);
        }
        let Some((place, _)) = place else { return };
        if seen.is_some_and(|seen| seen.decided) {
            return self.settlement.decided(*place);
        }
        let ready = match ledger.open.get(&transaction.transaction_id).map(|open| &open.state) {
            Some(State::Deciding(_) | State::GivenOut(_)) => None,
            Some(_) => match ledger.join(&transaction.transaction_id, active) {
                Found::Undecided(_, observed) => Some(Some(observed)),
                Found::Uncommitted(record) => return self.commit(record, met.followed),
                _ => None,
            },
            None if ledger.has_room() => {
                ledger.open(transaction, *base);
                Some(None)
            }
            None => None,
        };
        match ready {
            Some(observed) => {
                let new = first.is_none();
                opened.push(Opened { base: *base, followed: met.followed, new, observed });
            }
            None => self.again(met.followed),
        }
    }

    /// Reads the features of what was opened, together; what is new moves history.
    fn read(&self, ledger: &mut Ledger<S>, opened: Vec<Opened<S>>, active: &Arc<Active<S>>) -> Vec<Scored<S>> {
        let events = |new: bool| {
            let wanted = opened.iter().filter(move |one| one.observed.is_none() && one.new == new);
            wanted.map(|one| Event { transaction: &one.followed.transaction, base: one.base }).collect::<Vec<_>>()
        };
        let (fresh, known) = (events(true), events(false));
        ledger.observe_rows(&fresh, active);
        let mut observed = ledger.all_taken(&fresh, active).into_iter();
        ledger.read_rows(&known, active);
        let mut read = ledger.all_taken(&known, active).into_iter();
        let scored = opened.into_iter().filter_map(|one| {
            let of = if one.new { &mut observed } else { &mut read };
            let observed = one.observed.or_else(|| of.next())?;
            let claim = Claim::new(&self.core, Arc::clone(&one.followed.transaction), one.base, observed);
            Some(Scored { claim, followed: one.followed })
        });
        scored.collect()
    }

    /// Asks the store about a transaction that is older than the index, beside the line: nobody behind it waits for the answer.
    fn ask(&self, met: Met) {
        let follower = self.clone();
        self.runtime.spawn(async move { follower.asked(met).await });
    }

    async fn asked(&self, met: Met) {
        let Met { followed, marked, .. } = met;
        let (Some((place, _)), transaction) = (&followed.place, &followed.transaction) else { return };
        let wait = self.core.limits.store_wait;
        match tokio::time::timeout(wait, self.core.log.find(&transaction.transaction_id)).await {
            Ok(Ok(Some(stored))) if fingerprint_of(self.core.key, &stored.transaction) != marked.fingerprint => {
                self.refuse(&followed, Rejection::conflict(transaction));
            }
            Ok(Ok(Some(_))) => self.settlement.decided(*place),
            Ok(Ok(None)) => {
                let (time, lateness) = {
                    let ledger = self.core.ledger();
                    (ledger.newest.unwrap_or_default(), ledger.lateness)
                };
                self.refuse(&followed, Rejection::too_old(transaction.occurred_at, time, lateness));
            }
            Ok(Err(_)) | Err(_) => self.again(followed),
        }
    }

    fn refuse(&self, followed: &FollowedTransaction, rejection: Rejection) {
        if let Some((place, original)) = &followed.place {
            self.core.observer.rejected(rejection.code);
            let at = followed.transaction.occurred_at;
            self.settlement.refused(*place, Arc::clone(original), rejection, at);
        }
    }

    fn again(&self, followed: FollowedTransaction) {
        self.settlement.again(FollowedTransaction { again: true, ..followed });
    }
}
