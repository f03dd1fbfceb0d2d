//! Whether completeness is ever told too early: what the destination shows is compared with the logs; and the person who
//! looks after dead letters.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::audit::{Seen, Spot, State, View};
use super::bug::Bug;
use super::dice::Dice;
use super::judge::Truth;
use super::kafka::{DECISIONS, Entry, Kafka, PARTITIONS, REJECTED, TRANSACTIONS};
use super::record::{Code, Message, Payment, Rejected};
use super::traffic::remember;
use super::world::World;

/// Rounds in which a world at rest must be complete.
const MOST_ROUNDS: usize = 60;

/// Somebody who sends letters again, or dismisses them.
#[derive(Debug)]
pub(super) struct Operator {
    pub(super) dice: Dice,
    /// How late a transaction may arrive, as the auditors are configured.
    pub(super) allow_late: i64,
    /// Where letters were sent to again, once each.
    resent: BTreeMap<Spot, Spot>,
    /// Sent again, and not marked yet.
    unmarked: Vec<(Rejected, Spot)>,
    dismissed: BTreeSet<Spot>,
    mended: usize,
}

impl Operator {
    pub(super) fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5EED_0F0D);
        let allow_late = [0, 0, 50, 500][dice.below(4)];
        let (resent, unmarked, dismissed) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        Self { dice, allow_late, resent, unmarked, dismissed, mended: 0 }
    }
}

/// A while of everybody's work on completeness.
pub(super) fn event(world: &mut World) {
    if world.operator.dice.chance(15) {
        look_after_a_letter(world);
    }
    mark(world, 50, 8);
    for name in 0..world.nodes.len() {
        if world.operator.dice.chance(60) {
            audit(world, name);
        }
    }
    // A session whose process is gone is missed, sooner or later.
    let alive = |auditor: (usize, u64)| world.nodes.iter().flatten().any(|node| node.me == auditor);
    if world.postgres.audit.auditor.is_some_and(|auditor| !alive(auditor)) && world.operator.dice.chance(30) {
        world.postgres.audit.auditor = None;
        world.tally.count("auditors that are gone", 1);
    }
    judge(world);
}

fn audit(world: &mut World, name: usize) {
    let World { kafka, postgres, nodes, operator, now, tally, .. } = world;
    let Some(node) = &mut nodes[name] else { return };
    let when = (*now, operator.allow_late);
    node.auditor.step((kafka, postgres), &mut node.reader.frontiers, when, &mut operator.dice, tally);
}

/// Sends a letter again, as it came or mended, or dismisses it.
fn look_after_a_letter(world: &mut World) {
    let World { kafka, postgres, operator, tally, traffic, .. } = world;
    let Operator { dice, resent, unmarked, dismissed, mended, .. } = operator;
    let letters: Vec<Rejected> = letters(kafka).cloned().collect();
    let Some(letter) = letters.get(dice.below(letters.len())) else { return };
    let spot = (letter.partition, letter.offset);
    if dice.chance(40) || resent.contains_key(&spot) {
        if !postgres.away {
            tally.count("letters dismissed", 1);
            dismissed.insert(spot);
            postgres.audit.mark(letter, State::Closed);
        }
        return;
    }
    if kafka.away {
        return;
    }
    let log = &kafka.topics[TRANSACTIONS][letter.partition as usize];
    let Some(source) = log.entries.iter().find(|entry| entry.offset == letter.offset) else { return };
    let mut message = source.message.clone();
    if letter.code == Code::Unreadable && dice.chance(60) {
        // What could not be read now can: its sender's connector was mended.
        *mended += 1;
        let id: Rc<str> = format!("m{mended}").into();
        let payment = Rc::new(Payment { id: Rc::clone(&id), customer: 9, at: letter.at, amount: 7 });
        remember(&payment, tally);
        traffic.expect_row(&id);
        message = Message::Payment(payment);
    }
    let partition = dice.below(PARTITIONS[TRANSACTIONS]);
    kafka.append(TRANSACTIONS, partition, message, dice);
    let to = (partition as i32, kafka.ends(TRANSACTIONS)[partition] - 1);
    tally.count("letters sent again", 1);
    resent.insert(spot, to);
    unmarked.push((letter.clone(), to));
}

/// Marks what was sent again; whoever sent it may stop before.
fn mark(world: &mut World, often: usize, lost: usize) {
    let World { postgres, operator, bug, .. } = world;
    if postgres.away {
        return;
    }
    let dice = &mut operator.dice;
    operator.unmarked.retain(|(letter, to)| {
        if dice.chance(often) {
            let closed = *bug == Some(Bug::LetterClosedOnRetry);
            postgres.audit.mark(letter, if closed { State::Closed } else { State::Retried(*to) });
            return false;
        }
        !dice.chance(lost)
    });
}

fn letters(kafka: &Kafka) -> impl Iterator<Item = &Rejected> {
    kafka.entries(REJECTED).filter_map(|(_, entry)| match &entry.message {
        Message::Rejected(letter) => Some(letter),
        _ => None,
    })
}

