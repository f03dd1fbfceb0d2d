//! The stream from outside: records into Kafka, rows out of PostgreSQL, and what lies between only as a process.
//!
//! ```text
//! payments ─▶ rows (COPY) ─▶ PostgreSQL ◀─ UPDATE ┐
//!        └──▶ topic transactions ─▶ assay ─▶ fraud.decisions ─▶ assay
//! ```
//!
//! Every command writes the rows first and the records second, waits until the rows are completed, and judges what it
//! finds in the topics and the table by itself, never by what assay says of it. Counts and times are bounded, addresses
//! are of this machine.

mod away;
mod backlog;
mod bad;
mod bare;
mod bare_keep;
mod beside;
mod cpu;
mod documents;
mod faults;
mod fleet;
mod judge;
mod keep;
mod kills;
mod lag;
mod latency;
mod letters;
mod members;
mod pace;
mod parity;
mod pay;
mod payments;
mod poison;
mod prepare;
mod producer;
mod progress;
mod proxy;
mod race;
mod record;
mod replay;
mod rescore;
mod rescored;
mod scrape;
mod servers;
mod table;
mod topics;
mod trial;
mod watch;

use clap::Subcommand;

/// What is done with the stream.
#[derive(Debug, Subcommand)]
pub(crate) enum Stack {
    /// Make the topics and the table.
    Prepare(prepare::Prepare),
    /// Send simulated payments, as a payment pipeline does.
    Pay(pay::Pay),
    /// From the event in Kafka to the completed row.
    Latency(latency::Latency),
    /// The bare loop alone, until it is stopped: consume, produce, consume, UPDATE.
    Bare(bare::Bare),
    /// How fast a full topic is worked off.
    Backlog(backlog::Backlog),
    /// How fast decisions become documents, against a consumer that does nothing else.
    Keep(keep::Keep),
    /// /predict beside a stream, and the empty handler beside the same stream.
    Predict(beside::Beside),
    /// The same id to two instances and to the topic at once.
    Race(race::Race),
    /// The stream's decisions against the same file scored offline, while instances are killed.
    Parity(parity::Parity),
    /// The stream while servers are away and connections break.
    Faults(faults::Faults),
    /// The stream and /predict while an instance joins, leaves and is killed.
    Members(members::Members),
    /// The memory of an instance while PostgreSQL is away.
    Away(away::Away),
    /// The stream beside a rescore, which is killed on its way.
    Rescore(rescore::Rescoring),
    /// Messages that are no payments among those that are.
    Poison(poison::Poison),
    /// A line every while about the table of payments.
    Watch(watch::Watch),
    /// A proxy that delays, cuts and resets connections, alone.
    Proxy(proxy::Proxies),
}

impl Stack {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Prepare(command) => command.run(),
            Self::Pay(command) => command.run(),
            Self::Latency(command) => command.run(),
            Self::Bare(command) => command.run(),
            Self::Backlog(command) => command.run(),
            Self::Keep(command) => command.run(),
            Self::Predict(command) => command.run(),
            Self::Race(command) => command.run(),
            Self::Parity(command) => command.run(),
            Self::Faults(command) => command.run(),
            Self::Members(command) => command.run(),
            Self::Away(command) => command.run(),
            Self::Rescore(command) => command.run(),
            Self::Poison(command) => command.run(),
            Self::Watch(command) => command.run(),
            Self::Proxy(command) => command.run(),
        }
    }
}
