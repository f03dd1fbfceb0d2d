//! The reader: every partition of the topics, from where it is told, to the merge.
//!
//! ```text
//! topic ─▶ consumer (one thread a topic): read and check ─▶ bounded channel ─▶ merge
//! ```
//!
//! In: positions to begin at. Out: items in the order of their partition's offsets, and the news that a partition is at its
//! end. One consumer a topic: Kafka's client says of an end which partition it is, and not of which topic.
//! Back-pressure: a lane that is full is paused, and goes on when it has emptied; a full channel stops the reading.
//!
//! It never commits: where the group stands says nothing of where this process is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::item::{Item, Reading, Topic};
use super::kafka::{KafkaOptions, StreamError, Telling};
use super::lanes::{Held, Lanes};
use super::offsets;
use super::protocol::Moment;
use super::thread::Thread;
use crate::base::clock::{Clock as _, Millis, SystemClock};

/// Items that are handed over together at most.
const CHUNK: usize = 256;
/// A message that Kafka took less than so many milliseconds ago is of now.
const MOMENT: i64 = 100;
/// How long a poll waits for a message.
const POLL: Duration = Duration::from_millis(20);

/// What the reader hands over.
#[derive(Debug)]
pub(super) enum Read {
    /// Items of one topic, each after the ones before it in its partition.
    Items(Vec<(Item, Moment)>),
    /// A partition is at its end.
    End(Topic, i32, Moment),
}

/// Starts to read `topic` from where `lanes` begin.
pub(super) fn start(
    options: &KafkaOptions,
    topic: Topic,
    lanes: &Lanes,
    reading: Arc<Reading>,
    to: Sender<Read>,
    (stop, began): (Arc<AtomicBool>, Instant),
) -> Result<Thread, StreamError> {
    let (name, positions) = (options.topics.of(topic).to_owned(), &lanes.positions()[topic]);
    let consumer = options.reader(reading.instance);
    let consumer = consumer.map_err(StreamError::kafka(format!("the reader of {name} cannot be made")))?;
    let places = (0_i32..).zip(positions).map(|(partition, position)| (name.as_str(), partition, *position));
    let list = offsets::list(places);
    let list = list.map_err(StreamError::kafka(format!("{name} cannot be read from {positions:?}")))?;
    consumer.assign(&list).map_err(StreamError::kafka(format!("{name} cannot be read")))?;
    let mut work = Work {
        consumer,
        name,
        topic,
        eager: reading.eager,
        failing: false,
        reading,
        held: lanes.held(),
        first: lanes.lane(topic, 0),
        paused: vec![false; positions.len()],
        lanes: vec![Lane::default(); positions.len()],
        began,
    };
    Thread::start(format!("read-{topic:?}").to_lowercase(), "a reader of a topic", move || {
        while !stop.load(Ordering::Relaxed) && work.round(&to) {}
        // It joined no group; `kafka::leave` says why it is not destroyed.
        std::mem::forget(work.consumer);
    })
}

/// What is known of a partition.
#[derive(Debug, Clone, Copy, Default)]
struct Lane {
    /// Time of its last message.
    before: Millis,
    /// When Kafka took that.
    taken_at: Millis,
    /// Whether one came since its end was told.
    open: bool,
}

struct Work {
    consumer: BaseConsumer<Telling>,
    name: String,
    topic: Topic,
    reading: Arc<Reading>,
    held: Arc<Held>,
    /// The lane of the first partition.
    first: usize,
    paused: Vec<bool>,
    lanes: Vec<Lane>,
    /// Whether a partition counts as at its end as soon as nothing of it is left here.
    eager: bool,
    /// Whether it could not be read when it was tried last.
    failing: bool,
    began: Instant,
}

impl Work {
    /// Reads what is there, up to a chunk, and hands it over; false when nobody takes it any more.
    fn round(&mut self, to: &Sender<Read>) -> bool {
        self.hold();
        let mut items = Vec::new();
        let mut wait = POLL;
        let mut drained = false;
        while items.len() < CHUNK {
            let Some(polled) = self.consumer.poll(wait) else {
                drained = true;
                break;
            };
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    self.failing = false;
                    let place = usize::try_from(message.partition()).unwrap_or(usize::MAX);
                    let before = self.lanes.get(place).map_or(Millis(0), |lane| lane.before);
                    let item = self.reading.item(self.topic, &message, before);
                    if let Some(lane) = self.lanes.get_mut(place) {
                        *lane = Lane { before: item.at, taken_at: item.taken_at, open: true };
                    }
                    items.push((item, self.began.elapsed()));
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    // What was read before the end is handed over before it.
                    if !items.is_empty() && to.send(Read::Items(std::mem::take(&mut items))).is_err() {
                        return false;
                    }
                    if let Some(lane) = usize::try_from(partition).ok().and_then(|place| self.lanes.get_mut(place)) {
                        lane.open = false;
                    }
                    if to.send(Read::End(self.topic, partition, self.began.elapsed())).is_err() {
                        return false;
                    }
                }
                Err(error) => {
                    // Once an outage: its client asks again many times a second.
                    if std::mem::replace(&mut self.failing, true) {
                        tracing::debug!(topic = self.name, %error, "a topic could still not be read");
                    } else {
                        tracing::warn!(topic = self.name, %error, "a topic could not be read; it is tried until it is");
                    }
                    break;
                }
            }
        }
        (items.is_empty() || to.send(Read::Items(items)).is_ok()) && (!drained || self.tell_ends(to))
    }

    /// Tells the ends of partitions of which nothing is left here and whose last message Kafka took a moment ago.
    ///
    /// Why: Kafka's client says that a partition is at its end with the next empty answer, milliseconds later. A backlog is
    /// older than a moment, so one that is worked off is never taken for an end. What is on its way at this instant is
    /// no more certain to be seen by waiting for the empty answer; who wants that sets `stream.settle`.
    fn tell_ends(&mut self, to: &Sender<Read>) -> bool {
        if !self.eager {
            return true;
        }
        let now = SystemClock.now();
        for (partition, lane) in (0_i32..).zip(&mut self.lanes) {
            if lane.open && now.0.saturating_sub(lane.taken_at.0) < MOMENT {
                lane.open = false;
                if to.send(Read::End(self.topic, partition, self.began.elapsed())).is_err() {
                    return false;
                }
            }
        }
        true
    }

    /// Pauses and resumes as the merge wants it.
    fn hold(&mut self) {
        for (partition, paused) in self.paused.iter_mut().enumerate() {
            let wanted = self.held.get(self.first + partition);
            if wanted == *paused {
                continue;
            }
            let mut list = TopicPartitionList::new();
            list.add_partition(&self.name, i32::try_from(partition).unwrap_or(i32::MAX));
            let done = if wanted { self.consumer.pause(&list) } else { self.consumer.resume(&list) };
            match done {
                Ok(()) => *paused = wanted,
                Err(error) => tracing::warn!(topic = self.name, partition, %error, "a partition could not be held"),
            }
        }
    }
}
