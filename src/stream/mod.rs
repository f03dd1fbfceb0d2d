//! The stream: transactions, labels and decisions through Kafka's topics.
//!
//! ```text
//! transactions ─┐            ┌─ merge ▸ follow ▸ score ─▶ fraud.decisions ─▶ delivery (a group each) ─▶ destination
//! labels ───────┼─ readers ──┤                    │              ▲
//! fraud.decisions ┘          └─ ownership ◀─ group │    POST /predict, through [`KafkaLog`]
//!                                                 └─▶ transactions.rejected
//! ```
//!
//! `protocol` decides, without Kafka and without a clock; what stands beside it reads and writes. docs/PROTOCOL.md says what
//! holds and what follows from every crash. Nothing here decides anything about a payment: that is the engine's.

mod auditor;
mod burial;
mod by_topic;
mod connection;
mod dead_letters;
mod delivery;
mod frontiers;
mod input;
mod item;
mod kafka;
mod label;
mod lag;
mod lanes;
pub mod letters;
mod log;
mod member;
mod merging;
mod offsets;
mod owners;
pub mod protocol;
mod publisher;
mod reader;
pub mod record;
mod reread;
mod state;
mod tail;
mod thread;
mod topics;
pub mod verdicts;
mod whole;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

pub use connection::{Connection, Watermarks};
pub use delivery::DeliveryOptions;
pub use kafka::{Compression, KafkaOptions, Mechanism, Sasl, StreamError, Tls, TopicNames};
pub use log::KafkaLog;
pub use topics::TopicRules;

pub use self::auditor::AuditOptions;
use self::dead_letters::DeadLetters;
use self::frontiers::Frontiers;
use self::item::{Reading, Topic};
use self::lanes::{Lanes, Positions};
use self::merging::Merging;
use self::owners::{Owners, Settling};
use self::protocol::merge::{Merge, MergeOptions};
use self::reread::Rereading;
use self::state::State;
use self::thread::Thread;
use crate::base::clock::Clock;
use crate::base::money::Rates;
use crate::engine::completeness::Claims;
use crate::engine::delivery::Destination;
use crate::engine::ports::Scorer;
use crate::engine::{Engine, TimeSource};
use crate::ops::metrics::{self, Metrics};
use crate::transaction::{Connector, Limits};

/// How the topics are followed.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// While a partition is empty, a message is held until that one is seen at its end so long after the message was read.
    pub settle: Duration,
    /// How long a partition that should have more is waited for.
    pub patience: Duration,
    /// Behind by more than this, decisions say so.
    pub behind: Duration,
    /// Transactions that wait for their decision's acknowledgement at most.
    pub max_open: usize,
    /// What speaks the transactions' language.
    pub connector: Connector,
    /// The canonical one.
    pub canonical: Connector,
    /// Bounds of a transaction.
    pub limits: Limits,
    /// Exchange rates.
    pub rates: Arc<Rates>,
    /// Names the records of this process.
    pub instance: u64,
    /// Which clock bounds `occurred_at`.
    pub time: TimeSource,
    /// How far ahead it may be.
    pub max_ahead: Duration,
}

/// Knows where the reader is, also when that has ended.
#[derive(Debug, Clone)]
pub struct Positioned {
    state: Arc<State>,
    topics: TopicNames,
}

impl Positioned {
    /// The next offsets by topic and partition, everything below being applied: what a snapshot that is taken after this
    /// call has to name.
    #[must_use]
    pub fn positions(&self) -> BTreeMap<String, Vec<i64>> {
        self.topics.named(&self.state.positions())
    }
}

/// The running stream. [`Stream::stop`] ends it in order.
pub struct Stream {
    connection: Connection,
    state: Arc<State>,
    owners: Arc<Owners>,
    /// Told to the readers and the merge first, to the groups when their work is acknowledged.
    stop: Arc<AtomicBool>,
    stop_groups: Arc<AtomicBool>,
    readers: Vec<Thread>,
    merging: Thread,
    member: Option<Thread>,
    deliveries: Vec<Thread>,
    lag: Option<Thread>,
    auditor: Option<Thread>,
    frontiers: Arc<Frontiers>,
    /// What the auditor reads by, where it reads what the reader has passed over.
    reading: Arc<Reading>,
    metrics: Arc<Metrics>,
    runtime: Handle,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Stream").field("state", &self.state).finish_non_exhaustive()
    }
}