/// What is shown now, against the logs.
fn judge(world: &mut World) {
    let Some(view) = world.postgres.view(world.bug) else { return };
    let Some((_, seen)) = world.postgres.audit.claim.clone() else { return };
    let told = Some((view, seen));
    // The logs only grow, and what was decided stays so.
    if world.told != told {
        let faults = early(world, view);
        world.tally.faults.extend(faults);
        world.told = told;
    }
}

fn early(world: &World, view: View) -> Vec<String> {
    let Some((_, seen)) = &world.postgres.audit.claim else { return Vec::new() };
    let truth = Truth::of(&world.kafka);
    let mut faults = Vec::new();
    let is_up_to = |at: i64, until: Option<i64>| until.is_some_and(|until| at <= until);
    for (partition, entry) in world.kafka.entries(TRANSACTIONS) {
        let Some(at) = time_of(entry) else { continue };
        let spot = (partition as i32, entry.offset);
        if !is_known(world, seen, spot) {
            continue;
        }
        let decided = truth.decides(entry);
        if is_up_to(at, view.decided) && !decided && !is_closed(world, &truth, spot) {
            faults.push(format!("{spot:?} of {at} has no decision and {:?} is told as decided", view.decided));
        }
        let Message::Payment(payment) = &entry.message else { continue };
        // Of two contents of an id that were both decided, that of the first record is the transaction's.
        let at = if decided { truth.first.get(&payment.id).map_or(at, |first| first.payment.at) } else { at };
        let stored = world.postgres.decisions.get(&(Rc::clone(&payment.id), 0));
        let applied = stored.is_some_and(|stored| stored.applied);
        if is_up_to(at, view.applied) && !is_closed(world, &truth, spot) && !applied {
            faults.push(format!("the row of {} of {at} is not completed and {:?} is told", payment.id, view.applied));
        }
    }
    for (_, entry) in world.kafka.entries(DECISIONS).filter(|(_, entry)| entry.order < seen.decisions) {
        let Message::Decision(record) = &entry.message else { continue };
        let (id, at) = (&record.payment.id, record.payment.at);
        let open = record.revision.is_none() && !truth.first.contains_key(id);
        if open && !world.postgres.audit.dismissed.contains(id) && is_up_to(at, view.decided) {
            faults.push(format!("{id} of {at} has a fallback alone and {:?} is told as decided", view.decided));
        }
    }
    faults
}

/// Whether a claim has to know of this message: it was there and, where the partition is not in the order of time, read. What
/// was sent again stands for its letter, unless that was dismissed.
fn is_known(world: &World, seen: &Seen, spot: Spot) -> bool {
    if spot.1 < seen.read[spot.0 as usize] {
        return true;
    }
    match world.operator.resent.iter().find(|(_, to)| **to == spot) {
        Some((letter, _)) => !is_dismissed(world, *letter) && is_known(world, seen, *letter),
        None => {
            let there = |entry: &Entry| entry.offset == spot.1 && entry.order < seen.transactions;
            world.traffic.calm && world.kafka.topics[TRANSACTIONS][spot.0 as usize].entries.iter().any(there)
        }
    }
}

fn time_of(entry: &Entry) -> Option<i64> {
    match &entry.message {
        Message::Payment(payment) => Some(payment.at),
        Message::Unreadable(at) => Some(*at),
        _ => None,
    }
}

fn is_dismissed(world: &World, letter: Spot) -> bool {
    world.operator.dismissed.contains(&letter)
}

/// Whether a letter of this message was dismissed, or what was sent again for it has a decision or a closed letter.
fn is_closed(world: &World, truth: &Truth, spot: Spot) -> bool {
    if is_dismissed(world, spot) {
        return true;
    }
    let Some(to) = world.operator.resent.get(&spot) else { return false };
    let log = &world.kafka.topics[TRANSACTIONS][to.0 as usize];
    let entry = log.entries.iter().find(|entry| entry.offset == to.1);
    entry.is_some_and(|entry| truth.decides(entry)) || is_closed(world, truth, *to)
}

/// At rest and looked after, all is complete up to now.
pub(super) fn end(world: &mut World) {
    let mut found = None;
    for round in 0..MOST_ROUNDS {
        let open: Vec<Rejected> = letters(&world.kafka).cloned().collect();
        if round > 20 {
            mark(world, 100, 0);
            for letter in open {
                world.operator.dismissed.insert((letter.partition, letter.offset));
                world.postgres.audit.mark(&letter, State::Closed);
            }
            let ids = world.postgres.fallbacks.values().map(|fallback| Rc::clone(&fallback.payment.id));
            world.postgres.audit.dismissed.extend(ids);
        }
        let alive = |auditor: (usize, u64)| world.nodes.iter().flatten().any(|node| node.me == auditor);
        if world.postgres.audit.auditor.is_some_and(|auditor| !alive(auditor)) {
            world.postgres.audit.auditor = None;
        }
        for name in 0..world.nodes.len() {
            (0..8).for_each(|_| audit(world, name));
        }
        judge(world);
        found = world.postgres.view(world.bug);
    }
    let right = world.postgres.audit.claim.as_ref().map(|(claim, _)| claim.as_of.0 - world.operator.allow_late);
    let right = View { decided: right, applied: right };
    if found != Some(right) {
        let claim = &world.postgres.audit.claim;
        world.tally.faults.push(format!("at rest {found:?} is told and {right:?} is right: {claim:?}"));
    }
}
