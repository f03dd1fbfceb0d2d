//! Partition logs with gaps in their offsets, and two groups. A log takes what reaches it, as often as it reaches it.

use super::dice::Dice;
use super::group::Group;
use super::record::Message;

pub(super) const TRANSACTIONS: usize = 0;
pub(super) const LABELS: usize = 1;
pub(super) const DECISIONS: usize = 2;
pub(super) const REJECTED: usize = 3;
/// Partitions of each topic.
pub(super) const PARTITIONS: [usize; 4] = [3, 2, 3, 1];

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) offset: i64,
    /// Place among everything that was ever appended to any log.
    pub(super) order: usize,
    pub(super) message: Message,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: Vec<Entry>,
    pub(super) end: i64,
}

#[derive(Debug)]
pub(super) struct Kafka {
    pub(super) away: bool,
    pub(super) topics: [Vec<Log>; 4],
    /// Who scores which partition of the transactions.
    pub(super) scoring: Group,
    /// Who writes which partition of the decisions to the destination.
    pub(super) writing: Group,
    appended: usize,
}

impl Log {
    /// At most `most` entries from `from` on, and the offset after them.
    pub(super) fn fetch(&self, from: i64, most: usize) -> (&[Entry], i64) {
        let start = self.entries.partition_point(|entry| entry.offset < from);
        let end = self.entries.len().min(start + most);
        let next = if end == self.entries.len() { self.end } else { self.entries[end].offset };
        (&self.entries[start..end], next)
    }
}

impl Kafka {
    pub(super) fn new(keeps_names: bool) -> Self {
        let topics = PARTITIONS.map(|partitions| (0..partitions).map(|_| Log::default()).collect());
        let (scoring, writing) = (PARTITIONS[TRANSACTIONS], PARTITIONS[DECISIONS]);
        let (scoring, writing) = (Group::new(scoring, keeps_names), Group::new(writing, keeps_names));
        Self { away: false, topics, scoring, writing, appended: 0 }
    }

    pub(super) fn append(&mut self, topic: usize, partition: usize, message: Message, dice: &mut Dice) {
        let log = &mut self.topics[topic][partition];
        log.end += if dice.chance(15) { 1 + dice.below(3) as i64 } else { 0 };
        log.entries.push(Entry { offset: log.end, order: self.appended, message });
        log.end += 1;
        self.appended += 1;
    }

    /// How many messages were ever appended.
    pub(super) const fn appended(&self) -> usize {
        self.appended
    }

    pub(super) fn ends(&self, topic: usize) -> Vec<i64> {
        self.topics[topic].iter().map(|log| log.end).collect()
    }

    pub(super) fn entries(&self, topic: usize) -> impl Iterator<Item = (usize, &Entry)> {
        self.topics[topic]
            .iter()
            .enumerate()
            .flat_map(|(partition, log)| log.entries.iter().map(move |entry| (partition, entry)))
    }
}

/// Where an id's decisions are.
pub(super) fn partition_of(id: &str) -> usize {
    id.bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte))) % PARTITIONS[DECISIONS]
}
