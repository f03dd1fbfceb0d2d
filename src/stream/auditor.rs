//! The auditor: one instance at a time tells what is complete.
//!
//! ```text
//! lock ─▶ C, X, E, R, T, D as `protocol::completeness` says ─▶ dead letters up to R ─▶ one round into PostgreSQL ─▶ …
//! ```
//!
//! In: what Kafka says of groups and partitions, what this instance's reader has read. Out: rounds. Every instance reads
//! everything, so any of them may audit; which one does is settled by a lock of PostgreSQL that goes with its session.
//! While PostgreSQL or Kafka is away there is no new claim, and nothing else notices. Every wait has a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;

use super::connection::Connection;
use super::frontiers::Frontiers;
use super::item::{Reading, Topic};
use super::kafka::{KafkaOptions, StreamError, Telling};
use super::offsets::committed;
use super::protocol::completeness::{Claim, Frontier, Observed, Part};
use super::state::State;
use super::tail::{Earlier, Tail};
use super::thread::Thread;
use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::engine::completeness::{Claims, Completeness, Figures, Round};
use crate::engine::delivery::DestinationError;
use crate::ops::metrics::Metrics;

const STEP: Duration = Duration::from_millis(50);
/// How long a question to Kafka may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the reader is waited for to pass the ends of the decisions.
const PASSING: Duration = Duration::from_secs(2);
/// How often an instance that does not audit forgets what is settled, and what is told as metrics is read.
const SELDOM: Duration = Duration::from_secs(5);

/// How it is audited.
pub struct AuditOptions {
    /// The pause between two rounds.
    pub every: Duration,
    /// How late a transaction may arrive without being late.
    pub allow_late: Duration,
    /// The time that transactions are held against: the clock's or, in a replay, that of the stream; `None`: not known yet.
    pub now: Box<dyn Fn() -> Option<Millis> + Send>,
    /// The destination that completes the rows.
    pub destination: &'static str,
}

impl std::fmt::Debug for AuditOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AuditOptions").field("every", &self.every).finish_non_exhaustive()
    }
}

/// Starts to audit, until `stop`.
pub(super) fn start<C: Claims>(
    connection: &Connection,
    options: AuditOptions,
    claims: Arc<C>,
    (frontiers, reading, state): (Arc<Frontiers>, Arc<Reading>, Arc<State>),
    (metrics, runtime, stop): (Arc<Metrics>, Handle, Arc<AtomicBool>),
) -> Result<Thread, StreamError> {
    let kafka = connection.options.clone();
    let group = &kafka.group;
    let asking = Asking {
        ends: kafka.asking(None)?,
        owners: kafka.asking(Some(group))?,
        stored: kafka.asking(Some(&format!("{group}-{}", options.destination)))?,
        partitions: [connection.partitions.transactions, connection.partitions.decisions],
        kafka: kafka.clone(),
    };
    let tail = Tail { kafka: kafka.clone(), destination: options.destination, stop: Arc::clone(&stop) };
    let earlier = Earlier { kafka, reading, stop: Arc::clone(&stop) };
    let mut work = Work {
        asking,
        options,
        claims,
        frontiers,
        state,
        tail,
        earlier,
        metrics,
        runtime,
        stop,
        shown: None,
        looked: None,
        leads: false,
        told: false,
        looked_for: Vec::new(),
    };
    Thread::start("auditor", "the auditor", move || work.run())
}

struct Work<C> {
    asking: Asking,
    options: AuditOptions,
    claims: Arc<C>,
    frontiers: Arc<Frontiers>,
    state: Arc<State>,
    tail: Tail,
    earlier: Earlier,
    metrics: Arc<Metrics>,
    runtime: Handle,
    stop: Arc<AtomicBool>,
    /// What was shown last.
    shown: Option<Completeness>,
    /// When what is done seldom was done last.
    looked: Option<Instant>,
    leads: bool,
    /// Whether it was said that a person is needed.
    told: bool,
    /// Of each partition of the transactions: what was read, and the last end behind which something was looked for.
    looked_for: Vec<(i64, i64)>,
}

/// Who asks Kafka.
struct Asking {
    ends: BaseConsumer<Telling>,
    owners: BaseConsumer<Telling>,
    stored: BaseConsumer<Telling>,
    /// Of the transactions and of the decisions.
    partitions: [usize; 2],
    kafka: KafkaOptions,
}

