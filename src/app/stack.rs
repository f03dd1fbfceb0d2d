//! Wiring of the stack: Kafka's topics, the history that follows them, the destinations.
//!
//! ```text
//! topics checked ─▶ producer ─▶ engine ─▶ follow from the snapshot or the beginning ─▶ caught up: ready ─▶ join the group
//!                                          └▶ deliver to PostgreSQL and MongoDB, from the first moment on
//! end: follow nothing more ─▶ acknowledgements ─▶ last commits ─▶ leave the groups
//! ```

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::transaction_limits;
use super::{mongodb, snapshots};
use crate::base::clock::{Clock, SystemClock};
use crate::base::money::Rates;
use crate::config::{self, Config};
use crate::decision::Decision;
use crate::engine::completeness::{Claims, Completeness};
use crate::engine::delivery::Destination as _;
use crate::engine::ports::{LogError, Lookup, Reading, Stored};
use crate::engine::snapshot::ReadFrom;
use crate::engine::{Engine, TimeSource};
use crate::features::Catalogue;
use crate::ops::metrics::{self, Metrics};
use crate::store::postgres::{self, Fourth, PostgresError, PostgresOptions, PostgresStore, RowTable};
use crate::store::{MongoStore, Snapshots};
use crate::stream::{
    AuditOptions, Connection, DeliveryOptions, KafkaLog, KafkaOptions, Positioned, Sasl, Stream, StreamOptions, Tls,
    TopicNames, TopicRules,
};
use crate::transaction::Connector;

/// How often rows that were not there are looked for.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// What the engine's parts need of the stack.
pub(super) struct Stack {
    connection: Connection,
    postgres: Option<Arc<PostgresStore>>,
    mongodb: Option<Arc<MongoStore>>,
    /// Features that are whole numbers.
    integers: HashSet<String>,
}

impl Stack {
    /// Checks the topics and opens what the engine needs.
    pub(super) async fn open(config: &Config, catalogue: &Catalogue) -> anyhow::Result<Self> {
        let rules = topic_rules(config, catalogue, config.kafka.create_topics.is_on())?;
        let connection = Connection::open(kafka_options(config)?, &rules).await?;
        let postgres = if config.postgres.is_there() { Some(open_postgres(config).await?) } else { None };
        let mongodb = if config.mongodb.is_there() { Some(mongodb::open(config).await?) } else { None };
        let integers = catalogue.integers().map(str::to_owned).collect();
        Ok(Self { connection, postgres, mongodb, integers })
    }

    /// The destination with the rows, where there is one.
    pub(super) fn postgres(&self) -> Option<Arc<PostgresStore>> {
        self.postgres.clone()
    }

    /// The engine's log.
    pub(super) fn log(&self, runtime: Handle) -> KafkaLog {
        let (decisions, features, integers) = (self.postgres.clone(), self.mongodb.clone(), self.integers.clone());
        let store = Stores { decisions, features, integers };
        self.connection.log(Arc::new(store), runtime)
    }

    /// Follows the topics; returns when the reader has passed what the group had done, as a member of it.
    pub(super) async fn follow(
        self,
        config: &Config,
        engine: &Engine,
        parts: (Arc<Rates>, u64, Arc<Metrics>),
    ) -> anyhow::Result<Following> {
        let (rates, instance, metrics) = parts;
        let options = StreamOptions {
            settle: config.stream.settle,
            patience: config.stream.patience,
            behind: config.stream.behind,
            max_open: config.store.max_open / 2,
            connector: Connector::shipped(&config.stream.connector)?,
            canonical: Connector::shipped("canonical")?,
            limits: transaction_limits(config)?,
            rates,
            instance,
            time: config.history.clock,
            max_ahead: config.history.max_ahead,
        };
        let snapshots = snapshots::folder(config);
        let from = tokio::task::block_in_place(|| self.begin(engine, snapshots.as_ref()))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut stream =
            Stream::start(self.connection, options, engine, &from, (clock, Arc::clone(&metrics), Handle::current()))?;
        let mut destinations = Vec::new();
        let claims = self.postgres.clone();
        if let Some(postgres) = self.postgres {
            let delivery = DeliveryOptions {
                batch: config.postgres.batch,
                linger: config.postgres.linger,
                look_after: LOOK_AFTER,
            };
            destinations.push((metrics::Destination::Postgres, postgres.name().to_owned()));
            stream.deliver(postgres, delivery, metrics::Destination::Postgres)?;
        }
        if let Some(mongodb) = self.mongodb {
            let delivery =
                DeliveryOptions { batch: config.mongodb.batch, linger: config.mongodb.linger, look_after: LOOK_AFTER };
            destinations.push((metrics::Destination::Mongodb, mongodb.name().to_owned()));
            stream.deliver(mongodb, delivery, metrics::Destination::Mongodb)?;
        }
        stream.measure(destinations)?;
        stream.caught_up().await;
        if let Some(claims) = claims {
            stream.audit(claims, audit_options(config, engine))?;
        }
        engine.take_requests();
        stream.join()?;
        let positioned = stream.positioned();
        let writing = snapshots.map(|snapshots| {
            let task = snapshots::start(config, snapshots.clone(), engine.clone(), positioned.clone(), metrics);
            (task, snapshots, positioned)
        });
        Ok(Following { stream, writing })
    }

