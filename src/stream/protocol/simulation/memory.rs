//! What an instance knows from what it has merged: history, index of ids, who was superseded. This is what a snapshot is.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::bug::Bug;
use super::history::History;
use super::record::{Payment, Record, RecordId, Verdict};

/// A snapshot and where the reader goes on from.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    pub(super) memory: Memory,
    pub(super) positions: Vec<i64>,
    pub(super) inexact: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    pub(super) history: History,
    known: BTreeMap<Rc<str>, Known>,
    /// The first record of each higher revision.
    rescored: BTreeMap<(Rc<str>, u32), RecordId>,
    pub(super) superseded: BTreeSet<RecordId>,
}

#[derive(Debug, Clone)]
struct Known {
    payment: Rc<Payment>,
    /// The first full record of revision 0.
    first: Option<Rc<Record>>,
}

impl Memory {
    /// The decision of an id.
    pub(super) fn first(&self, id: &str) -> Option<&Rc<Record>> {
        self.known.get(id)?.first.as_ref()
    }

    pub(super) fn label(&mut self, verdict: &Verdict) {
        self.history.label(verdict);
    }

    /// A transaction was merged: of an id the first copy counts, until a decision says which one is right.
    pub(super) fn observe(&mut self, payment: &Rc<Payment>, bug: Option<Bug>) {
        if self.known.contains_key(&payment.id) {
            if bug == Some(Bug::RepetitionMovesHistory) {
                self.history.insert(&Payment { id: format!("{}'", payment.id).into(), ..Payment::clone(payment) });
            }
            return;
        }
        self.history.insert(payment);
        self.known.insert(Rc::clone(&payment.id), Known { payment: Rc::clone(payment), first: None });
    }

    /// A decision was merged; true when it is the first of its id. Fallbacks and higher revisions move no window.
    pub(super) fn decide(&mut self, record: &Rc<Record>, bug: Option<Bug>) -> bool {
        if record.revision.is_none() && bug != Some(Bug::FallbackTakesTheRevision) {
            return false;
        }
        if let Some(revision) = record.revision.filter(|revision| *revision > 0) {
            let first = *self.rescored.entry((Rc::clone(&record.payment.id), revision)).or_insert(record.record);
            if first != record.record {
                self.superseded.insert(record.record);
            }
            return false;
        }
        self.observe(&record.payment, None);
        let Some(known) = self.known.get_mut(&record.payment.id) else { return false };
        if let Some(first) = &mut known.first {
            if first.record != record.record {
                self.superseded.insert(record.record);
                if bug == Some(Bug::LastWinsInTheIndex) {
                    *first = Rc::clone(record);
                }
            }
            return false;
        }
        known.first = Some(Rc::clone(record));
        if known.payment != record.payment && bug != Some(Bug::HistoryKeepsTheFirstCopy) {
            self.history.remove(&known.payment);
            self.history.insert(&record.payment);
            known.payment = Rc::clone(&record.payment);
        }
        true
    }
}
