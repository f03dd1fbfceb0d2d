//! The command line: one file a command. `anyhow` may be used from here on outwards.

mod catalogue;
mod check_config;
mod completeness;
mod dead_letters;
mod evaluate;
mod explain;
mod features;
mod history;
mod letter_book;
mod models;
mod offline;
mod rejects;
mod replay;
mod rescore;
mod score;
mod serve;
mod simulate;
#[cfg(test)]
mod testing;
mod verdicts;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Another rescore is at work.
const EXIT_HELD: u8 = 3;
/// A configuration that cannot be used (`EX_USAGE` of sysexits.h).
const EXIT_CONFIG: u8 = 64;

/// Real-time fraud scoring of payment transactions.
///
/// `assay serve` answers POST /predict with score, flag, reasons and model version within milliseconds. It keeps every
/// decision in one SQLite file and needs no other server.
#[derive(Debug, Parser)]
#[command(name = "assay", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP until SIGTERM or SIGINT.
    Serve(serve::Serve),
    /// Print the configuration that is in force, or everything that is wrong with it.
    CheckConfig(check_config::CheckConfig),
    Models(models::Models),
    DeadLetters(dead_letters::DeadLetters),
    Completeness(completeness::Completeness),
    Catalogue(catalogue::Tables),
    Features(features::Features),
    Score(score::Score),
    Explain(explain::Explain),
    Evaluate(evaluate::Evaluate),
    Simulate(simulate::Simulate),
    Replay(replay::Replay),
    Rescore(Box<rescore::Rescore>),
    #[command(subcommand)]
    History(history::History),
}

/// Runs the command of this process's arguments. Returns its exit status: 0 done, 64 a bad configuration, 3 a day that is
/// not complete, another rescore at work or a version that is refused, 4 a command to the models that makes no sense as things stand, 1 anything else that went wrong, 2 wrong arguments.
#[must_use]
pub fn run() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Serve(command) => command.run(),
        Command::CheckConfig(command) => command.run(),
        Command::Models(command) => command.run(),
        Command::DeadLetters(command) => command.run(),
        Command::Completeness(command) => command.run(),
        Command::Catalogue(command) => command.run(),
        Command::Features(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Score(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Explain(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Evaluate(command) => command.run().map(|()| ExitCode::SUCCESS),
        Command::Simulate(command) => command.run(),
        Command::Replay(command) => command.run(),
        Command::Rescore(command) => command.run(),
        Command::History(command) => command.run(),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("assay: {error:#}");
        ExitCode::FAILURE
    })
}

/// Says what was done, on standard error: standard output is for results.
fn say(text: &str) {
    eprintln!("{text}");
}

/// Says every fault on standard error, one a line.
fn tell_faults(faults: &[crate::config::Fault]) -> ExitCode {
    eprintln!("assay: the configuration has {} fault{}:", faults.len(), if faults.len() == 1 { "" } else { "s" });
    for fault in faults {
        eprintln!("  {fault}");
    }
    ExitCode::from(EXIT_CONFIG)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
