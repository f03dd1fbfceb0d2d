//! The reader of an instance: every partition of the transactions, the labels and the decisions, merged.

use std::time::Duration;

use super::super::Moment;
use super::super::completeness::{Frontier, Records};
use super::super::merge::{Merge, MergeOptions, Next};
use super::bug::Bug;
use super::dice::Dice;
use super::kafka::{DECISIONS, Kafka, LABELS, PARTITIONS, TRANSACTIONS};
use super::record::{Item, Message};
use crate::base::clock::Millis;

/// A lane that holds so many is paused.
const MOST_QUEUED: usize = 12;

#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) topic: usize,
    pub(super) partition: usize,
    pub(super) fetched: i64,
    /// The next offset; everything below is merged and applied.
    pub(super) merged: i64,
    asked: Moment,
    /// What is fetched of it does not arrive: the broker of the partition is slow.
    pub(super) stalled: bool,
}

#[derive(Debug)]
pub(super) struct Reader {
    settle: Duration,
    merge: Merge<Item>,
    pub(super) lanes: Vec<Lane>,
    /// Whether a wait was given up, ever: features of what is read again may lack events.
    pub(super) inexact: bool,
    pub(super) late: usize,
    pub(super) frontiers: Frontiers,
}

/// What was read of the transactions and of the decisions, by partition.
#[derive(Debug, Clone)]
pub(super) struct Frontiers {
    pub(super) transactions: Vec<Frontier>,
    pub(super) decisions: Vec<Records>,
}

/// Records of a chunk.
pub(super) const WIDTH: u32 = 4;

impl Frontiers {
    fn new(lanes: &[Lane], bug: Option<Bug>) -> Self {
        let frontier = |lane: &Lane| {
            let from = if bug == Some(Bug::BeginningIsDecided) { 0 } else { lane.fetched };
            let mut frontier = Frontier::of_width(from, WIDTH);
            frontier.pass(lane.fetched);
            frontier
        };
        let of = |topic: usize| lanes.iter().filter(move |lane| lane.topic == topic);
        let records = |lane: &Lane| Records { full: frontier(lane), fallbacks: frontier(lane) };
        Self { transactions: of(TRANSACTIONS).map(frontier).collect(), decisions: of(DECISIONS).map(records).collect() }
    }

    pub(super) fn note(&mut self, topic: usize, partition: usize, offset: i64, message: &Message) {
        match message {
            Message::Payment(payment) if topic == TRANSACTIONS => {
                self.transactions[partition].note(offset, Millis(payment.at));
            }
            Message::Unreadable(at) if topic == TRANSACTIONS => self.transactions[partition].note(offset, Millis(*at)),
            Message::Decision(record) => {
                let Records { full, fallbacks } = &mut self.decisions[partition];
                let at = Millis(record.payment.at);
                match record.revision {
                    None => fallbacks.note(offset, at),
                    Some(0) => full.note(offset, at),
                    Some(_) => {}
                }
                full.pass(offset + 1);
                fallbacks.pass(offset + 1);
            }
            _ => {}
        }
    }
}

/// A message in its turn.
pub(super) struct Merged {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) message: Message,
    pub(super) late: bool,
    lane: usize,
}

impl Reader {
    /// From `positions`, by lane; without them from the beginning.
    pub(super) fn new(options: MergeOptions, positions: Option<&[i64]>, inexact: bool, bug: Option<Bug>) -> Self {
        let mut lanes = Vec::new();
        for topic in [TRANSACTIONS, LABELS, DECISIONS] {
            for partition in 0..PARTITIONS[topic] {
                let fetched = positions.map_or(0, |positions| positions[lanes.len()]);
                lanes.push(Lane { topic, partition, fetched, merged: fetched, asked: Moment::ZERO, stalled: false });
            }
        }
        let settle = options.settle;
        let options =
            if bug == Some(Bug::SettleIgnored) { MergeOptions { settle: Duration::ZERO, ..options } } else { options };
        let frontiers = Frontiers::new(&lanes, bug);
        Self { settle, merge: Merge::new(lanes.len(), options), lanes, inexact, late: 0, frontiers }
    }

    /// Looks at some lanes.
    pub(super) fn poll(&mut self, kafka: &Kafka, now: Moment, dice: &mut Dice) {
        for lane in 0..self.lanes.len() {
            if dice.chance(50) {
                self.look(lane, 1 + dice.below(6), kafka, now);
            }
        }
    }

    /// Looks at the lanes that were not looked at for `settle`, as a reader does that always asks; then the next message.
    pub(super) fn next(&mut self, kafka: &Kafka, now: Moment) -> Option<Merged> {
        for lane in 0..self.lanes.len() {
            if self.lanes[lane].asked + self.settle <= now {
                self.look(lane, 6, kafka, now);
            }
            if self.lanes[lane].asked + self.settle < now {
                self.merge.doubt(lane, now);
            }
        }
        let Next::Item(popped) = self.merge.pop(now) else { return None };
        self.inexact |= popped.late;
        self.late += usize::from(popped.late);
        let partition = self.lanes[popped.lane].partition as i32;
        let Item { offset, message } = popped.item;
        Some(Merged { partition, offset, message, late: popped.late, lane: popped.lane })
    }

    /// The message is applied.
    pub(super) fn applied(&mut self, merged: &Merged) {
        self.lanes[merged.lane].merged = merged.offset + 1;
    }

    /// Where the reader is in a topic, by partition; `fetched` is the planted fault.
    pub(super) fn positions(&self, topic: usize, fetched: bool) -> Vec<i64> {
        let position = |(place, lane): (usize, &Lane)| {
            if fetched || self.merge.queued(place) == 0 { lane.fetched } else { lane.merged }
        };
        self.lanes.iter().enumerate().filter(|(_, lane)| lane.topic == topic).map(position).collect()
    }

    pub(super) fn is_at_rest(&self, kafka: &Kafka) -> bool {
        let ended = |lane: &Lane| lane.fetched == kafka.topics[lane.topic][lane.partition].end;
        self.merge.is_empty() && self.lanes.iter().all(ended)
    }

    fn look(&mut self, lane: usize, most: usize, kafka: &Kafka, now: Moment) {
        let held = &mut self.lanes[lane];
        if kafka.away || held.stalled || self.merge.queued(lane) >= MOST_QUEUED {
            return;
        }
        let log = &kafka.topics[held.topic][held.partition];
        let (entries, next) = log.fetch(held.fetched, most);
        (held.fetched, held.asked) = (next, now);
        for entry in entries {
            self.frontiers.note(held.topic, held.partition, entry.offset, &entry.message);
            self.merge.push(lane, now, Item { offset: entry.offset, message: entry.message.clone() });
        }
        if next == log.end {
            self.merge.at_end(lane, now);
        }
    }
}
