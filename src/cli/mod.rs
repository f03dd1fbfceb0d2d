//! The command line: one file a command. `anyhow` may be used from here on outwards.

mod replay;
mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Real-time fraud scoring of payment transactions.
#[derive(Debug, Parser)]
#[command(name = "assay", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write simulated payments, with fraud whose kind is known.
    Simulate(simulate::Simulate),
    /// Post a file's payments, or simulated ones, to a running server.
    Replay(replay::Replay),
}

/// Runs the command of this process's arguments. Returns its exit status.
#[must_use]
pub fn run() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Simulate(command) => command.run(),
        Command::Replay(command) => command.run(),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("assay: {error:#}");
        ExitCode::FAILURE
    })
}
