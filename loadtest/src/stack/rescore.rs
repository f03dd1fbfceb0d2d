//! The stream beside a rescore: event to row with and without it in one run, and what the rescore left.
//!
//! ```text
//! payments of the past, decided ─▶ stream alone ─▶ stream + `assay rescore --replace`, killed on its way and begun again ─▶ judge
//! ```

use std::collections::HashMap;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use assay::base::clock::{Clock as _, Millis, SystemClock};
use assay::transaction::Transaction;
use clap::Args;
use rdkafka::Message as _;
use serde::Serialize;

use super::fleet::{Fleet, Options};
use super::pace::{Pace, micros_now, parse_rate};
use super::payments::{Payments, body, moments};
use super::producer::{Outgoing, Producer};
use super::record::Decoder;
use super::rescored::{Rescored, RescoredJudge};
use super::servers::Servers;
use super::table::Table;
use super::{progress, topics};
use crate::bodies::MOST;
use crate::client::runtime;
use crate::report::{Figures, Report, say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Rescoring {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    fleet: Options,
    /// Payments of the past that are rescored.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=MOST))]
    count: u64,
    /// The span over which they happened; it ends an hour ago.
    #[arg(long, default_value = "24h", value_parser = assay::base::span::parse)]
    span: Duration,
    /// Decisions a second of the rescore.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rescore_rate: u32,
    /// Events a second of the stream.
    #[arg(long, default_value_t = 500.0, value_parser = parse_rate)]
    rate: f64,
    /// How long the stream is measured alone.
    #[arg(long, default_value = "60s", value_parser = assay::base::span::parse)]
    alone: Duration,
    /// How often the rescore is killed and begun again.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=20))]
    kills: u32,
    /// Gives up when no row was completed for this long.
    #[arg(long, default_value = "2m", value_parser = assay::base::span::parse)]
    silence: Duration,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// The view that the rescore reads, and its index.
const VIEW: &str = "loadtest_for_scoring";
/// Events of a turn before those that count.
const WARMUP: Duration = Duration::from_secs(5);
/// How long ago the last payment that is rescored happened.
const AGO: i64 = 3_600_000;
/// Rows that are written together.
const CHUNK: usize = 20_000;

#[derive(Debug, Serialize)]
struct Outcome {
    /// Microseconds from the event to the row.
    alone: Figures,
    beside: Figures,
    /// p99 beside the rescore by p99 alone.
    p99_times: f64,
    /// Seconds from the first start of the rescore to its end, kills and new starts included.
    rescore_seconds: f64,
    kills: u32,
    /// Events whose row was not completed.
    missing: u64,
    /// Records that lost against another, as PostgreSQL's audit has it.
    superseded: u64,
    verdict: Rescored,
}

impl Rescoring {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let mut table = Table::open(&self.servers).await?;
            self.make_view(&table).await?;
            let mut fleet = Fleet::start(&self.fleet).await?;
            let mut payments = Payments::new(self.seed)?;
            let (ids, range) = self.past(&mut table, &mut payments).await?;
            let from = topics::ends(&self.servers, &self.servers.decisions)?;
            table.stamp().await?;

            say("the stream alone")?;
            let never = Arc::new(AtomicBool::new(false));
            let alone = self.measure(&mut table, &mut payments, self.alone, &never, None).await?;
            say(&line_of("the stream alone", &alone.0))?;
            say("the stream beside the rescore")?;
            let most = Duration::from_secs(self.count / u64::from(self.rescore_rate)) * 2 + Duration::from_secs(120);
            let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
            let rescoring = async {
                // After the turn's own warm-up.
                while sent.load(Ordering::Relaxed) == 0 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                let took = self.rescore(&fleet, &Table::open(&self.servers).await?, range, &ids).await;
                over.store(true, Ordering::Relaxed);
                took
            };
            let beside = self.measure(&mut table, &mut payments, most, &over, Some(&sent));
            let (beside, took) = tokio::try_join!(beside, rescoring)?;
            table.stamp_no_more().await?;

            self.wait_for_revisions(&table, &ids).await?;
            let verdict = self.judge(&table, &from, &ids).await?;
            let superseded = table.client.query_one("SELECT count(*) FROM assay.fraud_superseded", &[]).await?;
            fleet.stop().await?;
            #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
            let p99_times = beside.0.p99 as f64 / alone.0.p99.max(1) as f64;
            let outcome = Outcome {
                missing: alone.1 + beside.1,
                alone: alone.0,
                beside: beside.0,
                p99_times,
                rescore_seconds: took.as_secs_f64(),
                kills: self.kills,
                superseded: superseded.get::<_, i64>(0).unsigned_abs(),
                verdict,
            };
            say_figures(&outcome, &outcome.line(), self.json)?;
            ensure!(outcome.missing == 0, "{} rows of the stream were not completed", outcome.missing);
            ensure!(outcome.verdict.is_clean(), "the rescore did not leave one revision more of each");
            ensure!(outcome.superseded == 0, "{} records were superseded", outcome.superseded);
            Ok(())
        })
    }

    /// What a house gives its second role: a view of the payments, and an index that serves its order.
    async fn make_view(&self, table: &Table) -> anyhow::Result<()> {
        let rows = &self.servers.table;
        let statement = format!(
            "CREATE INDEX IF NOT EXISTS {VIEW}_by_time ON {rows} (occurred_at);
             CREATE OR REPLACE VIEW {VIEW} AS
               SELECT transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency FROM {rows}"
        );
        Ok(table.client.batch_execute(&statement).await?)
    }

    /// Payments of the past, decided: the ids of those that are rescored, and their range. A tenth before them fills windows.
    async fn past(&self, table: &mut Table, payments: &mut Payments) -> anyhow::Result<(Vec<String>, [Millis; 2])> {
        let before = self.count / 10;
        let end = SystemClock.now().0 - AGO;
        let start = Millis(end - i64::try_from(self.span.as_millis())?);
        let all = payments.take_at(moments(start, self.span, before + self.count));
        let producer = Producer::open(&self.servers, Duration::from_millis(20))?;
        for some in all.chunks(CHUNK) {
            table.insert(some).await?;
            for payment in some {
                let topic = &self.servers.transactions;
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &body(payment)? })?;
            }
        }
        producer.settle(Duration::from_secs(120))?;
        let ids: Vec<String> = all.iter().map(|payment| payment.transaction_id.to_string()).collect();
        let missing = progress::wait(table, &ids, self.silence).await?;
        ensure!(missing == 0, "{missing} payments of the past were not decided");
        table.settle().await?;
        let (_, wanted) = all.split_at(usize::try_from(before)?);
        let first = wanted.first().context("there is nothing to rescore")?.occurred_at;
        say(&format!("{} payments of the past are decided, {} of them will be rescored", all.len(), wanted.len()))?;
        Ok((ids.into_iter().skip(usize::try_from(before)?).collect(), [first, Millis(end + 1)]))
    }

    /// Streams for `span`, or until `over`; event to row, and the rows that were not completed. `counted` gets how many events
    /// left after the warm-up.
    async fn measure(
        &self,
        table: &mut Table,
        payments: &mut Payments,
        span: Duration,
        over: &Arc<AtomicBool>,
        counted: Option<&Arc<AtomicU64>>,
    ) -> anyhow::Result<(Figures, u64)> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded number of events")]
        let events = |span: Duration| ((span.as_secs_f64() * self.rate) as u64).clamp(1, MOST);
        let (warmup, count) = (events(WARMUP), events(WARMUP + span));
        let all = payments.take_at(moments(SystemClock.now(), WARMUP + span, count));
        table.insert(&all).await?;
        table.settle().await?;
        let begun = Instant::now();
        let sent = self.send(all, warmup, over, counted).await?;
        let span = begun.elapsed();
        let ids: Vec<String> = sent.iter().map(|(id, _)| id.clone()).collect();
        let missing = progress::wait(table, &ids, self.silence).await?;
        let left: HashMap<&str, i64> = sent.iter().map(|(id, left)| (id.as_str(), *left)).collect();
        let mut report = Report::new()?;
        for (id, completed) in table.stamps(&ids).await? {
            if let Some(left) = left.get(id.as_str()) {
                report.add(Duration::from_micros((completed - left).max(0).cast_unsigned()), None);
            }
        }
        Ok((report.figures(span), missing))
    }

    /// Sends events at the pace; id and microsecond of each that left after the warm-up.
    async fn send(
        &self,
        payments: Vec<Transaction>,
        warmup: u64,
        over: &Arc<AtomicBool>,
        counted: Option<&Arc<AtomicU64>>,
    ) -> anyhow::Result<Vec<(String, i64)>> {
        let (servers, rate, over, counted) = (self.servers.clone(), self.rate, Arc::clone(over), counted.cloned());
        let sending = tokio::task::spawn_blocking(move || {
            let producer = Producer::open(&servers, Duration::ZERO)?;
            let (mut sent, pace) = (Vec::with_capacity(payments.len()), Pace::new(rate));
            for (number, payment) in (0..).zip(&payments) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let payload = body(payment)?;
                pace.wait(number);
                if number >= warmup {
                    sent.push((payment.transaction_id.to_string(), micros_now()));
                    if let Some(counted) = &counted {
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
                let topic = &servers.transactions;
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &payload })?;
            }
            producer.settle(Duration::from_secs(60))?;
            anyhow::Ok(sent)
        });
        sending.await?
    }

    /// Runs the command to its end, killing it on its way; how long all of it took.
    async fn rescore(
        &self,
        fleet: &Fleet,
        table: &Table,
        range: [Millis; 2],
        ids: &[String],
    ) -> anyhow::Result<Duration> {
        let begun = Instant::now();
        for kill in 0..self.kills {
            let mut child = self.start(fleet, range)?;
            let share = (kill as usize + 1) * ids.len() / (self.kills as usize + 1);
            let place = ids.get(share).context("no payment is there")?;
            self.wait_for_revision(table, place, &mut child).await?;
            child.kill()?;
            child.wait()?;
            say(&format!("killed at {share} of {} after {:.0} s", ids.len(), begun.elapsed().as_secs_f64()))?;
        }
        let mut child = self.start(fleet, range)?;
        let status = tokio::task::spawn_blocking(move || child.wait()).await??;
        ensure!(status.success(), "the rescore ended with {status}: its rescore.log says why");
        Ok(begun.elapsed())
    }

    fn start(&self, fleet: &Fleet, [from, to]: [Millis; 2]) -> anyhow::Result<Child> {
        let (mut command, log) = fleet.command(0, "rescore.log")?;
        command.args(["rescore", "--config", "config/stack.toml", "--whole-view", "--replace", "--view", VIEW]);
        command.args(["--from", &from.0.to_string(), "--to", &to.0.to_string()]);
        command.args(["--postgres-url", &self.servers.postgres, "--rate", &self.rescore_rate.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("assay cannot be started")
    }

    /// Waits until this payment's row shows revision 1.
    async fn wait_for_revision(&self, table: &Table, id: &String, child: &mut Child) -> anyhow::Result<()> {
        let begun = Instant::now();
        let limit = Duration::from_secs(2 * self.count / u64::from(self.rescore_rate)) + self.silence;
        loop {
            let mut there = false;
            table.visit(std::slice::from_ref(id), |_, row| there = row.revision == Some(1)).await?;
            if there {
                return Ok(());
            }
            ensure!(child.try_wait()?.is_none(), "the rescore ended too early: its rescore.log says why");
            ensure!(begun.elapsed() < limit, "the rescore did not get far within {} s", limit.as_secs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until PostgreSQL has written what the topic holds: nothing more changes then.
    async fn wait_for_revisions(&self, table: &Table, ids: &[String]) -> anyhow::Result<()> {
        let (mut before, mut since) = (0, Instant::now());
        loop {
            let mut there = 0;
            table.visit(ids, |_, row| there += usize::from(row.revision == Some(1))).await?;
            if there > before {
                (before, since) = (there, Instant::now());
            }
            // Those that are lost the judgement tells.
            if there == ids.len() || since.elapsed() > self.silence {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn judge(&self, table: &Table, from: &topics::Offsets, ids: &[String]) -> anyhow::Result<Rescored> {
        let mut judge = RescoredJudge::new(ids.iter().cloned());
        let mut decoder = Decoder::default();
        topics::read(&self.servers, &self.servers.decisions, from, |message| {
            judge.record(&decoder.decode(message.payload().unwrap_or_default())?);
            Ok(())
        })?;
        table.visit(ids, |id, row| judge.row(id, &row)).await?;
        Ok(judge.verdict())
    }
}

impl Outcome {
    fn line(&self) -> String {
        let Self { alone, beside, p99_times, rescore_seconds, kills, superseded, verdict, .. } = self;
        format!(
            "{}\n{}\np99 is {p99_times:.2} × of alone\nrescore: {rescore_seconds:.1} s with {kills} \
             kills; superseded {superseded}\n{}",
            line_of("the stream alone", alone),
            line_of("beside the rescore", beside),
            verdict.line()
        )
    }
}

fn line_of(what: &str, row: &Figures) -> String {
    let Figures { requests, p50, p90, p99, max, .. } = row;
    format!("{what}: event to row p50 {p50} µs  p90 {p90} µs  p99 {p99} µs  max {max} µs of {requests}")
}
