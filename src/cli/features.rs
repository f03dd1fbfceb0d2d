//! `assay features`: the catalogue's features of every row of a file, by the same code that serves `/predict`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::offline::{Chunk, Offline};
use crate::base::money::{Currency, Rates};
use crate::features::{Catalogue, Plan};
use crate::store::files::{Column, Sink, Source};
use crate::store::reference::{Files, read_folder};
use crate::transaction::{Connector, Limits, Transaction};

/// Canonical columns that `--keep` can copy through.
const KEPT: [&str; 13] = [
    "occurred_at",
    "customer_id",
    "terminal_id",
    "amount_minor",
    "currency",
    "merchant_id",
    "product_id",
    "country",
    "channel",
    "card_id",
    "device_id",
    "is_fraud",
    "base_amount_minor",
];

/// What `features` and `score` read and how.
#[derive(Debug, Args)]
pub(crate) struct Input {
    /// File of transactions: .parquet, .csv, .ndjson or .jsonl.
    #[arg(long, value_name = "FILE")]
    pub(crate) input: PathBuf,
    /// How the file's fields map to canonical ones: canonical, major, stripe, handbook, or a mapping file.
    #[arg(long, default_value = "canonical", value_name = "NAME|FILE")]
    pub(crate) connector: String,
    /// Read complete features: each row as of its time, once the file's time has passed it by this much ("10m").
    /// Without it each row sees what stood before it in the file: decision features.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) lateness: Option<i64>,
    /// A row older than the file's newest by more than this is refused as too old.
    #[arg(long, default_value = "48h", value_name = "SPAN", value_parser = span)]
    pub(crate) allowed_lateness: i64,
    /// Verdicts (NDJSON, as POST /labels takes them); without it those of the is_fraud column count, each known at
    /// its transaction's time plus the feature's delay.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Collect refused rows here (NDJSON) and go on; without it the first one ends the run.
    #[arg(long, value_name = "FILE")]
    pub(crate) rejected: Option<PathBuf>,
    /// Currency in which amounts are compared.
    #[arg(long, default_value = "EUR", value_name = "CODE")]
    pub(crate) base_currency: String,
    /// Exchange rates: CSV lines published,currency,rate.
    #[arg(long, value_name = "FILE")]
    pub(crate) rates: Option<PathBuf>,
    /// Folder of reference data: merchants.csv, products.csv, … as docs/REFERENCE.md has them, and rates.csv.
    #[arg(long, value_name = "DIR")]
    pub(crate) reference: Option<PathBuf>,
    /// Events of one entity that are kept one by one; older ones are kept by the hour.
    #[arg(long, default_value_t = 65_536, value_name = "N")]
    pub(crate) exact_events: usize,
}

/// Write the features of every row of a file.
///
/// The columns are transaction_id, what --keep names, then the features: counts and flags as integers, means, shares
/// and sums as 64-bit floats. Rows keep the input's order; a row that stands twice is answered twice with what its one
/// event reads, and moves no window twice.
#[derive(Debug, Args)]
pub(super) struct Features {
    #[command(flatten)]
    input: Input,
    /// File to write: .parquet, .csv, .ndjson or .jsonl.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Features to compute, in this order; without it all of the catalogue but those of reference data that is not given.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features: Option<Vec<String>>,
    /// Canonical input columns to copy through, such as occurred_at,customer_id,is_fraud.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    keep: Vec<String>,
}

impl Features {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence: which file, row or name is wrong.
    pub(super) fn run(self) -> Result<()> {
        let base = self.input.base()?;
        let catalogue = self.input.catalogue(base)?;
        let names = self.features.unwrap_or_else(|| catalogue.computable().map(str::to_owned).collect());
        if names.iter().any(|name| name == "is_fraud") {
            bail!("is_fraud is the label, never a feature; --keep is_fraud copies it through");
        }
        check_kept(&self.keep)?;
        let plan = catalogue.plan(&names)?;
        let columns = ["transaction_id"].into_iter().map(str::to_owned);
        let columns = columns.chain(self.keep.iter().cloned()).chain(plan.names().iter().cloned()).collect();
        let (source, offline) = self.input.open(catalogue, plan.clone())?;
        let mut sink = Sink::create(&self.output, columns)?;
        let rates = offline.rates.clone();
        let summary = offline.run(source, |chunk| {
            let mut columns = vec![ids(&chunk.transactions)];
            columns.extend(self.keep.iter().map(|name| kept(name, &chunk.transactions, &rates)));
            columns.extend(feature_columns(&plan, chunk));
            Ok(sink.write(columns)?)
        })?;
        sink.finish()?;
        super::say(&format!("{}: {summary}", self.output.display()));
        Ok(())
    }
}

