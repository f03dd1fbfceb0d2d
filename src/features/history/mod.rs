//! History: for every entity the set of its events as far back as the catalogue reaches, in memory, compactly.
//!
//! In: events and verdicts, in any order, any number of times. Out: rows as of an event. Events of an entity are a set
//! ordered by (occurred_at, transaction_id); a reading as of an event counts what is ≤ it, itself included. Late,
//! doubled and reordered events are therefore harmless by construction.
//! Invariant: what is read depends on the set alone, never on the order of arrival.
//!
//! Holds keyed hashes of entities and never their identifiers.

mod block;
mod bytes;
mod entities;
pub mod export;
#[cfg(test)]
mod export_tests;
mod hashes;
mod labels;
mod profile;
mod reading;
#[cfg(test)]
mod recount;
mod stored;
#[cfg(test)]
mod tests;
mod ties;
mod tiles;
mod values;
mod walk;

use super::catalogue::EntityReads;
use super::encode::encode;
use super::rows::Readings;
use super::{Catalogue, Event, EventLabel, Plan, Rows};
use crate::base::clock::Millis;
use crate::base::hash::HashKey;
use entities::Entities;
use hashes::Hashes;
use labels::Verdict;

/// From this many events on, the kinds of entities are observed side by side, on threads that live on: memory that a
/// thread takes and leaves behind when it ends comes back slowly.
const PARALLEL: usize = 1024;

/// What a history is made with.
#[derive(Debug, Clone, Copy)]
pub struct HistoryOptions {
    /// Keys the hashes of entities.
    pub key: HashKey,
    /// The allowed lateness L, milliseconds.
    pub lateness: i64,
    /// Events of one entity that are kept exact; older ones sit in hourly tiles.
    pub exact_events: usize,
}

/// The events of every entity, as far back as the catalogue reaches.
#[derive(Debug)]
pub struct History {
    options: HistoryOptions,
    entities: Vec<Entities>,
    newest: Option<Millis>,
    hashes: Hashes,
    scratch: Vec<Readings>,
    hold: Option<export::Hold>,
    /// Holds there were.
    holds: u64,
}

/// How much a history holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistorySize {
    /// Entities, all kinds.
    pub entities: usize,
    /// Events kept one by one, counted once for each entity they belong to.
    pub events: usize,
    /// Bytes of times, amounts, values, ids, verdicts and tiles.
    pub encoded_bytes: usize,
    /// Bytes reserved for it all.
    pub reserved_bytes: usize,
}

impl History {
    /// An empty history of what `catalogue` needs.
    #[must_use]
    pub fn new(catalogue: &Catalogue, options: HistoryOptions) -> Self {
        let hashes = Hashes::of(catalogue.kept());
        let entities = |kept| Entities::new(kept, &hashes, options.lateness, options.exact_events);
        let entities = catalogue.kept().iter().map(entities).collect();
        Self { options, entities, newest: None, hashes, scratch: Vec::new(), hold: None, holds: 0 }
    }

