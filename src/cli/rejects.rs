//! Rows that are no transactions: collected in a file, or the end of the command.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::transaction::Rejection;

/// See the module.
#[derive(Debug)]
pub(super) struct Rejects(Option<(PathBuf, BufWriter<File>)>);

impl Rejects {
    /// Collects rows in this file (NDJSON); without one the first row is an error.
    pub(super) fn new(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Self(Some((path.to_owned(), BufWriter::new(file)))))
    }

    /// Takes row number `row`.
    pub(super) fn put(&mut self, row: u64, rejection: &Rejection) -> Result<()> {
        let Some((path, file)) = &mut self.0 else {
            bail!("row {row}: {rejection} (--rejected FILE collects such rows and goes on)")
        };
        let mut line = serde_json::to_value(rejection)?;
        if let Some(line) = line.as_object_mut() {
            line.insert("row".to_owned(), row.into());
        }
        writeln!(file, "{line}").with_context(|| path.display().to_string())
    }

    /// Writes what is collected.
    pub(super) fn end(&mut self) -> Result<()> {
        let Some((path, file)) = &mut self.0 else { return Ok(()) };
        file.flush().with_context(|| path.display().to_string())
    }
}
