//! Measures `POST /predict` and the stream from outside.
//!
//! - `predict`: open loop. Requests leave at intended times, whatever the server does; latency counts from the intended time, so
//!   a stall is seen by every request it delays (no coordinated omission).
//! - `closed`: one request after the other on each connection.
//! - `compare`: closed loop against an empty handler and against assay, by turns in one run.
//! - `empty`: the empty handler alone.
//! - `swaps`: `predict` while models are swapped beside it.
//! - `shadow`: `predict` while a challenger scores every transaction besides.
//! - `stack`: the stream, from Kafka to the row in PostgreSQL; see [`stack`].
//!
//! Requests are bounded in number and time and go to this machine only.

mod bodies;
mod client;
mod closed;
mod compare;
mod drive;
mod empty;
mod open;
mod report;
mod schedule;
mod shadow;
mod stack;
mod swaps;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    about = "Measures assay from outside: its answers over HTTP, and its stream from Kafka to PostgreSQL",
    max_term_width = 100
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Open loop: requests at intended times, latency from the intended time.
    Predict(open::Predict),
    /// Closed loop: the next request leaves when the answer is there.
    Closed(closed::Closed),
    /// Closed loop by turns: an empty handler, assay, and the empty handler again.
    Compare(compare::Compare),
    /// Serve the empty handler on this machine and print its address.
    Empty(empty::Empty),
    /// Open loop while models are swapped beside it.
    Swaps(swaps::Swaps),
    /// Open loop while a version scores every transaction besides.
    Shadow(shadow::Shadow),
    /// The stream: Kafka, PostgreSQL and assay between them.
    #[command(subcommand)]
    Stack(Box<stack::Stack>),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Predict(command) => command.run(),
        Command::Closed(command) => command.run(),
        Command::Compare(command) => command.run(),
        Command::Empty(command) => command.run(),
        Command::Swaps(command) => command.run(),
        Command::Shadow(command) => command.run(),
        Command::Stack(command) => command.run(),
    }
}
