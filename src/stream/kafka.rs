//! Connections to Kafka: what every client of this program is configured with.
//!
//! In: [`KafkaOptions`]. Out: client configurations for one purpose each. What librdkafka has to say goes to the log
//! of this program. No secret is printed: options say whether there is one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

use super::by_topic::ByTopic;
use super::item::Topic;
use crate::base::secret::Secret;

/// How to reach Kafka, and how to behave there.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// `host:port`, separated by commas.
    pub brokers: String,
    /// The topics.
    pub topics: TopicNames,
    /// The consumer group of the owners; destinations add `-<name>` to it.
    pub group: String,
    /// A name that this instance keeps over restarts (static membership); `None` joins as a new member each time.
    pub member: Option<String>,
    /// After so long without a sign of life a member's partitions go to the others.
    pub session_timeout: Duration,
    /// How records are compressed.
    pub compression: Compression,
    /// How long a record waits for others before it is sent.
    pub linger: Duration,
    /// How long a broker holds back an empty answer to the reader: how late an end is seen at worst.
    pub fetch_wait: Duration,
    /// Bytes that wait for Kafka's acknowledgement at most.
    pub spool_bytes: u64,
    /// Records that wait for it at most.
    pub spool_records: usize,
    /// TLS; `None` speaks in the clear.
    pub tls: Option<Tls>,
    /// SASL; `None` does not authenticate.
    pub sasl: Option<Sasl>,
}

/// The topics' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicNames {
    /// Transactions to score.
    pub transactions: String,
    /// Verdicts on transactions.
    pub labels: String,
    /// Decisions.
    pub decisions: String,
    /// Dead letters.
    pub rejected: String,
}

impl TopicNames {
    /// The name of a topic that is followed.
    pub(super) fn of(&self, topic: Topic) -> &str {
        match topic {
            Topic::Transactions => &self.transactions,
            Topic::Labels => &self.labels,
            Topic::Decisions => &self.decisions,
        }
    }

    /// Values under the names of their topics.
    pub(super) fn named<T: Clone>(&self, values: &ByTopic<T>) -> BTreeMap<String, T> {
        BTreeMap::from(Topic::ALL.map(|topic| (self.of(topic).to_owned(), values[topic].clone())))
    }
}

/// How records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// Kafka's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// TLS: the broker's certificate is always checked.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates that are trusted, PEM; `None` trusts the system's.
    pub ca: Option<PathBuf>,
    /// This client's certificate, PEM.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
}

/// User and password.
#[derive(Debug, Clone)]
pub struct Sasl {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// How the password is proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// In the clear: over TLS only.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Mechanism {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Why the stream cannot start or go on.
#[derive(Debug, Error)]
pub enum StreamError {
    /// Kafka cannot be reached or said no.
    #[error("{what}: {source}")]
    Kafka {
        /// What was tried.
        what: String,
        /// What came of it.
        #[source]
        source: KafkaError,
    },
    /// The topics are not what they must be; every fault.
    #[error("the topics are not as they must be: {}", faults.join("; "))]
    Topics {
        /// One sentence each.
        faults: Vec<String>,
    },
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

impl StreamError {
    pub(super) fn kafka(what: impl Into<String>) -> impl FnOnce(KafkaError) -> Self {
        let what = what.into();
        move |source| Self::Kafka { what, source }
    }
}

/// KiB that a consumer fetches ahead, in all its queues together; and of one queue at least: a fetch has up to a MiB of a
/// partition.
const QUEUE: usize = 16_384;
const LEAST_QUEUE: usize = 1_024;

impl KafkaOptions {
    /// What every client has.
    pub(super) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "assay").set("log.connection.close", "false");
        // A broker that comes back is found within a second.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "1000");
        config.set("topic.metadata.refresh.interval.ms", "30000").set("socket.keepalive.enable", "true");
        config.set("socket.nagle.disable", "true");
        let protocol = match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(tls) = &self.tls {
            let files = [
                ("ssl.ca.location", &tls.ca),
                ("ssl.certificate.location", &tls.certificate),
                ("ssl.key.location", &tls.key),
            ];
            for (key, file) in files {
                if let Some(file) = file {
                    config.set(key, file.display().to_string());
                }
            }
        }
        if let Some(sasl) = &self.sasl {
            config.set("sasl.mechanism", sasl.mechanism.as_str());
            config.set("sasl.username", &sasl.user).set("sasl.password", sasl.password.expose());
        }
        config
    }

