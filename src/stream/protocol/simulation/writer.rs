//! The consumer of a destination: a group of its own on the decisions; a batch is written, then its offsets committed.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::super::Moment;
use super::bug::Bug;
use super::dice::Dice;
use super::group::Heard;
use super::kafka::{DECISIONS, Kafka};
use super::postgres::Postgres;
use super::record::{Message, Record};

#[derive(Debug)]
pub(super) struct Writer {
    me: (usize, u64),
    bug: Option<Bug>,
    generation: Option<u64>,
    positions: BTreeMap<i32, i64>,
    batch: Option<Batch>,
}

#[derive(Debug)]
struct Batch {
    records: Vec<Rc<Record>>,
    /// Where each partition is after it.
    ends: Vec<(i32, i64)>,
    written: bool,
    committed: bool,
}

impl Writer {
    pub(super) fn new(me: (usize, u64), bug: Option<Bug>) -> Self {
        Self { me, bug, generation: None, positions: BTreeMap::new(), batch: None }
    }

    pub(super) fn ask(&mut self, kafka: &mut Kafka, now: Moment) {
        let (name, process) = self.me;
        match kafka.writing.ask(name, process, now) {
            Heard::Fenced | Heard::Rejoin => {
                (self.generation, self.batch) = (None, None);
                self.positions.clear();
                kafka.writing.join(name, process, now);
            }
            Heard::Assigned(generation, partitions) if self.generation != Some(generation) => {
                let committed = |partition: i32| (partition, kafka.writing.committed[partition as usize]);
                self.positions = partitions.into_iter().map(committed).collect();
                (self.generation, self.batch) = (Some(generation), None);
            }
            Heard::Assigned(..) | Heard::Wait => {}
        }
    }

    /// Gathers, writes, or commits: whatever is next.
    pub(super) fn step(&mut self, kafka: &mut Kafka, postgres: &mut Postgres, dice: &mut Dice) {
        let Some(batch) = &mut self.batch else { return self.gather(kafka, 1 + dice.below(5)) };
        let commits = batch.written || self.bug == Some(Bug::DestinationCommitsFirst);
        if commits && !batch.committed {
            if kafka.away {
                return;
            }
            batch.committed = true;
            if !kafka.writing.commit(self.me, self.generation, &batch.ends) {
                self.batch = None;
                return;
            }
        } else if !batch.written && !postgres.away {
            postgres.write(&batch.records, self.bug);
            batch.written = !dice.chance(15);
        }
        if batch.written && batch.committed {
            self.batch = None;
        }
    }

    fn gather(&mut self, kafka: &Kafka, most: usize) {
        if kafka.away {
            return;
        }
        let mut batch = Batch { records: Vec::new(), ends: Vec::new(), written: false, committed: false };
        for (partition, position) in &mut self.positions {
            let (entries, next) = kafka.topics[DECISIONS][*partition as usize].fetch(*position, most);
            batch.records.extend(entries.iter().filter_map(|entry| match &entry.message {
                Message::Decision(record) => Some(Rc::clone(record)),
                _ => None,
            }));
            if next > *position {
                *position = next;
                batch.ends.push((*partition, next));
            }
        }
        if !batch.ends.is_empty() {
            self.batch = Some(batch);
        }
    }

    pub(super) fn point(&self) -> Option<&'static str> {
        let written = self.batch.as_ref()?.written;
        Some(if written {
            "crashes between a destination's write and commit"
        } else {
            "crashes before a destination's write"
        })
    }

    pub(super) fn is_at_rest(&self, kafka: &Kafka) -> bool {
        self.generation.is_some() && self.batch.is_none() && kafka.writing.committed == kafka.ends(DECISIONS)
    }
}
