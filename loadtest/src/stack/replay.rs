//! Payments and their labels into Kafka in the order of their time.
//!
//! Invariant: a label, and every payment before, is acknowledged before a later payment is sent. With a slice of more than
//! one, payments that follow each other in time leave together and are acknowledged together, which is faster and lets
//! a reader see those of one slice in another order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay::base::clock::Millis;
use assay::transaction::Transaction;
use serde::Serialize;

use super::lag::Departures;
use super::pace::Pace;
use super::payments::body;
use super::producer::{Outgoing, Producer};
use super::servers::Servers;

/// One thing to send: when it happened, and the number of the payment it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Event {
    at: Millis,
    kind: Kind,
    number: usize,
}

/// Labels come first at the same time, as the merge has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Label,
    Payment,
}

/// Which verdicts are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Verdicts {
    /// None.
    None,
    /// Those of fraud; a payment without one counts as genuine.
    Fraud,
    /// Every one.
    All,
}

/// Payments and labels in the order of sending; labels that come after the last payment are left out.
pub(crate) fn plan(payments: &[Transaction], verdicts: Verdicts, delay: Duration) -> Vec<Event> {
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX / 2);
    let last = payments.iter().map(|payment| payment.occurred_at).max().unwrap_or_default();
    let mut events = Vec::with_capacity(payments.len());
    for (number, payment) in payments.iter().enumerate() {
        events.push(Event { at: payment.occurred_at, kind: Kind::Payment, number });
        let wanted = match verdicts {
            Verdicts::None => false,
            Verdicts::Fraud => payment.is_fraud == Some(true),
            Verdicts::All => payment.is_fraud.is_some(),
        };
        let at = Millis(payment.occurred_at.0.saturating_add(delay));
        if wanted && at <= last {
            events.push(Event { at, kind: Kind::Label, number });
        }
    }
    // Stable: payments of one moment keep the file's order.
    events.sort_by_key(|event| (event.at, event.kind));
    events
}

/// Whether everything sent must be acknowledged before `next` is sent.
fn is_barrier(before: &Event, next: &Event, since: usize, slice: usize) -> bool {
    before.kind != next.kind || (next.at > before.at && since >= slice)
}

/// A label as it stands on its topic: the verdict, and the payment it is about.
#[derive(Serialize)]
struct Label<'a> {
    is_fraud: bool,
    labelled_at: Millis,
    source: &'a str,
    #[serde(flatten)]
    payment: &'a Transaction,
}

/// How it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// Payments a second, at most.
    pub(crate) rate: f64,
    /// Moments whose payments are acknowledged together.
    pub(crate) slice: usize,
    /// Raised when what was sent is enough.
    pub(crate) enough: Arc<AtomicBool>,
    /// Where payments that leave are noted.
    pub(crate) departures: Arc<Departures>,
}

/// What was sent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Sent {
    pub(crate) payments: u64,
    pub(crate) labels: u64,
    pub(crate) seconds: f64,
}

/// Sends all of it, or what was enough; blocks. An outage of Kafka is waited out for `patience`.
pub(crate) fn send(
    servers: &Servers,
    payments: &[Transaction],
    events: &[Event],
    sending: &Sending,
    patience: Duration,
) -> anyhow::Result<Sent> {
    let producer = Producer::open(servers, Duration::ZERO)?;
    let (begun, pace) = (Instant::now(), Pace::new(sending.rate));
    let mut sent = Sent { payments: 0, labels: 0, seconds: 0.0 };
    let (mut before, mut since): (Option<&Event>, usize) = (None, 0);
    for event in events {
        if sending.enough.load(Ordering::Relaxed) {
            break;
        }
        if before.is_some_and(|before| is_barrier(before, event, since, sending.slice.max(1))) {
            producer.settle(patience)?;
            since = 0;
        }
        if before.is_none_or(|before| before.at != event.at) {
            since += 1;
        }
        before = Some(event);
        let Some(payment) = payments.get(event.number) else { continue };
        match event.kind {
            Kind::Payment => {
                let payload = body(payment)?;
                pace.wait(sent.payments);
                sending.departures.note(event.number);
                let topic = &servers.transactions;
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &payload })?;
                sent.payments += 1;
            }
            Kind::Label => {
                // The payment's own verdict is the label's.
                let (is_fraud, bare) =
                    (payment.is_fraud == Some(true), Transaction { is_fraud: None, ..payment.clone() });
                let label = Label { is_fraud, labelled_at: event.at, source: "chargeback", payment: &bare };
                let payload = serde_json::to_vec(&label)?;
                let topic = &servers.labels;
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &payload })?;
                sent.labels += 1;
            }
        }
    }
    producer.settle(patience)?;
    sent.seconds = begun.elapsed().as_secs_f64();
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payments(times: &[(i64, bool)]) -> Vec<Transaction> {
        let mut source = super::super::payments::Payments::new(1).unwrap();
        let payment = |(at, fraud): &(i64, bool)| Transaction {
            occurred_at: Millis(*at),
            is_fraud: Some(*fraud),
            ..source.next()
        };
        times.iter().map(payment).collect()
    }

    #[test]
    fn a_label_comes_before_the_payments_of_its_moment_and_none_after_the_last() {
        let payments = payments(&[(0, true), (5, false), (10, true), (10, false)]);
        let order = |verdicts| -> Vec<(i64, bool, usize)> {
            let events = plan(&payments, verdicts, Duration::from_millis(10));
            events.iter().map(|event| (event.at.0, event.kind == Kind::Label, event.number)).collect()
        };
        assert_eq!(
            order(Verdicts::Fraud),
            [(0, false, 0), (5, false, 1), (10, true, 0), (10, false, 2), (10, false, 3)]
        );
        assert_eq!(order(Verdicts::None).len(), 4);
        assert_eq!(order(Verdicts::All).len(), 5);
    }

    #[test]
    fn nothing_later_leaves_before_what_is_earlier_is_acknowledged() {
        let payment = |at| Event { at: Millis(at), kind: Kind::Payment, number: 0 };
        let label = |at| Event { kind: Kind::Label, ..payment(at) };
        assert!(is_barrier(&payment(1), &payment(2), 1, 1));
        assert!(!is_barrier(&payment(1), &payment(1), 1, 1));
        assert!(is_barrier(&payment(1), &label(2), 1, 100) && is_barrier(&label(2), &payment(2), 1, 100));
        assert!(!is_barrier(&payment(1), &payment(2), 99, 100) && is_barrier(&payment(1), &payment(2), 100, 100));
    }
}
