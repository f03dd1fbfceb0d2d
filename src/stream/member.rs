//! Membership: a consumer that joins the group to learn which partitions are this instance's, and to commit for them.
//!
//! ```text
//! assigned ─▶ pause everything ─▶ committed offsets, ends of the decisions ─▶ Ownership::assign
//! revoked  ─▶ commit what is done ─▶ Ownership::revoke ─▶ give the partitions up
//! ```
//!
//! It reads nothing: its partitions are paused for good, so that work however long never costs it the group. It is polled on a
//! thread of its own. Commits carry the group's generation; those of a generation that is over are refused by Kafka,
//! and by `Ownership` before that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Message as _, TopicPartitionList};

use super::item::Topic;
use super::kafka::{KafkaOptions, StreamError, TopicNames, leave, tell, tell_error};
use super::offsets;
use super::owners::Owners;
use super::protocol::ownership::Ownership;
use super::thread::Thread;
use crate::ops::metrics::Metrics;

/// How long a poll of the group waits.
const POLL: Duration = Duration::from_millis(50);
/// How often what is done is committed.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// How long a question to Kafka may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The group's events, in the order in which they came.
struct Group {
    owners: Arc<Owners>,
    topics: TopicNames,
    metrics: Arc<Metrics>,
    assigned: Sender<TopicPartitionList>,
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
        if let Rebalance::Revoke(_) = rebalance {
            commit(consumer, &self.owners, &self.topics, CommitMode::Sync);
            let mut owned = self.owners.owned();
            owned.transactions.revoke();
            owned.labels.revoke();
            // What was assigned before and not begun yet never is.
            drop(self.assigned.send(TopicPartitionList::new()));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.metrics.rebalances.up(());
        match rebalance {
            Rebalance::Assign(list) => {
                if let Err(error) = consumer.pause(list) {
                    tracing::warn!(%error, "the owned partitions could not be paused");
                }
                // Asked for on the thread that polls, after this call: the group waits for nobody.
                drop(self.assigned.send((*list).clone()));
            }
            Rebalance::Revoke(_) => tracing::info!("the group took this instance's partitions back"),
            Rebalance::Error(error) => tracing::warn!(%error, "the group could not be rebalanced"),
        }
    }
}

/// Joins the group, until `stop`. There are so many partitions of `decisions`.
pub(super) fn join(
    options: &KafkaOptions,
    decisions: usize,
    owners: Arc<Owners>,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
) -> Result<Thread, StreamError> {
    let (assigned, assignments) = channel();
    let (topics, counted) = (options.topics.clone(), Arc::clone(&metrics));
    let group = Group { owners: Arc::clone(&owners), topics: topics.clone(), metrics, assigned };
    let consumer: BaseConsumer<Group> = options
        .member("")
        .create_with_context(group)
        .map_err(StreamError::kafka("the group's member cannot be made"))?;
    consumer
        .subscribe(&[&topics.transactions, &topics.labels])
        .map_err(StreamError::kafka(format!("the group {} cannot be joined", options.group)))?;
    let work = Work { consumer, owners, topics, decisions, assignments, metrics: counted };
    Thread::start("group", "the group's member", move || work.run(&stop))
}

struct Work {
    consumer: BaseConsumer<Group>,
    owners: Arc<Owners>,
    topics: TopicNames,
    /// Partitions of the decisions.
    decisions: usize,
    assignments: Receiver<TopicPartitionList>,
    metrics: Arc<Metrics>,
}

