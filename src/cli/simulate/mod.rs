//! `assay simulate`: days of the simulated world, made on all cores, written in order.
//!
//! Chunks of whole days go round the threads in turn; the writer takes them in the same turn, so the file is the same
//! bytes on any machine size. Memory: at most three chunks a thread (a chunk is 65,536 payments or one day).

mod chunk;
mod files;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::base::clock::Millis;
use crate::base::money::Currency;
use crate::simulate::{Settings, World};
use chunk::{Chunk, Maker};
use files::{Format, Labels, Output};

/// Write simulated payments, with fraud whose kind is known.
///
/// Customers with a home, habits, cards and devices pay at terminals of many merchants; about one payment in a hundred
/// is fraud: compromised terminals, stolen cards, and card testing. The same arguments write the same bytes.
/// Rows are in time order, in the canonical fields; `is_fraud` and, of frauds, `fraud_kind` are the truth.
#[derive(Debug, Args)]
pub(crate) struct Simulate {
    /// How many customers pay (about two payments a day each).
    #[arg(long, default_value_t = 5_000)]
    customers: u32,
    /// How many terminals they pay at.
    #[arg(long, default_value_t = 10_000)]
    terminals: u32,
    /// How many days; 30 unless --rows is given, then as many as the rows take.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=36_500))]
    days: Option<i64>,
    /// The first day, UTC.
    #[arg(long, default_value = "2026-01-01", value_parser = parse_day)]
    start: i64,
    /// Everything drawn depends on it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after this many rows.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rows: Option<u64>,
    /// Where to write; the ending says the format: .ndjson, .csv or .parquet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where to write the verdicts as NDJSON, in the order in which they are given (days after the payments).
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Currencies, the one of home first.
    #[arg(long, value_delimiter = ',', default_value = "EUR", value_parser = parse_currency)]
    currencies: Vec<Currency>,
    /// Where to write the exchange rates (CSV: published,currency,rate); needed when there is more than one currency.
    #[arg(long, value_name = "FILE")]
    rates: Option<PathBuf>,
    /// A folder to write the reference data to: merchants.csv, products.csv, countries.csv, currencies.csv, and rates.csv
    /// where there is more than one currency.
    #[arg(long, value_name = "DIR")]
    reference: Option<PathBuf>,
    /// Threads; 0 takes as many as there are cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

fn parse_day(text: &str) -> Result<i64, String> {
    let day = Millis::parse_rfc3339(&format!("{text}T00:00:00Z")).map(Millis::day);
    day.filter(|day| *day >= 0).ok_or_else(|| format!("{text:?} is not a day since 1970 such as 2026-01-31"))
}

fn parse_currency(text: &str) -> Result<Currency, String> {
    Currency::parse(text).ok_or_else(|| format!("{text:?} is not an ISO 4217 currency code"))
}

impl Simulate {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let format = Format::of(&self.out)?;
        if self.currencies.len() > 1 && self.rates.is_none() && self.reference.is_none() {
            bail!(
                "--rates FILE or --reference DIR is needed with more than one currency: without rates, amounts cannot be compared"
            );
        }
        let begun = Instant::now();
        let world = World::new(&Settings {
            customers: self.customers,
            terminals: self.terminals,
            seed: self.seed,
            currencies: self.currencies.clone(),
        })?;
        let days = self.days.unwrap_or(if self.rows.is_some() { i64::MAX } else { 30 });
        let last = self.start.saturating_add(days).min(LAST_DAY);
        let output = Output::create(&self.out, format)?;
        let maker = Maker::new(&world, self.start..last, output.columns(), format, self.labels.is_some());
        let labels = self.labels.as_deref().map(Labels::create).transpose()?;
        let threads = match self.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            threads => threads.min(256),
        };
        let written = write(&maker, output, labels, threads, self.rows.unwrap_or(u64::MAX))?;
        let rates = || world.rates(self.start..written.end_day);
        if let Some(file) = &self.rates {
            put(file, &rates())?;
        }
        if let Some(folder) = &self.reference {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let of_rates = (self.currencies.len() > 1).then(|| ("rates.csv", rates()));
            for (name, text) in world.reference(self.start).into_iter().chain(of_rates) {
                put(&folder.join(name), &text)?;
            }
        }
        eprintln!(
            "{} payments of {} days, {} fraudulent ({:.2} %), {} verdicts in {:.1} s: {}",
            written.rows,
            written.end_day - self.start,
            written.frauds,
            100.0 * ratio(written.frauds, written.rows),
            written.verdicts,
            begun.elapsed().as_secs_f64(),
            self.out.display(),
        );
        Ok(ExitCode::SUCCESS)
    }
}

fn put(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// 9999-12-31, the last day that RFC 3339 can say.
const LAST_DAY: i64 = 2_932_896;

#[expect(clippy::cast_precision_loss, reason = "for a person to read")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What was written.
#[derive(Debug, Default)]
struct Written {
    rows: u64,
    frauds: u64,
    verdicts: u64,
    /// The day after the last.
    end_day: i64,
}

fn write(
    maker: &Maker,
    mut output: Output,
    mut labels: Option<Labels>,
    threads: usize,
    rows: u64,
) -> anyhow::Result<Written> {
    std::thread::scope(|scope| {
        let queues: Vec<Receiver<anyhow::Result<Chunk>>> = (0..threads)
            .map(|first| {
                let (sender, receiver) = sync_channel(1);
                scope.spawn(move || {
                    for number in (first..).step_by(threads) {
                        let Some(chunk) = maker.chunk(number, u64::MAX).transpose() else { break };
                        // The writer has enough or failed: nobody waits for more.
                        if sender.send(chunk).is_err() {
                            break;
                        }
                    }
                });
                receiver
            })
            .collect();
        let progress = bar(maker.expected_rows().min(rows));
        let mut written = Written::default();
        for (number, queue) in queues.iter().cycle().enumerate() {
            let rest = rows - written.rows;
            let Ok(chunk) = queue.recv() else { break };
            let mut chunk = chunk?;
            if chunk.rows > rest {
                // The last chunk again, cut short.
                chunk = maker.chunk(number, rest)?.context("a chunk that was made cannot be made again")?;
            }
            written.rows += chunk.rows;
            written.frauds += chunk.frauds;
            written.end_day = chunk.end_day;
            progress.inc(chunk.rows);
            if let Some(labels) = &mut labels {
                labels.add(chunk.verdicts);
                labels.write_before(Millis(chunk.end_day * crate::base::clock::DAY))?;
            }
            output.write(chunk.body)?;
            if written.rows >= rows {
                break;
            }
        }
        drop(queues);
        output.finish()?;
        if let Some(labels) = labels {
            written.verdicts = labels.finish()?;
        }
        progress.finish_and_clear();
        Ok(written)
    })
}

/// A bar on a terminal, nothing elsewhere.
fn bar(rows: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos} rows, {per_sec}, {eta} left");
    ProgressBar::new(rows).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests;
