//! The reader: every partition of the topics, from where it is told, to the merge.
//!
//! ```text
//! topic ─▶ consumer (one thread a topic, one queue a partition): read and check ─▶ bounded channel ─▶ merge
//! ```
//!
//! In: positions to begin at. Out: items in the order of their partition's offsets, and the news that a partition is at its
//! end. One consumer a topic: Kafka's client says of an end which partition it is, and not of which topic.
//! Back-pressure: the queue of a lane that is full is left alone, and Kafka's client fetches nothing more into a full
//! queue; a full channel stops the reading.
//!
//! Why a queue a partition: in one for all, what is wanted next stands behind what is not wanted yet. And a partition that
//! is paused forgets what was fetched of it: that cost the transactions of a backlog four times their bytes.
//!
//! It never commits: where the group stands says nothing of where this process is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};

use super::item::{Item, Reading, Topic};
use super::kafka::{KafkaOptions, StreamError, Telling};
use super::lanes::{Held, Lanes};
use super::offsets;
use super::protocol::Moment;
use super::thread::Thread;
use crate::base::clock::{Clock as _, Millis, SystemClock};

/// Items that are handed over together at most.
const CHUNK: usize = 256;
/// Of these, of one partition: what is merged next may stand in another.
const TURN: usize = 64;
/// A message that Kafka took less than so many milliseconds ago is of now.
const MOMENT: i64 = 100;
/// How long to wait for a message.
const IDLE: Duration = Duration::from_millis(20);

