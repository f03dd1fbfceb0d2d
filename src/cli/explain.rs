//! `assay explain`: what moved the margin of every row of a file of features, by the same code that serves `/predict`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::model::{Model, Package, RuntimeOptions};
use crate::store::files::{CHUNK, Column, Kind, Sink, Table, Values};

/// Write what moved the score of every row of a file of features.
///
/// The file has a column for each of the model's features, by catalogue name, such as `assay features` writes. The
/// columns written are transaction_id where the input has it, margin and baseline (log-odds before calibration), score
/// (32-bit float), then a contribution for each feature, named like the feature: baseline + contributions = margin.
#[derive(Debug, Args)]
pub(super) struct Explain {
    /// A package directory such as models/fraud/1.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// File of features: .parquet, .csv, .ndjson or .jsonl.
    #[arg(long, value_name = "FILE")]
    features: PathBuf,
    /// File to write: .parquet, .csv, .ndjson or .jsonl.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// ONNX Runtime's shared library, where it should not be looked for.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

const ID: &str = "transaction_id";

impl Explain {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence: which file, row, column or model is wrong.
    pub(super) fn run(self) -> Result<()> {
        let package = Package::read(&self.model)?;
        let names = package.features.clone();
        let numbers = names.iter().map(|name| (name.as_str(), Kind::Number));
        let table = Table::read(&self.features, &numbers.chain([(ID, Kind::Text)]).collect::<Vec<_>>())?;
        let features = names.iter().map(|name| column(&table, name)).collect::<Result<Vec<_>>>()?;
        let ids = match table.column(ID, Kind::Text) {
            Some(Values::Text(ids)) => Some(ids),
            _ => None,
        };
        let options = RuntimeOptions { library: self.onnxruntime, ..RuntimeOptions::of_files() };
        let model = Model::load(package, &options)?;
        let own = ["margin", "baseline", "score"].map(str::to_owned);
        let written = ids.map(|_| ID.to_owned()).into_iter().chain(own).chain(names.iter().cloned()).collect();
        let mut sink = Sink::create(&self.output, written)?;
        for first in (0..table.rows()).step_by(CHUNK) {
            let last = table.rows().min(first + CHUNK);
            let rows = rows(&table, &names, &features, first..last)?;
            let scores = model.infer_matrix(&rows)?;
            let explained = model.explain_matrix(&rows)?;
            let mut columns = Vec::new();
            if let Some(ids) = ids {
                let text = |id: &Option<compact_str::CompactString>| id.as_ref().map(ToString::to_string);
                columns.push(Column::Text(ids.iter().skip(first).take(last - first).map(text).collect()));
            }
            columns.push(Column::Float(explained.iter().map(|row| row.margin).collect()));
            columns.push(Column::Float(explained.iter().map(|row| row.baseline).collect()));
            columns.push(Column::Single(scores));
            columns.extend((0..names.len()).map(|index| {
                let moved = explained.iter().map(|row| row.contributions.get(index).copied().unwrap_or_default());
                Column::Float(moved.collect())
            }));
            sink.write(columns)?;
        }
        sink.finish()?;
        super::say(&format!("{}: {} rows explained", self.output.display(), table.rows()));
        Ok(())
    }
}

fn column<'a>(table: &'a Table, name: &str) -> Result<&'a [Option<f64>]> {
    match table.column(name, Kind::Number) {
        Some(Values::Number { cells, .. }) => Ok(cells),
        _ => Err(table.no_column(name)).context("the model needs every one of its features"),
    }
}

/// Rows of 32-bit values, as models take them.
fn rows(
    table: &Table,
    names: &[String],
    features: &[&[Option<f64>]],
    range: std::ops::Range<usize>,
) -> Result<Vec<f32>> {
    let mut rows = Vec::with_capacity(range.len() * features.len());
    for row in range {
        for (cells, name) in features.iter().zip(names) {
            match cells.get(row).copied().flatten() {
                #[expect(clippy::cast_possible_truncation, reason = "models take 32-bit floats")]
                Some(value) if value.is_finite() => {
                    rows.push(value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32)
                }
                _ => bail!(table.cell_error(row, name, "must be a finite number")),
            }
        }
    }
    Ok(rows)
}
