//! Keyed hashes of the identifiers of events, each identifier once for all kinds of entity that keep or count it.

use rayon::prelude::*;

use super::PARALLEL;
use super::values::{ABSENT, Value};
use crate::base::hash::HashKey;
use crate::features::Event;
use crate::features::catalogue::Kept;

/// Events that one thread hashes at a time.
const PIECE: usize = 256;

/// The identifiers that are hashed, and their hashes: a row an event, a column an identifier.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    fields: Vec<String>,
    rows: Vec<Option<u64>>,
}

impl Hashes {
    /// For everything that `kept` names.
    pub(super) fn of(kept: &[Kept]) -> Self {
        let mut fields: Vec<String> = Vec::new();
        for field in
            kept.iter().flat_map(|kept| std::iter::once(&kept.entity).chain(kept.values.iter().map(|(name, _)| name)))
        {
            if !fields.contains(field) {
                fields.push(field.clone());
            }
        }
        Self { fields, rows: Vec::new() }
    }

    /// The same identifiers, nothing hashed.
    pub(super) fn empty(&self) -> Self {
        Self { fields: self.fields.clone(), rows: Vec::new() }
    }

    /// The column of an identifier.
    pub(super) fn column(&self, field: &str) -> usize {
        self.fields.iter().position(|known| known == field).unwrap_or(usize::MAX)
    }

    /// Hashes the identifiers of `events`, in place of those before.
    pub(super) fn fill(&mut self, key: &HashKey, events: &[Event<'_>]) {
        let (fields, width) = (&self.fields, self.fields.len().max(1));
        self.rows.clear();
        self.rows.resize(events.len() * width, None);
        let hash = |(rows, events): (&mut [Option<u64>], &[Event<'_>])| {
            for (row, event) in rows.chunks_exact_mut(width).zip(events) {
                for (slot, field) in row.iter_mut().zip(fields) {
                    *slot = event.transaction.entity(field).map(|id| key.entity(id));
                }
            }
        };
        if events.len() < PARALLEL {
            hash((&mut self.rows, events));
        } else {
            self.rows.par_chunks_mut(width * PIECE).zip(events.par_chunks(PIECE)).for_each(hash);
        }
    }

    /// A row an event, in the order of the events.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[Option<u64>]> {
        self.rows.chunks_exact(self.fields.len().max(1))
    }
}

/// The 40 bits of a hash that stand for a counted value.
pub(super) fn value(hash: Option<u64>) -> Value {
    hash.map_or(ABSENT, |hash| {
        let [a, b, c, d, e, ..] = hash.to_le_bytes();
        if [a, b, c, d, e] == ABSENT { [1, 0, 0, 0, 0] } else { [a, b, c, d, e] }
    })
}
