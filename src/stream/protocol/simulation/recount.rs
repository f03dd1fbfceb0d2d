//! Features by a recount of the logs: what a decision of the stream must have been made from.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::merge::Kind;
use super::history::History;
use super::kafka::{DECISIONS, Kafka, LABELS, TRANSACTIONS};
use super::record::{Features, Made, Message, Payment, Record};
use super::world::World;

/// A message that moves features: of whose, from when on, and where it stands in the logs.
struct Moving<'a> {
    message: &'a Message,
    order: usize,
    /// The largest (at, kind, id) before it in its lane.
    before: (i64, Kind, &'a str),
}

/// Decision features of the stream are those of a recount, where nothing came late and no wait was given up.
pub(super) fn features<'a>(
    world: &World,
    first: impl Iterator<Item = &'a Rc<Record>>,
    faults: &mut Vec<String>,
) -> usize {
    if world.options.settle.is_zero() {
        return 0;
    }
    let mut compared = 0;
    let moving = moving(&world.kafka);
    for first in first {
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
    compared
}

fn moving(kafka: &Kafka) -> Vec<Moving<'_>> {
    let mut moving = Vec::new();
    for log in [TRANSACTIONS, LABELS, DECISIONS].into_iter().flat_map(|topic| &kafka.topics[topic]) {
        let mut before = (i64::MIN, Kind::Label, "");
        for entry in &log.entries {
            let full = !matches!(&entry.message, Message::Decision(record) if record.revision != Some(0));
            if full && !matches!(entry.message, Message::Unreadable(_)) {
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
