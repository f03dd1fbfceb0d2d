//! The invariants, from the logs alone: what the instances and the destination hold is compared with a recount.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::history::History;
use super::kafka::{DECISIONS, Entry, Kafka, LABELS, REJECTED, TRANSACTIONS, partition_of};
use super::record::{Code, Made, Message, Record, RecordId};
use super::recount;
use super::world::World;

type Id = Rc<str>;

/// What the logs say.
pub(super) struct Truth {
    /// The first full record of each id, and of each of its higher revisions.
    pub(super) first: BTreeMap<Id, Rc<Record>>,
    higher: BTreeMap<Id, Rc<Record>>,
    /// Every full record with its offset, by id.
    full: BTreeMap<Id, Vec<(i64, Rc<Record>)>>,
    superseded: BTreeSet<RecordId>,
    rejected: BTreeMap<(i32, i64), BTreeSet<Code>>,
}

impl Truth {
    pub(super) fn of(kafka: &Kafka) -> Self {
        let (mut first, mut higher) = (BTreeMap::new(), BTreeMap::new());
        let (mut full, mut superseded) = (BTreeMap::<Id, Vec<_>>::new(), BTreeSet::new());
        for (_, entry) in kafka.entries(DECISIONS) {
            let Message::Decision(record) = &entry.message else { continue };
            let id = Rc::clone(&record.payment.id);
            let of_revision = match record.revision {
                None => continue,
                Some(0) => {
                    full.entry(Rc::clone(&id)).or_default().push((entry.offset, Rc::clone(record)));
                    &mut first
                }
                Some(_) => &mut higher,
            };
            let settled: &Rc<Record> = of_revision.entry(id).or_insert_with(|| Rc::clone(record));
            if settled.record != record.record {
                superseded.insert(record.record);
            }
        }
        let mut rejected = BTreeMap::<_, BTreeSet<Code>>::new();
        for (_, entry) in kafka.entries(REJECTED) {
            let Message::Rejected(letter) = &entry.message else { continue };
            rejected.entry((letter.partition, letter.offset)).or_default().insert(letter.code);
        }
        Self { first, higher, full, superseded, rejected }
    }

    /// Whether the log holds what became of this message.
    fn accounts_for(&self, partition: usize, entry: &Entry) -> bool {
        self.rejected.contains_key(&(partition as i32, entry.offset)) || self.decides(entry)
    }

    /// Whether the log holds a full decision of this message.
    pub(super) fn decides(&self, entry: &Entry) -> bool {
        let Message::Payment(payment) = &entry.message else { return false };
        let records = self.full.get(&payment.id).map(Vec::as_slice).unwrap_or_default();
        records.iter().any(|(_, record)| record.payment == *payment)
    }
}

/// Nothing is committed whose effects are not in the log.
pub(super) fn commits(world: &mut World) {
    let committed = world.kafka.scoring.committed.clone();
    world.judged.resize(committed.len(), 0);
    if committed == world.judged {
        return;
    }
    let truth = Truth::of(&world.kafka);
    for (partition, entry) in world.kafka.entries(TRANSACTIONS) {
        let new = entry.offset >= world.judged[partition] && entry.offset < committed[partition];
        if new && !truth.accounts_for(partition, entry) {
            let (offset, upto) = (entry.offset, committed[partition]);
            world.tally.faults.push(format!("{upto} of {partition} is committed and {offset} is not acknowledged"));
        }
    }
    world.judged = committed;
}

/// Everything that must hold at the end.
pub(super) fn end(world: &mut World) -> Vec<String> {
    let truth = Truth::of(&world.kafka);
    let mut faults = std::mem::take(&mut world.tally.faults);
    faults.extend(world.kafka.scoring.faults.iter().map(|fault| format!("scoring group: {fault}")));
    faults.extend(world.kafka.writing.faults.iter().map(|fault| format!("writing group: {fault}")));
    one_decision(world, &truth, &mut faults);
    letters(world, &truth, &mut faults);
    rows(world, &truth, &mut faults);
    instances(world, &truth, &mut faults);
    answers(world, &truth, &mut faults);
    let compared = recount::features(world, truth.first.values(), &mut faults);
    let codes = truth.rejected.values().flatten();
    let conflicts = codes.filter(|code| **code == Code::Conflict).count();
    let answers = world.tally.answers.len();
    for (what, times) in [
        ("answers", answers),
        ("features compared with a recount", compared),
        ("answers with the first record", world.tally.answers.iter().filter(|answer| answer.after_first).count()),
        ("rows with a higher revision", truth.higher.len()),
        ("records superseded", truth.superseded.len()),
        ("offsets rejected", truth.rejected.len()),
        ("offsets rejected as conflicts", conflicts),
        ("rebalances", world.kafka.scoring.rebalances),
    ] {
        world.tally.count(what, times);
    }
    faults
}

