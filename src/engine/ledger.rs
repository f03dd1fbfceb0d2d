//! What the engine knows of every transaction, under one lock: history, the index of ids, and what is still open.
//!
//! A transaction id is in one of these states:
//!
//! ```text
//! unknown ─observe─▶ deciding ─commit─▶ decided            (index; cache and log have the record)
//!                      │  ▲
//!          fallback,   │  │ retry, background
//!          abandoned   ▼  │
//!                    undecided        commit failed: uncommitted ─retry, background─▶ deciding
//! ```
//!
//! Invariant: history is moved exactly on the way from unknown to deciding; `deciding` has one owner.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use compact_str::CompactString;
use tokio::sync::oneshot;

use super::SetUp;
use super::active::{Active, Chosen};
use super::challenge::Challenger;
use super::delivery::RecordId;
use super::fingerprint::{fingerprint_of, id_of};
use super::ids::{Ids, Seen, second_of};
use super::labels::Waiting;
use super::ports::{Filled, Record, event_label};
use super::unconfirmed::Unconfirmed;
use crate::base::clock::Millis;
use crate::base::hash::HashKey;
use crate::base::money::BaseAmount;
use crate::decision::{Decision, ModelRef};
use crate::features::{Event, History, Marks, Rows};
use crate::transaction::Transaction;

/// At most this many requests wait for one that decides the same id.
const MOST_WAITERS: usize = 1024;
/// The index knows this many models by number; a decision of another is read from the log.
const MOST_MODELS: usize = 255;

/// What the index keeps of a transaction whatever is decided.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marked {
    pub(super) id: u128,
    pub(super) fingerprint: u64,
    pub(super) occurred_at: Millis,
}

impl Marked {
    pub(super) fn new(transaction: &Transaction, key: HashKey) -> Self {
        let id = id_of(key, &transaction.transaction_id);
        Self { id, fingerprint: fingerprint_of(key, transaction), occurred_at: transaction.occurred_at }
    }
}

/// A transaction on its way through the line.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) transaction: Arc<Transaction>,
    pub(super) base: BaseAmount,
    pub(super) marked: Marked,
}

/// What was read from history for the models that were active then.
#[derive(Debug)]
pub(super) struct Observed<S> {
    pub(super) active: Arc<Active<S>>,
    /// The one that decides it.
    pub(super) chosen: Option<Arc<Chosen<S>>>,
    /// What that one reads.
    pub(super) values: Vec<f64>,
    pub(super) marks: Marks,
    pub(super) incomplete: bool,
    pub(super) challenged: Option<Challenged<S>>,
}

/// That a challenger scores a transaction too.
#[derive(Debug)]
pub(super) struct Challenged<S> {
    pub(super) challenger: Arc<Challenger<S>>,
    /// What it reads, where that differs from what the deciding model reads.
    pub(super) values: Option<Vec<f64>>,
}

#[derive(Debug)]
pub(super) struct Open<S> {
    pub(super) transaction: Arc<Transaction>,
    pub(super) base: BaseAmount,
    /// The first record of it that the shared log was seen to have.
    pub(super) first: Option<RecordId>,
    pub(super) state: State<S>,
}

#[derive(Debug)]
pub(super) enum State<S> {
    Deciding(Vec<oneshot::Sender<Arc<Decision>>>),
    /// Decided, given out, and not acknowledged by the shared log yet.
    GivenOut(Arc<Decision>),
    Undecided(Option<Observed<S>>),
    Uncommitted(Record),
}

/// What the ledger says to an arrival.
#[derive(Debug)]
pub(super) enum Found<S> {
    /// It was unknown: history has moved, the caller decides.
    New(Observed<S>),
    /// It waits for its decision: the caller decides.
    Undecided(BaseAmount, Observed<S>),
    /// It is decided but not recorded: the caller commits this.
    Uncommitted(Record),
    /// It is decided, and its record on the way.
    GivenOut(Arc<Decision>),
    /// Another request decides it.
    Deciding(oneshot::Receiver<Arc<Decision>>),
    /// The index knows it and nothing is open.
    Seen(Seen),
    /// The index cannot know it: ask the log, then again with [`Asked::Absent`].
    Beyond,
    /// Unknown everywhere and before the horizon: the stream's time and the lateness.
    TooOld(Millis, i64),
    /// Another value in a required field.
    Conflict,
    /// Too many are open or wait.
    Crowded(&'static str),
}

/// What the log was found to hold of an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Nobody asked.
    Not,
    /// Nothing.
    Absent,
    /// The transaction, with this amount, and no decision: it was observed in its time.
    Undecided(BaseAmount),
}