impl Input {
    pub(crate) fn base(&self) -> Result<Currency> {
        Currency::parse(&self.base_currency)
            .with_context(|| format!("--base-currency {:?} is not an ISO 4217 code", self.base_currency))
    }

    /// The catalogue, with the reference data that is given.
    pub(crate) fn catalogue(&self, base: Currency) -> Result<Catalogue> {
        let catalogue = Catalogue::shipped(base)?;
        let Some(folder) = &self.reference else { return Ok(catalogue) };
        let reference = read_folder(folder).with_context(|| format!("--reference {}", folder.display()))?;
        Ok(catalogue.with_reference(Arc::new(reference)))
    }

    /// The file, and the pass over it that reads `plan`.
    pub(crate) fn open(self, catalogue: Catalogue, plan: Plan) -> Result<(Source, Offline)> {
        let base = self.base()?;
        let folder = self.reference.clone().map(Files::new);
        let rates = match self.rates.clone().or_else(|| folder.as_ref().and_then(Files::rates)) {
            Some(path) => {
                let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                Rates::parse(base, &text).with_context(|| path.display().to_string())?
            }
            None => Rates::of_base(base),
        };
        if self.lateness.is_some_and(|lateness| lateness > self.allowed_lateness) {
            bail!("--lateness must be at most --allowed-lateness: later rows are refused as too old");
        }
        let source = Source::open(&self.input, connector(&self.connector)?, Limits::of_files())?;
        let offline = Offline {
            catalogue,
            plan,
            rates,
            allowed_lateness: self.allowed_lateness,
            complete_after: self.lateness,
            labels: self.labels,
            rejected: self.rejected,
            exact_events: self.exact_events,
        };
        Ok((source, offline))
    }
}

/// Refuses what is no canonical column.
pub(super) fn check_kept(names: &[String]) -> Result<()> {
    match names.iter().find(|name| !KEPT.contains(&name.as_str())) {
        Some(unknown) => bail!("--keep {unknown}: the canonical columns are {}", KEPT.join(", ")),
        None => Ok(()),
    }
}

/// A shipped connector by name, or the mapping file at this path.
pub(crate) fn connector(name: &str) -> Result<Connector> {
    if Connector::is_file(name) {
        let text = std::fs::read_to_string(name).with_context(|| format!("connector {name}"))?;
        return Connector::parse(&text).with_context(|| format!("connector {name}"));
    }
    Ok(Connector::shipped(name)?)
}

pub(crate) fn ids(transactions: &[Transaction]) -> Column {
    let mut text = String::with_capacity(transactions.len() * 16);
    let ends = transactions.iter().map(|transaction| {
        text.push_str(&transaction.transaction_id);
        text.len()
    });
    let ends = ends.collect();
    Column::Packed(text, ends)
}

fn feature_columns(plan: &Plan, chunk: &Chunk) -> Vec<Column> {
    let rows = chunk.rows.len();
    let column = |index| {
        if plan.is_integer(index) {
            Column::Whole(Vec::with_capacity(rows))
        } else {
            Column::Float(Vec::with_capacity(rows))
        }
    };
    let mut columns: Vec<Column> = (0..plan.width()).map(column).collect();
    // Row by row: the ends of all columns stay in the cache, which a column after the other of many rows would not.
    for row in chunk.rows.values().chunks_exact(plan.width().max(1)) {
        for (column, value) in columns.iter_mut().zip(row) {
            match column {
                #[expect(clippy::cast_possible_truncation, reason = "counts and flags are whole numbers below 2^32")]
                Column::Whole(values) => values.push(*value as i64),
                Column::Float(values) => values.push(*value),
                _ => {}
            }
        }
    }
    columns
}

pub(super) fn kept(name: &str, transactions: &[Transaction], rates: &Rates) -> Column {
    match name {
        "occurred_at" => Column::Time(transactions.iter().map(|one| one.occurred_at.0).collect()),
        "amount_minor" => Column::Whole(transactions.iter().map(|one| one.amount_minor).collect()),
        "base_amount_minor" => {
            let base = |one: &Transaction| rates.to_base(one.amount_minor, one.currency, one.occurred_at).minor;
            Column::Whole(transactions.iter().map(base).collect())
        }
        "is_fraud" => Column::Flag(transactions.iter().map(|one| one.is_fraud).collect()),
        "currency" => Column::Text(transactions.iter().map(|one| Some(one.currency.code().to_owned())).collect()),
        field => Column::Text(transactions.iter().map(|one| one.entity(field).map(str::to_owned)).collect()),
    }
}

/// A span such as `10m` or `48h`, in milliseconds.
fn span(text: &str) -> Result<i64, String> {
    let span = crate::base::span::parse(text)?;
    i64::try_from(span.as_millis()).map_err(|_| format!("{text:?} is longer than time is counted"))
}