fn one_decision(world: &World, truth: &Truth, faults: &mut Vec<String>) {
    for (partition, entry) in world.kafka.entries(TRANSACTIONS) {
        if !truth.accounts_for(partition, entry) {
            faults.push(format!("lost: {partition}/{} {:?}", entry.offset, entry.message));
        }
        if let Message::Payment(payment) = &entry.message
            && !truth.first.contains_key(&payment.id)
        {
            faults.push(format!("{} has no decision", payment.id));
        }
    }
    for ((process, id), records) in world.tally.made.iter().filter(|(_, records)| records.len() > 1) {
        faults.push(format!("process {process} scored {id} {} times", records.len()));
    }
    for (id, records) in &truth.full {
        for (_, record) in records {
            let Made::Stream { ends, .. } = &record.made else { continue };
            let end = ends.get(partition_of(id)).copied().unwrap_or_default();
            if records.iter().any(|(offset, other)| *offset < end && other.record != record.record) {
                faults.push(format!("{id} was decided when ownership began and was scored again"));
            }
        }
    }
}

fn letters(world: &World, truth: &Truth, faults: &mut Vec<String>) {
    let messages: BTreeMap<(i32, i64), &Message> = world
        .kafka
        .entries(TRANSACTIONS)
        .map(|(partition, entry)| ((partition as i32, entry.offset), &entry.message))
        .collect();
    for (place, codes) in &truth.rejected {
        let right = match messages.get(place) {
            Some(Message::Unreadable(_)) => [Code::Unreadable],
            Some(Message::Payment(payment)) if world.tally.payments[&payment.id].len() > 1 => [Code::Conflict],
            other => {
                faults.push(format!("{place:?} is rejected as {codes:?}: {other:?}"));
                continue;
            }
        };
        if codes != &BTreeSet::from(right) {
            faults.push(format!("{place:?} is rejected as {codes:?}"));
        }
    }
}

fn rows(world: &World, truth: &Truth, faults: &mut Vec<String>) {
    for (id, row) in &world.postgres.rows {
        let right = truth.higher.get(id).or_else(|| truth.first.get(id)).map(|first| first.record);
        let found = row.as_ref().map(|row| row.record);
        if found != right {
            faults.push(format!("the row of {id} shows {found:?}, the first record is {right:?}"));
        }
    }
    for ((id, revision), stored) in &world.postgres.decisions {
        let of_revision = if *revision == 0 { &truth.first } else { &truth.higher };
        let right = of_revision.get(id).is_some_and(|first| first.record == stored.record.record);
        if !right || !stored.applied {
            faults
                .push(format!("the destination holds {:?} of {id}, applied {}", stored.record.record, stored.applied));
        }
    }
    let (found, right) = (world.postgres.decisions.len(), truth.first.len() + truth.higher.len());
    if found != right {
        faults.push(format!("the destination holds {found} decisions of {right}"));
    }
}

fn instances(world: &World, truth: &Truth, faults: &mut Vec<String>) {
    let mut history = History::default();
    truth.first.values().for_each(|first| history.insert(&first.payment));
    for (_, entry) in world.kafka.entries(LABELS) {
        if let Message::Verdict(verdict) = &entry.message {
            history.label(verdict);
        }
    }
    for node in world.up() {
        if node.memory.history != history {
            faults.push(format!("the history of {:?} is not what a recount gives", node.me));
        }
        if node.memory.superseded != truth.superseded {
            let (found, right) = (node.memory.superseded.len(), truth.superseded.len());
            faults.push(format!("{:?} counts {found} superseded of {right}", node.me));
        }
        for (id, first) in &truth.first {
            if node.memory.first(id).map(|known| known.record) != Some(first.record) {
                faults.push(format!("{:?} knows another decision of {id} than the first", node.me));
            }
        }
    }
}

fn answers(world: &World, truth: &Truth, faults: &mut Vec<String>) {
    for answer in &world.tally.answers {
        let (id, record) = (&answer.record.payment.id, answer.record.record);
        if answer.record.revision.is_none() && !answer.after_first {
            continue;
        }
        let first = truth.first.get(id).map(|first| first.record);
        if answer.after_first && first != Some(record) {
            faults.push(format!("{id} was answered with {record:?} after {first:?} was merged"));
        }
        if answer.committed && first != Some(record) && !truth.superseded.contains(&record) {
            faults.push(format!("{id} was answered as committed with {record:?}, which is not in the log"));
        }
    }
}
