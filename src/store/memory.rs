//! A log in memory: everything is gone when the process ends. It can be told to fail or to stay silent, which is how
//! tests see the engine through an outage.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::{Decision, ModelRef};
use crate::engine::Label;
use crate::engine::completeness::Completeness;
use crate::engine::models::Change;
use crate::engine::ports::{
    Done, Entry, Filled, Log, LogError, Reading, Replayed, ReplayedOutcome, Sink, Stored, Written, event_label,
};
use crate::store::of_revision;
use crate::transaction::Transaction;

/// How the log behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// It works.
    #[default]
    Well,
    /// Reads and writes fail.
    Failing,
    /// Entries are taken and nothing is answered, until it is well again.
    Silent,
}

/// The log.
#[derive(Debug, Default)]
pub struct MemoryLog {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    mood: Mood,
    closed: bool,
    rows: Vec<Row>,
    places: HashMap<String, usize>,
    labels: Vec<Label>,
    known_labels: HashSet<(String, i64, bool, String)>,
    fallbacks: Vec<Decision>,
    changes: Vec<Change>,
    silent: Vec<(Entry, Option<Done>)>,
    /// Transactions that were looked for while it was silent.
    sought: Vec<String>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Held").field("mood", &self.mood).field("rows", &self.rows.len()).finish_non_exhaustive()
    }
}

struct Row {
    transaction: Transaction,
    base: BaseAmount,
    full: Option<(Arc<Decision>, Arc<ModelRef>, Value)>,
}

impl MemoryLog {
    /// An empty log that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes how it behaves; becoming well again, it answers what it was silent about.
    pub fn set_mood(&self, mood: Mood) {
        let silent = {
            let mut held = self.held();
            held.mood = mood;
            if mood == Mood::Silent { Vec::new() } else { std::mem::take(&mut held.silent) }
        };
        for (entry, done) in silent {
            let result = if mood == Mood::Well { Ok(self.held().write(entry)) } else { Err(failed()) };
            if let Some(done) = done {
                done(result);
            }
        }
    }

    /// Whether somebody looked for this transaction and was never answered.
    #[must_use]
    pub fn was_sought(&self, transaction_id: &str) -> bool {
        self.held().sought.iter().any(|id| id == transaction_id)
    }

    /// Transactions held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held().rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Full decisions held.
    #[must_use]
    pub fn decided(&self) -> usize {
        self.held().rows.iter().filter(|row| row.full.is_some()).count()
    }

    /// The audit of fallbacks, oldest first.
    #[must_use]
    pub fn fallbacks(&self) -> Vec<Decision> {
        self.held().fallbacks.clone()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<'a, T: Send + 'a>(&self, read: impl FnOnce(&Held) -> T) -> Reading<'a, T> {
        let held = self.held();
        let result = match held.mood {
            Mood::Well => Ok(read(&held)),
            Mood::Failing => Err(failed()),
            Mood::Silent => return Box::pin(std::future::pending()),
        };
        Box::pin(std::future::ready(result))
    }
}

fn failed() -> LogError {
    LogError::Failed("it was told to".to_owned())
}

impl Held {
    fn write(&mut self, entry: Entry) -> Written {
        match entry {
            Entry::Full(record) => {
                let features = serde_json::to_value(&*record.features).unwrap_or_default();
                let row = self.row(&record.transaction, record.base);
                let first = row.full.is_none();
                if first {
                    row.full = Some((record.decision, record.model, features));
                }
                Written { first, ..Written::default() }
            }
            Entry::Fallback { transaction, base, decision, .. } => {
                self.row(&transaction, base);
                self.fallbacks.push((*decision).clone());
                Written { first: true, ..Written::default() }
            }
            Entry::Fill(copy) => {
                let filled = self.fill(&copy).map(Box::new);
                Written { first: filled.is_some(), filled, ..Written::default() }
            }
            Entry::Label(label) => {
                let key = (label.transaction_id.clone(), label.labelled_at.0, label.is_fraud, label.source.clone());
                let transaction =
                    self.find(&label.transaction_id).map(|row| Box::new((row.transaction.clone(), row.base)));
                let first = self.known_labels.insert(key);
                if first {
                    self.labels.push(label);
                }
                Written { first, transaction, filled: None }
            }
            Entry::Changed(change) => {
                self.changes.push(*change);
                Written { first: true, ..Written::default() }
            }
        }
    }

    fn fill(&mut self, copy: &Transaction) -> Option<Filled> {
        let row = self.rows.get_mut(*self.places.get(copy.transaction_id.as_str())?)?;
        let before = row.transaction.clone();
        row.transaction.fill_absent_from(&Transaction { is_fraud: None, ..copy.clone() });
        let labels = self.labels.iter().filter(|label| label.transaction_id == copy.transaction_id.as_str());
        (row.transaction != before).then(|| Filled {
            before,
            after: row.transaction.clone(),
            base: row.base,
            labels: labels.cloned().collect(),
        })
    }

