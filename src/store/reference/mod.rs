//! Reference data and exchange rates: loaded, kept up to date in the background, the last good value served.
//!
//! ```text
//! files | PostgreSQL ─▶ Keeper (a thread of its own) ─▶ Reference (tables, whole or by key) ─▶ encode
//!                        │      └─▶ Rates (the first of a day stays) ─▶ amounts in the base currency
//!                        └─▶ a copy on this disk: what a start without the source begins with
//! ```
//!
//! Invariants: nobody who scores waits for a source. A source that is away changes nothing but the age of what is known. A
//! rate counts only once it is where it will be found again: in `fraud_rates` for those of PostgreSQL, in the copy for those
//! of a file; so every instance and every start agree on it, and a correction is counted, told once and ignored.

mod copy;
mod files;
mod keeper;
mod rates;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;

pub use files::{Files, read_folder};
pub use keeper::Keeper;

use self::copy::Copy;
use super::files::FileError;
use super::postgres::{PostgresError, PostgresTables};
use crate::base::money::RatesError;
use crate::base::rates::Publication;
use crate::features::reference::Rows;

/// How reference data is kept.
#[derive(Debug, Clone)]
pub struct ReferenceOptions {
    /// How often it is read again.
    pub refresh: Duration,
    /// Unconfirmed for longer than this, decisions that read it say so.
    pub stale_after: Duration,
    /// Rows of a table that is held whole; a larger one is read by key.
    pub whole_rows: usize,
    /// Keys of a larger one that are kept.
    pub cached_rows: u64,
    /// The copy on this disk.
    pub copy: Option<PathBuf>,
}

impl Default for ReferenceOptions {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(60),
            stale_after: Duration::from_secs(3_600),
            whole_rows: 1_000_000,
            cached_rows: 100_000,
            copy: None,
        }
    }
}

/// Where it comes from.
#[derive(Debug, Default)]
pub struct Sources {
    /// A folder of files.
    pub files: Option<Files>,
    /// Tables of PostgreSQL, and the runtime that speaks with it.
    pub postgres: Option<(PostgresTables, Handle)>,
    /// A file of rates alone.
    pub rates: Option<PathBuf>,
}

/// Why reference data cannot be had at all.
#[derive(Debug, Error)]
pub enum ReferenceError {
    /// A person is needed: every fault in a sentence of its own.
    #[error("reference data: {}", .0.join("; "))]
    Faults(Vec<String>),
    /// The copy on this disk cannot be used.
    #[error("reference.copy {}: {source}", .path.display())]
    Copy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It is of a later program.
    #[error("reference.copy {}: it is of a later program (version {found}); name another file", .path.display())]
    Version {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
}

/// Why a source gives nothing now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SourceError {
    /// It is away, slow or full: later.
    Away(String),
    /// What it has, or what is configured of it, is wrong: a person.
    Wrong(String),
}

/// What a source has of a table.
#[derive(Debug)]
pub(super) enum ReadTable {
    /// What was read last.
    Same,
    /// All of its rows.
    Rows(Rows),
    /// More rows than are held whole.
    TooMany,
}

impl std::fmt::Display for SourceError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(sentence) | Self::Wrong(sentence) => formatter.write_str(sentence),
        }
    }
}

impl From<PostgresError> for SourceError {
    fn from(error: PostgresError) -> Self {
        let sentence = error.to_string();
        match error {
            PostgresError::Unavailable(_) | PostgresError::Interrupted(_) => Self::Away(sentence),
            PostgresError::Faults(_) | PostgresError::Refused(_) => Self::Wrong(sentence),
        }
    }
}

impl From<FileError> for SourceError {
    fn from(error: FileError) -> Self {
        match &error {
            // What the operating system says; what a reader says of the content comes as another kind.
            FileError::Io { source, .. } if source.kind() != std::io::ErrorKind::Other => Self::Away(error.to_string()),
            _ => Self::Wrong(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for SourceError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Away(format!("reference.copy: {error}"))
    }
}

/// The rates that count by the copy at `path`.
///
/// # Errors
/// Where it cannot be read.
pub fn frozen_rates(path: &std::path::Path) -> Result<Vec<Publication>, ReferenceError> {
    let failed = |source| ReferenceError::Copy { path: path.to_owned(), source };
    Copy::open(path)?.rates().map_err(failed)
}

/// The sentence of a rates file that cannot be used.
fn of_rates(path: &std::path::Path, error: &RatesError) -> SourceError {
    SourceError::Wrong(format!("{}: {error}", path.display()))
}