impl Work {
    fn run(self, stop: &AtomicBool) {
        let mut committed = Instant::now();
        let mut open: Option<TopicPartitionList> = None;
        while !stop.load(Ordering::Relaxed) {
            match self.consumer.poll(POLL) {
                None => {}
                Some(Ok(message)) => {
                    // A partition is paused an instant after it is assigned; the reader has this message anyway.
                    tracing::debug!(partition = message.partition(), "the group's member was given a message");
                }
                Some(Err(error)) => tracing::debug!(%error, "the group's member"),
            }
            if let Some(list) = self.assignments.try_iter().last() {
                open = Some(list);
            }
            if let Some(list) = &open
                && self.begin(list)
            {
                open = None;
            }
            if committed.elapsed() >= COMMIT_EVERY {
                let begun = Instant::now();
                if commit(&self.consumer, &self.owners, &self.topics, CommitMode::Sync) {
                    self.metrics.commit_seconds.took((), begun.elapsed());
                }
                committed = Instant::now();
            }
        }
        commit(&self.consumer, &self.owners, &self.topics, CommitMode::Sync);
        leave(self.consumer);
    }

    /// Begins an ownership; false when Kafka could not be asked, to be tried again.
    fn begin(&self, list: &TopicPartitionList) -> bool {
        match self.ask(list) {
            Ok((transactions, labels, ends)) => {
                let mut owned = self.owners.owned();
                // A revocation since then is served by the next poll, and ends this ownership again.
                let epoch = owned.transactions.assign(&transactions, &ends);
                self.metrics.owned_partitions.set((), i64::try_from(transactions.len()).unwrap_or(i64::MAX));
                owned.labels.assign(&labels, &[]);
                drop(owned);
                let parts: Vec<i32> = transactions.iter().map(|(partition, _)| *partition).collect();
                tracing::info!(epoch, partitions = ?parts, "owns partitions; scores them once the reader has passed what was decided before");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the committed offsets cannot be read; asked again");
                false
            }
        }
    }

    /// Committed offsets of what is assigned, then the ends of the decisions.
    #[expect(clippy::type_complexity, reason = "two lists of partitions with their offsets, and one of ends")]
    fn ask(&self, list: &TopicPartitionList) -> Result<(Vec<(i32, i64)>, Vec<(i32, i64)>, Vec<i64>), KafkaError> {
        let committed = self.consumer.committed_offsets(list.clone(), PATIENCE)?;
        let (mut transactions, mut labels) = (Vec::new(), Vec::new());
        for (topic, partition, offset) in offsets::places(&committed) {
            let offset = match offset {
                Some(offset) => offset,
                None => self.consumer.fetch_watermarks(&topic, partition, PATIENCE)?.0,
            };
            let into = if topic == self.topics.transactions { &mut transactions } else { &mut labels };
            into.push((partition, offset));
        }
        let ends = (0_i32..).take(self.decisions);
        let topic = &self.topics.decisions;
        let ends = ends.map(|partition| Ok(self.consumer.fetch_watermarks(topic, partition, PATIENCE)?.1));
        Ok((transactions, labels, ends.collect::<Result<_, KafkaError>>()?))
    }
}

/// Commits what is done and not committed yet; whether there was anything.
fn commit(consumer: &BaseConsumer<Group>, owners: &Owners, topics: &TopicNames, mode: CommitMode) -> bool {
    let mut due = Vec::new();
    {
        let mut owned = owners.owned();
        for topic in [Topic::Transactions, Topic::Labels] {
            let commits = owned.of(topic).map(Ownership::commits).unwrap_or_default();
            due.extend(commits.into_iter().map(|(partition, offset)| (topics.of(topic), partition, offset)));
        }
    }
    if due.is_empty() {
        return false;
    }
    match offsets::list(due).and_then(|list| consumer.commit(&list, mode)) {
        Ok(()) => true,
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::IllegalGeneration | RDKafkaErrorCode::UnknownMemberId)) => {
            tracing::info!(
                "a commit came after its generation was over; the new owner reads again from the one before"
            );
            true
        }
        Err(error) => {
            tracing::warn!(%error, "offsets could not be committed; the next commit carries them");
            let mut owned = owners.owned();
            owned.transactions.tell_again();
            owned.labels.tell_again();
            true
        }
    }
}
