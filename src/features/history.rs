//! History per entity. (Interface; the body is being written.)

use super::{Catalogue, Event, EventLabel, Plan, Rows};
use crate::base::clock::Millis;
use crate::base::hash::HashKey;

/// What a history is made with.
#[derive(Debug, Clone, Copy)]
pub struct HistoryOptions {
    /// Keys the hashes of entities.
    pub key: HashKey,
    /// The allowed lateness L, milliseconds.
    pub lateness: i64,
    /// Events of one entity that are kept exact; older ones sit in tiles.
    pub exact_events: usize,
}

/// The events of every entity, as far back as the catalogue reaches.
#[derive(Debug)]
pub struct History {}

impl History {
    /// An empty history of what `catalogue` needs.
    #[must_use]
    pub fn new(_catalogue: &Catalogue, _options: HistoryOptions) -> Self {
        todo!()
    }

    /// Inserts `events` one by one and reads `plan` as of each, appending to `rows` one row an event.
    pub fn observe(&mut self, _events: &[Event<'_>], _plan: &Plan, _rows: &mut Rows) {
        todo!()
    }

    /// Inserts without reading: rebuilding.
    pub fn insert(&mut self, _event: &Event<'_>) {
        todo!()
    }

    /// Reads `plan` as of `events`, inserting nothing.
    pub fn read(&self, _events: &[Event<'_>], _plan: &Plan, _rows: &mut Rows) {
        todo!()
    }

    /// Takes a verdict: idempotent, any order.
    pub fn label(&mut self, _label: &EventLabel) {
        todo!()
    }

    /// The newest `occurred_at` seen; `None` before the first event.
    #[must_use]
    pub fn stream_time(&self) -> Option<Millis> {
        todo!()
    }
}
