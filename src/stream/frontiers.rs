//! What this instance has read of the transactions and of the decisions, for whoever audits.
//!
//! In: items, as they are handed to the merge. Out: a frontier a partition. Every instance keeps them, since each may be
//! the auditor a moment later; bounded as `protocol::completeness` says.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::item::{Item, Topic, What};
use super::lanes::Positions;
use super::protocol::completeness::{Frontier, Records};
use crate::base::clock::Millis;
use crate::decision::DecisionKind;
use crate::engine::follow::Followed;

/// See the module.
#[derive(Debug)]
pub(super) struct Frontiers(Mutex<Read>);

/// By partition.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) transactions: Vec<Frontier>,
    pub(super) decisions: Vec<Records>,
}

impl Frontiers {
    /// Of a reader that begins there.
    pub(super) fn new(from: &Positions) -> Self {
        let transactions = from.transactions.iter().map(|from| Frontier::new(*from)).collect();
        let decisions = from.decisions.iter().map(|from| records(*from)).collect();
        Self(Mutex::new(Read { transactions, decisions }))
    }

    /// Notes items of one topic.
    pub(super) fn note<'i>(&self, items: impl Iterator<Item = &'i Item>) {
        let mut items = items.peekable();
        if items.peek().is_none_or(|item| item.topic == Topic::Labels) {
            return;
        }
        let mut read = self.read();
        for item in items {
            let Ok(partition) = usize::try_from(item.partition) else { continue };
            match item.topic {
                Topic::Transactions => {
                    if let Some(frontier) = read.transactions.get_mut(partition) {
                        frontier.note(item.offset, time_of(item));
                    }
                }
                Topic::Decisions => {
                    if let Some(records) = read.decisions.get_mut(partition) {
                        note(records, item);
                    }
                }
                Topic::Labels => {}
            }
        }
    }

    pub(super) fn read(&self) -> MutexGuard<'_, Read> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of a partition of the decisions that is read from there.
pub(super) const fn records(from: i64) -> Records {
    Records { full: Frontier::new(from), fallbacks: Frontier::new(from) }
}

/// When a transaction, or what could not be read in its place, counts as having happened.
pub(super) const fn time_of(item: &Item) -> Millis {
    match &item.what {
        What::Poison(poison) => poison.at,
        What::Transaction(..) | What::Fact(_) => item.at,
    }
}

/// Notes a record of the decisions: later revisions decide nothing anew.
pub(super) fn note(records: &mut Records, item: &Item) {
    let next = item.offset.saturating_add(1);
    if let What::Fact(fact) = &item.what
        && let Followed::Decision(decision) = &**fact
    {
        match (decision.kind, decision.revision) {
            (DecisionKind::Fallback, _) => records.fallbacks.note(item.offset, item.at),
            (DecisionKind::Full, Some(0)) => records.full.note(item.offset, item.at),
            (DecisionKind::Full, _) => {}
        }
    }
    records.full.pass(next);
    records.fallbacks.pass(next);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::delivery::RecordId;
    use crate::engine::follow::FollowedDecision;
    use crate::stream::protocol::completeness::{Claim, Observed, Part};

    fn decision(offset: i64, kind: DecisionKind, revision: Option<u32>) -> Item {
        let followed = FollowedDecision {
            record: RecordId { instance: 1, sequence: 1 },
            kind,
            revision,
            transaction_id: "t".into(),
            published: None,
        };
        let (at, taken_at) = (Millis(1_000 + offset), Millis(5_000));
        let what = What::Fact(Box::new(Followed::Decision(followed)));
        Item { at, id: "t".into(), topic: Topic::Decisions, partition: 0, offset, taken_at, what }
    }

    #[test]
    fn revision_0_alone_counts_as_a_decision_and_a_fallback_as_one() {
        let items = [
            decision(0, DecisionKind::Full, Some(1)),
            decision(1, DecisionKind::Fallback, None),
            decision(2, DecisionKind::Full, Some(0)),
            decision(3, DecisionKind::Full, Some(7)),
        ];
        let frontiers = Frontiers::new(&Positions { decisions: vec![0], ..Positions::default() });
        frontiers.note(items.iter());
        let read = frontiers.read();
        let claim = |committed| {
            let decisions = vec![(Part { committed, end: 4 }, &read.decisions[0])];
            let (at, transactions) = (Millis(9_000), Vec::new());
            let claim = Claim::of(&Observed { at, allow_late: 0, transactions, decisions }).unwrap();
            (claim.decided.until.unwrap().0, claim.delivered.until.unwrap().0)
        };
        assert_eq!([claim(0), claim(2), claim(3)], [(1_000, 1_000), (9_000, 1_001), (9_000, 9_000)]);
    }
}