    fn find(&self, transaction_id: &str) -> Option<&Row> {
        self.rows.get(*self.places.get(transaction_id)?)
    }

    #[expect(clippy::indexing_slicing, reason = "places hold positions of rows, and rows are never removed")]
    fn row(&mut self, transaction: &Transaction, base: BaseAmount) -> &mut Row {
        let next = self.rows.len();
        let place = *self.places.entry(transaction.transaction_id.to_string()).or_insert(next);
        if place == next {
            let transaction = Transaction { is_fraud: None, ..transaction.clone() };
            self.rows.push(Row { transaction, base, full: None });
        }
        &mut self.rows[place]
    }

    fn stored(&self, transaction_id: &str) -> Option<Stored> {
        let row = self.find(transaction_id)?;
        let full = row.full.as_ref().map(|(decision, ..)| (**decision).clone());
        let decision = full.or_else(|| {
            self.fallbacks.iter().rev().find(|fallback| fallback.transaction_id == transaction_id).cloned()
        });
        Some(Stored { transaction: row.transaction.clone(), base: row.base, decision })
    }

    fn replay(&self, since: Millis, sink: &mut dyn Sink) {
        let within = |row: &&Row| row.transaction.occurred_at >= since;
        for row in self.rows.iter().filter(within) {
            let outcome = row.full.as_ref().map(|(decision, model, _)| ReplayedOutcome {
                score: decision.score.unwrap_or_default(),
                flagged: decision.flagged,
                degraded: decision.degraded,
                model: Arc::clone(model),
            });
            sink.transaction(&Replayed { transaction: &row.transaction, base: row.base, outcome });
        }
        for label in &self.labels {
            match self.find(&label.transaction_id) {
                Some(row) if within(&row) => sink.label(&event_label(&row.transaction, row.base, label)),
                None if label.labelled_at >= since => sink.waiting(label.clone()),
                Some(_) | None => {}
            }
        }
    }
}

impl Log for MemoryLog {
    fn append(&self, entry: Entry, done: Option<Done>) -> Result<(), LogError> {
        let result = {
            let mut held = self.held();
            match held.mood {
                _ if held.closed => return Err(LogError::Closed),
                Mood::Well => Ok(held.write(entry)),
                Mood::Failing if done.is_none() => return Err(failed()),
                Mood::Failing => Err(failed()),
                Mood::Silent => {
                    held.silent.push((entry, done));
                    return Ok(());
                }
            }
        };
        if let Some(done) = done {
            done(result);
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        true
    }

    fn find<'a>(&'a self, transaction_id: &'a str) -> Reading<'a, Option<Stored>> {
        {
            let mut held = self.held();
            if held.mood == Mood::Silent {
                held.sought.push(transaction_id.to_owned());
                return Box::pin(std::future::pending());
            }
        }
        self.read(|held| held.stored(transaction_id))
    }

    fn decision<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>> {
        self.read(|held| of_revision(held.stored(transaction_id), revision))
    }

    fn features<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Value>> {
        self.read(|held| {
            let (decision, _, features) = held.find(transaction_id)?.full.as_ref()?;
            (revision.is_none() || decision.revision == revision).then(|| features.clone())
        })
    }

    fn undecided(&self, limit: usize) -> Reading<'_, Vec<(Transaction, BaseAmount)>> {
        self.read(|held| {
            let open = held.rows.iter().filter(|row| row.full.is_none());
            open.take(limit).map(|row| (row.transaction.clone(), row.base)).collect()
        })
    }

    fn completeness(&self, upto: Millis) -> Reading<'_, Completeness> {
        self.read(|held| {
            let open = held.rows.iter().filter(|row| row.full.is_none());
            let oldest = open.clone().map(|row| row.transaction.occurred_at).min();
            Completeness::of_log(upto, open.count() as u64, oldest)
        })
    }

    fn flush(&self) -> Reading<'_, ()> {
        self.read(|_| ())
    }

    fn close(&self) -> Reading<'_, ()> {
        self.held().closed = true;
        Box::pin(std::future::ready(Ok(())))
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>> {
        self.read(|held| held.changes.iter().skip(held.changes.len().saturating_sub(most)).cloned().collect())
    }

    fn newest(&self) -> Result<Option<Millis>, LogError> {
        let held = self.held();
        if held.mood == Mood::Failing {
            return Err(failed());
        }
        Ok(held.rows.iter().map(|row| row.transaction.occurred_at).max())
    }

    fn replay(&self, since: Millis, sink: &mut dyn Sink) -> Result<(), LogError> {
        let held = self.held();
        if held.mood == Mood::Failing {
            return Err(failed());
        }
        held.replay(since, sink);
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        let held = self.held();
        if held.closed {
            return Err("the log is closed".to_owned());
        }
        if held.mood == Mood::Well { Ok(()) } else { Err("the log fails".to_owned()) }
    }

    fn depth(&self) -> usize {
        self.held().silent.len()
    }
}
