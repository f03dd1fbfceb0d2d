//! Lanes: every partition of the topics under one number, and how far each is merged.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::by_topic::ByTopic;
use super::item::Topic;

/// Next offsets by partition: everything below is merged and applied.
pub(super) type Positions = ByTopic<Vec<i64>>;

/// Which lanes are to be held: set by the merge, looked at by the readers.
#[derive(Debug)]
pub(super) struct Held(Vec<AtomicBool>);

impl Held {
    pub(super) fn get(&self, lane: usize) -> bool {
        self.0.get(lane).is_some_and(|held| held.load(Ordering::Relaxed))
    }

    fn set(&self, lane: usize, hold: bool) {
        // The readers look often: what stays as it is is not written.
        if self.get(lane) != hold
            && let Some(held) = self.0.get(lane)
        {
            held.store(hold, Ordering::Relaxed);
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lanes {
    /// The lane of each topic's first partition.
    first: ByTopic<usize>,
    applied: Positions,
    /// Merged in the batch at hand, applied when that is followed.
    merged: Vec<(Topic, i32, i64)>,
    /// Whether an end was seen, by lane.
    ended: Vec<bool>,
    held: Arc<Held>,
}

impl Lanes {
    /// Lanes that begin at `positions`.
    pub(super) fn new(positions: Positions) -> Self {
        let mut lanes = 0;
        let first = ByTopic::of(|topic| {
            let first = lanes;
            lanes += positions[topic].len();
            first
        });
        let held = Arc::new(Held((0..lanes).map(|_| AtomicBool::new(false)).collect()));
        Self { first, applied: positions, merged: Vec::new(), ended: vec![false; lanes], held }
    }

    pub(super) const fn len(&self) -> usize {
        self.ended.len()
    }

    pub(super) fn lane(&self, topic: Topic, partition: i32) -> usize {
        self.first[topic] + usize::try_from(partition).unwrap_or(0)
    }

    /// The lanes of a topic.
    pub(super) fn of(&self, topic: Topic) -> Range<usize> {
        self.first[topic]..self.first[topic] + self.applied[topic].len()
    }

    pub(super) fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held)
    }

    /// Holds a lane, or lets it go on.
    pub(super) fn hold(&self, lane: usize, hold: bool) {
        self.held.set(lane, hold);
    }

    /// Lets a lane go on when no more than `least` items wait in it.
    pub(super) fn release(&self, lane: usize, queued: usize, least: usize) {
        if queued <= least {
            self.held.set(lane, false);
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
            let positions = &mut self.applied[topic];
            if let Some(position) = usize::try_from(partition).ok().and_then(|place| positions.get_mut(place)) {
                *position = (*position).max(offset + 1);
            }
        }
    }

    pub(super) const fn positions(&self) -> &Positions {
        &self.applied
    }
}
