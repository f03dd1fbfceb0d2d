//! From the event in Kafka to the completed row, on this machine's wall clock, and the same of the bare loop by turns.
//!
//! The rows are there before. An event's time is taken when it is handed to the client of Kafka, the row's by a trigger in
//! its UPDATE. What the commit needs after that is not in the figure, for neither of the two; `commit` says how long one takes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use assay::transaction::Transaction;
use clap::Args;
use serde::Serialize;

use super::bare::Running;
use super::pace::{Pace, micros_now, parse_rate};
use super::payments::{Payments, body};
use super::producer::{Outgoing, Producer};
use super::servers::Servers;
use super::table::Table;
use super::{progress, topics};
use crate::client::runtime;
use crate::report::{Figures, Report, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Latency {
    #[command(flatten)]
    servers: Servers,
    /// Events a second.
    #[arg(long, default_value_t = 1_000.0, value_parser = parse_rate)]
    rate: f64,
    /// Events of a turn that count.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Events of a turn before, at the same rate, that do not count.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(0..=100_000))]
    warmup: u64,
    /// The bare loop alone, instead of assay.
    #[arg(long, conflicts_with = "against_bare")]
    bare: bool,
    /// assay and the bare loop by turns.
    #[arg(long)]
    against_bare: bool,
    /// Turns of each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    turns: u32,
    /// Partitions of the bare loop's topics.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=256))]
    partitions: i32,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// Rows that are not completed within it are missing.
const SILENCE: Duration = Duration::from_secs(30);

/// What a turn, or all turns of one, showed; times in microseconds.
#[derive(Debug, Serialize)]
struct Shown {
    /// Event to row.
    row: Figures,
    /// How long after its time an event left.
    late: Figures,
    /// Rows that were not completed at all.
    missing: u64,
}

#[derive(Debug, Serialize)]
struct Outcome {
    assay: Option<Shown>,
    bare: Option<Shown>,
    /// How long the commit of one row takes, 200 of them one after the other.
    commit: Figures,
}

struct Measured {
    row: Report,
    late: Report,
    missing: u64,
    span: Duration,
}

impl Latency {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let own = Servers {
            transactions: format!("{}.bare", self.servers.transactions),
            decisions: format!("{}.bare", self.servers.decisions),
            ..self.servers.clone()
        };
        runtime()?.block_on(async {
            let mut table = Table::open(&self.servers).await?;
            table.stamp().await?;
            let commit = commits(&table).await?;
            let (mut assay, mut bare) = (Measured::new()?, Measured::new()?);
            let mut payments = Payments::new(self.seed)?;
            for _ in 0..self.turns {
                if !self.bare {
                    self.turn(&mut table, &self.servers, &mut payments, &mut assay).await?;
                }
                if self.bare || self.against_bare {
                    topics::create(&own, &[&own.transactions, &own.decisions], self.partitions).await?;
                    let running = Running::start(&own, "loadtest-bare")?;
                    self.turn(&mut table, &own, &mut payments, &mut bare).await?;
                    tokio::task::spawn_blocking(|| running.stop()).await??;
                }
            }
            table.stamp_no_more().await?;
            let outcome = Outcome {
                assay: (!self.bare).then(|| assay.shown()),
                bare: (self.bare || self.against_bare).then(|| bare.shown()),
                commit,
            };
            say_figures(&outcome, &outcome.lines(), self.json)?;
            let missing = assay.missing + bare.missing;
            ensure!(missing == 0, "{missing} rows were not completed within {} s of the one before", SILENCE.as_secs());
            Ok(())
        })
    }

    async fn turn(
        &self,
        table: &mut Table,
        servers: &Servers,
        payments: &mut Payments,
        measured: &mut Measured,
    ) -> anyhow::Result<()> {
        let all = payments.take(self.warmup + self.count);
        table.insert(&all).await?;
        table.settle().await?;
        let ids: Vec<String> = all.iter().map(|payment| payment.transaction_id.to_string()).collect();
        let warmup = usize::try_from(self.warmup)?;
        let (before, counted) = ids.split_at(warmup);
        let producer = Arc::new(Producer::open(servers, Duration::ZERO)?);
        let (first, second) = all.split_at(warmup);
        // What counts begins once everybody is at work: a group that settles is no latency.
        self.send(servers, &producer, first).await?;
        measured.missing += progress::wait(table, before, SILENCE).await?;
        let begun = Instant::now();
        let sent = self.send(servers, &producer, second).await?;
        measured.span += begun.elapsed();
        measured.missing += progress::wait(table, counted, SILENCE).await?;
        let sent: HashMap<&str, (i64, Duration)> = counted.iter().map(String::as_str).zip(sent).collect();
        for (id, completed) in table.stamps(counted).await? {
            if let Some((left, late)) = sent.get(id.as_str()) {
                measured.row.add(Duration::from_micros((completed - left).max(0).cast_unsigned()), None);
                measured.late.add(*late, None);
            }
        }
        Ok(())
    }

    /// Sends the events at the pace; for each the microsecond at which it left, and how late that was.
    async fn send(
        &self,
        servers: &Servers,
        producer: &Arc<Producer>,
        payments: &[Transaction],
    ) -> anyhow::Result<Vec<(i64, Duration)>> {
        let (topic, rate, producer) = (servers.transactions.clone(), self.rate, Arc::clone(producer));
        let payments = payments.to_vec();
        let sending = tokio::task::spawn_blocking(move || {
            let mut sent = Vec::with_capacity(payments.len());
            let pace = Pace::new(rate);
            for (number, payment) in (0..).zip(&payments) {
                let payload = body(payment)?;
                let late = pace.wait(number);
                sent.push((micros_now(), late));
                producer.send(Outgoing { topic: &topic, key: &payment.customer_id, payload: &payload })?;
            }
            producer.settle(Duration::from_secs(60))?;
            anyhow::Ok(sent)
        });
        sending.await?
    }
}

impl Measured {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { row: Report::new()?, late: Report::new()?, missing: 0, span: Duration::ZERO })
    }

    fn shown(&self) -> Shown {
        Shown { row: self.row.figures(self.span), late: self.late.figures(self.span), missing: self.missing }
    }
}