    /// Where reading begins: where the newest snapshot ends, or at the topics' beginning. Blocking.
    fn begin(&self, engine: &Engine, snapshots: Option<&Snapshots>) -> anyhow::Result<BTreeMap<String, Vec<i64>>> {
        let marks = self.connection.watermarks()?;
        match snapshots.map(|snapshots| snapshots::restore(snapshots, engine, &marks)).transpose()?.flatten() {
            Some(ReadFrom::Offsets(offsets)) => return Ok(offsets),
            Some(ReadFrom::Moment(moment)) => return Ok(self.connection.offsets_at(moment)?),
            None => {}
        }
        if marks.begin.values().flatten().any(|begin| *begin > 0) {
            tracing::warn!(
                "the topics no longer hold their beginning: decisions say history_incomplete until the windows are full"
            );
            engine.begin_midway();
        }
        Ok(marks.begin)
    }
}

/// The running stack. [`Following::stop`] ends it in order.
pub(super) struct Following {
    stream: Stream,
    writing: Option<(JoinHandle<()>, Snapshots, Positioned)>,
}

impl Following {
    /// Whether only a new process can go on.
    pub(super) fn is_fatal(&self) -> bool {
        self.stream.is_fatal()
    }

    /// Ends the reading and the deliveries, and writes a last snapshot, so that the next start has little to read.
    pub(super) async fn stop(self, grace: Duration, engine: &Engine) -> anyhow::Result<()> {
        let Self { stream, writing } = self;
        // Blocking: its threads are waited for.
        tokio::task::spawn_blocking(move || stream.stop(grace)).await.context("the stream ended badly")?;
        if let Some((task, snapshots, positioned)) = writing {
            task.abort();
            drop(task.await);
            let engine = engine.clone();
            let written =
                tokio::task::spawn_blocking(move || snapshots::write(&snapshots, &engine, &positioned)).await?;
            if let Err(error) = written {
                tracing::warn!(%error, "no last snapshot of the history; the next start reads more");
            }
        }
        Ok(())
    }
}

/// How completeness is told.
fn audit_options(config: &Config, engine: &Engine) -> AuditOptions {
    let (clock, engine) = (config.history.clock, engine.clone());
    let now = move || match clock {
        TimeSource::Wall => Some(SystemClock.now()),
        TimeSource::Stream => engine.stream_time(),
    };
    let config::Completeness { every, allow_late } = config.completeness;
    AuditOptions { every, allow_late, now: Box::new(now), destination: postgres::NAME }
}

/// The connection and the log for a command that appends decisions itself, from topics that are there.
pub(crate) async fn open_log(
    config: &Config,
    catalogue: &Catalogue,
    postgres: Arc<PostgresStore>,
) -> anyhow::Result<(Connection, KafkaLog)> {
    let rules = topic_rules(config, catalogue, false)?;
    let connection = Connection::open(kafka_options(config)?, &rules).await?;
    let store = Stores { decisions: Some(postgres), features: None, integers: HashSet::new() };
    let log = connection.log(Arc::new(store), Handle::current());
    Ok((connection, log))
}

fn topic_rules(config: &Config, catalogue: &Catalogue, create: bool) -> anyhow::Result<TopicRules> {
    let reach = Duration::from_millis(catalogue.reach().max(0).unsigned_abs());
    Ok(TopicRules {
        create,
        partitions: i32::try_from(config.kafka.partitions)?,
        replicas: i32::try_from(config.kafka.replicas)?,
        retention: config.kafka.retention,
        least_retention: config.history.lateness,
        longest_window: reach + config.history.lateness,
    })
}

