//! Dead letters: what is refused goes to a topic as it came, with the code and the place it came from.
//!
//! In: the original message, its place, and why: a rejection, or what a destination says of a record it can never keep. Out:
//! a record of the topic of dead letters; its acknowledgement settles the place. A poison message thus never stops a partition, and none is lost: while the topic of dead letters is away the
//! offsets behind it are not committed.

use std::sync::Arc;

use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};

use super::publisher::{Acknowledged, Outgoing, Publisher, header};
use crate::base::clock::Millis;
use crate::engine::follow::Original;

/// The header that says when the message happened or, where that is not known, was taken first. What is sent again keeps it.
pub(super) const SOURCE_TIME: &str = "assay-source-time";

/// The headers that a dead letter adds to those of its message.
pub(super) const HEADERS: [&str; 8] = [
    "assay-code",
    "assay-message",
    "assay-topic",
    "assay-partition",
    "assay-offset",
    "assay-time",
    SOURCE_TIME,
    "assay-destination",
];

/// Where a refused message stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The destination that refused it; empty: the stream did.
    pub(super) destination: &'a str,
    /// When it happened or, where that is not known, was taken first.
    pub(super) at: Millis,
    pub(super) now: Millis,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Why<'a> {
    /// Of the closed list of codes.
    pub(super) code: &'a str,
    pub(super) message: &'a str,
}

/// Writes to the topic of dead letters.
#[derive(Debug, Clone)]
pub(super) struct DeadLetters {
    pub(super) publisher: Arc<Publisher>,
    pub(super) topic: String,
}

impl DeadLetters {
    /// Publishes a message as it came; `told` when that is acknowledged.
    pub(super) fn bury(
        &self,
        original: &Original,
        why: Why<'_>,
        origin: &Origin<'_>,
        told: Acknowledged,
    ) -> Result<(), (KafkaError, Option<Acknowledged>)> {
        let mut outgoing = as_it_came(&self.topic, original);
        let (partition, offset) = (origin.partition.to_string(), origin.offset.to_string());
        let (time, at) = (origin.now.to_rfc3339(), origin.at.to_rfc3339());
        let values = [why.code, why.message, origin.topic, &partition, &offset, &time, &at, origin.destination];
        for (key, value) in HEADERS.into_iter().zip(values) {
            outgoing.headers = header(outgoing.headers, key, value);
        }
        self.publisher.publish(outgoing, told)
    }
}

/// A message to be published as its sender wrote it.
pub(super) fn as_it_came<'a>(topic: &'a str, original: &'a Original) -> Outgoing<'a> {
    let mut headers = OwnedHeaders::new_with_capacity(original.headers.len() + HEADERS.len());
    for (key, value) in &original.headers {
        headers = headers.insert(Header { key, value: value.as_ref() });
    }
    Outgoing { topic, key: original.key.as_deref(), payload: &original.payload, headers }
}
