//! The bare loop: what Kafka and PostgreSQL themselves need for the way of a payment, with nothing decided on it.
//!
//! ```text
//! topic a ─▶ consume ─▶ produce 1 kB (acks=all) ─▶ topic b ─▶ consume ─▶ UPDATE by key, what has come meanwhile at once
//! ```
//!
//! Two threads, a consumer group each, offsets committed every second. It promises nothing: the yardstick of `latency`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};

use super::producer::{Outgoing, Producer};
use super::servers::Servers;
use super::topics::may_pass;
use crate::client::runtime;
use crate::report::say;

#[derive(Debug, Args)]
pub(crate) struct Bare {
    #[command(flatten)]
    servers: Servers,
    /// Ends by itself after this long.
    #[arg(long, default_value = "10m", value_parser = assay::base::span::parse)]
    duration: Duration,
}

/// The most rows of one UPDATE.
const BATCH: usize = 500;
/// The size of its records.
const SIZE: usize = 1_000;

impl Bare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let running = Running::start(&self.servers, "loadtest-bare")?;
        // In order in either case: a member that only vanishes keeps its partitions from the next one for 45 s.
        let stopped = async {
            let mut ended = signal(SignalKind::terminate())?;
            tokio::select! {
                () = tokio::time::sleep(self.duration) => Ok(()),
                signal = tokio::signal::ctrl_c() => signal,
                _ = ended.recv() => Ok(()),
            }
        };
        runtime()?.block_on(stopped)?;
        say(&format!("{} rows completed", running.stop()?))
    }
}

/// The loop on its threads; ends when stopped.
pub(crate) struct Running {
    stopping: Arc<AtomicBool>,
    completed: Arc<AtomicU64>,
    threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Running {
    /// From `servers.transactions` by way of `servers.decisions` to the table, in groups whose names begin with `group` and end with their topic's.
    pub(crate) fn start(servers: &Servers, group: &str) -> anyhow::Result<Self> {
        let (stopping, completed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let first = consumer(servers, &format!("{group}-score-{}", servers.transactions), &servers.transactions)?;
        let second = consumer(servers, &format!("{group}-update-{}", servers.decisions), &servers.decisions)?;
        let producer = Producer::open(servers, Duration::ZERO)?;
        let (stop, topic) = (Arc::clone(&stopping), servers.decisions.clone());
        let score = std::thread::spawn(move || score(&first, &producer, &topic, &stop));
        let (stop, rows, servers) = (Arc::clone(&stopping), Arc::clone(&completed), servers.clone());
        let update = std::thread::spawn(move || update(&second, &servers, &rows, &stop));
        Ok(Self { stopping, completed, threads: vec![score, update] })
    }

    /// Ends it; how many rows it completed.
    pub(crate) fn stop(self) -> anyhow::Result<u64> {
        self.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_panic| anyhow!("a thread of the bare loop failed"))??;
        }
        Ok(self.completed.load(Ordering::Relaxed))
    }
}

fn consumer(servers: &Servers, group: &str, topic: &str) -> anyhow::Result<BaseConsumer> {
    let mut config = servers.client()?;
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("auto.commit.interval.ms", "1000");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

#[derive(Deserialize)]
struct Payment {
    transaction_id: String,
    amount_minor: i64,
}

/// What it produces; spaces make it as long as a decision.
#[derive(Serialize, Deserialize)]
struct Record {
    transaction_id: String,
    flagged: bool,
}

fn score(consumer: &BaseConsumer, producer: &Producer, topic: &str, stop: &AtomicBool) -> anyhow::Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = match message {
            Err(KafkaError::MessageConsumption(code)) if may_pass(code) => continue,
            message => message?,
        };
        let payload = message.payload().unwrap_or_default();
        // What is no payment is nothing to a loop that measures.
        let Ok(Payment { transaction_id, amount_minor }) = serde_json::from_slice(payload) else { continue };
        let record = Record { flagged: amount_minor % 97 == 0, transaction_id };
        let mut payload = serde_json::to_vec(&record)?;
        payload.resize(SIZE.max(payload.len()), b' ');
        producer.send(Outgoing { topic, key: &record.transaction_id, payload: &payload })?;
    }
    producer.settle(Duration::from_secs(30)).map(drop)
}

/// Ids and flags of what is completed with one statement.
type Batch = (Vec<String>, Vec<bool>);

fn update(consumer: &BaseConsumer, servers: &Servers, rows: &AtomicU64, stop: &AtomicBool) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let client = runtime.block_on(servers.database())?;
    let statement = format!(
        "UPDATE {} AS row SET fraud_score = CASE WHEN new.flagged THEN 0.75 ELSE 0.25 END,
           fraud_model_version = 'bare', fraud_flagged = new.flagged, fraud_revision = 0
         FROM unnest($1::text[], $2::boolean[]) AS new (id, flagged)
         WHERE row.transaction_id = new.id AND row.fraud_revision IS NULL",
        servers.table
    );
    let statement = runtime.block_on(client.prepare(&statement))?;
    while !stop.load(Ordering::Relaxed) {
        let (ids, flags) = batch(consumer)?;
        if ids.is_empty() {
            continue;
        }
        let done = runtime.block_on(client.execute(&statement, &[&ids, &flags])).context("the bare loop's UPDATE")?;
        rows.fetch_add(done, Ordering::Relaxed);
    }
    Ok(())
}

/// What has come: waits for the first, takes what stands behind it.
fn batch(consumer: &BaseConsumer) -> anyhow::Result<Batch> {
    let mut batch = Batch::default();
    let mut wait = Duration::from_millis(100);
    while batch.0.len() < BATCH {
        let message = match consumer.poll(wait) {
            None => break,
            Some(Err(KafkaError::MessageConsumption(code))) if may_pass(code) => break,
            Some(message) => message?,
        };
        wait = Duration::ZERO;
        let record: Record = serde_json::from_slice(message.payload().unwrap_or_default())?;
        batch.0.push(record.transaction_id);
        batch.1.push(record.flagged);
    }
    Ok(batch)
}
