//! The destination: its table of decisions, which is the waiting room too, and the rows that belong to someone else.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::audit::Audit;
use super::bug::Bug;
use super::record::{Record, RecordId};

#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) record: Rc<Record>,
    pub(super) applied: bool,
}

#[derive(Debug, Default)]
pub(super) struct Postgres {
    pub(super) away: bool,
    /// By (transaction id, revision).
    pub(super) decisions: BTreeMap<(Rc<str>, u32), Stored>,
    pub(super) fallbacks: BTreeMap<RecordId, Rc<Record>>,
    /// Rows that their owner has written, and what assay has written into them.
    pub(super) rows: BTreeMap<Rc<str>, Option<Rc<Record>>>,
    pub(super) audit: Audit,
}

impl Postgres {
    /// One transaction: all of the batch or, when it fails, nothing.
    pub(super) fn write(&mut self, batch: &[Rc<Record>], bug: Option<Bug>) {
        for record in batch {
            let revision = match record.revision {
                Some(revision) => revision,
                None if bug == Some(Bug::FallbackTakesTheRevision) => 0,
                None => {
                    self.fallbacks.insert(record.record, Rc::clone(record));
                    continue;
                }
            };
            let key = (Rc::clone(&record.payment.id), revision);
            let stored =
                self.decisions.entry(key).or_insert_with(|| Stored { record: Rc::clone(record), applied: false });
            if bug == Some(Bug::LastWinsInTheDestination) {
                stored.record = Rc::clone(record);
            }
            if let Some(row) = self.rows.get_mut(&record.payment.id) {
                let written = if bug == Some(Bug::RowFromTheLosingRecord) { record } else { &stored.record };
                complete(row, written, bug);
                stored.applied = true;
            }
        }
    }

    pub(super) fn look_after_if_there(&mut self) {
        if !self.away {
            self.look_after();
        }
    }

    /// Completes rows that came later than their decisions.
    fn look_after(&mut self) {
        for ((id, _), stored) in self.decisions.iter_mut().filter(|(_, stored)| !stored.applied) {
            if let Some(row) = self.rows.get_mut(id) {
                complete(row, &stored.record, None);
                stored.applied = true;
            }
        }
    }
}

/// A row shows the highest revision.
fn complete(row: &mut Option<Rc<Record>>, record: &Rc<Record>, bug: Option<Bug>) {
    let higher = row.as_ref().is_none_or(|shown| shown.revision <= record.revision);
    if higher || bug == Some(Bug::LowerRevisionReplaces) {
        *row = Some(Rc::clone(record));
    }
}
