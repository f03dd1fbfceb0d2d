//! Records that a destination can never keep, on their way to the dead letters.
//!
//! In: the messages of a batch as they came, and which of them were refused why. Out: a letter each, sent again until it is
//! acknowledged; only then may the offsets of the batch be committed. Where that is cut short, the batch comes again and so do
//! its letters: one may stand twice in the dead letters, none is missing.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::dead_letters::{DeadLetters, Origin, Why};
use super::publisher::Spot;
use crate::base::clock::{Clock as _, SystemClock};
use crate::engine::delivery::{Delivered, Refused};
use crate::engine::follow::Original;
use crate::ops::metrics::{Metrics, ProblemCode};

/// The pause before a letter that was not taken is sent again.
const PAUSE: Duration = Duration::from_millis(500);

/// A message of the batch, as it came.
#[derive(Debug)]
pub(super) struct Arrived {
    key: Option<Vec<u8>>,
    pub(super) payload: Bytes,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Arrived {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        Self {
            key: message.key().map(<[u8]>::to_vec),
            payload: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
            headers: headers.map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    fn original(&self) -> Original {
        Original { key: self.key.clone(), payload: self.payload.to_vec(), headers: self.headers.clone() }
    }
}

/// The place of a letter, and why it was not taken if it was not.
type Told = (usize, Option<KafkaError>);

struct Letter<'b> {
    original: Original,
    delivered: &'b Delivered,
    refused: &'b Refused,
}

/// The letters of a batch.
pub(super) struct Burial<'b> {
    dead_letters: &'b DeadLetters,
    /// The topic they came from.
    topic: &'b str,
    /// Who refused them.
    destination: &'b str,
    metrics: &'b Metrics,
    letters: Vec<Letter<'b>>,
    /// Places of those that are to be sent, and when.
    due: Vec<(Instant, usize)>,
    acknowledged: usize,
    told: (Sender<Told>, Receiver<Told>),
}

impl<'b> Burial<'b> {
    pub(super) fn new(
        dead_letters: &'b DeadLetters,
        (topic, destination): (&'b str, &'b str),
        metrics: &'b Metrics,
        (arrived, records): (&[Arrived], &'b [Delivered]),
        refused: &'b [Refused],
    ) -> Self {
        let letter = |refused: &'b Refused| {
            let (arrived, delivered) = (arrived.get(refused.index)?, records.get(refused.index)?);
            Some(Letter { original: arrived.original(), delivered, refused })
        };
        let letters: Vec<Letter<'b>> = refused.iter().filter_map(letter).collect();
        let due = (0..letters.len()).map(|place| (Instant::now(), place)).collect();
        Self { dead_letters, topic, destination, metrics, letters, due, acknowledged: 0, told: channel() }
    }

    /// Sends what is due; whether each letter is acknowledged.
    pub(super) fn is_done(&mut self) -> bool {
        while let Ok((place, failed)) = self.told.1.try_recv() {
            match failed {
                None => {
                    self.acknowledged += 1;
                    let code = self.letters.get(place).and_then(|letter| ProblemCode::of(letter.refused.code));
                    code.into_iter().for_each(|code| self.metrics.dead_letters.up(code));
                }
                Some(error) => {
                    tracing::debug!(%error, "a dead letter was not taken; it is sent again");
                    self.due.push((Instant::now() + PAUSE, place));
                }
            }
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.due).into_iter().partition(|(when, _)| *when <= now);
        self.due = later;
        let due: Vec<(Instant, usize)> = due;
        due.into_iter().for_each(|(_, place)| self.send(place));
        self.acknowledged == self.letters.len()
    }

    fn send(&self, place: usize) {
        let Some(Letter { original, delivered, refused }) = self.letters.get(place) else { return };
        let (partition, offset, now) = (delivered.partition, delivered.offset, SystemClock.now());
        let at = delivered.published.transaction.occurred_at;
        let origin = Origin { topic: self.topic, partition, offset, destination: self.destination, at, now };
        let why = Why { code: refused.code, message: &refused.message };
        let sender = self.told.0.clone();
        // Nobody waits any longer where the batch is another member's by now.
        let told = Box::new(move |result: Result<Spot, KafkaError>| drop(sender.send((place, result.err()))));
        if let Err((error, Some(told))) = self.dead_letters.bury(original, why, &origin, told) {
            told(Err(error));
        }
    }
}
