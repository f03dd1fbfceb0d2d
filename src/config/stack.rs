//! The sections of the stack: Kafka, how the topics are followed, PostgreSQL; MongoDB has a file of its own.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::setting::{Bytes, Password};
use crate::stream::{Compression, Mechanism};

/// `[kafka]`
#[derive(Debug, Clone)]
pub struct Kafka {
    /// Where it is; empty in the embedded set-up.
    pub brokers: String,
    /// Topic of transactions.
    pub transactions: String,
    /// Topic of labels.
    pub labels: String,
    /// Topic of decisions.
    pub decisions: String,
    /// Topic of dead letters.
    pub rejected: String,
    /// Whether topics that are missing are made.
    pub create_topics: Switch,
    /// Their partitions.
    pub partitions: usize,
    /// Their replicas.
    pub replicas: usize,
    /// How long they keep records.
    pub retention: Duration,
    /// The consumer group.
    pub group: String,
    /// This instance's name in it.
    pub member: String,
    /// How long a member may be silent.
    pub session_timeout: Duration,
    /// Compression of records.
    pub compression: Compression,
    /// How long a record waits for others.
    pub linger: Duration,
    /// How long a broker holds back an empty answer.
    pub fetch_wait: Duration,
    /// Bytes that wait for acknowledgement.
    pub spool: Bytes,
    /// Records that wait for it.
    pub spool_records: usize,
    /// What `/predict` does while Kafka is away.
    pub when_away: WhenAway,
    /// How long it waits before that.
    pub answer_after: Duration,
    /// TLS.
    pub tls: Switch,
    /// Trusted certificates.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub certificate_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// How the user is proven; `None` for not at all.
    pub sasl: Option<Mechanism>,
    /// The user.
    pub user: String,
    /// The password.
    pub password: Password,
}

/// `[stream]`
#[derive(Debug, Clone)]
pub struct Stream {
    /// What speaks the language of the transactions' topic.
    pub connector: String,
    /// How long a message is held for what may be on its way elsewhere.
    pub settle: Duration,
    /// How long a partition is waited for.
    pub patience: Duration,
    /// Behind by more than this, decisions say so.
    pub behind: Duration,
    /// Where snapshots of the history lie.
    pub snapshot_directory: Option<PathBuf>,
    /// How often one is written.
    pub snapshot_every: Duration,
    /// How many are kept.
    pub snapshots_kept: usize,
}

/// `[postgres]`
#[derive(Debug, Clone)]
pub struct Postgres {
    /// Where it is; empty delivers to none.
    pub host: String,
    /// Its port.
    pub port: usize,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// TLS.
    pub tls: Switch,
    /// Trusted certificates.
    pub ca_file: Option<PathBuf>,
    /// The schema of assay's own tables.
    pub schema: String,
    /// The table of the transactions' rows.
    pub table: String,
    /// Its key.
    pub key_column: String,
    /// The column of the score.
    pub score_column: String,
    /// The column of the model's version.
    pub version_column: String,
    /// The column of the flag.
    pub flag_column: String,
    /// The column of the revision.
    pub revision_column: String,
    /// The column of the time.
    pub time_column: String,
    /// Records written together.
    pub batch: usize,
    /// How long a batch waits to become fuller.
    pub linger: Duration,
    /// How long a statement may take.
    pub statement_timeout: Duration,
    /// How long it may wait for a lock.
    pub lock_timeout: Duration,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    /// Whether it is on.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// What `/predict` does while Kafka is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAway {
    /// 503.
    Refuse,
    /// Answers from memory, marked.
    Answer,
}

pub(super) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(super) const S: fn(u64) -> Duration = Duration::from_secs;
pub(super) const HOUR: u64 = 3_600;

pub(super) fn text(reader: &mut Reader, key: &'static str, default: &str) -> String {
    reader.take(key, default.to_owned())
}

/// A name that a topic, a group or an identifier may have.
fn name(reader: &mut Reader, key: &'static str, default: &str) -> String {
    let rule = "a name of 1 to 200 letters, digits, '.', '_' and '-'";
    reader.take_if(key, default.to_owned(), rule, |name| {
        (1..=200).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    })
}

