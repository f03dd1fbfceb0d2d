//! `assay serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::app;
use crate::config::Config;

/// Reads the configuration, binds the address, rebuilds the history from the log, loads the model, prints
/// "listening on http://ADDRESS" and serves. The first SIGTERM or SIGINT ends it in order: what is in flight is answered
/// and the log is flushed; the second ends it at once.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The TOML file; without it, defaults and environment (ASSAY__SECTION__KEY) alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match Config::load(self.config.as_deref()) {
            Ok(config) => app::serve(&config).map(|()| ExitCode::SUCCESS),
            Err(faults) => Ok(super::tell_faults(&faults)),
        }
    }
}