    /// Inserts `events` one by one and reads `plan` as of each, appending to `rows` one row an event.
    pub fn observe(&mut self, events: &[Event<'_>], plan: &Plan, rows: &mut Rows) {
        self.advance(events);
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize_with(plan.entities.len(), Readings::default);
        scratch.iter_mut().for_each(Readings::reset);
        self.hashes.fill(&self.options.key, events);
        let hashes = &self.hashes;
        // Each kind of entity has its own readings; a kind the plan does not read is only inserted into.
        let mut unread = Vec::new();
        let mut work = Vec::with_capacity(self.entities.len());
        let mut places: Vec<Option<&mut Readings>> = scratch.iter_mut().map(Some).collect();
        for (place, entities) in self.entities.iter_mut().enumerate() {
            match plan.entities.iter().position(|reads| reads.place == place) {
                Some(index) => {
                    let readings = places.get_mut(index).and_then(Option::take);
                    work.push((entities, plan.entities.get(index), readings));
                }
                None => unread.push(entities),
            }
        }
        work.extend(unread.into_iter().map(|entities| (entities, None, None)));
        let observe = |entities: &mut Entities, reads, readings: Option<&mut Readings>| {
            let mut none = Readings::default();
            let readings = readings.unwrap_or(&mut none);
            entities.observe(events, hashes, reads, &mut readings.values, &mut readings.known);
        };
        if events.len() < PARALLEL {
            work.into_iter().for_each(|(entities, reads, readings)| observe(entities, reads, readings));
        } else {
            rayon::scope(|scope| {
                for (entities, reads, readings) in work {
                    scope.spawn(move |_| observe(entities, reads, readings));
                }
            });
        }
        encode(plan, events, &scratch, self.customers(plan), rows);
        self.scratch = scratch;
    }

    /// Inserts one event without reading: rebuilding.
    pub fn insert(&mut self, event: &Event<'_>) {
        self.insert_all(std::slice::from_ref(event));
    }

    /// Inserts events without reading.
    pub fn insert_all(&mut self, events: &[Event<'_>]) {
        self.advance(events);
        self.hashes.fill(&self.options.key, events);
        let hashes = &self.hashes;
        let insert = |entities: &mut Entities| {
            let mut none = Readings::default();
            entities.observe(events, hashes, None, &mut none.values, &mut none.known);
        };
        if events.len() < PARALLEL {
            self.entities.iter_mut().for_each(insert);
        } else {
            rayon::scope(|scope| {
                for entities in &mut self.entities {
                    scope.spawn(move |_| insert(entities));
                }
            });
        }
    }

    /// Inserts `event` for those entities whose field an earlier copy that is in history did not name, as `named` says of
    /// a field. What it was counted for before stays as it was: a value that is counted (`distinct`, `first`) and came
    /// only now is not.
    pub fn complete(&mut self, event: &Event<'_>, named: impl Fn(&str) -> bool) {
        let mut none = Readings::default();
        let events = std::slice::from_ref(event);
        self.hashes.fill(&self.options.key, events);
        for entities in &mut self.entities {
            if !named(&entities.field) {
                entities.observe(events, &self.hashes, None, &mut none.values, &mut none.known);
            }
        }
    }

    /// Reads `plan` as of `events`, inserting nothing: the complete features of events that are in history.
    pub fn read(&self, events: &[Event<'_>], plan: &Plan, rows: &mut Rows) {
        let mut all: Vec<Readings> = plan.entities.iter().map(|_| Readings::default()).collect();
        let mut hashes = self.hashes.empty();
        hashes.fill(&self.options.key, events);
        let work = plan.entities.iter().zip(&mut all);
        let read = |reads: &EntityReads, readings: &mut Readings| {
            if let Some(entities) = self.entities.get(reads.place) {
                entities.read(events, &hashes, reads, &mut readings.values, &mut readings.known);
            }
        };
        if events.len() < PARALLEL {
            work.for_each(|(reads, readings)| read(reads, readings));
        } else {
            rayon::scope(|scope| {
                for (reads, readings) in work {
                    scope.spawn(move |_| read(reads, readings));
                }
            });
        }
        encode(plan, events, &all, self.customers(plan), rows);
    }

    /// Takes a verdict: idempotent, in any order.
    pub fn label(&mut self, label: &EventLabel) {
        let key = self.options.key;
        let verdict = Verdict {
            at: label.occurred_at.0,
            id: key.entity(&label.transaction_id),
            labelled_at: label.labelled_at.0,
            is_fraud: label.is_fraud,
            amount: label.base_minor.max(0).cast_unsigned(),
        };
        for (field, id) in &label.entities {
            if let Some(entities) = self.entities.iter_mut().find(|entities| entities.field == field.as_str()) {
                entities.label(&key, id, verdict);
            }
        }
    }

    /// Forgets nothing that a reading as of `kept` or later needs; `None` forgets as time moves.
    pub fn keep_from(&mut self, kept: Option<Millis>) {
        self.entities.iter_mut().for_each(|entities| entities.keep_from(kept.map(|kept| kept.0)));
    }

    /// The newest `occurred_at` seen; `None` before the first event.
    #[must_use]
    pub const fn stream_time(&self) -> Option<Millis> {
        self.newest
    }

    /// Entities held, all kinds: cheap.
    #[must_use]
    pub fn entities(&self) -> usize {
        self.entities.iter().map(Entities::len).sum()
    }

    /// How much is held: a walk over every entity, for measuring.
    #[must_use]
    pub fn size(&self) -> HistorySize {
        let mut size = HistorySize { entities: self.entities(), ..HistorySize::default() };
        for entities in &self.entities {
            let (events, used, reserved) = entities.size();
            size.events += events;
            size.encoded_bytes += used;
            size.reserved_bytes += reserved;
        }
        size
    }

    fn advance(&mut self, events: &[Event<'_>]) {
        let newest = events.iter().map(|event| event.transaction.occurred_at).max();
        self.newest = self.newest.max(newest);
        self.let_go_after(events.len());
    }

    /// Place of the customer among the plan's entities.
    fn customers(&self, plan: &Plan) -> Option<usize> {
        let customers = self.entities.iter().position(|entities| entities.field == "customer_id")?;
        plan.entities.iter().position(|reads| reads.place == customers)
    }
}
