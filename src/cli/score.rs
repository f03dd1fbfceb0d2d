//! `assay score`: the score of every row of a file, by the same line that serves `/predict`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::features::{Input, check_kept, ids, kept};
use crate::model::{Model, Package, RuntimeOptions};
use crate::store::files::{Column, Sink};

/// Write the score of every row of a file.
///
/// The columns are transaction_id, score (32-bit float, 0 to 1), flagged (score ≥ threshold), model_version, and what
/// --keep names. Rows keep the input's order.
#[derive(Debug, Args)]
pub(super) struct Score {
    #[command(flatten)]
    input: Input,
    /// File to write: .parquet, .csv, .ndjson or .jsonl.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// A package directory such as models/fraud/1, or a bare .onnx file together with --features-in.
    #[arg(long, value_name = "DIR|FILE")]
    model: PathBuf,
    /// The features a bare .onnx file takes, in its order, by catalogue name.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    features_in: Option<Vec<String>>,
    /// Scores at or above it are flagged; for a bare .onnx file (a package has its own).
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f32>,
    /// Canonical input columns to copy through, such as occurred_at,customer_id,amount_minor,is_fraud: what
    /// `assay evaluate` needs.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    keep: Vec<String>,
    /// ONNX Runtime's shared library, where it should not be looked for.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
}

impl Score {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence: which file, row, name or model is wrong.
    pub(super) fn run(self) -> Result<()> {
        check_kept(&self.keep)?;
        let package = match (self.model.is_dir(), self.features_in) {
            (true, None) => Package::read(&self.model)?,
            (true, Some(_)) => bail!("--features-in is for a bare .onnx file; a package's manifest names its own"),
            (false, Some(features)) => Package::bare(&self.model, features, self.threshold.unwrap_or(0.5))?,
            (false, None) => bail!("{}: a bare .onnx file needs --features-in", self.model.display()),
        };
        let threshold = self.threshold.unwrap_or(package.threshold);
        let catalogue = self.input.catalogue(self.input.base()?)?;
        let plan = catalogue.plan(&package.features)?;
        let version = package.version.clone();
        let options = RuntimeOptions { library: self.onnxruntime, ..RuntimeOptions::of_files() };
        let model = Model::load(package, &options)?;
        let (source, offline) = self.input.open(catalogue, plan)?;
        let names = ["transaction_id", "score", "flagged", "model_version"].into_iter().map(str::to_owned);
        let mut sink = Sink::create(&self.output, names.chain(self.keep.iter().cloned()).collect())?;
        let rates = offline.rates.clone();
        let mut flagged = 0;
        let summary = offline.run(source, |chunk| {
            #[expect(clippy::cast_possible_truncation, reason = "models take 32-bit floats")]
            let values: Vec<f32> = chunk.rows.values().iter().map(|value| *value as f32).collect();
            let scores = model.infer_matrix(&values)?;
            let flags: Vec<_> = scores.iter().map(|score| Some(*score >= threshold)).collect();
            flagged += flags.iter().filter(|flag| **flag == Some(true)).count();
            let versions = vec![Some(version.clone()); scores.len()];
            let mut columns =
                vec![ids(&chunk.transactions), Column::Single(scores), Column::Flag(flags), Column::Text(versions)];
            columns.extend(self.keep.iter().map(|name| kept(name, &chunk.transactions, &rates)));
            Ok(sink.write(columns)?)
        })?;
        sink.finish()?;
        super::say(&format!("{}: {summary}, {flagged} flagged", self.output.display()));
        Ok(())
    }
}
