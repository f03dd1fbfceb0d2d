//! Messages that are no payments among those that are: each must be in the dead letters with its code, and none may hold
//! anything up.
//!
//! Two runs with the same number of payments: a clean one, and one with the bad among them.

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;
use rdkafka::message::{Header, OwnedHeaders};
use serde::Serialize;

use super::bad::{Bad, Source};
use super::letters::{Letters, Tally};
use super::payments::{Payments, body};
use super::producer::{Outgoing, Producer};
use super::servers::Servers;
use super::table::Table;
use super::{progress, topics};
use crate::bodies::MOST;
use crate::client::runtime;
use crate::report::{say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Poison {
    #[command(flatten)]
    servers: Servers,
    /// Payments of a run.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=MOST))]
    count: u64,
    /// Bad messages among them.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    bad: u64,
    /// Gives up when nothing came for this long.
    #[arg(long, default_value = "1m", value_parser = assay::base::span::parse)]
    silence: Duration,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    /// Payments a second of the clean run, to the last completed row.
    clean_rate: f64,
    /// The same of the other run, to the last completed row and the last dead letter.
    payments_rate: f64,
    /// Messages a second of the other run, good and bad.
    messages_rate: f64,
    /// `messages_rate` / `clean_rate`.
    share: f64,
    /// Rows that were not completed, of both runs.
    missing: u64,
    letters: Tally,
}

impl Poison {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let mut table = Table::open(&self.servers).await?;
            let mut payments = Payments::new(self.seed)?;
            let (clean, missing_before, _) = self.run_with(&mut table, &mut payments, 0).await?;
            say(&format!("clean: {} payments in {:.1} s", self.count, clean.as_secs_f64()))?;
            let (poisoned, missing, letters) = self.run_with(&mut table, &mut payments, self.bad).await?;
            #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
            let rate = |count: u64, span: Duration| count as f64 / span.as_secs_f64().max(1e-9);
            let (clean_rate, messages_rate) = (rate(self.count, clean), rate(self.count + self.bad, poisoned));
            let outcome = Outcome {
                clean_rate,
                payments_rate: rate(self.count, poisoned),
                messages_rate,
                share: messages_rate / clean_rate,
                missing: missing_before + missing,
                letters,
            };
            say_figures(&outcome, &outcome.line(), self.json)?;
            ensure!(outcome.missing == 0, "{} rows were not completed", outcome.missing);
            ensure!(outcome.letters.is_clean(), "the dead letters are not what they must be");
            Ok(())
        })
    }

    /// Sends payments with `bad` ones among them; how long all of it took, rows not completed, what the letters say.
    async fn run_with(
        &self,
        table: &mut Table,
        payments: &mut Payments,
        bad: u64,
    ) -> anyhow::Result<(Duration, u64, Tally)> {
        let good = payments.take(self.count);
        table.insert(&good).await?;
        table.settle().await?;
        let ids: Vec<String> = good.iter().map(|payment| payment.transaction_id.to_string()).collect();
        let from = topics::ends(&self.servers, &self.servers.rejected)?;
        let (servers, source, count) = (self.servers.clone(), Source::new()?, self.count);
        let begun = Instant::now();
        let sending = tokio::task::spawn_blocking(move || {
            let producer = Producer::open(&servers, Duration::from_millis(20))?;
            let topic = servers.transactions.as_str();
            let mut sent: Vec<Bad> = Vec::new();
            for (number, payment) in (0_u64..).zip(&good) {
                // The bad stand evenly among the rest, the first after some payments have moved the time.
                let due = if number < MARGIN { 0 } else { bad * (number + 1 - MARGIN) / (count - MARGIN) };
                while (sent.len() as u64) < due {
                    let earlier = usize::try_from(number - MARGIN)?;
                    let next = source.next(sent.len(), good.get(earlier).unwrap_or(payment))?;
                    let text = sent.len().to_string();
                    let header = Header { key: HEADER, value: Some(&text) };
                    let headers = OwnedHeaders::new().insert(header);
                    let record = Outgoing { topic, key: &next.key, payload: &next.payload };
                    producer.send_placed(record, sent.len() + 1, Some(headers))?;
                    sent.push(next);
                }
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &body(payment)? })?;
            }
            producer.settle(Duration::from_secs(300))?;
            anyhow::Ok((sent, producer.places()))
        });
        let (sent, places) = sending.await??;
        let missing = progress::wait(table, &ids, self.silence).await?;
        let mut letters = Letters::new(&self.servers.transactions, sent, &places);
        let servers = self.servers.clone();
        let (limit, rejected) = (self.silence, self.servers.rejected.clone());
        let tally = tokio::task::spawn_blocking(move || {
            letters.read(&servers, &rejected, &from, limit)?;
            anyhow::Ok(letters.tally())
        });
        let tally = tally.await??;
        Ok((begun.elapsed(), missing, tally))
    }
}

/// Payments before the first bad message, and between a payment and the one that contradicts it.
const MARGIN: u64 = 500;
/// Tells whether the headers that came with a message are kept.
pub(crate) const HEADER: &str = "loadtest-number";

impl Outcome {
    fn line(&self) -> String {
        format!(
            "clean {:.0} payments/s; with the bad {:.0} payments/s, {:.0} messages/s: {:.2} of clean; rows not completed {}\n{}",
            self.clean_rate,
            self.payments_rate,
            self.messages_rate,
            self.share,
            self.missing,
            self.letters.line()
        )
    }
}
