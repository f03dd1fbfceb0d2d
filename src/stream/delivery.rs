//! Delivery: the decisions' topic to one destination, by a consumer group of its own.
//!
//! ```text
//! fraud.decisions ─▶ poll what is there ─▶ decode ─▶ Destination::write ─▶ commit
//!                                                     │ it failed: pause, poll on, write the same batch again
//!                                                     │ of some it says never: those to the dead letters first
//! ```
//!
//! In: records. Out: what the destination keeps. A batch is what queued while the one before was written; behind a full
//! one the next is read meanwhile. Offsets are committed after the destination has kept everything below them, and only for
//! partitions that are still this member's. A destination that is down delays nobody else: the backlog stays in Kafka, this
//! loop goes on polling for its group. An end waits [`LAST`] for a destination at most: what it keeps later is repeated then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::Offset;
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

use super::burial::{Arrived, Burial};
use super::dead_letters::DeadLetters;
use super::kafka::{KafkaOptions, StreamError, leave, tell, tell_error};
use super::offsets;
use super::record::Decoder;
use super::thread::Thread;
use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::engine::delivery::{Delivered, Destination, DestinationError, Kept, Refused};
use crate::ops::metrics::{self, Metrics};

/// How a destination is delivered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveryOptions {
    /// Records written together at most.
    pub batch: usize,
    /// How long a batch waits to become fuller; zero takes what is there.
    pub linger: Duration,
    /// How often what waits is looked after.
    pub look_after: Duration,
}

const POLL: Duration = Duration::from_millis(20);
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// A batch that takes longer holds the partitions, so that this member can show its group a sign of life meanwhile.
const SLOW: Duration = Duration::from_secs(1);
/// How long putting a record back may take.
const PUT_BACK: Duration = Duration::from_secs(1);
/// How long an end waits for the batch at hand.
const LAST: Duration = Duration::from_secs(2);
/// Pauses after tries that failed: doubled from the first to the last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Where the group stands, shared with the callbacks of a rebalance.
#[derive(Debug, Default)]
struct Place {
    /// Next offsets to commit, by partition.
    written: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
}

impl Place {
    fn due(&self) -> Vec<(i32, i64)> {
        let due = |(partition, offset): &(&i32, &i64)| self.committed.get(partition) != Some(offset);
        self.written.iter().filter(due).map(|(partition, offset)| (*partition, *offset)).collect()
    }
}

struct Group {
    topic: String,
    place: Arc<Mutex<Place>>,
    /// Raised with every change of the assignment.
    changes: Arc<AtomicU64>,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tell_error(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        if let Rebalance::Revoke(_) = rebalance {
            commit(consumer, &self.topic, &self.place, CommitMode::Sync);
            *lock(&self.place) = Place::default();
        }
    }
}

/// Starts to deliver to one destination; `stop` ends it after the batch at hand.
pub(super) fn start<D: Destination>(
    kafka: &KafkaOptions,
    options: DeliveryOptions,
    destination: Arc<D>,
    dead_letters: DeadLetters,
    shared: (Arc<Metrics>, metrics::Destination, Handle, Arc<AtomicBool>),
) -> Result<Thread, StreamError> {
    let (place, changes) = (Arc::default(), Arc::default());
    let topic = kafka.topics.decisions.clone();
    let group = Group { topic: topic.clone(), place: Arc::clone(&place), changes: Arc::clone(&changes) };
    let name = destination.name();
    let consumer: BaseConsumer<Group> = kafka
        .member(&format!("-{name}"))
        .create_with_context(group)
        .map_err(StreamError::kafka(format!("the member of the group of {name} cannot be made")))?;
    consumer.subscribe(&[&topic]).map_err(StreamError::kafka(format!("the group of {name} cannot be joined")))?;
    let thread = format!("to-{name}");
    let (metrics, label, runtime, stop) = shared;
    let decoder = Decoder::default();
    let work = Work {
        consumer,
        topic,
        options,
        destination,
        dead_letters,
        place,
        changes,
        decoder,
        metrics,
        label,
        runtime,
        stop,
    };
    Thread::start(thread, "a delivery", move || work.run())
}

struct Work<D> {
    consumer: BaseConsumer<Group>,
    topic: String,
    options: DeliveryOptions,
    destination: Arc<D>,
    dead_letters: DeadLetters,
    place: Arc<Mutex<Place>>,
    changes: Arc<AtomicU64>,
    decoder: Decoder,
    metrics: Arc<Metrics>,
    label: metrics::Destination,
    runtime: Handle,
    stop: Arc<AtomicBool>,
}

/// Records that are written together, and the offsets behind them.
struct Batch {
    records: Arc<Vec<Delivered>>,
    /// The messages that the records were read from, in their order.
    arrived: Vec<Arrived>,
    next: BTreeMap<i32, i64>,
    /// The assignment in which they were read.
    assignment: u64,
}

