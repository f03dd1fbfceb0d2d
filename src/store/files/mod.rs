//! Files as a mouth and as an effect: transactions out of Parquet, CSV and NDJSON, rows into them.
//!
//! The format is told by the file's ending. Reading is streamed in chunks of [`CHUNK`] rows, so memory does not grow
//! with the file; writing goes to `<name>.partial`, which takes the name when it is whole.

mod cells;
mod labels;
mod sink;
mod source;
mod table;

use std::path::{Path, PathBuf};

use thiserror::Error;

pub use cells::{Kind, Values};
pub use labels::read_labels;
pub use sink::{Column, Sink};
pub use source::{Rejected, Source};
pub use table::Table;

/// Rows that are read, scored and written at once.
pub const CHUNK: usize = 2048;

/// The formats of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values with a header.
    Csv,
    /// A JSON object a line.
    Ndjson,
}

/// Why a file cannot be read or written.
#[derive(Debug, Error)]
pub enum FileError {
    /// Its ending tells no format.
    #[error("{}: the ending must be .parquet, .csv, .ndjson or .jsonl", .0.display())]
    Ending(PathBuf),
    /// The operating system says no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The Parquet layer says no.
    #[error("{}: {source}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: parquet::errors::ParquetError,
    },
    /// Its columns do not fit the connector.
    #[error("{}: {source}", .path.display())]
    Columns {
        /// The file.
        path: PathBuf,
        /// What is missing.
        source: crate::transaction::csv::ColumnError,
    },
    /// A column that was asked for is not there.
    #[error("{}: there is no column {column:?}; there are {}", .path.display(), there.join(", "))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// What was asked for.
        column: String,
        /// What is there.
        there: Vec<String>,
    },
    /// A cell that cannot be read.
    #[error("{}: row {row}, column {column}: {rule}", .path.display())]
    Cell {
        /// The file.
        path: PathBuf,
        /// 1-based row of a table, line of an NDJSON file.
        row: u64,
        /// The column.
        column: String,
        /// What is wrong with it.
        rule: String,
    },
    /// Columns that do not make a table.
    #[error("{}: {source}", .path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: arrow_schema::ArrowError,
    },
}

impl Format {
    /// The format that a path's ending tells.
    ///
    /// # Errors
    /// [`FileError::Ending`] for any other ending.
    pub fn of(path: &Path) -> Result<Self, FileError> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => Ok(Self::Parquet),
            Some("csv") => Ok(Self::Csv),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            _ => Err(FileError::Ending(path.to_owned())),
        }
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> FileError {
    let path = path.to_owned();
    |source| FileError::Io { path, source }
}