/// What the reader hands over.
#[derive(Debug)]
pub(super) enum Read {
    /// Items of one topic, each after the ones before it in its partition.
    Items(Vec<(Item, Moment)>),
    /// Partitions of a topic were at their end then.
    Ends(Topic, Vec<i32>, Moment),
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
    let consumer = options.reader(reading.instance, positions.len());
    let consumer = Arc::new(consumer.map_err(StreamError::kafka(format!("the reader of {name} cannot be made")))?);
    let places = (0_i32..).zip(positions).map(|(partition, position)| (name.as_str(), partition, *position));
    let list = offsets::list(places);
    let list = list.map_err(StreamError::kafka(format!("{name} cannot be read from {positions:?}")))?;
    consumer.assign(&list).map_err(StreamError::kafka(format!("{name} cannot be read")))?;
    let queue = |(partition, _)| consumer.split_partition_queue(&name, partition);
    let queues: Option<Vec<_>> = (0_i32..).zip(positions).map(queue).collect();
    let queues = queues.ok_or_else(|| StreamError::Topics { faults: vec![format!("{name} cannot be split")] })?;
    let mut work = Work {
        consumer,
        queues,
        turn: 0,
        lanes: vec![Lane { open: true, ..Lane::default() }; positions.len()],
        hand: Hand { topic, name, reading, to, began, items: Vec::new(), failing: false },
        held: lanes.held(),
        first: lanes.lane(topic, 0),
        told_at: Moment::ZERO,
    };
    Thread::start(format!("read-{topic:?}").to_lowercase(), "a reader of a topic", move || {
        work.listen();
        while !stop.load(Ordering::Relaxed) && work.round().is_some() {}
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
    /// Whether its end was not seen yet, or one came since.
    open: bool,
    /// Whether its end was told.
    told: bool,
}

struct Work {
    consumer: Arc<BaseConsumer<Telling>>,
    /// By partition.
    queues: Vec<PartitionQueue<Telling>>,
    lanes: Vec<Lane>,
    /// The partition that is first in the next round.
    turn: usize,
    hand: Hand,
    held: Arc<Held>,
    /// The lane of the first partition.
    first: usize,
    /// When the ends that last were told.
    told_at: Moment,
}

/// Takes what was read and hands it over.
struct Hand {
    topic: Topic,
    name: String,
    reading: Arc<Reading>,
    to: Sender<Read>,
    began: Instant,
    items: Vec<(Item, Moment)>,
    /// Whether the topic could not be read when it was tried last.
    failing: bool,
}

impl Work {
    /// Wakes this thread when something comes.
    fn listen(&mut self) {
        for queue in &mut self.queues {
            let reader = std::thread::current();
            queue.set_nonempty_callback(move || reader.unpark());
        }
    }

    /// Reads what is there, up to a chunk, and hands it over; `None` when nobody takes it any more.
    fn round(&mut self) -> Option<()> {
        let looked_at = self.hand.began.elapsed();
        // Errors, and what came before the queues were split.
        while let Some(polled) = self.consumer.poll(Duration::ZERO) {
            self.hand.take(polled, &mut self.lanes);
        }
        let (mut any, mut drained) = (false, Vec::new());
        self.turn += 1;
        for number in 0..self.queues.len() {
            let place = (self.turn + number) % self.queues.len();
            let Some(queue) = self.queues.get(place).filter(|_| !self.held.get(self.first + place)) else { continue };
            let mut taken = 0;
            for polled in std::iter::from_fn(|| queue.poll(Duration::ZERO)).take(TURN) {
                self.hand.take(polled, &mut self.lanes);
                taken += 1;
            }
            any |= taken > 0;
            if taken < TURN {
                drained.push(place);
            }
            if self.hand.items.len() > CHUNK - TURN {
                self.hand.over()?;
            }
        }
        self.hand.over()?;
        self.tell_ends(&drained, looked_at)?;
        if !any {
            std::thread::park_timeout(IDLE);
        }
        Some(())
    }

    /// Tells the ends of those of the `drained` partitions, of which nothing was left here at `looked_at`, that Kafka said to
    /// be at their end, or whose last message it took a moment ago.
    ///
    /// Why: Kafka's client says that a partition is at its end with the next empty answer, milliseconds later. Into a
    /// partition of the decisions several instances write more often than that: waiting for its empty answer, and for
    /// those of its neighbours at the same time, left the merge standing for most of the time. A backlog is older than a
    /// moment, so one that is worked off is never taken for an end. What is on its way at this instant is no more
    /// certain to be seen in an empty answer; for that there is `stream.settle`.
    fn tell_ends(&mut self, drained: &[usize], looked_at: Moment) -> Option<()> {
        let now = SystemClock.now();
        let again = self.hand.reading.ends_every.is_some_and(|every| looked_at >= self.told_at + every);
        if again {
            self.told_at = looked_at;
        }
        let mut ends = Vec::new();
        for place in drained {
            let (Some(lane), Ok(partition)) = (self.lanes.get_mut(*place), i32::try_from(*place)) else { continue };
            lane.open &= now.0.saturating_sub(lane.taken_at.0) >= MOMENT;
            if !lane.open && (again || !lane.told) {
                lane.told = true;
                ends.push(partition);
            }
        }
        if ends.is_empty() {
            return Some(());
        }
        self.hand.to.send(Read::Ends(self.hand.topic, ends, looked_at)).ok()
    }
}

impl Hand {
    /// Takes what a poll brought.
    fn take(&mut self, polled: Result<BorrowedMessage<'_>, KafkaError>, lanes: &mut [Lane]) {
        match polled {
            Ok(message) => {
                self.failing = false;
                let lane = lane_of(lanes, message.partition());
                let before = lane.as_ref().map_or(Millis(0), |lane| lane.before);
                let item = self.reading.item(self.topic, &message, before);
                if let Some(lane) = lane {
                    *lane = Lane { before: item.at, taken_at: item.taken_at, open: true, told: false };
                }
                self.items.push((item, self.began.elapsed()));
            }
            Err(KafkaError::PartitionEOF(partition)) => {
                // Told when nothing stands behind it.
                if let Some(lane) = lane_of(lanes, partition) {
                    lane.open = false;
                }
            }
            // Once an outage: its client asks again many times a second.
            Err(error) if std::mem::replace(&mut self.failing, true) => {
                tracing::debug!(topic = self.name, %error, "a topic could still not be read");
            }
            Err(error) => {
                tracing::warn!(topic = self.name, %error, "a topic could not be read; it is tried until it is");
            }
        }
    }

    /// Hands over; `None` when nobody takes it any more.
    fn over(&mut self) -> Option<()> {
        if self.items.is_empty() {
            return Some(());
        }
        self.to.send(Read::Items(std::mem::take(&mut self.items))).ok()
    }
}

fn lane_of(lanes: &mut [Lane], partition: i32) -> Option<&mut Lane> {
    lanes.get_mut(usize::try_from(partition).ok()?)
}