/// How Kafka is reached, by the configuration.
pub(crate) fn kafka_options(config: &Config) -> anyhow::Result<KafkaOptions> {
    let kafka = &config.kafka;
    let sasl = match (kafka.sasl, kafka.password.0.clone()) {
        (Some(mechanism), Some(password)) => Some(Sasl { mechanism, user: kafka.user.clone(), password }),
        _ => None,
    };
    let tls = kafka.tls.is_on().then(|| Tls {
        ca: kafka.ca_file.clone(),
        certificate: kafka.certificate_file.clone(),
        key: kafka.key_file.clone(),
    });
    Ok(KafkaOptions {
        brokers: kafka.brokers.clone(),
        topics: TopicNames {
            transactions: kafka.transactions.clone(),
            labels: kafka.labels.clone(),
            decisions: kafka.decisions.clone(),
            rejected: kafka.rejected.clone(),
        },
        group: kafka.group.clone(),
        member: (!kafka.member.is_empty()).then(|| kafka.member.clone()),
        session_timeout: kafka.session_timeout,
        compression: kafka.compression,
        linger: kafka.linger,
        fetch_wait: kafka.fetch_wait,
        spool_bytes: kafka.spool.0,
        spool_records: kafka.spool_records,
        tls,
        sasl,
    })
}

/// How PostgreSQL is reached, by the configuration.
pub(crate) fn postgres_options(config: &Config) -> anyhow::Result<PostgresOptions> {
    let section = &config.postgres;
    let fourth = match (section.revision_column.as_str(), section.time_column.as_str()) {
        ("", "") => Fourth::None,
        ("", time) => Fourth::Time(time.to_owned()),
        (revision, _) => Fourth::Revision(revision.to_owned()),
    };
    Ok(PostgresOptions {
        url: None,
        host: section.host.clone(),
        port: u16::try_from(section.port)?,
        database: section.database.clone(),
        user: section.user.clone(),
        password: section.password.0.clone(),
        tls: if section.tls.is_on() { postgres::Tls::Verify } else { postgres::Tls::Off },
        ca_file: section.ca_file.clone(),
        schema: section.schema.clone(),
        rows: RowTable {
            table: section.table.clone(),
            key: section.key_column.clone(),
            score: section.score_column.clone(),
            version: section.version_column.clone(),
            flag: section.flag_column.clone(),
            fourth,
        },
        statement_timeout: section.statement_timeout,
        lock_timeout: section.lock_timeout,
        ..PostgresOptions::default()
    })
}

/// The destination, its schema brought up to date; a server that is away is tried again with the first batch.
pub(crate) async fn open_postgres(config: &Config) -> anyhow::Result<Arc<PostgresStore>> {
    let store = Arc::new(PostgresStore::new(&postgres_options(config)?)?);
    match store.prepare().await {
        Err(error @ PostgresError::Unavailable(_)) => {
            tracing::warn!(%error, "PostgreSQL is away; decisions wait in Kafka until it is back");
        }
        prepared => prepared?,
    }
    Ok(store)
}

/// What is looked up where: decisions and completeness in PostgreSQL, features in MongoDB. Where one is not configured,
/// nothing is found.
#[derive(Debug)]
struct Stores {
    decisions: Option<Arc<PostgresStore>>,
    features: Option<Arc<MongoStore>>,
    integers: HashSet<String>,
}

impl Lookup for Stores {
    fn find<'a>(&'a self, transaction_id: &'a str) -> Reading<'a, Option<Stored>> {
        Box::pin(async move {
            let Some(store) = &self.decisions else { return Ok(None) };
            store.find(transaction_id).await.map_err(|error| LogError::Failed(error.to_string()))
        })
    }

    fn decision<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>> {
        Box::pin(async move {
            let Some(store) = &self.decisions else { return Ok(None) };
            store.decision(transaction_id, revision).await.map_err(|error| LogError::Failed(error.to_string()))
        })
    }

    fn features<'a>(
        &'a self,
        transaction_id: &'a str,
        revision: Option<u32>,
    ) -> Reading<'a, Option<serde_json::Value>> {
        Box::pin(async move {
            let Some(store) = &self.features else { return Ok(None) };
            let found = store.features_of(transaction_id, revision).await;
            let mut found = found.map_err(|error| LogError::Failed(error.to_string()))?;
            // Documents have floats alone; what is a count is told as one, as by every other log.
            for (name, value) in found.iter_mut().filter_map(Value::as_object_mut).flatten() {
                if let Some(whole) = value.as_f64().filter(|_| self.integers.contains(name)) {
                    *value = (whole as i64).into();
                }
            }
            Ok(found)
        })
    }

    fn completeness(&self) -> Reading<'_, Completeness> {
        Box::pin(async move {
            let Some(store) = &self.decisions else {
                return Err(LogError::Failed(
                    "completeness is kept in PostgreSQL, and postgres.host is empty".to_owned(),
                ));
            };
            Claims::completeness(&**store).await
        })
    }
}