impl<D: Destination> Work<D> {
    fn run(mut self) {
        let (mut looked, mut committed) = (Instant::now(), Instant::now());
        let mut ahead = None;
        while !self.stop.load(Ordering::Relaxed) {
            let batch = ahead.take().unwrap_or_else(|| self.gather());
            // Of an assignment that is over, what is still this member's comes again.
            if !batch.next.is_empty() && self.is_assigned(&batch) {
                ahead = self.write(&batch);
            }
            if committed.elapsed() >= COMMIT_EVERY {
                commit(&self.consumer, &self.topic, &self.place, CommitMode::Async);
                committed = Instant::now();
            }
            if looked.elapsed() >= self.options.look_after {
                self.look_after();
                looked = Instant::now();
            }
        }
        // What was committed without waiting is committed again: an answer that was lost loses nothing.
        lock(&self.place).committed.clear();
        commit(&self.consumer, &self.topic, &self.place, CommitMode::Sync);
        leave(self.consumer);
    }

    fn is_assigned(&self, batch: &Batch) -> bool {
        batch.assignment == self.changes.load(Ordering::SeqCst)
    }

    /// What is there, at most a batch, and the offsets behind it.
    fn gather(&mut self) -> Batch {
        let assignment = self.changes.load(Ordering::SeqCst);
        let (mut records, mut arrived, mut next) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut wait = POLL.min(self.options.look_after);
        let mut until: Option<Instant> = None;
        while records.len() < self.options.batch {
            let Some(polled) = self.consumer.poll(wait) else { break };
            match polled {
                Ok(message) => {
                    let (partition, offset) = (message.partition(), message.offset());
                    let taken_at = Millis(message.timestamp().to_millis().unwrap_or_default());
                    let one = Arrived::of(&message);
                    next.insert(partition, offset + 1);
                    match self.decoder.decode(one.payload.clone()) {
                        Ok(published) => {
                            records.push(Delivered { published, partition, offset, taken_at });
                            arrived.push(one);
                        }
                        Err(error) => {
                            tracing::error!(partition, offset, %error, "a record of the decisions cannot be read: it is passed over");
                        }
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "the decisions could not be read; tried again");
                    break;
                }
            }
            let until = *until.get_or_insert_with(|| Instant::now() + self.options.linger);
            wait = until.saturating_duration_since(Instant::now());
        }
        Batch { records: Arc::new(records), arrived, next, assignment }
    }

    /// Writes a batch until it is kept, this member's no longer, or the end is asked for. Behind a full one the next is
    /// gathered while the destination works.
    fn write(&mut self, batch: &Batch) -> Option<Batch> {
        let begun = Instant::now();
        let writing = self.begin(batch);
        let ahead = (batch.records.len() >= self.options.batch).then(|| self.gather());
        let (mut held, mut failed) = (false, false);
        let mut written = self.end(writing, &mut held);
        let mut pause = PAUSES.0;
        loop {
            match written {
                Ok(kept) => {
                    if !self.bury(batch, &kept.refused) {
                        return None;
                    }
                    if held {
                        self.hold(false);
                    }
                    if failed {
                        tracing::info!(destination = self.destination.name(), took = ?begun.elapsed(), "delivers again");
                    }
                    self.count(&batch.records, &kept, begun);
                    if self.is_assigned(batch) {
                        lock(&self.place).written.extend(&batch.next);
                    }
                    return ahead;
                }
                Err(error) => {
                    self.metrics.delivery_failures.up(self.label);
                    if !failed {
                        let records = batch.records.len();
                        tracing::warn!(%error, records, "a batch was not delivered; it is tried until it is");
                        failed = true;
                    }
                    if !held {
                        self.hold(true);
                        held = true;
                    }
                }
            }
            let until = Instant::now() + pause;
            pause = (pause * 2).min(PAUSES.1);
            while Instant::now() < until {
                self.keep_in_group(POLL);
                if self.stop.load(Ordering::Relaxed) || !self.is_assigned(batch) {
                    return None;
                }
            }
            let again = self.begin(batch);
            written = self.end(again, &mut held);
        }
    }

    /// Sends what the destination can never keep to the dead letters; false when the batch is this member's no longer, or the
    /// end is asked for, before each is acknowledged.
    fn bury(&self, batch: &Batch, refused: &[Refused]) -> bool {
        let Some(first) = refused.first() else { return true };
        let destination = self.destination.name();
        tracing::error!(
            destination,
            records = refused.len(),
            reason = first.message,
            "records can never be kept: they go to the dead letters"
        );
        let messages = (batch.arrived.as_slice(), batch.records.as_slice());
        let mut burial = Burial::new(&self.dead_letters, (&self.topic, destination), &self.metrics, messages, refused);
        self.hold(true);
        while !burial.is_done() {
            self.keep_in_group(POLL);
            if self.stop.load(Ordering::Relaxed) || !self.is_assigned(batch) {
                return false;
            }
        }
        self.hold(false);
        true
    }

