//! Lanes: every partition of the topics under one number, and how far each is merged.

use std::sync::Arc;

use super::item::Topic;
use super::reader::Held;
use super::topics::Partitions;

/// Next offsets by partition: everything below is merged and applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Positions {
    pub(super) transactions: Vec<i64>,
    pub(super) labels: Vec<i64>,
    pub(super) decisions: Vec<i64>,
}

impl Positions {
    pub(super) fn of(&self, topic: Topic) -> &[i64] {
        match topic {
            Topic::Transactions => &self.transactions,
            Topic::Labels => &self.labels,
            Topic::Decisions => &self.decisions,
        }
    }

    pub(super) fn of_mut(&mut self, topic: Topic) -> &mut Vec<i64> {
        match topic {
            Topic::Transactions => &mut self.transactions,
            Topic::Labels => &mut self.labels,
            Topic::Decisions => &mut self.decisions,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    partitions: Partitions,
    applied: Positions,
    /// Merged in the batch at hand, applied when that is followed.
    merged: Vec<(Topic, i32, i64)>,
    /// Whether an end was seen, by lane.
    ended: Vec<bool>,
    held: Vec<bool>,
    holds: [Arc<Held>; 3],
}

impl Lanes {
    /// Lanes that begin at `positions`; `holds` of transactions, labels, decisions.
    pub(super) fn new(partitions: Partitions, positions: Positions, holds: [Arc<Held>; 3]) -> Self {
        let lanes = partitions.transactions + partitions.labels + partitions.decisions;
        let (ended, held) = (vec![false; lanes], vec![false; lanes]);
        Self { partitions, applied: positions, merged: Vec::new(), ended, held, holds }
    }

    pub(super) const fn len(&self) -> usize {
        self.partitions.transactions + self.partitions.labels + self.partitions.decisions
    }

    pub(super) fn lane(&self, topic: Topic, partition: i32) -> usize {
        let partition = usize::try_from(partition).unwrap_or(0);
        match topic {
            Topic::Transactions => partition,
            Topic::Labels => self.partitions.transactions + partition,
            Topic::Decisions => self.partitions.transactions + self.partitions.labels + partition,
        }
    }

    fn place(&self, lane: usize) -> (Topic, usize) {
        let Partitions { transactions, labels, .. } = self.partitions;
        if lane < transactions {
            (Topic::Transactions, lane)
        } else if lane < transactions + labels {
            (Topic::Labels, lane - transactions)
        } else {
            (Topic::Decisions, lane - transactions - labels)
        }
    }

    /// Holds a lane, or lets it go on.
    pub(super) fn hold(&mut self, lane: usize, hold: bool) {
        let (topic, partition) = self.place(lane);
        if let Some(held) = self.held.get_mut(lane)
            && *held != hold
        {
            *held = hold;
            let [transactions, labels, decisions] = &self.holds;
            let holds = match topic {
                Topic::Transactions => transactions,
                Topic::Labels => labels,
                Topic::Decisions => decisions,
            };
            holds.set(partition, hold);
        }
    }

    /// Lets a held lane go on when no more than `least` items wait in it.
    pub(super) fn release(&mut self, lane: usize, queued: usize, least: usize) {
        if queued <= least && self.held.get(lane).copied().unwrap_or(false) {
            self.hold(lane, false);
        }
    }

    pub(super) fn ended(&mut self, topic: Topic, partition: i32) {
        let lane = self.lane(topic, partition);
        if let Some(ended) = self.ended.get_mut(lane) {
            *ended = true;
        }
    }

    /// Whether a lane's end was seen once.
    pub(super) fn has_ended(&self, lane: usize) -> bool {
        self.ended.get(lane).copied().unwrap_or(false)
    }

    pub(super) fn merged(&mut self, topic: Topic, partition: i32, offset: i64) {
        self.merged.push((topic, partition, offset));
    }

    /// What was merged is applied.
    pub(super) fn apply(&mut self) {
        for (topic, partition, offset) in self.merged.drain(..) {
            let positions = self.applied.of_mut(topic);
            if let Some(position) = usize::try_from(partition).ok().and_then(|place| positions.get_mut(place)) {
                *position = (*position).max(offset + 1);
            }
        }
    }

    pub(super) const fn positions(&self) -> &Positions {
        &self.applied
    }
}
