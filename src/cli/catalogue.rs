//! `assay catalogue`: the features as tables for people.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::base::money::Currency;
use crate::features::Catalogue;
use crate::features::catalogue::fill;

/// Write the tables of docs/FEATURES.md from the catalogue: every feature by group, its meaning and its cost.
#[derive(Debug, Args)]
pub(super) struct Tables {
    /// The document with the marks between which the tables stand; its other text stays as it is.
    #[arg(long, default_value = "docs/FEATURES.md", value_name = "FILE")]
    write: PathBuf,
}

impl Tables {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.write.display();
        // The tables name no currency.
        let euro = Currency::parse("EUR").context("EUR is no currency")?;
        let document = std::fs::read_to_string(&self.write).with_context(|| path.to_string())?;
        let filled = fill(&document, &Catalogue::shipped(euro)?)
            .with_context(|| format!("{path}: the two marks of the tables are not there"))?;
        std::fs::write(&self.write, filled).with_context(|| path.to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}
