//! An exact history: the set of (customer, time, id), and the verdicts on each.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::record::{Features, Payment, Verdict};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct History {
    /// (customer, time, id): amount.
    events: BTreeMap<(u8, i64, Rc<str>), i64>,
    /// (customer, time of the payment, id): when labelled, what was said.
    verdicts: BTreeMap<(u8, i64, Rc<str>), BTreeMap<i64, bool>>,
}

impl History {
    pub(super) fn insert(&mut self, payment: &Payment) {
        self.events.insert((payment.customer, payment.at, Rc::clone(&payment.id)), payment.amount);
    }

    pub(super) fn remove(&mut self, payment: &Payment) {
        self.events.remove(&(payment.customer, payment.at, Rc::clone(&payment.id)));
    }

    /// At one moment, fraud wins.
    pub(super) fn label(&mut self, verdict: &Verdict) {
        let versions = self.verdicts.entry((verdict.customer, verdict.at, Rc::clone(&verdict.id))).or_default();
        let said = versions.entry(verdict.labelled_at).or_default();
        *said = *said || verdict.fraud;
    }

    /// As of `payment`, itself included, whether it was inserted or not.
    pub(super) fn read(&self, payment: &Payment) -> Features {
        let from = (payment.customer, i64::MIN, Rc::from(""));
        let to = (payment.customer, payment.at, Rc::clone(&payment.id));
        let mut features = Features { count: 1, sum: payment.amount, frauds: 0 };
        for (_, amount) in self.events.range(from.clone()..to.clone()) {
            features.count += 1;
            features.sum += amount;
        }
        for (_, versions) in self.verdicts.range(from..=to) {
            features.frauds += usize::from(versions.range(..=payment.at).next_back().is_some_and(|(_, fraud)| *fraud));
        }
        features
    }
}