impl Asking {
    /// First and next offsets of a topic's partitions.
    fn marks(&self, topic: &str, partitions: usize) -> Result<Vec<(i64, i64)>, KafkaError> {
        (0_i32..).take(partitions).map(|partition| self.ends.fetch_watermarks(topic, partition, PATIENCE)).collect()
    }

    fn ends(&self, topic: &str, partitions: usize) -> Result<Vec<i64>, KafkaError> {
        Ok(self.marks(topic, partitions)?.into_iter().map(|(_, end)| end).collect())
    }

    /// What a group has committed; the partition's beginning where it has not.
    fn committed(&self, of: &BaseConsumer<Telling>, topic: Topic) -> Result<Vec<i64>, KafkaError> {
        let [transactions, decisions] = self.partitions;
        let partitions = if topic == Topic::Transactions { transactions } else { decisions };
        let name = self.kafka.topics.of(topic);
        let found = committed(of, name, partitions, PATIENCE)?;
        let offset = |(partition, offset): (i32, Option<i64>)| match offset {
            Some(offset) => Ok(offset),
            None => Ok(self.ends.fetch_watermarks(name, partition, PATIENCE)?.0),
        };
        (0_i32..).zip(found).map(offset).collect()
    }

    /// First and next offsets of the dead letters; their partitions may become more.
    fn letters(&self) -> Result<Vec<(i64, i64)>, KafkaError> {
        let topic = &self.kafka.topics.rejected;
        let metadata = self.ends.fetch_metadata(Some(topic), PATIENCE)?;
        self.marks(topic, metadata.topics().first().map_or(0, |topic| topic.partitions().len()))
    }
}

