//! `assay check-config`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::config::Config;

/// Reads the file and the environment (ASSAY__SECTION__KEY), opens nothing, and prints every key with its value as TOML;
/// secrets print ***. A bad configuration is answered with every fault and exit status 64.
#[derive(Debug, Args)]
pub(super) struct CheckConfig {
    /// The TOML file; without it, defaults and environment alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl CheckConfig {
    #[expect(clippy::print_stdout, reason = "the answer of the command")]
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match Config::load(self.config.as_deref()) {
            Ok(config) => {
                print!("{}", config.to_toml());
                Ok(ExitCode::SUCCESS)
            }
            Err(faults) => Ok(super::tell_faults(&faults)),
        }
    }
}
