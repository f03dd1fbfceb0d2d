//! The line on files: read → observe → encode, every row answered in the file's order.
//!
//! Three threads hand chunks on through bounded channels: one reads, one observes, one infers and writes. Memory does
//! not grow with the file. Decision features are read as each row is met; complete features (`--lateness`) once the
//! stream's time has passed the row's by that much.

mod pass;

use std::fmt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use crate::base::money::Rates;
use crate::features::{Catalogue, Plan, Rows};
use crate::store::files::{Rejected, Source};
use crate::transaction::Transaction;
use pass::Pass;

/// Chunks that wait between two threads.
const WAITING: usize = 4;

/// What is done with a file.
#[derive(Debug)]
pub(crate) struct Offline {
    pub(crate) catalogue: Catalogue,
    pub(crate) plan: Plan,
    pub(crate) rates: Rates,
    /// The allowed lateness L, milliseconds.
    pub(crate) allowed_lateness: i64,
    /// Read complete features, this many milliseconds behind the stream's time.
    pub(crate) complete_after: Option<i64>,
    /// Verdicts from a file; with them the rows' own are not used.
    pub(crate) labels: Option<PathBuf>,
    /// Where refused rows go; without it the first one ends the pass.
    pub(crate) rejected: Option<PathBuf>,
    /// Events of one entity that are kept exact.
    pub(crate) exact_events: usize,
}

/// Rows in the file's order with their transactions.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) transactions: Vec<Transaction>,
    pub(crate) rows: Rows,
}

/// What a pass came to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Rows that were answered.
    pub(crate) rows: u64,
    /// Rows that were refused.
    pub(crate) rejected: u64,
    /// Accepted rows whose amount counts as 0, because no rate of their currency is known.
    pub(crate) missing_rate: u64,
    /// Accepted rows converted at a rate older than the limit.
    pub(crate) stale_rate: u64,
    /// Rows that name a merchant, product, country or currency of which the reference data has no row.
    pub(crate) missing_reference: u64,
    /// How long it took.
    pub(crate) took: Duration,
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "shown to the nearest whole")]
        let rate = self.rows as f64 / seconds.max(1e-9);
        write!(formatter, "{} rows in {seconds:.2} s ({rate:.0}/s), {} refused", self.rows, self.rejected)?;
        if self.missing_rate > 0 {
            let rows = self.missing_rate;
            write!(formatter, ", {rows} WITHOUT A RATE: their amount counts as 0 (see --rates and --base-currency)")?;
        }
        if self.stale_rate > 0 {
            write!(formatter, ", {} at an old rate", self.stale_rate)?;
        }
        if self.missing_reference > 0 {
            write!(formatter, ", {} without a row of reference data: defaults count", self.missing_reference)?;
        }
        Ok(())
    }
}

type Read = Result<Vec<std::result::Result<Transaction, Rejected>>>;

impl Offline {
    /// Runs the pass; `finish` gets every chunk in turn, on a thread of its own.
    ///
    /// # Errors
    /// The first of: an unreadable file, a refused row where none are collected, whatever `finish` says.
    pub(crate) fn run(self, mut source: Source, finish: impl FnMut(&Chunk) -> Result<()> + Send) -> Result<Summary> {
        let begun = Instant::now();
        let bar = progress(source.rows());
        // Rows come back to be filled again: their memory is large, and new memory must be cleared.
        let (give_back, spare) = channel::<Rows>();
        let mut pass = Pass::new(self, spare)?;
        let (to_observe, read) = sync_channel::<Read>(WAITING);
        let (to_finish, observed) = sync_channel::<Chunk>(WAITING);
        let outcome = std::thread::scope(|scope| {
            scope.spawn(move || {
                loop {
                    let chunk = source.read().map_err(anyhow::Error::from);
                    let last = chunk.as_ref().map_or(true, Vec::is_empty);
                    if to_observe.send(chunk).is_err() || last {
                        break;
                    }
                }
            });
            let finished = scope.spawn(move || finish_all(observed, give_back, finish));
            let observed = pass.observe_all(read, to_finish, &bar);
            let finished = finished.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the writing thread panicked")));
            // A writer that stopped explains an observer that could not hand on.
            finished.and(observed)
        });
        bar.finish_and_clear();
        outcome.map(|summary| Summary { took: begun.elapsed(), ..summary })
    }
}

fn finish_all(
    observed: Receiver<Chunk>,
    give_back: Sender<Rows>,
    mut finish: impl FnMut(&Chunk) -> Result<()>,
) -> Result<()> {
    for chunk in observed {
        finish(&chunk)?;
        // At the end nobody wants them.
        let _ = give_back.send(chunk.rows);
    }
    Ok(())
}

fn progress(rows: Option<u64>) -> ProgressBar {
    let style = |template| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    match rows {
        Some(rows) => ProgressBar::new(rows).with_style(style("{bar:40} {pos}/{len} rows, {per_sec}, {eta} left")),
        None => ProgressBar::new_spinner().with_style(style("{spinner} {pos} rows, {per_sec}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_without_a_rate_are_told_of_and_only_then() {
        let took = Duration::from_secs(2);
        let calm = Summary { rows: 10, took, ..Summary::default() };
        assert_eq!(calm.to_string(), "10 rows in 2.00 s (5/s), 0 refused");
        let told = Summary { missing_rate: 3, stale_rate: 1, ..calm }.to_string();
        assert!(
            told.contains("3 WITHOUT A RATE") && told.contains("--rates") && told.ends_with("1 at an old rate"),
            "{told}"
        );
    }
}
