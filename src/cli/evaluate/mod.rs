//! `assay evaluate`: how well scores in a file tell frauds from legitimate rows, and whether one score is better than
//! another. The figures are [`crate::evaluation`]'s; here are the files, the flags and the words.

mod columns;
mod differences;
mod pairs;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::evaluation::{Binning, Options, Resampling, Unit, compare, evaluate};
use columns::Columns;
use rows::Rows;

/// Judge scores by their labels, or compare two scores of the same transactions.
///
/// Prints a report: ROC AUC, average precision, card precision, Brier score, log loss, calibration, what is caught by
/// alerts a day and at a threshold, the cost curve, and figures by kind of fraud and by fold. docs/EVALUATION.md defines
/// each. A figure whose column is not there is left out, and a line says why.
///
/// Exit status: 0 when the figures were made, whatever they say; 1 when they cannot be; 2 for wrong arguments.
#[derive(Debug, Args)]
pub(super) struct Evaluate {
    /// File of scores: .parquet, .csv, .ndjson or .jsonl.
    #[arg(value_name = "FILE", required_unless_present = "compare")]
    file: Option<PathBuf>,
    /// Two files of scores of the same transactions: B - A with bootstrap intervals. Labels and all other columns are
    /// those of A, or of --labels.
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    compare: Option<Vec<PathBuf>>,
    #[command(flatten)]
    columns: Columns,
    #[command(flatten)]
    figures: Figures,
    #[command(flatten)]
    bootstrap: Bootstrap,
    /// Write the figures as JSON; "-" writes them to standard output in place of the report.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Figures")]
struct Figures {
    /// Scores at or above it are flagged. Compared in the precision of the file's scores, as in service.
    #[arg(long, value_name = "SCORE", value_parser = share)]
    threshold: Option<f64>,
    /// Alerts a day that a team can look at.
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "50,100,200",
        value_parser = clap::value_parser!(u64).range(1..))]
    alerts_per_day: Vec<u64>,
    /// Cards a day that a team can look at, for card precision.
    #[arg(long, value_name = "K", default_value = "100")]
    card_precision_k: NonZeroU32,
    /// What looking at one alert costs, in the currency's major unit; without it there is no cost curve.
    #[arg(long, value_name = "AMOUNT", value_parser = cost)]
    review_cost: Option<f64>,
    /// Bins of the calibration table.
    #[arg(long, value_name = "N", default_value = "10", value_parser = bins)]
    bins: NonZeroUsize,
    /// Bins of one width, or of one count of rows.
    #[arg(long, value_enum, value_name = "HOW", default_value = "width")]
    binning: BinningName,
    /// Points of each curve in the JSON at most; 0 writes every one.
    #[arg(long, value_name = "N", default_value_t = 500)]
    curve_points: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BinningName {
    Width,
    Count,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Comparison")]
struct Bootstrap {
    /// How often rows are drawn.
    #[arg(long, value_name = "N", default_value_t = 1_000, requires = "compare",
        value_parser = clap::value_parser!(u32).range(10..=100_000))]
    bootstrap: u32,
    /// Of the interval.
    #[arg(long, value_name = "SHARE", default_value_t = 0.95, requires = "compare", value_parser = confidence)]
    confidence: f64,
    /// Everything drawn depends on it.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "compare")]
    seed: u64,
    /// What is drawn with all its rows; customers where their column is there, else rows.
    #[arg(long, value_enum, value_name = "UNIT", requires = "compare")]
    unit: Option<UnitName>,
    /// Compare the transactions that both files have; without it files with different ones are refused.
    #[arg(long, requires = "compare")]
    intersect: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnitName {
    Customer,
    Day,
    Row,
}

impl Evaluate {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence: which file, row, column or flag is wrong.
    pub(super) fn run(self) -> Result<()> {
        match (&self.file, self.compare.as_deref()) {
            (Some(file), None) => self.judge(file),
            (None, Some([a, b])) => self.hold_against(a, b),
            _ => bail!("one file of scores, or --compare with two"),
        }
    }

