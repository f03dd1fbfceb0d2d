//! The auditor of an instance: whoever holds the destination's lock observes, step by step, and writes a claim. It may stop
//! between any two steps.

use super::super::Moment;
use super::super::completeness::{Claim, Frontier, Observed, Part, Records};
use super::audit::Seen;
use super::bug::Bug;
use super::dice::Dice;
use super::kafka::{DECISIONS, Kafka, REJECTED, TRANSACTIONS};
use super::postgres::Postgres;
use super::reader::{Frontiers, WIDTH};
use super::record::Message;
use super::tally::Tally;
use crate::base::clock::Millis;

/// More than a log has.
const MANY: usize = 1_000_000;
/// Tries to find the reader past the ends of the decisions before all is observed anew.
const MOST_TRIES: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Auditor {
    me: (usize, u64),
    bug: Option<Bug>,
    observation: Observation,
}

/// What was observed so far; the steps in their order.
#[derive(Debug, Default)]
struct Observation {
    committed: Option<Vec<i64>>,
    ends: Option<(i64, Vec<i64>)>,
    rejected: Option<i64>,
    log: Option<Vec<i64>>,
    claim: Option<Claim>,
    /// What of the decisions the destination's group had committed.
    stored: Vec<i64>,
    tries: usize,
    seen: Seen,
}

impl Auditor {
    pub(super) fn new(me: (usize, u64), bug: Option<Bug>) -> Self {
        Self { me, bug, ..Self::default() }
    }

    /// The next step; `allow` is how late a transaction may arrive.
    pub(super) fn step(
        &mut self,
        (kafka, postgres): (&Kafka, &mut Postgres),
        frontiers: &mut Frontiers,
        (now, allow): (Moment, i64),
        dice: &mut Dice,
        tally: &mut Tally,
    ) {
        if kafka.away || postgres.away {
            return;
        }
        if postgres.audit.auditor.is_none() {
            postgres.audit.auditor = Some(self.me);
            tally.count("auditors", 1);
        }
        if postgres.audit.auditor != Some(self.me) {
            self.observation = Observation::default();
            return;
        }
        let bug = self.bug;
        let seen = &mut self.observation;
        if bug == Some(Bug::LettersBeforeOffsets) && seen.rejected.is_none() {
            seen.rejected = Some(kafka.ends(REJECTED)[0]);
        } else if seen.committed.is_none() {
            seen.committed = Some(kafka.scoring.committed.clone());
        } else if seen.ends.is_none() {
            let mut ends = kafka.ends(TRANSACTIONS);
            if bug == Some(Bug::StalledIsTheEnd) {
                ends = frontiers.transactions.iter().map(Frontier::next).collect();
            }
            seen.ends = Some((now.as_millis() as i64, ends));
            seen.seen.transactions = kafka.appended();
            seen.seen.read = frontiers.transactions.iter().map(Frontier::next).collect();
        } else if seen.rejected.is_none() {
            seen.rejected = Some(kafka.ends(REJECTED)[0]);
        } else if seen.log.is_none() {
            seen.log = Some(kafka.ends(DECISIONS));
            seen.seen.decisions = kafka.appended();
        } else if seen.claim.is_none() {
            if dice.chance(50) {
                self.backfill(kafka, frontiers, tally);
            }
            self.compute(kafka, frontiers, allow);
        } else {
            self.write(kafka, postgres, frontiers, tally);
        }
    }

