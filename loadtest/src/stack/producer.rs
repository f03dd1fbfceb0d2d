//! What the harness sends to Kafka: idempotent, acknowledged by all replicas in sync, partitioned as assay does it.
//!
//! Invariant: every record is acknowledged or counted as failed; [`Producer::settle`] returns when none is under way.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};

use super::servers::Servers;

/// A record for a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) topic: &'a str,
    pub(crate) key: &'a str,
    pub(crate) payload: &'a [u8],
}

/// What became of the records, and where those with a number stand.
#[derive(Default)]
struct Acks {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    under_way: u64,
    acknowledged: u64,
    fault: Option<String>,
    places: Vec<(u64, i32, i64)>,
}

impl ClientContext for Acks {}

impl ProducerContext for Acks {
    /// The record's number where its place is asked for, else 0.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.under_way -= 1;
        match result {
            Ok(message) => {
                state.acknowledged += 1;
                if number > 0 {
                    state.places.push((number as u64, message.partition(), message.offset()));
                }
            }
            Err((error, _)) => state.fault = Some(error.to_string()),
        }
        self.changed.notify_all();
    }
}

/// Sends records.
pub(crate) struct Producer(ThreadedProducer<Acks>);

impl Producer {
    /// `linger`: how long records wait for others to share a request with.
    pub(crate) fn open(servers: &Servers, linger: Duration) -> anyhow::Result<Self> {
        let mut config = servers.client()?;
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        config.set("linger.ms", linger.as_millis().to_string()).set("queue.buffering.max.messages", "200000");
        Ok(Self(config.create_with_context(Acks::default())?))
    }

    /// Hands a record over; waits while the client's queue is full.
    pub(crate) fn send(&self, record: Outgoing<'_>) -> anyhow::Result<()> {
        self.hand_over(record, 0, None)
    }

    /// The same, and its place is kept under `number`, which is 1 or more.
    pub(crate) fn send_placed(
        &self,
        record: Outgoing<'_>,
        number: usize,
        headers: Option<OwnedHeaders>,
    ) -> anyhow::Result<()> {
        self.hand_over(record, number, headers)
    }

    fn hand_over(&self, record: Outgoing<'_>, number: usize, headers: Option<OwnedHeaders>) -> anyhow::Result<()> {
        let acks = self.0.context();
        acks.state.lock().unwrap_or_else(PoisonError::into_inner).under_way += 1;
        let Outgoing { topic, key, payload } = record;
        let mut next = BaseRecord::with_opaque_to(topic, number).key(key).payload(payload);
        if let Some(headers) = headers {
            next = next.headers(headers);
        }
        loop {
            match self.0.send(next) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    next = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => {
                    acks.state.lock().unwrap_or_else(PoisonError::into_inner).under_way -= 1;
                    return Err(error.into());
                }
            }
        }
    }

    /// Waits until every record is acknowledged; how many were so far.
    pub(crate) fn settle(&self, limit: Duration) -> anyhow::Result<u64> {
        let acks = self.0.context();
        let until = Instant::now() + limit;
        let mut state = acks.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.under_way > 0 {
            let rest = until.saturating_duration_since(Instant::now());
            ensure!(!rest.is_zero(), "{} records were not acknowledged within {} s", state.under_way, limit.as_secs());
            state = acks.changed.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
        match &state.fault {
            Some(fault) => bail!("Kafka refused a record: {fault}"),
            None => Ok(state.acknowledged),
        }
    }

    /// (number, partition, offset) of the records that were sent with one and are acknowledged.
    pub(crate) fn places(&self) -> Vec<(u64, i32, i64)> {
        std::mem::take(&mut self.0.context().state.lock().unwrap_or_else(PoisonError::into_inner).places)
    }
}