/// Why there was no round.
#[derive(Debug, thiserror::Error)]
enum NoRound {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Claims(#[from] DestinationError),
}

impl NoRound {
    const fn needs_a_person(&self) -> bool {
        matches!(self, Self::Claims(DestinationError::Misconfigured { .. }))
    }
}

impl<C: Claims> Work<C> {
    fn run(&mut self) {
        while !self.is_stopping() {
            let begun = Instant::now();
            match self.round() {
                Ok(()) => self.told = false,
                // Once for each time that a person is needed: what is away comes back by itself.
                Err(error) if error.needs_a_person() && !std::mem::replace(&mut self.told, true) => {
                    tracing::warn!(%error, "completeness cannot be told");
                }
                Err(error) => tracing::debug!(%error, "completeness could not be told; tried again"),
            }
            if self.looked.is_none_or(|looked| looked.elapsed() >= SELDOM) {
                self.look();
                self.looked = Some(Instant::now());
            }
            self.tell();
            while begun.elapsed() < self.options.every && !self.is_stopping() {
                std::thread::sleep(STEP.min(self.options.every));
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.state.is_stopping()
    }

    /// A round, where this process audits. The order of the questions is what makes the claim true.
    fn round(&mut self) -> Result<(), NoRound> {
        let next = self.runtime.block_on(self.claims.lead())?;
        if self.leads != next.is_some() {
            self.leads = next.is_some();
            tracing::info!(audits = self.leads, "who tells completeness has changed");
        }
        let Some(next) = next else { return Ok(()) };
        let names = self.asking.kafka.topics.clone();
        let [transactions, decisions] = self.asking.partitions;
        let committed = self.asking.committed(&self.asking.owners, Topic::Transactions)?;
        let (as_of, at) = (SystemClock.now(), (self.options.now)());
        let ends = self.asking.ends(&names.transactions, transactions)?;
        let rejected = self.asking.letters()?;
        let log = self.asking.ends(&names.decisions, decisions)?;
        let found = match at {
            Some(at) => self.claim(at, (&committed, &ends), &log)?,
            None => None,
        };
        let read = self.tail.read(&next, &rejected)?;
        let Some((claim, stored)) = found.filter(|_| read.is_whole) else {
            // Letters that were read are kept, so that as many of them as there are, the end is reached.
            let round = Round { letters: read.letters, next: read.next, ..Round::default() };
            return Ok(self.runtime.block_on(self.claims.keep(&round))?);
        };
        let settled = vec![(names.transactions, committed.clone()), (names.decisions, stored.clone())];
        let figures = Some(figures(as_of, &claim));
        let round = Round { letters: read.letters, next: read.next, settled, figures };
        self.runtime.block_on(self.claims.keep(&round))?;
        self.forget(&committed, &stored);
        Ok(())
    }

    /// The claim, and what the destination had committed for it; `None` where the reader does not pass the ends in time.
    fn claim(
        &mut self,
        at: Millis,
        (committed, ends): (&[i64], &[i64]),
        log: &[i64],
    ) -> Result<Option<(Claim, Vec<i64>)>, NoRound> {
        let allow_late = i64::try_from(self.options.allow_late.as_millis()).unwrap_or(i64::MAX);
        self.look_behind(ends)?;
        let begun = Instant::now();
        loop {
            let stored = self.asking.committed(&self.asking.stored, Topic::Decisions)?;
            self.earlier.fill(&self.frontiers, committed, &stored)?;
            let claim = {
                let read = self.frontiers.read();
                let part = |(committed, end): (&i64, &i64)| Part { committed: *committed, end: *end };
                let transactions = committed.iter().zip(ends).map(part).zip(&read.transactions).collect();
                let decisions = stored.iter().zip(log).map(part).zip(&read.decisions).collect();
                Claim::of(&Observed { at, allow_late, transactions, decisions })
            };
            if let Some(claim) = claim {
                return Ok(Some((claim, stored)));
            }
            if begun.elapsed() >= PASSING || self.is_stopping() {
                return Ok(None);
            }
            std::thread::sleep(STEP);
        }
    }

    /// Where a partition ends beyond what was read, and nothing more was read since the round before: looks whether anything
    /// stands there at all, once for an end.
    ///
    /// Why: a producer that uses Kafka's transactions leaves a marker behind its last message, which no consumer is given.
    fn look_behind(&mut self, ends: &[i64]) -> Result<(), KafkaError> {
        self.looked_for.resize(ends.len(), (-1, -1));
        for ((partition, end), looked) in (0_i32..).zip(ends).zip(&mut self.looked_for) {
            let place = usize::try_from(partition).unwrap_or_default();
            let next = self.frontiers.read().transactions.get(place).map_or(0, Frontier::next);
            if next < *end && looked.0 == next && looked.1 != *end {
                looked.1 = *end;
                if self.earlier.is_void(Topic::Transactions, (partition, next, *end))?
                    && let Some(frontier) = self.frontiers.read().transactions.get_mut(place)
                {
                    frontier.pass(*end);
                }
            }
            looked.0 = next;
        }
        Ok(())
    }

    /// What lies below these offsets is not asked for again.
    fn forget(&self, committed: &[i64], stored: &[i64]) {
        let mut read = self.frontiers.read();
        for (frontier, below) in read.transactions.iter_mut().zip(committed) {
            frontier.forget(*below);
        }
        for (records, below) in read.decisions.iter_mut().zip(stored) {
            records.full.forget(*below);
            records.fallbacks.forget(*below);
        }
    }

    /// Reads what is shown and, where another process audits, forgets as it does.
    fn look(&mut self) {
        if !self.leads {
            let asked = self
                .asking
                .committed(&self.asking.owners, Topic::Transactions)
                .and_then(|committed| Ok((committed, self.asking.committed(&self.asking.stored, Topic::Decisions)?)));
            match asked {
                Ok((committed, stored)) => self.forget(&committed, &stored),
                Err(error) => tracing::debug!(%error, "Kafka does not say what is committed"),
            }
        }
        match self.runtime.block_on(self.claims.completeness()) {
            Ok(shown) => self.shown = Some(shown),
            Err(error) => tracing::debug!(%error, "completeness could not be read"),
        }
    }

    fn tell(&self) {
        let Some(shown) = &self.shown else { return };
        let now = SystemClock.now();
        let age = |at: Option<Millis>| at.map_or(-1, |at| now.0.saturating_sub(at.0).max(0) / 1_000);
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.metrics.watermark_age.set((), age(shown.watermark));
        self.metrics.applied_watermark_age.set((), age(shown.applied_watermark));
        self.metrics.claim_age.set((), age(shown.as_of));
        self.metrics.undecided.set((), count(shown.undecided));
        self.metrics.open_letters.set((), count(shown.open_letters));
    }
}

fn figures(as_of: Millis, claim: &Claim) -> Figures {
    Figures {
        as_of,
        watermark: claim.decided.until,
        held_by: claim.decided.hold.to_string(),
        stored: claim.delivered.until,
        stored_held_by: claim.delivered.hold.to_string(),
        undecided: claim.undecided,
        oldest: claim.oldest,
    }
}
