//! An instance: reads everything, scores what it owns, answers `/predict`. It decides by the real merge and ownership; the
//! faults of [`Bug`] are planted here.

use std::collections::BTreeMap;

use super::super::Moment;
use super::super::merge::MergeOptions;
use super::super::ownership::{Ownership, Reread, Verdict};
use super::auditor::Auditor;
use super::bug::Bug;
use super::dice::Dice;
use super::group::Heard;
use super::kafka::{DECISIONS, Kafka, LABELS, TRANSACTIONS};
use super::line::{Line, Slot};
use super::memory::{Memory, Snapshot};
use super::reader::Reader;
use super::record::{Code, Message};
use super::tally::Tally;
use super::writer::Writer;

#[derive(Debug)]
pub(super) struct Node {
    /// Its name in the groups, and which process has it now.
    pub(super) me: (usize, u64),
    bug: Option<Bug>,
    pub(super) reader: Reader,
    pub(super) memory: Memory,
    pub(super) ownership: Ownership,
    generation: Option<u64>,
    rereads: Vec<Reread>,
    /// Of the decisions and of the transactions, when the owner was told last.
    positions: [Vec<i64>; 2],
    pub(super) line: Line,
    pub(super) writer: Writer,
    pub(super) auditor: Auditor,
    /// Does not hear from the groups, goes on as it is, and becomes a zombie.
    pub(super) cut_off: bool,
    /// Of the planted faults: the highest offset that is done, by partition; positions that were never committed.
    highest: BTreeMap<i32, i64>,
    unsent: Vec<(i32, i64)>,
}

impl Node {
    pub(super) fn start(me: (usize, u64), options: MergeOptions, from: Option<Snapshot>, bug: Option<Bug>) -> Self {
        let positions = from.as_ref().map(|from| from.positions.clone());
        let Snapshot { memory, inexact, .. } = from.unwrap_or_default();
        Self {
            me,
            bug,
            reader: Reader::new(options, positions.as_deref(), inexact, bug),
            memory,
            ownership: Ownership::new(),
            generation: None,
            rereads: Vec::new(),
            positions: Default::default(),
            line: Line::new(me.1, bug),
            writer: Writer::new(me, bug),
            auditor: Auditor::new(me, bug),
            cut_off: false,
            highest: BTreeMap::new(),
            unsent: Vec::new(),
        }
    }

    /// Merges at most `most` messages.
    pub(super) fn read(&mut self, most: usize, kafka: &Kafka, now: Moment, tally: &mut Tally) -> bool {
        let late = self.reader.late;
        let mut moved = false;
        for _ in 0..most {
            let Some(merged) = self.reader.next(kafka, now) else { break };
            moved = true;
            match &merged.message {
                Message::Verdict(verdict) => self.memory.label(verdict),
                Message::Decision(record) => {
                    if self.memory.decide(record, self.bug) {
                        self.line.settle(record, tally);
                    }
                }
                Message::Payment(payment) => {
                    self.memory.observe(payment, self.bug);
                    if let Some(slot) = self.meet(merged.partition, merged.offset) {
                        self.line.take(payment, slot, &self.memory, !merged.late);
                    }
                }
                Message::Unreadable(at) => {
                    if let Some(slot) = self.meet(merged.partition, merged.offset) {
                        self.line.reject(slot, Code::Unreadable, *at);
                    }
                }
                Message::Rejected(_) => {}
            }
            self.reader.applied(&merged);
            self.finish();
        }
        tally.count("records merged late", self.reader.late - late);
        moved
    }

    fn meet(&mut self, partition: i32, offset: i64) -> Option<Slot> {
        let owns = self.ownership.meet(partition, offset) == Verdict::Own;
        owns.then(|| Slot { partition, offset, epoch: self.ownership.epoch().unwrap_or_default() })
    }

    /// Tells the owner where the reader is, or was a while ago.
    pub(super) fn advance(&mut self, fresh: bool, tally: &mut Tally) {
        let positions = |topic| self.reader.positions(topic, self.bug == Some(Bug::AdvanceByWhatWasFetched));
        let now = [DECISIONS, TRANSACTIONS].map(positions);
        let before = std::mem::replace(&mut self.positions, now.clone());
        let [decisions, transactions] = if fresh { now } else { before };
        for reread in self.ownership.advance(&decisions, &transactions) {
            tally.count("re-reads", 1);
            self.rereads.push(reread);
        }
    }

    /// A part of what was to be read again, even where that ownership is over: the owner has to see that.
    pub(super) fn reread(&mut self, most: usize, kafka: &Kafka) {
        let Some(reread) = self.rereads.first_mut() else { return };
        let Reread { partition, from, to, epoch } = *reread;
        let (entries, next) = kafka.topics[TRANSACTIONS][partition as usize].fetch(from, most);
        if self.bug == Some(Bug::RereadSkipped) {
            self.rereads.remove(0);
            return self.ownership.reread_ended(partition, epoch);
        }
        if kafka.away {
            return;
        }
        reread.from = next;
        for entry in entries {
            if !self.ownership.reread(partition, entry.offset, epoch) {
                continue;
            }
            let slot = Slot { partition, offset: entry.offset, epoch };
            match &entry.message {
                Message::Payment(payment) => self.line.take(payment, slot, &self.memory, !self.reader.inexact),
                Message::Unreadable(at) => self.line.reject(slot, Code::Unreadable, *at),
                _ => {}
            }
        }
        if next >= to {
            self.rereads.remove(0);
            self.ownership.reread_ended(partition, epoch);
        }
        self.finish();
    }