    fn judge(&self, file: &Path) -> Result<()> {
        let rows = Rows::read(file, &self.columns, false)?;
        let (sample, mut notes) = rows.sample(&self.columns)?;
        let figures = &self.figures;
        let options = Options {
            threshold: figures.threshold.map(|threshold| rows.in_precision_of_scores(threshold)),
            alerts_a_day: figures.alerts_per_day.clone(),
            card_precision_k: figures.card_precision_k,
            review_cost: figures.review_cost,
            bins: figures.bins,
            binning: match figures.binning {
                BinningName::Width => Binning::Width,
                BinningName::Count => Binning::Count,
            },
            curve_points: figures.curve_points,
        };
        let mut evaluation = evaluate(&sample, &options);
        notes.append(&mut evaluation.notes);
        evaluation.notes = notes;
        self.answer(&evaluation, || report::report(&file.display().to_string(), &evaluation))
    }

    fn hold_against(&self, a: &Path, b: &Path) -> Result<()> {
        let mut rows = Rows::read(a, &self.columns, true)?;
        let (scores, mut notes) = pairs::pair(&mut rows, b, &self.columns, self.bootstrap.intersect)?;
        let (sample, more) = rows.sample(&self.columns)?;
        notes.extend(more);
        let unit = match self.bootstrap.unit {
            Some(UnitName::Customer) => Unit::Customer,
            Some(UnitName::Day) => Unit::Day,
            Some(UnitName::Row) => Unit::Row,
            None if sample.has_customers() => Unit::Customer,
            None => {
                notes.push(
                    "rows are drawn one by one, as there are no customers: too narrow where rows of one card are alike"
                        .to_owned(),
                );
                Unit::Row
            }
        };
        let resampling = Resampling {
            unit,
            replicates: NonZeroU32::new(self.bootstrap.bootstrap).context("--bootstrap is 10 or more")?,
            confidence: self.bootstrap.confidence,
            seed: self.bootstrap.seed,
            card_precision_k: self.figures.card_precision_k,
        };
        let comparison = compare(&sample, &scores, &resampling)?;
        if comparison.all.card_precision.is_none() {
            let why =
                if unit == Unit::Row { "rows are drawn (--unit customer or day)" } else { "needs times and customers" };
            notes.push(format!("card precision: {why}"));
        }
        let [a, b] = [a, b].map(|path| path.display().to_string());
        let named = differences::Named { a, b, difference: "B - A", comparison: &comparison, notes };
        self.answer(&named, || differences::report(&named))
    }

    /// The report to standard output and the figures to the file, or the figures to standard output.
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    fn answer(&self, figures: &impl Serialize, report: impl FnOnce() -> String) -> Result<()> {
        match &self.json {
            Some(path) if path.as_os_str() == "-" => println!("{}", serde_json::to_string(figures)?),
            Some(path) => {
                let file = File::create(path).with_context(|| path.display().to_string())?;
                let mut file = BufWriter::new(file);
                serde_json::to_writer_pretty(&mut file, figures).with_context(|| path.display().to_string())?;
                file.write_all(b"\n").and_then(|()| file.flush()).with_context(|| path.display().to_string())?;
                print!("{}", report());
            }
            None => print!("{}", report()),
        }
        Ok(())
    }
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or_else(|| "a number from 0 to 1".to_owned())
}

fn cost(text: &str) -> Result<f64, String> {
    let cost: Option<f64> = text.parse().ok();
    cost.filter(|cost| cost.is_finite() && *cost >= 0.0).ok_or_else(|| "an amount of 0 or more".to_owned())
}

fn confidence(text: &str) -> Result<f64, String> {
    share(text).ok().filter(|share| *share > 0.0 && *share < 1.0).ok_or_else(|| "between 0 and 1, such as 0.95".into())
}

fn bins(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().ok().filter(|bins: &NonZeroUsize| bins.get() <= 1_000).ok_or_else(|| "1 to 1000".to_owned())
}
