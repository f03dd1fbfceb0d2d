//! What a run would do, without doing it.

use super::select::{Fate, fate};
use super::{Outside, Payment, Tally, Wanted};
use crate::base::clock::Millis;
use crate::transaction::Transaction;

/// When the first payment happened that would be scored; `None` where none would. Writes nothing.
///
/// # Errors
/// The first that `outside` says.
pub fn first<O: Outside>(wanted: Wanted, outside: &mut O) -> Result<Option<Millis>, O::Error> {
    let mut found = None;
    look(wanted, outside, |payment, fate| {
        if matches!(fate, Fate::Score(_)) {
            found = Some(payment.transaction.occurred_at);
        }
        found.is_none()
    })?;
    Ok(found)
}

/// What would become of the payments of the range. Writes nothing.
///
/// # Errors
/// The first that `outside` says.
pub fn count<O: Outside>(wanted: Wanted, outside: &mut O) -> Result<Tally, O::Error> {
    let mut tally = Tally::default();
    let mut last = None;
    look(wanted, outside, |payment, fate| {
        tally.looked += 1;
        let Transaction { occurred_at, transaction_id, .. } = &payment.transaction;
        let place = Some((*occurred_at, transaction_id.clone()));
        if place == last {
            tally.repeated += 1;
            return true;
        }
        last = place;
        match fate {
            Fate::Score(0) => tally.first += 1,
            Fate::Score(_) => tally.replaced += 1,
            Fate::Decided | Fate::Done => tally.decided += 1,
            Fate::Conflict => tally.conflicts += 1,
        }
        true
    })?;
    Ok(tally)
}

/// Shows each payment of the range and its fate to `see`, in order, until that says no. No run has made anything yet.
fn look<O: Outside>(
    wanted: Wanted,
    outside: &mut O,
    mut see: impl FnMut(&Payment, Fate) -> bool,
) -> Result<(), O::Error> {
    loop {
        let payments = outside.payments()?;
        if payments.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = payments.iter().map(|payment| payment.transaction.transaction_id.as_str()).collect();
        let decided = outside.decided(&ids)?;
        for (payment, decided) in payments.iter().zip(&decided) {
            let at = payment.transaction.occurred_at;
            let fate = fate(0, wanted.replace, &payment.transaction, decided.as_ref());
            if at >= wanted.from && at < wanted.to && !see(payment, fate) {
                return Ok(());
            }
        }
    }
}
