//! `assay history build`: transactions and verdicts in, a snapshot out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::app::key::hash_key;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::money::{BaseAmount, RateQuality, Rates};
use crate::cli::rejects::Rejects;
use crate::cli::verdicts::Verdicts;
use crate::cli::view::View;
use crate::cli::{features, say, tell_faults};
use crate::config::Config;
use crate::engine::snapshot::{Admitted, Build};
use crate::features::{Catalogue, Event, HistoryOptions};
use crate::store::files::{Rejected, Source};
use crate::store::snapshots::{Snapshots, WrittenSnapshot};
use crate::transaction::{Limits, Rejection, Transaction};

#[derive(Debug, Args)]
pub(in crate::cli) struct BuildHistory {
    /// Where the transactions are: a .parquet, .csv, .ndjson or .jsonl file, or `postgres` (see --view).
    #[arg(long, value_name = "FILE|postgres")]
    pub(super) from: String,
    /// How its fields map to canonical ones: canonical, major, stripe, handbook, or a mapping file.
    #[arg(long, default_value = "canonical", value_name = "NAME|FILE")]
    pub(super) connector: String,
    /// Verdicts (NDJSON, as POST /labels takes them); without it those of the is_fraud field count.
    #[arg(long, value_name = "FILE")]
    pub(super) labels: Option<PathBuf>,
    /// The service's configuration: history, base currency and rates are read from it.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// The folder in which the service looks for snapshots.
    #[arg(long, value_name = "FOLDER")]
    pub(super) output: PathBuf,
    /// How many snapshots of the folder are kept, this one included.
    #[arg(long, default_value_t = 2, value_name = "N")]
    pub(super) keep: usize,
    /// Collect refused rows here (NDJSON) and go on; without it the first one ends the run.
    #[arg(long, value_name = "FILE")]
    pub(super) rejected: Option<PathBuf>,
    /// Of --from postgres: postgres://USER@HOST:PORT/DATABASE, a role that may read the view; its password is taken
    /// from PGPASSWORD.
    #[arg(long, value_name = "URL")]
    pub(super) postgres_url: Option<String>,
    /// Of --from postgres: the view, whose columns the connector names.
    #[arg(long, value_name = "[SCHEMA.]VIEW")]
    pub(super) view: Option<String>,
}

impl BuildHistory {
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = match Config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(faults) => return Ok(tell_faults(&faults)),
        };
        let (written, tally) = self.build(&config)?;
        say(&format!("{}: {} bytes; {tally}", written.path.display(), written.bytes));
        Ok(ExitCode::SUCCESS)
    }

    pub(super) fn build(&self, config: &Config) -> Result<(WrittenSnapshot, Tally)> {
        let begun = Instant::now();
        let mut filling = Filling::new(self, config)?;
        let limits = Limits::of_files();
        let connector = features::connector(&self.connector)?;
        if self.from == "postgres" {
            let (Some(url), Some(name)) = (&self.postgres_url, &self.view) else {
                bail!("--from postgres needs --postgres-url and --view");
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut view = View::open(url, name, connector, limits).await?;
                let read = view.all(|chunk| filling.take(chunk)).await;
                view.close(read).await
            })?;
        } else {
            let mut source = Source::open(Path::new(&self.from), connector, limits)?;
            loop {
                let chunk = source.read()?;
                if chunk.is_empty() {
                    break;
                }
                filling.take(chunk)?;
            }
        }
        let (build, tally) = filling.end()?;
        let mut built = build.finish(SystemClock.now()).context("the history is being written already")?;
        let written = Snapshots::new(self.output.clone(), self.keep).write(&mut built)?;
        Ok((written, Tally { seconds: begun.elapsed().as_secs_f64(), ..tally }))
    }
}

