//! The scratch history of a run: filled in order, read as of each payment, and gone with the run.

use std::sync::Arc;

use compact_str::CompactString;

use super::Payment;
use super::run::Read;
use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Rates};
use crate::engine::event_label;
use crate::features::{Catalogue, Event, History, HistoryOptions, Plan, Rows};

/// See the module.
#[derive(Debug)]
pub(super) struct Scratch {
    history: History,
    rates: Arc<Rates>,
    rows: Rows,
    /// The last payment that was inserted.
    last: Option<(Millis, CompactString)>,
}

impl Scratch {
    pub(super) fn new(catalogue: &Catalogue, options: HistoryOptions, rates: Arc<Rates>) -> Self {
        Self { history: History::new(catalogue, options), rates, rows: Rows::default(), last: None }
    }

    /// Inserts payments with their verdicts, reading nothing.
    pub(super) fn insert(&mut self, payments: &[Payment]) {
        let (new, bases) = self.new_ones(&payments.iter().collect::<Vec<_>>());
        self.history.insert_all(&events(&new, &bases));
    }

    /// Inserts payments one by one and reads `plan` as of each.
    pub(super) fn observe(&mut self, payments: &[&Payment], plan: &Plan) -> Vec<Read> {
        let before = self.last.clone();
        let (new, bases) = self.new_ones(payments);
        let mut rows = std::mem::take(&mut self.rows);
        rows.reset(plan.width());
        self.history.observe(&events(&new, &bases), plan, &mut rows);
        let mut read = Vec::with_capacity(payments.len());
        let (mut place, mut last) = (0, before);
        for payment in payments {
            if is_same(last.as_ref(), payment) {
                read.push(Read::Repeated);
                continue;
            }
            last = Some(moment(payment));
            let row = rows.row(place).zip(bases.get(place));
            // History gives a row an event.
            read.push(
                row.map_or(Read::Repeated, |((values, marks), base)| Read::Features(*base, values.to_vec(), marks)),
            );
            place += 1;
        }
        self.rows = rows;
        read
    }

    /// Those that do not repeat the one before, with their amounts; their verdicts are in history.
    fn new_ones<'p>(&mut self, payments: &[&'p Payment]) -> (Vec<&'p Payment>, Vec<BaseAmount>) {
        let (mut new, mut bases) = (Vec::with_capacity(payments.len()), Vec::with_capacity(payments.len()));
        for payment in payments {
            // In order, a payment that stands twice stands behind itself.
            if is_same(self.last.as_ref(), payment) {
                continue;
            }
            self.last = Some(moment(payment));
            let transaction = &payment.transaction;
            let base = self.rates.to_base(transaction.amount_minor, transaction.currency, transaction.occurred_at);
            for label in &payment.labels {
                self.history.label(&event_label(transaction, base, label));
            }
            new.push(*payment);
            bases.push(base);
        }
        (new, bases)
    }
}

pub(super) fn moment(payment: &Payment) -> (Millis, CompactString) {
    (payment.transaction.occurred_at, payment.transaction.transaction_id.clone())
}

pub(super) fn is_same(last: Option<&(Millis, CompactString)>, payment: &Payment) -> bool {
    let transaction = &payment.transaction;
    last.is_some_and(|(at, id)| *at == transaction.occurred_at && *id == transaction.transaction_id)
}

fn events<'p>(payments: &[&'p Payment], bases: &[BaseAmount]) -> Vec<Event<'p>> {
    payments.iter().zip(bases).map(|(payment, base)| Event { transaction: &payment.transaction, base: *base }).collect()
}