impl Outcome {
    fn lines(&self) -> String {
        let mut lines = Vec::new();
        for (name, shown) in [("assay", &self.assay), ("bare loop", &self.bare)] {
            if let Some(Shown { row, late, missing }) = shown {
                lines.push(format!(
                    "{name}: event to row p50 {} µs  p90 {} µs  p99 {} µs  max {} µs of {}; left late by p99 {} µs; missing {missing}",
                    row.p50, row.p90, row.p99, row.max, row.requests, late.p99
                ));
            }
        }
        if let (Some(assay), Some(bare)) = (&self.assay, &self.bare) {
            #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
            let times = |assay: u64, bare: u64| assay as f64 / bare.max(1) as f64;
            let (p50, p99) = (times(assay.row.p50, bare.row.p50), times(assay.row.p99, bare.row.p99));
            lines.push(format!("assay takes {p50:.2} × the bare loop at p50, {p99:.2} × at p99"));
        }
        lines.push(format!("a commit of one row: p50 {} µs  p99 {} µs", self.commit.p50, self.commit.p99));
        lines.join("\n")
    }
}

/// What the end of an UPDATE costs that no trigger sees.
async fn commits(table: &Table) -> anyhow::Result<Figures> {
    let client = &table.client;
    client.batch_execute("CREATE TABLE IF NOT EXISTS loadtest_commits (number bigint)").await?;
    let (mut report, begun) = (Report::new()?, Instant::now());
    for number in 0..200_i64 {
        client.batch_execute("BEGIN").await?;
        client.execute("INSERT INTO loadtest_commits VALUES ($1)", &[&number]).await?;
        let ending = Instant::now();
        client.batch_execute("COMMIT").await?;
        report.add(ending.elapsed(), None);
    }
    client.batch_execute("DROP TABLE loadtest_commits").await?;
    Ok(report.figures(begun.elapsed()))
}