    /// Scores some of what waits for it.
    pub(super) fn score(&mut self, most: usize, tally: &mut Tally) {
        self.line.score(most, tally);
        self.finish();
    }

    /// Lets sends go on their way, come back, or fail to.
    pub(super) fn send(&mut self, kafka: &mut Kafka, dice: &mut Dice, faultless: bool, tally: &mut Tally) {
        self.line.send(kafka, dice, faultless, &self.memory, tally);
        self.finish();
    }

    /// What became done since.
    fn finish(&mut self) {
        for Slot { partition, offset, epoch } in self.line.done.drain(..) {
            if Some(epoch) == self.ownership.epoch() {
                let highest = self.highest.entry(partition).or_default();
                *highest = (*highest).max(offset + 1);
            }
            self.ownership.done(partition, offset, epoch);
        }
    }

    /// Asks the group of those that score.
    pub(super) fn ask(&mut self, kafka: &mut Kafka, now: Moment, dice: &mut Dice, tally: &mut Tally) {
        if kafka.away || self.cut_off {
            return;
        }
        let (name, process) = self.me;
        match kafka.scoring.ask(name, process, now) {
            Heard::Fenced => {
                tally.count("owners fenced", usize::from(self.ownership.epoch().is_some()));
                self.lose();
                kafka.scoring.join(name, process, now);
            }
            Heard::Rejoin => {
                self.commit(kafka, dice, tally);
                self.lose();
                kafka.scoring.join(name, process, now);
            }
            Heard::Assigned(generation, partitions) if self.generation != Some(generation) => {
                let held: Vec<_> =
                    partitions.iter().map(|one| (*one, kafka.scoring.committed[*one as usize])).collect();
                let ends = kafka.ends(DECISIONS);
                let believed = if self.bug == Some(Bug::RipenessSkipped) { vec![0; ends.len()] } else { ends.clone() };
                self.ownership.assign(&held, &believed);
                self.line.ends = ends.into();
                self.generation = Some(generation);
                self.highest.clear();
            }
            Heard::Assigned(..) | Heard::Wait => {}
        }
    }

    fn lose(&mut self) {
        if self.bug == Some(Bug::CommitOfAnOldEpoch) {
            self.unsent.extend(self.ownership.commits());
        }
        self.ownership.revoke();
        self.generation = None;
    }

    pub(super) fn commit(&mut self, kafka: &mut Kafka, dice: &mut Dice, tally: &mut Tally) {
        let everywhere = self.bug == Some(Bug::CommitOfAnOldEpoch);
        if kafka.away {
            return;
        }
        if dice.chance(10) {
            return self.ownership.tell_again();
        }
        let mut positions = self.ownership.commits();
        if everywhere {
            positions.append(&mut self.unsent);
        } else if self.bug == Some(Bug::PrefixIgnoresGaps) {
            let committed = &kafka.scoring.committed;
            positions = self.highest.iter().map(|(one, next)| (*one, *next)).collect();
            positions.retain(|(partition, next)| *next > committed[*partition as usize]);
        }
        let generation = if everywhere { None } else { self.generation };
        if !positions.is_empty() && (everywhere || generation.is_some()) {
            let taken = kafka.scoring.commit(self.me, generation, &positions);
            tally.count(if taken { "commits" } else { "commits refused" }, 1);
        }
    }

    /// What a restart may begin with.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        let fetched = self.bug == Some(Bug::SnapshotOfWhatWasFetched);
        let positions = [TRANSACTIONS, LABELS, DECISIONS].map(|topic| self.reader.positions(topic, fetched)).concat();
        Snapshot { memory: self.memory.clone(), positions, inexact: self.reader.inexact }
    }

    /// Between which steps it is, in words: where a crash now would leave something.
    pub(super) fn points(&mut self) -> Vec<&'static str> {
        let mut points = self.line.points();
        points.extend(self.writer.point());
        points.extend(self.auditor.point());
        if !self.rereads.is_empty() {
            points.push("crashes during a re-read");
        }
        if !self.ownership.commits().is_empty() {
            points.push("crashes between acknowledgement and commit");
        }
        points
    }

    /// What still moves, in words; `None` when nothing does.
    pub(super) fn unrest(&self, kafka: &Kafka) -> Option<&'static str> {
        let checks = [
            (self.reader.is_at_rest(kafka), "the reader is not at the ends"),
            (self.ownership.is_ripe(), "ownership is not ripe"),
            (self.ownership.outstanding() == 0, "offsets are outstanding"),
            (self.rereads.is_empty(), "a re-read is not complete"),
            (self.line.is_at_rest(), "transactions are open"),
            (self.writer.is_at_rest(kafka), "the destination's offsets are not committed"),
        ];
        checks.into_iter().find(|(good, _)| !good).map(|(_, what)| what)
    }
}