/// What came of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) rows: u64,
    pub(super) repeated: u64,
    pub(super) out_of_reach: u64,
    pub(super) rejected: u64,
    pub(super) missing_rate: u64,
    pub(super) labels: u64,
    /// Verdicts whose transaction is not among the rows: they wait for it.
    pub(super) waiting: u64,
    /// Verdicts that found neither their transaction nor room to wait.
    pub(super) unmatched: u64,
    seconds: f64,
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, repeated, out_of_reach, rejected, missing_rate, labels, waiting, unmatched, seconds } = self;
        write!(
            formatter,
            "{rows} rows in {seconds:.2} s, of which {out_of_reach} are too old for any window, {repeated} "
        )?;
        write!(formatter, "stand twice, {rejected} were refused; {labels} verdicts, {waiting} more wait for their ")?;
        write!(formatter, "transaction, {unmatched} were given up")?;
        if *missing_rate > 0 {
            write!(formatter, "; {missing_rate} WITHOUT A RATE: their amount counts as 0 (see money.rates)")?;
        }
        Ok(())
    }
}

/// The history on its way.
struct Filling {
    build: Build,
    rates: Rates,
    verdicts: Verdicts,
    rejected: Rejects,
    tally: Tally,
}

impl Filling {
    fn new(command: &BuildHistory, config: &Config) -> Result<Self> {
        let base = config.money.base_currency;
        let rates = crate::app::reference::rates(config)?;
        let options = HistoryOptions {
            key: hash_key(&config.history)?,
            lateness: i64::try_from(config.history.lateness.as_millis()).unwrap_or(i64::MAX),
            exact_events: config.history.exact_events,
        };
        let build = Build::new(&Catalogue::shipped(base)?, options, base, config.history.max_waiting_labels);
        let verdicts = match &command.labels {
            Some(path) => Verdicts::of_file(path)?,
            None => Verdicts::of_rows(),
        };
        let rejected = Rejects::new(command.rejected.as_deref())?;
        Ok(Self { build, rates, verdicts, rejected, tally: Tally::default() })
    }

    fn take(&mut self, chunk: Vec<std::result::Result<Transaction, Rejected>>) -> Result<()> {
        let mut new: Vec<(Transaction, BaseAmount)> = Vec::with_capacity(chunk.len());
        for outcome in chunk {
            self.tally.rows += 1;
            let transaction = match outcome {
                Ok(transaction) => transaction,
                Err(Rejected { row, rejection }) => {
                    self.reject(row, &rejection)?;
                    continue;
                }
            };
            match self.build.admit(&transaction) {
                Ok(Admitted::New) => {
                    let Transaction { amount_minor, currency, occurred_at, .. } = transaction;
                    let base = self.rates.to_base(amount_minor, currency, occurred_at);
                    self.tally.missing_rate += u64::from(base.rate == RateQuality::Missing);
                    new.push((transaction, base));
                }
                Ok(Admitted::Repeated) => self.tally.repeated += 1,
                Ok(Admitted::OutOfReach) => self.tally.out_of_reach += 1,
                Err(rejection) => self.reject(self.tally.rows, &rejection)?,
            }
        }
        let events: Vec<_> = new.iter().map(|(transaction, base)| Event { transaction, base: *base }).collect();
        self.build.insert(&events);
        new.iter().for_each(|(transaction, base)| self.label(transaction, *base));
        Ok(())
    }

    fn label(&mut self, transaction: &Transaction, base: BaseAmount) {
        let labels = self.verdicts.take(transaction);
        self.tally.labels += labels.len() as u64;
        labels.iter().for_each(|label| self.build.label(transaction, base, label));
    }

    fn reject(&mut self, row: u64, rejection: &Rejection) -> Result<()> {
        self.tally.rejected += 1;
        self.rejected.put(row, rejection)
    }

    fn end(mut self) -> Result<(Build, Tally)> {
        for label in self.verdicts.rest() {
            let waits = self.build.wait(label);
            self.tally.waiting += u64::from(waits);
            self.tally.unmatched += u64::from(!waits);
        }
        self.rejected.end()?;
        Ok((self.build, self.tally))
    }
}
