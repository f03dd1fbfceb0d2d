//! The invariants, from the logs alone: what the instances and the destination hold is compared with a recount.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::merge::Kind;
use super::history::History;
use super::kafka::{DECISIONS, Entry, Kafka, LABELS, REJECTED, TRANSACTIONS, partition_of};
use super::record::{Code, Features, Made, Message, Payment, Record, RecordId};
use super::world::World;

type Id = Rc<str>;

/// What the logs say.
struct Truth {
    /// The first full record of each id.
    first: BTreeMap<Id, Rc<Record>>,
    /// Every full record with its offset, by id.
    full: BTreeMap<Id, Vec<(i64, Rc<Record>)>>,
    superseded: BTreeSet<RecordId>,
    rejected: BTreeMap<(i32, i64), BTreeSet<Code>>,
}

impl Truth {
    fn of(kafka: &Kafka) -> Self {
        let (mut first, mut full, mut superseded) = (BTreeMap::new(), BTreeMap::<Id, Vec<_>>::new(), BTreeSet::new());
        for (_, entry) in kafka.entries(DECISIONS) {
            let Message::Decision(record) = &entry.message else { continue };
            if record.revision.is_none() {
                continue;
            }
            let id = Rc::clone(&record.payment.id);
            full.entry(Rc::clone(&id)).or_default().push((entry.offset, Rc::clone(record)));
            let settled: &Rc<Record> = first.entry(id).or_insert_with(|| Rc::clone(record));
            if settled.record != record.record {
                superseded.insert(record.record);
            }
        }
        let mut rejected = BTreeMap::<_, BTreeSet<Code>>::new();
        for (_, entry) in kafka.entries(REJECTED) {
            let Message::Rejected(letter) = &entry.message else { continue };
            rejected.entry((letter.partition, letter.offset)).or_default().insert(letter.code);
        }
        Self { first, full, superseded, rejected }
    }

    /// Whether the log holds what became of this message.
    fn accounts_for(&self, partition: usize, entry: &Entry) -> bool {
        let rejected = self.rejected.contains_key(&(partition as i32, entry.offset));
        let Message::Payment(payment) = &entry.message else { return rejected };
        let records = self.full.get(&payment.id).map(Vec::as_slice).unwrap_or_default();
        rejected || records.iter().any(|(_, record)| record.payment == *payment)
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

/// The offsets to which a world at rest is committed: everything that there is, but for gaps at the end.
pub(super) fn ends_of_work(kafka: &Kafka) -> Vec<i64> {
    kafka.ends(TRANSACTIONS)
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
    features(world, &truth, &mut faults);
    let codes = truth.rejected.values().flatten();
    let conflicts = codes.filter(|code| **code == Code::Conflict).count();
    let answers = world.tally.answers.len();
    for (what, times) in [
        ("answers", answers),
        ("answers with the first record", world.tally.answers.iter().filter(|answer| answer.after_first).count()),
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
            Some(Message::Unreadable) => [Code::Unreadable],
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
        let (found, right) = (row.as_ref().map(|row| row.record), truth.first.get(id).map(|first| first.record));
        if found != right {
            faults.push(format!("the row of {id} shows {found:?}, the first record is {right:?}"));
        }
    }
    for ((id, revision), stored) in &world.postgres.decisions {
        let right = truth.first.get(id).is_some_and(|first| first.record == stored.record.record);
        if !right || *revision != 0 || !stored.applied {
            faults
                .push(format!("the destination holds {:?} of {id}, applied {}", stored.record.record, stored.applied));
        }
    }
    if world.postgres.decisions.len() != truth.first.len() {
        faults.push(format!(
            "the destination holds {} decisions of {}",
            world.postgres.decisions.len(),
            truth.first.len()
        ));
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

/// A message that moves features: of whose, from when on, and where it stands in the logs.
struct Moving<'a> {
    message: &'a Message,
    order: usize,
    /// The largest (at, kind, id) before it in its lane.
    before: (i64, Kind, &'a str),
}

/// Decision features of the stream are those of a recount, where nothing came late and no wait was given up.
fn features(world: &mut World, truth: &Truth, faults: &mut Vec<String>) {
    if world.options.settle.is_zero() {
        return;
    }
    let mut compared = 0;
    let moving = moving(&world.kafka);
    for first in truth.first.values() {
        let Made::Stream { exact: true, .. } = first.made else { continue };
        if let Some(right) = recount(&first.payment, &moving, world) {
            compared += 1;
            if right != first.features {
                faults.push(format!(
                    "{} was scored with {:?}, a recount gives {right:?}",
                    first.payment.id, first.features
                ));
            }
        }
    }
    world.tally.count("features compared with a recount", compared);
}

fn moving(kafka: &Kafka) -> Vec<Moving<'_>> {
    let mut moving = Vec::new();
    for log in [TRANSACTIONS, LABELS, DECISIONS].into_iter().flat_map(|topic| &kafka.topics[topic]) {
        let mut before = (i64::MIN, Kind::Label, "");
        for entry in &log.entries {
            let full = !matches!(&entry.message, Message::Decision(record) if record.revision.is_none());
            if full && !matches!(entry.message, Message::Unreadable) {
                moving.push(Moving { message: &entry.message, order: entry.order, before });
            }
            before = before.max(entry.message.key());
        }
    }
    moving
}

/// The features of `own` from everything that was in the logs before it; `None` when something came after it or out of
/// its turn, so that what was known depends on the schedule.
fn recount(own: &Payment, moving: &[Moving<'_>], world: &World) -> Option<Features> {
    let key = (own.at, Kind::Transaction, &*own.id);
    let copies = |one: &&Moving<'_>| matches!(one.message, Message::Payment(payment) if payment.id == own.id);
    let order = moving.iter().filter(copies).map(|one| one.order).min()?;
    let contents = |id: &str| world.tally.payments.get(id).map_or(0, Vec::len);
    if contents(&own.id) != 1 {
        return None;
    }
    let (mut history, mut known, mut needed) = (History::default(), BTreeSet::new(), BTreeSet::new());
    for one in moving.iter().filter(|one| one.message.key() < key) {
        let in_turn = one.order < order && one.before < key;
        let (payment, place) = match one.message {
            Message::Payment(payment) => (payment, None),
            Message::Decision(record) => (&record.payment, None),
            Message::Verdict(verdict) if verdict.customer == own.customer => {
                let place = (Rc::clone(&verdict.id), Some((verdict.labelled_at, verdict.fraud)));
                needed.insert(place.clone());
                if in_turn {
                    known.insert(place);
                    history.label(verdict);
                }
                continue;
            }
            _ => continue,
        };
        if payment.id == own.id || (payment.customer != own.customer && contents(&payment.id) == 1) {
            continue;
        }
        if contents(&payment.id) != 1 {
            return None;
        }
        needed.insert((Rc::clone(&payment.id), place));
        if in_turn {
            known.insert((Rc::clone(&payment.id), place));
            history.insert(payment);
        }
    }
    (known == needed).then(|| history.read(own))
}
