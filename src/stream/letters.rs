//! Dead letters read again: for whoever looks at them, and sends them once more.
//!
//! In: the topic of dead letters, from its beginning to the end it has now. Out: letters, in the order of their partitions;
//! sent again, a letter goes to the topic it came from, as it came.

use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};

use super::dead_letters::{HEADERS, SOURCE_TIME, as_it_came};
use super::item::original;
use super::kafka::{KafkaOptions, StreamError};
use super::publisher::{Publisher, header};
use super::tail::kept;
use super::whole;
use crate::base::clock::Millis;
use crate::engine::completeness::DeadLetter;
use crate::engine::follow::Original;

const PATIENCE: Duration = Duration::from_secs(10);

/// A message that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Partition of the dead letters.
    pub partition: i32,
    /// Offset in it.
    pub offset: i64,
    /// Why: a rejection's code.
    pub code: String,
    /// Why, in a sentence.
    pub message: String,
    /// The topic it came from.
    pub topic: String,
    /// The partition there, as text.
    pub source_partition: String,
    /// The offset there, as text.
    pub source_offset: String,
    /// When it was refused, RFC 3339.
    pub time: String,
    /// When its message happened or, where that is not known, was taken; of an old letter, when it was refused.
    pub at: Millis,
    /// The destination that refused it; empty: the stream did.
    pub destination: String,
    /// The message as it came.
    pub original: Original,
}

impl Letter {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        let mut original = original(message);
        let (own, theirs): (Vec<_>, Vec<_>) =
            std::mem::take(&mut original.headers).into_iter().partition(|(key, _)| HEADERS.contains(&key.as_str()));
        original.headers = theirs;
        // Of a letter that was sent again and refused again the last reason counts.
        let value = |name: &str| {
            let found = own.iter().rev().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref());
            found.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
        };
        let [code, reason, topic, source_partition, source_offset, time, at, destination] = HEADERS.map(value);
        let (partition, offset) = (message.partition(), message.offset());
        let taken_at = || Millis(message.timestamp().to_millis().unwrap_or_default());
        let at = Millis::parse_rfc3339(&at).or_else(|| Millis::parse_rfc3339(&time)).unwrap_or_else(taken_at);
        Self {
            partition,
            offset,
            code,
            message: reason,
            topic,
            source_partition,
            source_offset,
            time,
            at,
            destination,
            original,
        }
    }
}

/// Reads every letter there is now, until `each` says no. Blocking.
///
/// # Errors
/// See [`StreamError`].
pub fn read(options: &KafkaOptions, mut each: impl FnMut(Letter) -> bool) -> Result<(), StreamError> {
    whole::read(options, &options.topics.rejected, |kept| each(Letter::of(kept.message)))
}

/// What completeness keeps of a letter; `destination` completes the rows.
#[must_use]
pub fn dead_letter(letter: &Letter, options: &KafkaOptions, destination: &str) -> DeadLetter {
    kept(letter, &options.topics, destination)
}

/// A letter that was sent again: its place in the list, and where it stands now (partition and offset).
pub type Sent = (usize, (i32, i64));

/// Sends letters to the topics they came from; of those that were acknowledged in time, their places in the list with where
/// they stand now (partition and offset). Blocking.
///
/// # Errors
/// See [`StreamError`]; those acknowledged until then stay sent.
pub fn retry(options: &KafkaOptions, letters: &[Letter]) -> Result<Vec<Sent>, StreamError> {
    let publisher = Publisher::open(options)?;
    let (sender, told) = std::sync::mpsc::channel();
    let mut sent = 0;
    for (place, letter) in letters.iter().enumerate() {
        let mut outgoing = as_it_came(&letter.topic, &letter.original);
        // What cannot be read again keeps its time.
        outgoing.headers = header(outgoing.headers, SOURCE_TIME, &letter.at.to_rfc3339());
        let sender = sender.clone();
        let acknowledged = Box::new(move |result: Result<(i32, i64), KafkaError>| {
            drop(sender.send(result.map(|spot| (place, spot))));
        });
        let taken = publisher.publish(outgoing, acknowledged).map_err(|(error, _)| error);
        taken.map_err(StreamError::kafka(format!("{} does not take a letter", letter.topic)))?;
        sent += 1;
    }
    let mut acknowledged = Vec::new();
    for _ in 0..sent {
        match told.recv_timeout(PATIENCE) {
            Ok(result) => acknowledged.push(result.map_err(StreamError::kafka("a letter was not acknowledged"))?),
            Err(_) => break,
        }
    }
    Ok(acknowledged)
}
