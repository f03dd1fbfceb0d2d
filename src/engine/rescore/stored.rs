//! Features that are kept with decisions, instead of a history of before.

use std::collections::BTreeSet;
use std::sync::Arc;

use compact_str::CompactString;

use super::run::Read;
use super::scratch::{is_same, moment};
use super::select::{Fate, fate};
use super::{Decided, Outside, Payment, StoredRow, Wanted};
use crate::base::clock::Millis;
use crate::base::money::{RateQuality, Rates};
use crate::features::Marks;

/// Reads the features of each payment's newest decision.
#[derive(Debug)]
pub(super) struct StoredFeatures {
    names: Vec<String>,
    rates: Arc<Rates>,
    /// The last payment that was read.
    last: Option<(Millis, CompactString)>,
}

impl StoredFeatures {
    /// Of the model's inputs, in order.
    pub(super) const fn new(names: Vec<String>, rates: Arc<Rates>) -> Self {
        Self { names, rates, last: None }
    }

    pub(super) fn read<O: Outside>(
        &mut self,
        payments: &[&Payment],
        decided: &[Option<Decided>],
        outside: &mut O,
    ) -> Result<Vec<Read>, O::Error> {
        let mut rows = asked(payments.iter().copied().zip(decided), &self.names, outside)?.into_iter();
        let mut read = Vec::with_capacity(payments.len());
        for (payment, decided) in payments.iter().zip(decided) {
            let row = if decided.is_some() { rows.next().flatten() } else { None };
            if is_same(self.last.as_ref(), payment) {
                read.push(Read::Repeated);
                continue;
            }
            self.last = Some(moment(payment));
            let values: Option<Vec<f64>> = row.and_then(|row| row.into_iter().collect());
            let transaction = &payment.transaction;
            let base = self.rates.to_base(transaction.amount_minor, transaction.currency, transaction.occurred_at);
            let marks = Marks {
                stale_rate: base.rate == RateQuality::Stale,
                missing_rate: base.rate == RateQuality::Missing,
                ..Marks::default()
            };
            read.push(values.map_or(Read::Lacking, |values| Read::Features(base, values, marks)));
        }
        Ok(read)
    }
}

/// What is kept of the decided ones of these, in their order.
fn asked<'p, O: Outside>(
    payments: impl Iterator<Item = (&'p Payment, &'p Option<Decided>)>,
    names: &[String],
    outside: &mut O,
) -> Result<Vec<Option<StoredRow>>, O::Error> {
    let of: Vec<(&str, u32)> = payments
        .filter_map(|(payment, decided)| {
            Some((payment.transaction.transaction_id.as_str(), decided.as_ref()?.revision))
        })
        .collect();
    if of.is_empty() {
        return Ok(Vec::new());
    }
    outside.features(&of, names)
}

/// Names that the stored features of some payment of the range lack, though there are others of it. Writes nothing.
///
/// # Errors
/// The first that `outside` says.
pub fn lacking<O: Outside>(wanted: Wanted, names: &[String], outside: &mut O) -> Result<BTreeSet<String>, O::Error> {
    let mut lacking = BTreeSet::new();
    loop {
        let payments = outside.payments()?;
        if payments.is_empty() {
            return Ok(lacking);
        }
        let ids: Vec<&str> = payments.iter().map(|payment| payment.transaction.transaction_id.as_str()).collect();
        let decided = outside.decided(&ids)?;
        let due = payments.iter().zip(&decided).filter(|(payment, decided)| {
            let at = payment.transaction.occurred_at;
            let fate = fate(0, wanted.replace, &payment.transaction, decided.as_ref());
            at >= wanted.from && at < wanted.to && matches!(fate, Fate::Score(_))
        });
        for row in asked(due, names, outside)?.into_iter().flatten() {
            lacking.extend(names.iter().zip(row).filter(|(_, value)| value.is_none()).map(|(name, _)| name.clone()));
        }
    }
}