/// Whether history and index have all that a window looks back on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whole {
    /// They have.
    Yes,
    /// Something is lacking, and nobody knows for how long.
    Unknown,
    /// They began in the midst of the stream, and will have so long after the first event, milliseconds.
    After(i64),
    /// They will have when the stream has come so far.
    From(Millis),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Ledger<S> {
    pub(super) history: History,
    pub(super) ids: Ids,
    pub(super) waiting: Waiting,
    pub(super) unconfirmed: Unconfirmed,
    pub(super) open: HashMap<CompactString, Open<S>>,
    pub(super) due: VecDeque<CompactString>,
    /// Whether the log holds undecided transactions that `due` does not.
    pub(super) overflowed: bool,
    pub(super) whole: Whole,
    pub(super) newest: Option<Millis>,
    pub(super) models: Vec<Arc<ModelRef>>,
    pub(super) rows: Rows,
    /// For what is read of one event by another plan.
    spare: Rows,
    pub(super) key: HashKey,
    pub(super) lateness: i64,
    max_open: usize,
    set_up: SetUp,
}

impl<S> Ledger<S> {
    pub(super) fn new(history: History, waiting: Waiting, key: HashKey, lateness: i64, bounds: (usize, SetUp)) -> Self {
        let (max_open, set_up) = bounds;
        Self {
            history,
            ids: Ids::new(),
            waiting,
            unconfirmed: Unconfirmed::default(),
            open: HashMap::new(),
            due: VecDeque::new(),
            overflowed: true,
            whole: Whole::Yes,
            newest: None,
            models: Vec::new(),
            rows: Rows::default(),
            spare: Rows::default(),
            key,
            lateness,
            max_open,
            set_up,
        }
    }

    /// Before it, ids and history's order within a millisecond are forgotten: the horizon, or what is not confirmed yet.
    pub(super) fn kept_from(&self) -> Millis {
        self.unconfirmed.oldest().map_or_else(|| self.horizon(), |oldest| oldest.min(self.horizon()))
    }

    /// What is unknown before it is too old.
    pub(super) fn horizon(&self) -> Millis {
        Millis(self.newest.map_or(i64::MIN, |newest| newest.0.saturating_sub(self.lateness)))
    }

    /// The stream has come to `at`.
    pub(super) fn passes(&mut self, at: Millis) {
        self.newest = self.newest.max(Some(at));
        if let Whole::After(span) = self.whole {
            self.whole = Whole::From(Millis(at.0.saturating_add(span)));
        }
    }

    /// Finds out what `arrival` is and, when it is new, observes it.
    pub(super) fn resolve(&mut self, arrival: &Arrival, active: &Arc<Active<S>>, asked: Asked) -> Found<S> {
        let Transaction { transaction_id, occurred_at, .. } = &*arrival.transaction;
        if let Some(open) = self.open.get(transaction_id) {
            if fingerprint_of(self.key, &open.transaction) != arrival.marked.fingerprint {
                return Found::Conflict;
            }
            return self.join(transaction_id, active);
        }
        if let Some(seen) = self.ids.get(arrival.marked.id)
            && asked == Asked::Not
        {
            if seen.fingerprint != arrival.marked.fingerprint {
                return Found::Conflict;
            }
            // Why: what the reader has merged is what the shared log has; the store may know it later.
            if seen.decided || self.set_up == SetUp::Embedded {
                return Found::Seen(seen);
            }
        }
        let horizon = self.horizon();
        let beyond = *occurred_at < horizon;
        match asked {
            Asked::Not if beyond || self.asks_log() => return Found::Beyond,
            Asked::Absent if beyond => return Found::TooOld(self.newest.unwrap_or_default(), self.lateness),
            _ => {}
        }
        if self.open.len() >= self.max_open {
            return Found::Crowded("too many transactions wait for their decision");
        }
        let known = matches!(asked, Asked::Undecided(_)) || self.ids.get(arrival.marked.id).is_some();
        let base = if let Asked::Undecided(base) = asked { base } else { arrival.base };
        let observed =
            if known { self.read(&arrival.transaction, base, active) } else { self.observe(arrival, active) };
        self.open(&arrival.transaction, base);
        if known { Found::Undecided(base, observed) } else { Found::New(observed) }
    }

