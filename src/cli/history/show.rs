//! `assay history show`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use crate::store::snapshots::Opened;

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// The snapshot.
    pub(super) file: PathBuf,
}

impl Show {
    /// Prints a JSON document.
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    pub(super) fn run(self) -> Result<()> {
        println!("{}", self.document()?);
        Ok(())
    }

    pub(super) fn document(&self) -> Result<String> {
        let opened = Opened::open(&self.file).with_context(|| self.file.display().to_string())?;
        let header = opened.header();
        let document = json!({
            "created_at": header.created_at.to_rfc3339(),
            "stream_time": header.stream_time.map(|at| at.to_rfc3339()),
            "read_from": header.read_from,
            "plan": format!("{:016x}", header.state.plan),
            "key": format!("{:016x}", header.state.key),
            "incomplete": header.incomplete,
            "complete_from": header.complete_from.map(|at| at.to_rfc3339()),
            "counts": opened.counts(),
            "shards": opened.shards(),
            "bytes": opened.bytes(),
        });
        Ok(serde_json::to_string_pretty(&document)?)
    }
}
