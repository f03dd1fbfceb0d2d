//! How fast a full topic is worked off: from the start of assay, or from the last event, to the last completed row, and where
//! MongoDB is named to the last document too.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use assay::base::clock::{Clock as _, Millis, SystemClock};
use clap::Args;
use serde::Serialize;

use super::documents::{DocumentOptions, Documents};
use super::payments::{Payments, body, moments, of_file};
use super::producer::{Outgoing, Producer};
use super::servers::Servers;
use super::table::Table;
use super::{cpu, topics};
use crate::bodies::MOST;
use crate::client::runtime;
use crate::report::{say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Backlog {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    documents: DocumentOptions,
    /// Payments.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    count: u64,
    /// Payments out of a file, the first ones, in place of simulated ones of customers that nobody knows yet.
    #[arg(long)]
    input: Option<PathBuf>,
    /// The language of the file.
    #[arg(long, default_value = "canonical", requires = "input")]
    connector: String,
    /// Simulated payments happen evenly over so long a time before now: a backlog is what gathered in a while.
    #[arg(long, default_value = "1h", value_parser = assay::base::span::parse)]
    span: Duration,
    /// Process of Kafka, whose processor time is told.
    #[arg(long)]
    kafka_pid: Option<u32>,
    /// Process of PostgreSQL, whose processor time is told.
    #[arg(long)]
    postgres_pid: Option<u32>,
    /// Process of an assay that runs already; without it the command below is started once the topic is full.
    #[arg(long, conflicts_with = "command")]
    assay_pid: Option<u32>,
    /// Gives up when no row was completed for this long.
    #[arg(long, default_value = "2m", value_parser = assay::base::span::parse)]
    silence: Duration,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
    /// The program to start and its arguments, after `--`; its output goes to standard error.
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Outcome {
    payments: u64,
    /// How many of them were flagged: explaining those costs more.
    flagged: u64,
    /// From the start of the command (or the last event) until all rows were completed.
    seconds: f64,
    /// From the start until the first row was seen completed: the program's own start lies in it.
    first_row_after: f64,
    rate: f64,
    /// Rows a second from the first completed row on.
    rate_since_first: f64,
    /// From the same moment until all documents were kept, and documents a second; where MongoDB is named.
    documents_seconds: Option<f64>,
    documents_rate: Option<f64>,
    /// Processor seconds for a million payments.
    assay: Option<f64>,
    kafka: Option<f64>,
    postgres: Option<f64>,
    /// Records of the topic of decisions in the run, and the mean bytes of one (key and value, before compression).
    records: u64,
    record_bytes: f64,
}

/// The newest rows are asked about until they are completed; only then are all of them.
const NEWEST: usize = 1_000;
/// Rows written together.
const CHUNK: usize = 20_000;

/// Ends the started program when dropped.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

impl Backlog {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let mut table = Table::open(&self.servers).await?;
            let before = topics::ends(&self.servers, &self.servers.decisions)?;
            let open_before = table.open_rows().await?;
            let documents = Documents::open(&self.documents).await?;
            let kept_before = match &documents {
                Some(documents) => documents.exact_count().await?,
                None => 0,
            };
            let ids = self.fill(&mut table).await?;
            let newest = ids.get(ids.len().saturating_sub(NEWEST)..).unwrap_or_default();
            table.settle().await?;
            say(&format!("{} rows and events are in place", self.count))?;

            let cpu_before = self.processor_times(None);
            let begun = Instant::now();
            let started = match self.command.split_first() {
                Some((program, arguments)) => {
                    let mut command = Command::new(program);
                    let child = command.args(arguments).stdout(std::io::stderr()).stdin(Stdio::null()).spawn();
                    Some(Started(child.with_context(|| format!("{program} cannot be started"))?))
                }
                None => None,
            };
            let first = self.wait(&table, newest, open_before, begun).await?;
            let span = begun.elapsed();
            let kept = match &documents {
                Some(documents) => {
                    documents.wait_for(newest, self.silence).await?;
                    let kept = begun.elapsed();
                    let lacking = (kept_before + self.count).saturating_sub(documents.exact_count().await?);
                    ensure!(lacking == 0, "{lacking} documents are missing though the newest are there");
                    Some(kept)
                }
                None => None,
            };
            let child = started.as_ref().map(|started| started.0.id());
            let cpu_after = self.processor_times(child);
            drop(started);

            let (mut records, mut bytes) = (0_u64, 0_usize);
            topics::read(&self.servers, &self.servers.decisions, &before, |message| {
                records += 1;
                bytes += message.key_len() + message.payload_len();
                Ok(())
            })?;
            let flagged = table.flagged_of(&ids).await?;
            let outcome = self.outcome([span, first], kept, flagged, [cpu_before, cpu_after], (records, bytes));
            say_figures(&outcome, &outcome.line(), self.json)
        })
    }

    /// Rows first, events second; the ids in their order.
    async fn fill(&self, table: &mut Table) -> anyhow::Result<Vec<String>> {
        let producer = Producer::open(&self.servers, Duration::from_millis(20))?;
        let mut ids = Vec::new();
        let (mut simulated, mut of_file) = match &self.input {
            Some(path) => (None, of_file(path, &self.connector, usize::try_from(self.count)?)?.into_iter()),
            None => (Some(Payments::new(self.seed)?), Vec::new().into_iter()),
        };
        let start = SystemClock.now().0.saturating_sub(i64::try_from(self.span.as_millis())?);
        let mut moments = moments(Millis(start), self.span, self.count);
        loop {
            let some = match &mut simulated {
                Some(payments) => payments.take_at(moments.by_ref().take(CHUNK)),
                None => of_file.by_ref().take(CHUNK).collect(),
            };
            if some.is_empty() {
                break;
            }
            table.insert(&some).await?;
            for payment in &some {
                let topic = &self.servers.transactions;
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &body(payment)? })?;
            }
            ids.extend(some.iter().map(|payment| payment.transaction_id.to_string()));
        }
        producer.settle(Duration::from_secs(120))?;
        ensure!(ids.len() as u64 == self.count, "there are {} payments, not {}", ids.len(), self.count);
        Ok(ids)
    }

    /// Until all rows are completed; when the first one was seen to be.
    async fn wait(
        &self,
        table: &Table,
        newest: &[String],
        open_before: u64,
        begun: Instant,
    ) -> anyhow::Result<Duration> {
        let (mut first, mut last, mut since) = (None, 0, Instant::now());
        let silent = || format!("no row was completed for {} s", self.silence.as_secs());
        // The first row: a look at what is open costs a scan, which is only done while nothing else happens.
        while first.is_none() {
            if table.open_rows().await? < open_before + self.count {
                first = Some(begun.elapsed());
            }
            ensure!(since.elapsed() < self.silence, silent());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        since = Instant::now();
        let limit = self.silence.max(Duration::from_secs(self.count / 500));
        while last < newest.len() as u64 {
            last = table.completed_of(newest).await?;
            ensure!(since.elapsed() < limit, "the newest rows were not completed within {} s", limit.as_secs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let mut open = u64::MAX;
        since = Instant::now();
        while open > open_before {
            let now = table.open_rows().await?;
            if now < open {
                (open, since) = (now, Instant::now());
            } else {
                ensure!(since.elapsed() < self.silence, "{} rows are still open; {}", now - open_before, silent());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ok(first.unwrap_or_default())
    }

    /// Processor seconds of assay, Kafka and PostgreSQL so far; a program just started has used none.
    fn processor_times(&self, child: Option<u32>) -> [Option<f64>; 3] {
        let of = |pid: Option<u32>| pid.and_then(|pid| cpu::seconds(pid).ok());
        let assay = if self.assay_pid.is_none() && child.is_none() { Some(0.0) } else { of(self.assay_pid.or(child)) };
        [assay, of(self.kafka_pid), of(self.postgres_pid)]
    }

    fn outcome(
        &self,
        [span, first]: [Duration; 2],
        kept: Option<Duration>,
        flagged: u64,
        cpu: [[Option<f64>; 3]; 2],
        (records, bytes): (u64, usize),
    ) -> Outcome {
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let (count, bytes, of) = (self.count as f64, bytes as f64, records.max(1) as f64);
        let [before, after] = cpu;
        let mut used = before.into_iter().zip(after).map(|(before, after)| Some((after? - before?) * 1e6 / count));
        Outcome {
            payments: self.count,
            flagged,
            seconds: span.as_secs_f64(),
            first_row_after: first.as_secs_f64(),
            rate: count / span.as_secs_f64(),
            rate_since_first: count / span.saturating_sub(first).as_secs_f64().max(1e-3),
            documents_seconds: kept.map(|kept| kept.as_secs_f64()),
            documents_rate: kept.map(|kept| count / kept.as_secs_f64()),
            assay: used.next().flatten(),
            kafka: used.next().flatten(),
            postgres: used.next().flatten(),
            records,
            record_bytes: bytes / of,
        }
    }
}

impl Outcome {
    fn line(&self) -> String {
        let seconds = |used: Option<f64>| used.map_or_else(|| "not told".to_owned(), |used| format!("{used:.1}"));
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let share = self.flagged as f64 * 100.0 / self.payments as f64;
        let documents = self.documents_rate.zip(self.documents_seconds);
        let documents =
            documents.map_or_else(String::new, |(rate, seconds)| format!("; documents in {seconds:.1} s: {rate:.0}/s"));
        format!(
            "{} payments ({share:.2} % flagged) in {:.1} s: {:.0}/s ({:.0}/s from the first row, after {:.1} s){documents}; processor seconds a million: assay {}, Kafka {}, PostgreSQL {}; {} records of {:.0} bytes",
            self.payments,
            self.seconds,
            self.rate,
            self.rate_since_first,
            self.first_row_after,
            seconds(self.assay),
            seconds(self.kafka),
            seconds(self.postgres),
            self.records,
            self.record_bytes
        )
    }
}
