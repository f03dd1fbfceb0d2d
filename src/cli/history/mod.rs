//! `assay history`: a history from an archive instead of from the topics, and what a snapshot holds.

mod build;
mod show;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Subcommand;

/// Build a history from an archive, or look at a snapshot of one.
#[derive(Debug, Subcommand)]
pub(super) enum History {
    /// Build a history from transactions and verdicts, where the topics do not reach back far enough.
    ///
    /// Writes a snapshot that the service starts from; its header says from which moment on the topics have to be read.
    /// Transactions may come in any order. The service must have the same history settings, base currency and hash key.
    Build(Box<build::BuildHistory>),
    /// Check a snapshot and print what it says of itself and how much it holds.
    Show(show::Show),
}

impl History {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence: which file, row, view or setting is wrong.
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Build(command) => command.run(),
            Self::Show(command) => command.run().map(|()| ExitCode::SUCCESS),
        }
    }
}