    /// Whether the log is asked for ids that the index does not know.
    fn asks_log(&self) -> bool {
        self.whole != Whole::Yes && self.set_up == SetUp::Embedded
    }

    /// Whether one more transaction may be open.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < self.max_open
    }

    /// Opens a transaction for its caller to decide.
    pub(super) fn open(&mut self, transaction: &Arc<Transaction>, base: BaseAmount) {
        let state = State::Deciding(Vec::new());
        let open = Open { transaction: Arc::clone(transaction), base, first: None, state };
        self.open.insert(transaction.transaction_id.clone(), open);
    }

    /// Takes over what is open, or waits for who has it.
    pub(super) fn join(&mut self, transaction_id: &str, active: &Arc<Active<S>>) -> Found<S> {
        let Some(open) = self.open.get_mut(transaction_id) else { return Found::Beyond };
        if let State::Deciding(waiters) = &mut open.state {
            if waiters.len() >= MOST_WAITERS {
                return Found::Crowded("too many requests wait for the same transaction");
            }
            let (sender, receiver) = oneshot::channel();
            waiters.push(sender);
            return Found::Deciding(receiver);
        }
        if let State::GivenOut(decision) = &open.state {
            return Found::GivenOut(Arc::clone(decision));
        }
        let (base, transaction) = (open.base, Arc::clone(&open.transaction));
        match std::mem::replace(&mut open.state, State::Deciding(Vec::new())) {
            State::Uncommitted(record) => Found::Uncommitted(record),
            State::Undecided(Some(observed)) if Arc::ptr_eq(&observed.active, active) => {
                Found::Undecided(base, observed)
            }
            State::Undecided(_) | State::Deciding(_) | State::GivenOut(_) => {
                Found::Undecided(base, self.read(&transaction, base, active))
            }
        }
    }

    fn observe(&mut self, arrival: &Arrival, active: &Arc<Active<S>>) -> Observed<S> {
        // On the stack the stream's time is what the reader has merged.
        if self.set_up == SetUp::Embedded {
            self.passes(arrival.transaction.occurred_at);
        }
        self.remember(arrival.marked, None);
        let events = [Event { transaction: &arrival.transaction, base: arrival.base }];
        self.observe_rows(&events, active);
        self.taken(0, &events[0], active)
    }

    /// Inserts events, and reads as of each what the champion's plan reads: [`Ledger::taken`] has it.
    pub(super) fn observe_rows(&mut self, events: &[Event<'_>], active: &Active<S>) {
        self.rows.reset(active.chosen.as_ref().map_or(0, |champion| champion.plan.width()));
        match &active.chosen {
            Some(chosen) => self.history.observe(events, &chosen.plan, &mut self.rows),
            None => self.history.insert_all(events),
        }
        for event in events {
            self.apply_waiting(event.transaction, event.base);
        }
    }

    /// Reads the same as of events that are in history.
    pub(super) fn read_rows(&mut self, events: &[Event<'_>], active: &Active<S>) {
        self.rows.reset(active.chosen.as_ref().map_or(0, |champion| champion.plan.width()));
        if let Some(chosen) = &active.chosen {
            self.history.read(events, &chosen.plan, &mut self.rows);
        }
    }

    /// Lets the labels that waited for a transaction count.
    pub(super) fn apply_waiting(&mut self, transaction: &Transaction, base: BaseAmount) {
        for label in self.waiting.take(&transaction.transaction_id) {
            self.history.label(&event_label(transaction, base, &label));
        }
    }

    /// Lets a transaction count for the entities that a later copy of it named.
    pub(super) fn complete(&mut self, filled: &Filled) {
        let event = Event { transaction: &filled.after, base: filled.base };
        self.history.complete(&event, |field| filled.before.entity(field).is_some());
        for label in &filled.labels {
            self.history.label(&event_label(&filled.after, filled.base, label));
        }
    }

    pub(super) fn read(&mut self, transaction: &Transaction, base: BaseAmount, active: &Arc<Active<S>>) -> Observed<S> {
        let events = [Event { transaction, base }];
        self.read_rows(&events, active);
        self.taken(0, &events[0], active)
    }

    /// Row `index` of what was read last, which is of `event`; what a canary or a challenger reads otherwise is read now.
    pub(super) fn taken(&mut self, index: usize, event: &Event<'_>, active: &Arc<Active<S>>) -> Observed<S> {
        let chosen = active.of(event.transaction).map(Arc::clone);
        let (values, marks) = match (&chosen, &active.chosen) {
            (Some(canary), Some(champion)) if !canary.reads_like(champion) => self.read_by(canary, event),
            _ => {
                let (values, marks) = self.rows.row(index).unwrap_or_default();
                (values.to_vec(), marks)
            }
        };
        // What a canary decides says nothing of the champion: the challenger is compared on the champion's own.
        let by_champion =
            chosen.as_ref().zip(active.chosen.as_ref()).filter(|(one, champion)| Arc::ptr_eq(one, champion));
        let challenged = match (by_champion, active.challenger_of(event.transaction)) {
            (Some((champion, _)), Some(challenger)) => {
                let differs = !challenger.chosen.reads_like(champion);
                let values = differs.then(|| self.read_by(&challenger.chosen, event).0);
                Some(Challenged { challenger: Arc::clone(challenger), values })
            }
            _ => None,
        };
        let incomplete = self.is_incomplete();
        Observed { active: Arc::clone(active), chosen, values, marks, incomplete, challenged }
    }

    /// What a model reads as of an event that is in history.
    fn read_by(&mut self, chosen: &Chosen<S>, event: &Event<'_>) -> (Vec<f64>, Marks) {
        self.spare.reset(chosen.plan.width());
        self.history.read(std::slice::from_ref(event), &chosen.plan, &mut self.spare);
        let (values, marks) = self.spare.row(0).unwrap_or_default();
        (values.to_vec(), marks)
    }

    /// The rows of what was read last, one an event.
    pub(super) fn all_taken(&mut self, events: &[Event<'_>], active: &Arc<Active<S>>) -> Vec<Observed<S>> {
        events.iter().enumerate().map(|(row, event)| self.taken(row, event, active)).collect()
    }

    /// Whether the windows may look back further than history reaches.
    pub(super) fn is_incomplete(&self) -> bool {
        match self.whole {
            Whole::Yes => false,
            Whole::Unknown | Whole::After(_) => true,
            Whole::From(complete) => self.newest.is_none_or(|newest| newest < complete),
        }
    }

    /// Enters an id into the index, decided or not.
    pub(super) fn remember(&mut self, marked: Marked, outcome: Option<(f32, bool, bool, &Arc<ModelRef>)>) {
        let mut seen = Seen::undecided(marked.fingerprint, second_of(marked.occurred_at));
        seen.confirmed = self.ids.get(marked.id).is_some_and(|known| known.confirmed);
        if let Some((score, flagged, degraded, model)) = outcome {
            (seen.score, seen.flagged, seen.degraded, seen.decided) = (score, flagged, degraded, true);
            seen.model = self.number_of(model);
        }
        let kept = self.kept_from();
        self.ids.put(marked.id, &seen, kept);
    }

    pub(super) fn number_of(&mut self, model: &Arc<ModelRef>) -> u8 {
        let known = self.models.iter().position(|other| Arc::ptr_eq(other, model) || other == model);
        let number = known.unwrap_or_else(|| {
            if self.models.len() < MOST_MODELS {
                self.models.push(Arc::clone(model));
                self.models.len() - 1
            } else {
                MOST_MODELS
            }
        });
        u8::try_from(number).unwrap_or(u8::MAX)
    }

    /// The number of the model that made `decision`, where the index knows it.
    pub(super) fn known_model(&self, decision: &Decision, threshold: f32) -> Option<u8> {
        let same = |model: &Arc<ModelRef>| {
            (&model.name, &model.version, &model.sha256)
                == (&decision.model, &decision.model_version, &decision.model_sha256)
                && model.threshold.to_bits() == threshold.to_bits()
        };
        self.models.iter().position(same).and_then(|number| u8::try_from(number).ok())
    }

    /// The model with this number in the index.
    pub(super) fn model(&self, number: u8) -> Option<Arc<ModelRef>> {
        self.models.get(usize::from(number)).map(Arc::clone)
    }

    /// Lets a decision go out before it is acknowledged; those who waited for it.
    pub(super) fn give_out(
        &mut self,
        transaction_id: &str,
        decision: &Arc<Decision>,
    ) -> Vec<oneshot::Sender<Arc<Decision>>> {
        let Some(open) = self.open.get_mut(transaction_id) else { return Vec::new() };
        match std::mem::replace(&mut open.state, State::GivenOut(Arc::clone(decision))) {
            State::Deciding(waiters) => waiters,
            _ => Vec::new(),
        }
    }

    /// Closes an open transaction; those who waited for it.
    pub(super) fn close(&mut self, transaction_id: &str) -> Vec<oneshot::Sender<Arc<Decision>>> {
        match self.open.remove(transaction_id).map(|open| open.state) {
            Some(State::Deciding(waiters)) => waiters,
            _ => Vec::new(),
        }
    }

    /// Leaves an open transaction undecided, due for the background queue; those who waited for it.
    pub(super) fn leave(
        &mut self,
        transaction_id: &CompactString,
        observed: Option<Observed<S>>,
    ) -> Vec<oneshot::Sender<Arc<Decision>>> {
        self.put_back(transaction_id, State::Undecided(observed))
    }

    /// Keeps a decision that could not be recorded.
    pub(super) fn keep(&mut self, record: Record) -> Vec<oneshot::Sender<Arc<Decision>>> {
        let transaction = Arc::clone(&record.transaction);
        self.put_back(&transaction.transaction_id, State::Uncommitted(record))
    }

    fn put_back(&mut self, transaction_id: &CompactString, state: State<S>) -> Vec<oneshot::Sender<Arc<Decision>>> {
        let Some(open) = self.open.get_mut(transaction_id) else { return Vec::new() };
        self.due.push_back(transaction_id.clone());
        match std::mem::replace(&mut open.state, state) {
            State::Deciding(waiters) => waiters,
            _ => Vec::new(),
        }
    }

    /// Opens a transaction that the log holds undecided, if it is neither open nor decided.
    pub(super) fn refill(&mut self, transaction: Transaction, base: BaseAmount) {
        let decided = self.ids.get(id_of(self.key, &transaction.transaction_id)).is_some_and(|seen| seen.decided);
        if decided || self.open.contains_key(&transaction.transaction_id) {
            return;
        }
        let id = transaction.transaction_id.clone();
        let open = Open { transaction: Arc::new(transaction), base, first: None, state: State::Undecided(None) };
        self.open.insert(id.clone(), open);
        self.due.push_back(id);
    }

    /// The next due transaction and what is to be done with it. Undecided ones stay while there is no model.
    pub(super) fn next_due(&mut self, active: &Arc<Active<S>>) -> Option<(Arc<Transaction>, Found<S>)> {
        for _ in 0..self.due.len() {
            let id = self.due.pop_front()?;
            let Some(open) = self.open.get(&id) else { continue };
            match open.state {
                State::Deciding(_) | State::GivenOut(_) => {}
                State::Undecided(_) if active.chosen.is_none() => self.due.push_back(id),
                State::Undecided(_) | State::Uncommitted(_) => {
                    return Some((Arc::clone(&open.transaction), self.join(&id, active)));
                }
            }
        }
        None
    }
}