    /// Reads what stands between the committed offsets and the reader's beginning.
    fn backfill(&self, kafka: &Kafka, frontiers: &mut Frontiers, tally: &mut Tally) {
        let read = |topic: usize, partition: usize, from: i64, to: i64| {
            let frontier = || Frontier::of_width(from, WIDTH);
            let mut earlier = Frontiers {
                transactions: (0..=partition).map(|_| frontier()).collect(),
                decisions: (0..=partition).map(|_| Records { full: frontier(), fallbacks: frontier() }).collect(),
            };
            let (entries, _) = kafka.topics[topic][partition].fetch(from, MANY);
            for entry in entries.iter().take_while(|entry| entry.offset < to) {
                earlier.note(topic, partition, entry.offset, &entry.message);
            }
            earlier
        };
        for (partition, committed) in kafka.scoring.committed.iter().enumerate() {
            let frontier = &mut frontiers.transactions[partition];
            if *committed < frontier.from() {
                let mut earlier =
                    read(TRANSACTIONS, partition, *committed, frontier.from()).transactions.swap_remove(partition);
                earlier.pass(frontier.from());
                frontier.precede(earlier);
                tally.count("beginnings of a reader that an auditor read before", 1);
            }
        }
        for (partition, committed) in kafka.writing.committed.iter().enumerate() {
            let records = &mut frontiers.decisions[partition];
            let from = records.full.from();
            if *committed < from {
                let mut earlier = read(DECISIONS, partition, *committed, from).decisions.swap_remove(partition);
                earlier.full.pass(from);
                earlier.fallbacks.pass(from);
                records.full.precede(earlier.full);
                records.fallbacks.precede(earlier.fallbacks);
            }
        }
    }

    fn compute(&mut self, kafka: &Kafka, frontiers: &Frontiers, allow: i64) {
        let (bug, seen) = (self.bug, &mut self.observation);
        let (Some(committed), Some((at, ends)), Some(log)) = (&seen.committed, &seen.ends, &seen.log) else { return };
        seen.stored = kafka.writing.committed.clone();
        let part = |(committed, end): (&i64, &i64)| Part { committed: *committed, end: *end };
        let transactions = committed.iter().zip(ends).map(part).zip(&frontiers.transactions).collect();
        let decisions = seen.stored.iter().zip(log).map(part).zip(&frontiers.decisions).map(|(mut part, records)| {
            match bug {
                Some(Bug::GroupNotAwaited) => part.committed = part.end,
                Some(Bug::DecisionsUnread) => part.end = part.end.min(records.full.next()),
                _ => {}
            }
            (part, records)
        });
        let decisions = decisions.collect();
        seen.claim = Claim::of(&Observed { at: Millis(*at), allow_late: allow, transactions, decisions });
        seen.tries += 1;
        if seen.claim.is_none() && seen.tries >= MOST_TRIES {
            *seen = Observation::default();
        }
    }

    fn write(&mut self, kafka: &Kafka, postgres: &mut Postgres, frontiers: &mut Frontiers, tally: &mut Tally) {
        let seen = std::mem::take(&mut self.observation);
        let (Some(committed), Some(claim), Some(rejected)) = (seen.committed, seen.claim, seen.rejected) else {
            return;
        };
        let (letters, _) = kafka.topics[REJECTED][0].fetch(postgres.audit.next, MANY);
        let letters: Vec<_> = letters
            .iter()
            .filter(|entry| entry.offset < rejected)
            .filter_map(|entry| match &entry.message {
                Message::Rejected(letter) => Some(letter),
                _ => None,
            })
            .collect();
        tally.count("claims", 1);
        tally.count("claims of an unknown time", usize::from(claim.decided.until.is_none()));
        postgres.audit.keep(claim, seen.seen, &letters, rejected.max(postgres.audit.next), &committed);
        let early = if self.bug == Some(Bug::ForgetsByTheStart) { i64::from(WIDTH) - 1 } else { 0 };
        for (frontier, committed) in frontiers.transactions.iter_mut().zip(&committed) {
            frontier.forget(committed + early);
        }
        for (records, stored) in frontiers.decisions.iter_mut().zip(&seen.stored) {
            records.full.forget(*stored);
            records.fallbacks.forget(*stored);
        }
    }

    /// Where a crash now would leave something half observed.
    pub(super) fn point(&self) -> Option<&'static str> {
        let Observation { committed, ends, rejected, log, claim, .. } = &self.observation;
        let steps = [
            (claim.is_some(), "crashes of an auditor before it writes its claim"),
            (log.is_some(), "crashes of an auditor before the destination's offsets"),
            (rejected.is_some() && ends.is_some(), "crashes of an auditor before the ends of the decisions"),
            (ends.is_some(), "crashes of an auditor before the ends of the dead letters"),
            (committed.is_some(), "crashes of an auditor before the ends of the transactions"),
        ];
        steps.into_iter().find(|(done, _)| *done).map(|(_, point)| point)
    }
}