    /// A client that reads nothing: it asks what topics hold, and what `group` has committed.
    pub(super) fn asking(&self, group: Option<&str>) -> Result<BaseConsumer<Telling>, StreamError> {
        let mut config = self.client();
        if let Some(group) = group {
            config.set("group.id", group);
        }
        config.create_with_context(Telling).map_err(StreamError::kafka("Kafka's client cannot be made"))
    }

    /// What every consumer of messages has: nothing is committed unasked.
    fn consumer(&self, group: String) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", group);
        config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "earliest").set("fetch.error.backoff.ms", "100");
        // A queue that was full is filled again at once: the client's own second of pause was most of what a backlog cost.
        config.set("queued.max.messages.kbytes", QUEUE.to_string()).set("fetch.queue.backoff.ms", "10");
        config
    }

    /// A consumer that is told what to read, into so many queues, and never commits.
    pub(super) fn reader(&self, instance: u64, queues: usize) -> Result<BaseConsumer<Telling>, KafkaError> {
        // A group's name is asked for; nobody joins it.
        let mut config = self.consumer(format!("{}-reader-{instance:016x}", self.group));
        config.set("queued.max.messages.kbytes", (QUEUE / queues.max(1)).max(LEAST_QUEUE).to_string());
        config.set("enable.partition.eof", "true");
        config.set("fetch.wait.max.ms", self.fetch_wait.as_millis().max(1).to_string());
        config.set("fetch.message.max.bytes", "1048576").set("check.crcs", "true");
        config.create_with_context(Telling)
    }

    /// A member of the group `suffix` behind the owners' group.
    pub(super) fn member(&self, suffix: &str) -> ClientConfig {
        let mut config = self.consumer(format!("{}{suffix}", self.group));
        if let Some(member) = &self.member {
            config.set("group.instance.id", format!("{member}{suffix}"));
        }
        config.set("partition.assignment.strategy", "range");
        let heartbeat = (self.session_timeout / 6).min(Duration::from_secs(1)).max(Duration::from_millis(100));
        config.set("session.timeout.ms", self.session_timeout.as_millis().to_string());
        config.set("heartbeat.interval.ms", heartbeat.as_millis().to_string());
        config.set("max.poll.interval.ms", "300000").set("fetch.wait.max.ms", "100");
        config
    }

    /// The idempotent producer: acknowledged by all in-sync replicas, in order, tried until it is.
    pub(super) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("enable.idempotence", "true").set("acks", "all").set("partitioner", "murmur2_random");
        config.set("message.timeout.ms", "0").set("compression.type", self.compression.as_str());
        config.set("linger.ms", (self.linger.as_secs_f64() * 1_000.0).to_string());
        config.set("queue.buffering.max.messages", self.spool_records.to_string());
        config.set("queue.buffering.max.kbytes", (self.spool_bytes / 1_024).max(1).to_string());
        config.set("retry.backoff.ms", "50").set("retry.backoff.max.ms", "500");
        config
    }
}

/// Passes what librdkafka says on to this program's log.
pub(super) fn tell(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, "kafka: {message}");
        }
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(facility, "kafka: {message}"),
        _ => tracing::debug!(facility, "kafka: {message}"),
    }
}

/// Passes an error on that librdkafka tells of by itself.
pub(super) fn tell_error(error: &KafkaError, reason: &str) {
    match error.rdkafka_error_code() {
        // That a partition is at its end is asked for, and told by the poll.
        Some(RDKafkaErrorCode::PartitionEOF) => {}
        // The log has said so, without saying the same again and again.
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown) => {
            tracing::debug!(%error, reason, "kafka");
        }
        _ => tracing::warn!(%error, reason, "kafka"),
    }
}

/// How long leaving a group may take.
const LEAVING: Duration = Duration::from_secs(5);

/// Leaves the group of a consumer and lets go of it.
///
/// Why it is not destroyed: librdkafka's destruction was seen to wait for a broker's thread for ever when partitions were
/// paused. The process ends; what it holds goes with it.
pub(super) fn leave<C: ConsumerContext>(consumer: BaseConsumer<C>) {
    let begun = Instant::now();
    match consumer.close_queue() {
        Ok(()) => {
            while !consumer.closed() && begun.elapsed() < LEAVING {
                let _event = consumer.poll(Duration::from_millis(20));
            }
        }
        Err(error) => {
            tracing::warn!(%error, "a consumer could not leave its group; it is missed after its session's time")
        }
    }
    std::mem::forget(consumer);
}

/// A client that only tells.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Telling;

impl ClientContext for Telling {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        tell(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tell_error(&error, reason);
    }
}

impl ConsumerContext for Telling {}
