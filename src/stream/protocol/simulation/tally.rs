//! What is written down outside of the instances, for the judgement at the end.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::record::{Payment, Record, RecordId};

/// An answer of `/predict`.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) record: Rc<Record>,
    /// Whether it was promised to be acknowledged.
    pub(super) committed: bool,
    /// Whether the instance had merged the first record of the id.
    pub(super) after_first: bool,
}

#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) answers: Vec<Answer>,
    /// Full records by who made them and for which id.
    pub(super) made: BTreeMap<(u64, Rc<str>), Vec<RecordId>>,
    pub(super) faults: Vec<String>,
    /// The contents of everything that was ever sent as a transaction, by any mouth.
    pub(super) payments: BTreeMap<Rc<str>, Vec<Rc<Payment>>>,
    counts: BTreeMap<&'static str, usize>,
}

impl Tally {
    pub(super) fn count(&mut self, what: &'static str, times: usize) {
        *self.counts.entry(what).or_default() += times;
    }

    /// How often what happened.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, usize)> {
        self.counts.iter().map(|(what, times)| (*what, *times))
    }

    pub(super) fn add(&mut self, other: Self) {
        other.counts.into_iter().for_each(|(what, times)| self.count(what, times));
    }
}
