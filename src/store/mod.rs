//! What implements the ports: logs (the engine's [`Log`](crate::engine::ports::Log) port), destinations of decisions
//! ([`Destination`](crate::engine::delivery::Destination)), and files.
//!
//! `sqlite` is the embedded set-up's; `memory` keeps everything until the process ends, for tests and trials. One
//! conformance test runs on both. `postgres` and `mongodb` are destinations of the stack. `files` reads transactions out of files and
//! writes rows into them. `snapshots` keeps what the engine knows in a folder. `reference` loads reference data and rates.
//! `registry` finds versions of models; `journal` and `shared_book` record what is changed of them, `comparisons` how two compare.

mod comparisons;
#[cfg(test)]
mod conformance;
pub mod files;
pub mod journal;
pub mod memory;
pub mod mongodb;
pub mod postgres;
pub mod reference;
pub mod registry;
mod shared_book;
pub mod snapshots;
pub mod sqlite;

pub use comparisons::ComparisonFile;
pub use journal::Journal;
pub use memory::MemoryLog;
pub use mongodb::{MongoOptions, MongoStore, RawOptions};
pub use postgres::{PostgresOptions, PostgresStore};
pub use shared_book::SharedBook;
pub use snapshots::Snapshots;
pub use sqlite::{SqliteLog, SqliteOptions, StoreError};

use crate::base::money::RateQuality;
use crate::decision::Decision;
use crate::engine::ports::Stored;

/// Of a log that keeps one full decision a transaction: that one, where it is of `revision`.
fn of_revision(stored: Option<Stored>, revision: Option<u32>) -> Option<Decision> {
    stored?.decision.filter(|decision| revision.is_none() || decision.revision == revision)
}

const QUALITIES: [(RateQuality, i64); 3] =
    [(RateQuality::Fresh, 0), (RateQuality::Stale, 1), (RateQuality::Missing, 2)];

fn quality_number(quality: RateQuality) -> i64 {
    QUALITIES.iter().find(|(known, _)| *known == quality).map_or(2, |(_, number)| *number)
}

fn quality_of(number: i64) -> RateQuality {
    QUALITIES.iter().find(|(_, known)| *known == number).map_or(RateQuality::Missing, |(quality, _)| *quality)
}
