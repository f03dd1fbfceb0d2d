//! Which payments are scored, and as which revision. Pure.

use sha2::{Digest as _, Sha256};

use super::Decided;
use crate::engine::delivery::RecordId;
use crate::transaction::Transaction;

/// What becomes of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is scored, as this revision.
    Score(u32),
    /// It has a decision and keeps it.
    Decided,
    /// This run has scored it.
    Done,
    /// What was decided under its id is another payment.
    Conflict,
}

/// What becomes of `payment` in `run`, given its newest decision.
pub(super) fn fate(run: u64, replace: bool, payment: &Transaction, decided: Option<&Decided>) -> Fate {
    let Some(decided) = decided else { return Fate::Score(0) };
    if decided.record.instance == run {
        return Fate::Done;
    }
    if !replace {
        return Fate::Decided;
    }
    if !same_required(payment, &decided.transaction) {
        return Fate::Conflict;
    }
    decided.revision.checked_add(1).map_or(Fate::Decided, Fate::Score)
}

/// Whether two copies of an id are one payment.
fn same_required(one: &Transaction, other: &Transaction) -> bool {
    let required = |one: &Transaction| {
        let Transaction { occurred_at, customer_id, terminal_id, amount_minor, currency, .. } = one;
        (*occurred_at, customer_id.clone(), terminal_id.clone(), *amount_minor, *currency)
    };
    required(one) == required(other)
}

/// The one record that a run makes of a payment as this revision: made again it is the same, so that whoever has it keeps it.
pub(super) fn record_of(run: u64, transaction_id: &str, revision: u32) -> RecordId {
    let mut hash = Sha256::new();
    // Ids have a bounded alphabet without this byte: no two pairs are the same bytes.
    hash.update(transaction_id.as_bytes());
    hash.update([0]);
    hash.update(revision.to_be_bytes());
    let digest = hash.finalize();
    let sequence = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    RecordId { instance: run, sequence }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rescore::tests::transaction;

    const RUN: u64 = 7;

    fn decided(revision: u32, instance: u64) -> Decided {
        Decided { revision, record: RecordId { instance, sequence: 1 }, transaction: transaction("a", 5) }
    }

    #[test]
    fn who_has_no_decision_gets_the_first_and_who_has_one_the_next_where_that_is_asked_for() {
        let payment = transaction("a", 5);
        for replace in [false, true] {
            assert_eq!(fate(RUN, replace, &payment, None), Fate::Score(0));
        }
        for revision in [0, 1, 6] {
            let other = decided(revision, 1);
            assert_eq!(fate(RUN, false, &payment, Some(&other)), Fate::Decided);
            assert_eq!(fate(RUN, true, &payment, Some(&other)), Fate::Score(revision + 1));
        }
        assert_eq!(fate(RUN, true, &payment, Some(&decided(u32::MAX, 1))), Fate::Decided);
    }

    #[test]
    fn what_this_run_has_made_is_done_whatever_is_asked_for() {
        for replace in [false, true] {
            for revision in [0, 1] {
                let own = decided(revision, RUN);
                assert_eq!(fate(RUN, replace, &transaction("a", 5), Some(&own)), Fate::Done);
            }
        }
    }

    #[test]
    fn another_payment_under_the_id_is_a_conflict_and_other_optional_fields_are_none() {
        let mut payment = transaction("a", 5);
        payment.merchant_id = Some("m".into());
        assert_eq!(fate(RUN, true, &payment, Some(&decided(0, 1))), Fate::Score(1));
        payment.amount_minor += 1;
        assert_eq!(fate(RUN, true, &payment, Some(&decided(0, 1))), Fate::Conflict);
    }

    #[test]
    fn a_record_is_named_by_run_payment_and_revision_and_by_nothing_else() {
        assert_eq!(record_of(RUN, "a", 1), record_of(RUN, "a", 1));
        let others = [record_of(RUN, "a", 0), record_of(RUN, "b", 1), record_of(8, "a", 1), record_of(RUN, "a", 256)];
        for (number, other) in others.iter().enumerate() {
            assert!(*other != record_of(RUN, "a", 1) && !others[..number].contains(other));
        }
    }
}