    /// Hands a batch to the destination, which works on the runtime's threads.
    fn begin(&self, batch: &Batch) -> JoinHandle<Result<Kept, DestinationError>> {
        let (destination, records) = (Arc::clone(&self.destination), Arc::clone(&batch.records));
        self.runtime.spawn(async move {
            if records.is_empty() { Ok(Kept::default()) } else { destination.write(&records).await }
        })
    }

    /// What became of it. Where that takes long the partitions are `held`, until the batch is done. Once the end is asked for, it
    /// is given up after [`LAST`].
    fn end(
        &self,
        mut writing: JoinHandle<Result<Kept, DestinationError>>,
        held: &mut bool,
    ) -> Result<Kept, DestinationError> {
        let destination = self.destination.name();
        let away = |reason: String| Err(DestinationError::Unavailable { destination, reason });
        let (begun, mut asked) = (Instant::now(), None);
        loop {
            let waited = async { tokio::time::timeout(POLL, &mut writing).await };
            if let Ok(ended) = self.runtime.block_on(waited) {
                return ended.unwrap_or_else(|error: JoinError| away(error.to_string()));
            }
            if self.stop.load(Ordering::Relaxed) && asked.get_or_insert_with(Instant::now).elapsed() > LAST {
                writing.abort();
                return away("it did not answer before the end".to_owned());
            }
            if begun.elapsed() > SLOW {
                if !*held {
                    self.hold(true);
                    *held = true;
                }
                self.keep_in_group(Duration::ZERO);
            }
        }
    }

    /// Polls while partitions are held: a sign of life. What a rebalance meanwhile lets through is put back: it comes again.
    fn keep_in_group(&self, wait: Duration) {
        let Some(Ok(message)) = self.consumer.poll(wait) else { return };
        let (partition, offset) = (message.partition(), message.offset());
        drop(message);
        let place = Offset::Offset(offset);
        if let Err(error) = self.consumer.seek(&self.topic, partition, place, PUT_BACK) {
            tracing::warn!(partition, offset, %error, "a record could not be put back; the group is joined anew");
            self.consumer.unsubscribe();
            if let Err(error) = self.consumer.subscribe(&[&self.topic]) {
                tracing::error!(%error, "the group could not be joined anew: nothing is delivered until a restart");
            }
        }
    }

    fn hold(&self, hold: bool) {
        let done = self
            .consumer
            .assignment()
            .and_then(|list| if hold { self.consumer.pause(&list) } else { self.consumer.resume(&list) });
        if let Err(error) = done {
            tracing::warn!(%error, "the partitions of a destination could not be held");
        }
    }

    fn count(&self, batch: &[Delivered], kept: &Kept, begun: Instant) {
        use metrics::Delivery;
        let Self { metrics, label, .. } = self;
        let outcomes = [
            (Delivery::New, kept.new),
            (Delivery::Repeated, kept.repeated),
            (Delivery::Superseded, kept.superseded),
            (Delivery::Applied, kept.applied),
            (Delivery::Refused, kept.refused.len()),
        ];
        for (outcome, records) in outcomes {
            metrics.delivered.add((*label, outcome), records as u64);
        }
        metrics.delivery_batch.of(*label, batch.len());
        metrics.delivery_seconds.took(*label, begun.elapsed());
        let now = SystemClock.now();
        for delivered in batch {
            let age = now.0.saturating_sub(delivered.published.received_at.0).max(0).unsigned_abs();
            metrics.end_to_end.took(*label, Duration::from_millis(age));
        }
    }

    fn look_after(&self) {
        match self.runtime.block_on(self.destination.look_after()) {
            Ok(waiting) => {
                self.metrics.waiting_decisions.set(self.label, i64::try_from(waiting.count).unwrap_or(i64::MAX));
                let oldest = i64::try_from(waiting.oldest.as_secs()).unwrap_or(i64::MAX);
                self.metrics.waiting_oldest.set(self.label, oldest);
            }
            Err(error) => tracing::debug!(%error, "what waits could not be looked after"),
        }
    }
}

/// Commits what is written and not committed yet.
fn commit(consumer: &BaseConsumer<Group>, topic: &str, place: &Mutex<Place>, mode: CommitMode) {
    let due = lock(place).due();
    if due.is_empty() {
        return;
    }
    let list = offsets::list(due.iter().map(|(partition, offset)| (topic, *partition, *offset)));
    match list.and_then(|list| consumer.commit(&list, mode)) {
        Ok(()) => lock(place).committed.extend(due),
        Err(error) => {
            tracing::debug!(%error, "offsets of a destination could not be committed; the next commit carries them")
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