impl Kafka {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            brokers: text(reader, "kafka.brokers", ""),
            transactions: name(reader, "kafka.transactions", "transactions"),
            labels: name(reader, "kafka.labels", "labels"),
            decisions: name(reader, "kafka.decisions", "fraud.decisions"),
            rejected: name(reader, "kafka.rejected", "transactions.rejected"),
            create_topics: reader.take("kafka.create_topics", Switch::On),
            partitions: reader.take_in("kafka.partitions", 8, 1..=1_024),
            replicas: reader.take_in("kafka.replicas", 1, 1..=16),
            retention: reader.take_in("kafka.retention", S(40 * 24 * HOUR), S(HOUR)..=S(3_650 * 24 * HOUR)),
            group: name(reader, "kafka.group", "assay"),
            member: text(reader, "kafka.member", ""),
            session_timeout: reader.take_in("kafka.session_timeout", S(10), S(1)..=S(600)),
            compression: reader.take("kafka.compression", Compression::Lz4),
            linger: reader.take_in("kafka.linger", Duration::ZERO, Duration::ZERO..=S(1)),
            fetch_wait: reader.take_in("kafka.fetch_wait", MS(5), MS(1)..=S(1)),
            spool: reader.take_in("kafka.spool", Bytes(64 << 20), Bytes(1 << 20)..=Bytes(2 << 30)),
            spool_records: reader.take_in("kafka.spool_records", 100_000, 1_000..=10_000_000),
            when_away: reader.take("kafka.when_away", WhenAway::Refuse),
            answer_after: reader.take_in("kafka.answer_after", MS(50), MS(1)..=S(10)),
            tls: reader.take("kafka.tls", Switch::Off),
            ca_file: reader.take("kafka.ca_file", None),
            certificate_file: reader.take("kafka.certificate_file", None),
            key_file: reader.take("kafka.key_file", None),
            sasl: reader.take("kafka.sasl", None),
            user: text(reader, "kafka.user", ""),
            password: reader.take("kafka.password", Password::default()),
        }
    }

    /// Whether the set-up is the stack.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        !self.brokers.is_empty()
    }
}

impl Stream {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            connector: text(reader, "stream.connector", "canonical"),
            settle: reader.take_in("stream.settle", Duration::ZERO, Duration::ZERO..=S(10)),
            patience: reader.take_in("stream.patience", S(2), MS(1)..=S(60)),
            behind: reader.take_in("stream.behind", S(5), MS(100)..=S(HOUR)),
            snapshot_directory: reader.take("stream.snapshot_directory", Some(PathBuf::from("data/snapshots"))),
            snapshot_every: reader.take_in("stream.snapshot_every", S(300), S(1)..=S(24 * HOUR)),
            snapshots_kept: reader.take_in("stream.snapshots_kept", 2, 1..=100),
        }
    }
}

impl Postgres {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            host: text(reader, "postgres.host", ""),
            port: reader.take_in("postgres.port", 5_432, 1..=65_535),
            database: text(reader, "postgres.database", "payments"),
            user: text(reader, "postgres.user", "assay"),
            password: reader.take("postgres.password", Password::default()),
            tls: reader.take("postgres.tls", Switch::Off),
            ca_file: reader.take("postgres.ca_file", None),
            schema: text(reader, "postgres.schema", "assay"),
            table: text(reader, "postgres.table", "public.payments"),
            key_column: text(reader, "postgres.key_column", "transaction_id"),
            score_column: text(reader, "postgres.score_column", "fraud_score"),
            version_column: text(reader, "postgres.version_column", "fraud_model_version"),
            flag_column: text(reader, "postgres.flag_column", "fraud_flagged"),
            revision_column: text(reader, "postgres.revision_column", "fraud_revision"),
            time_column: text(reader, "postgres.time_column", ""),
            batch: reader.take_in("postgres.batch", 500, 1..=10_000),
            linger: reader.take_in("postgres.linger", Duration::ZERO, Duration::ZERO..=S(1)),
            statement_timeout: reader.take_in("postgres.statement_timeout", S(2), MS(10)..=S(60)),
            lock_timeout: reader.take_in("postgres.lock_timeout", MS(100), MS(1)..=S(10)),
        }
    }

    /// Whether decisions are delivered there.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        !self.host.is_empty()
    }
}