impl Stream {
    /// Starts to follow the topics for `engine`, from `from` (offsets by topic and partition) on. Nothing is scored before
    /// [`Stream::join`].
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn start<S: Scorer>(
        connection: Connection,
        options: StreamOptions,
        engine: &Engine<S>,
        from: &BTreeMap<String, Vec<i64>>,
        shared: (Arc<dyn Clock>, Arc<Metrics>, Handle),
    ) -> Result<Self, StreamError> {
        let (clock, metrics, runtime) = shared;
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let done = Positions { transactions: connection.committed()?, ..Positions::default() };
        let state = Arc::new(State::new(Arc::clone(&stop), Arc::clone(&connection.publisher), done));
        let kafka = connection.options.clone();
        let dead_letters =
            DeadLetters { publisher: Arc::clone(&connection.publisher), topic: kafka.topics.rejected.clone() };
        let owners = Arc::new(Owners::new(dead_letters, kafka.topics.clone(), Arc::clone(&metrics)));
        let reading = Arc::new(Reading {
            connector: options.connector,
            canonical: options.canonical,
            limits: options.limits,
            rates: options.rates,
            instance: options.instance,
            // Several times while a candidate settles.
            ends_every: (!options.settle.is_zero()).then_some(options.settle / 8),
            clock: options.time,
            max_ahead: i64::try_from(options.max_ahead.as_millis()).unwrap_or(i64::MAX),
        });
        let (outlets, input) = input::channels();
        let lanes = Lanes::new(connection.positions(from));
        let frontiers = Arc::new(Frontiers::new(lanes.positions()));
        let shared_reading = Arc::clone(&reading);
        let mut readers = Vec::new();
        for topic in Topic::ALL {
            let shared = (Arc::clone(&stop), began);
            readers.push(reader::start(
                &kafka,
                topic,
                &lanes,
                Arc::clone(&reading),
                outlets.topics[topic].clone(),
                shared,
            )?);
        }
        let merge = Merge::new(lanes.len(), MergeOptions { settle: options.settle, patience: options.patience });
        let rereading = {
            let (stop, kafka) = (Arc::clone(&stop), kafka);
            Box::new(move || Rereading {
                options: kafka.clone(),
                reading: Arc::clone(&reading),
                to: outlets.again.clone(),
                stop: Arc::clone(&stop),
            })
        };
        let merging = Merging {
            engine: engine.clone(),
            follower: engine.follower(Arc::new(Settling(Arc::clone(&owners))), runtime.clone()),
            lanes,
            merge,
            input,
            owners: Arc::clone(&owners),
            state: Arc::clone(&state),
            frontiers: Arc::clone(&frontiers),
            rereading,
            clock,
            metrics: Arc::clone(&metrics),
            began,
            behind: options.behind,
            most_open: options.max_open,
        };
        let merging = Thread::start("merge", "the merge", move || merging.run())?;
        Ok(Self {
            state,
            owners,
            stop,
            stop_groups: Arc::new(AtomicBool::new(false)),
            readers,
            merging,
            member: None,
            deliveries: Vec::new(),
            lag: None,
            auditor: None,
            frontiers,
            reading: shared_reading,
            metrics,
            runtime,
            connection,
        })
    }

    /// Joins the group: from now on this instance scores what it is given.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn join(&mut self) -> Result<(), StreamError> {
        let Connection { options, partitions, .. } = &self.connection;
        let (owners, stop) = (Arc::clone(&self.owners), Arc::clone(&self.stop_groups));
        self.member = Some(member::join(options, partitions.decisions, owners, Arc::clone(&self.metrics), stop)?);
        Ok(())
    }

    /// Begins to deliver to a destination.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn deliver<D: Destination>(
        &mut self,
        destination: Arc<D>,
        options: DeliveryOptions,
        label: metrics::Destination,
    ) -> Result<(), StreamError> {
        let shared = (Arc::clone(&self.metrics), label, self.runtime.clone(), Arc::clone(&self.stop_groups));
        let kafka = &self.connection.options;
        let dead_letters =
            DeadLetters { publisher: Arc::clone(&self.connection.publisher), topic: kafka.topics.rejected.clone() };
        self.deliveries.push(delivery::start(kafka, options, destination, dead_letters, shared)?);
        Ok(())
    }

    /// Begins to measure how far behind the reader and `destinations` are.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn measure(&mut self, destinations: Vec<(metrics::Destination, String)>) -> Result<(), StreamError> {
        let (state, stop) = (Arc::clone(&self.state), Arc::clone(&self.stop_groups));
        let options = &self.connection.options;
        self.lag = Some(lag::start(options, destinations, state, Arc::clone(&self.metrics), stop)?);
        Ok(())
    }

    /// Begins to audit: whichever instance holds the lock of `claims` tells what is complete.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub fn audit<C: Claims>(&mut self, claims: Arc<C>, options: AuditOptions) -> Result<(), StreamError> {
        let Self { connection, frontiers, reading, state, .. } = self;
        let parts = (Arc::clone(frontiers), Arc::clone(reading), Arc::clone(state));
        let shared = (Arc::clone(&self.metrics), self.runtime.clone(), Arc::clone(&self.stop_groups));
        self.auditor = Some(auditor::start(connection, options, claims, parts, shared)?);
        Ok(())
    }

    /// Who knows where the reader is.
    #[must_use]
    pub fn positioned(&self) -> Positioned {
        Positioned { state: Arc::clone(&self.state), topics: self.connection.options.topics.clone() }
    }

    /// Whether only a new process can go on.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        self.connection.publisher.is_fatal()
    }

    /// Ends in order: takes nothing more, waits at most `grace` for what is on its way, commits, leaves the groups. Blocking.
    pub fn stop(self, grace: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        // The readers may wait for room in the channel: the merge goes first, and its end of the channel with it.
        self.merging.join();
        self.readers.into_iter().for_each(Thread::join);
        if let Err(error) = self.connection.publisher.flush(grace) {
            tracing::warn!(%error, "Kafka did not acknowledge everything in time; the next owner decides the rest");
        }
        self.stop_groups.store(true, Ordering::Relaxed);
        self.member.into_iter().chain(self.deliveries).chain(self.lag).chain(self.auditor).for_each(Thread::join);
    }

    /// Waits until the reader has passed what the group had done when the reading began: what comes after is to be scored.
    pub async fn caught_up(&self) {
        self.state.caught_up().await;
    }
}
