//! `/predict` in the open loop beside a stream, by turns with the empty handler beside the same stream.
//!
//! The rows of all payments, asked about or streamed, are there before. What an answer promises (`store.durability`) is the
//! instance's own configuration: run it once with each. An answer other than 200 spoils the figures and is an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use hyper::body::Bytes;
use serde::Serialize;

use super::pace::{Pace, parse_rate};
use super::payments::{Payments, body};
use super::producer::{Outgoing, Producer};
use super::servers::Servers;
use super::table::Table;
use crate::client::{Target, runtime};
use crate::empty::EmptyProcess;
use crate::open::{Load, Seen, drive};
use crate::report::{Figures, say_figures};
use crate::schedule::{Arrivals, schedule};

#[derive(Debug, Args)]
pub(crate) struct Beside {
    #[command(flatten)]
    servers: Servers,
    /// Where to ask.
    #[arg(long, default_value = "http://127.0.0.1:8080/predict")]
    url: String,
    /// Questions a second.
    #[arg(long, default_value_t = 500.0, value_parser = parse_rate)]
    rate: f64,
    /// Events a second on the topic meanwhile.
    #[arg(long, default_value_t = 500.0, value_parser = parse_rate)]
    stream_rate: f64,
    /// How long each of the two is asked in a round.
    #[arg(long, default_value = "10s", value_parser = assay::base::span::parse)]
    duration: Duration,
    /// Asked before, at the same rate, and not counted.
    #[arg(long, default_value = "2s", value_parser = assay::base::span::parse)]
    warmup: Duration,
    /// Rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// The most questions under way at once.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    /// Evenly, or independently of each other.
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    arrivals: Arrivals,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    /// Microseconds from the intended time to the answer.
    assay: Figures,
    empty: Figures,
    /// assay less the empty handler, at p50 and p99.
    above_empty: [i64; 2],
    /// Microseconds from the intended time to the question, of both.
    late: Figures,
    /// Events that were streamed and acknowledged meanwhile.
    streamed: u64,
}

impl Beside {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = Target::parse(&self.url)?;
        let process = EmptyProcess::start(None)?;
        let empty = Target::parse(&process.url)?;
        let set = tokio::task::LocalSet::new();
        runtime()?.block_on(set.run_until(async {
            let (mut payments, mut table) = (Payments::new(self.seed)?, Table::open(&self.servers).await?);
            let turn = self.warmup + self.duration;
            let times = schedule(self.arrivals, self.rate, turn, self.seed);
            // Half as many again: a turn lasts a little longer than it is meant to.
            let span = turn.as_secs_f64() * 2.0 * f64::from(self.rounds) * 1.5;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded number of events")]
            let streamed = payments.take((span * self.stream_rate).min(5e6) as u64 + 1);
            table.insert(&streamed).await?;
            let mut asked = Vec::new();
            for _ in 0..self.rounds {
                let some = payments.take(times.len() as u64);
                table.insert(&some).await?;
                asked.push(some.iter().map(|one| body(one).map(Bytes::from)).collect::<anyhow::Result<Vec<_>>>()?);
            }
            table.settle().await?;

            let stop = Arc::new(AtomicBool::new(false));
            let (stopping, servers, rate) = (Arc::clone(&stop), self.servers.clone(), self.stream_rate);
            let stream = std::thread::spawn(move || stream(&servers, &streamed, rate, &stopping));
            let (mut of_assay, mut of_empty) = (Seen::new()?, Seen::new()?);
            let load =
                |bodies| Load { times: times.clone(), bodies, connections: self.connections, warmup: self.warmup };
            for bodies in asked {
                of_empty = drive(&empty, load(bodies.clone()), of_empty).await?;
                of_assay = drive(&target, load(bodies), of_assay).await?;
            }
            stop.store(true, Ordering::Relaxed);
            let joined = tokio::task::spawn_blocking(move || stream.join()).await?;
            let streamed = joined.map_err(|_panic| anyhow::anyhow!("the streaming thread failed"))??;
            let span = self.duration * self.rounds;
            let (assay, empty) = (of_assay.report.figures(span), of_empty.report.figures(span));
            let above = |assay: u64, empty: u64| assay.cast_signed() - empty.cast_signed();
            let above_empty = [above(assay.p50, empty.p50), above(assay.p99, empty.p99)];
            let outcome = Outcome { assay, empty, above_empty, late: of_assay.lag.figures(span), streamed };
            say_figures(&outcome, &outcome.line(), self.json)?;
            let answers = outcome.assay.answers.get("200").copied().unwrap_or_default();
            let others = outcome.assay.requests - answers;
            ensure!(others == 0, "{others} of {} questions were not answered with 200", outcome.assay.requests);
            Ok(())
        }))
    }
}

/// Events at a pace until told to stop; how many were acknowledged.
fn stream(
    servers: &Servers,
    payments: &[assay::transaction::Transaction],
    rate: f64,
    stop: &AtomicBool,
) -> anyhow::Result<u64> {
    let producer = Producer::open(servers, Duration::from_millis(1))?;
    let pace = Pace::new(rate);
    for (number, payment) in (0..).zip(payments) {
        pace.wait(number);
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let topic = &servers.transactions;
        producer.send(Outgoing { topic, key: &payment.customer_id, payload: &body(payment)? })?;
    }
    producer.settle(Duration::from_secs(60))
}

impl Outcome {
    fn line(&self) -> String {
        let [p50, p99] = self.above_empty;
        format!(
            "assay: {}\nempty: {}\nassay − empty: p50 {p50:+} µs, p99 {p99:+} µs; left late by p99 {} µs; {} events streamed meanwhile",
            self.assay.line(),
            self.empty.line(),
            self.late.p99,
            self.streamed
        )
    }
}
