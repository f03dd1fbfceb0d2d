//! Transactions out of a file, chunk by chunk, in the file's order.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{CHUNK, FileError, Format, io};
use crate::transaction::arrow::{ArrowRows, needed_columns};
use crate::transaction::csv::CsvColumns;
use crate::transaction::{Connector, Limits, Rejection, Transaction, read_json};

/// A row that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// 1-based row of a table, line of an NDJSON file.
    pub row: u64,
    /// Why.
    pub rejection: Rejection,
}

/// A file of transactions.
pub struct Source {
    path: PathBuf,
    connector: Connector,
    limits: Limits,
    rows: Option<u64>,
    next: u64,
    reader: Reader,
}

enum Reader {
    Parquet(Box<ParquetRecordBatchReader>),
    Csv(Box<csv::Reader<File>>, csv::ByteRecord),
    Ndjson(BufReader<File>, Vec<u8>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Source").field("path", &self.path).field("next", &self.next).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens a file; of Parquet only the columns that the connector reads are loaded.
    ///
    /// # Errors
    /// When the file cannot be read, or cannot fill a required field.
    pub fn open(path: &Path, connector: Connector, limits: Limits) -> Result<Self, FileError> {
        let format = Format::of(path)?;
        let file = File::open(path).map_err(io(path))?;
        let columns = |source| FileError::Columns { path: path.to_owned(), source };
        let (rows, reader) = match format {
            Format::Parquet => {
                let parquet = |source| FileError::Parquet { path: path.to_owned(), source };
                let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet)?;
                let needed = needed_columns(&connector, builder.schema()).map_err(columns)?;
                let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).ok();
                let mask = ProjectionMask::roots(builder.parquet_schema(), needed);
                let reader = builder.with_projection(mask).with_batch_size(CHUNK).build().map_err(parquet)?;
                (rows, Reader::Parquet(Box::new(reader)))
            }
            Format::Csv => {
                let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
                let header = reader.byte_headers().map_err(|error| broken(path, error))?.clone();
                CsvColumns::new(&connector, limits, &header).map_err(columns)?;
                (None, Reader::Csv(Box::new(reader), header))
            }
            Format::Ndjson => (None, Reader::Ndjson(BufReader::with_capacity(1 << 20, file), Vec::new())),
        };
        Ok(Self { path: path.to_owned(), connector, limits, rows, next: 1, reader })
    }

    /// How many rows the file has, where its format tells.
    #[must_use]
    pub const fn rows(&self) -> Option<u64> {
        self.rows
    }

    /// The next rows, at most [`CHUNK`]; none at the end of the file.
    ///
    /// # Errors
    /// When the file breaks off or cannot be read; a bad row is an item, not an error.
    pub fn read(&mut self) -> Result<Vec<Result<Transaction, Rejected>>, FileError> {
        let mut chunk = Vec::with_capacity(CHUNK);
        let mut row = self.next;
        let mut take = |row: u64, outcome: Result<crate::transaction::Read, Rejection>| {
            chunk.push(outcome.map(|read| read.transaction).map_err(|rejection| Rejected { row, rejection }));
        };
        match &mut self.reader {
            Reader::Parquet(reader) => {
                if let Some(batch) = reader.next() {
                    let table = |source| FileError::Table { path: self.path.clone(), source };
                    let batch: RecordBatch = batch.map_err(table)?;
                    let columns = |source| FileError::Columns { path: self.path.clone(), source };
                    for outcome in ArrowRows::new(&self.connector, self.limits, &batch).map_err(columns)? {
                        take(row, outcome);
                        row += 1;
                    }
                }
            }
            Reader::Csv(reader, header) => {
                let columns = |source| FileError::Columns { path: self.path.clone(), source };
                let columns = CsvColumns::new(&self.connector, self.limits, header).map_err(columns)?;
                let mut record = csv::ByteRecord::new();
                while row < self.next + CHUNK as u64
                    && reader.read_byte_record(&mut record).map_err(|error| broken(&self.path, error))?
                {
                    take(row, columns.read(&record));
                    row += 1;
                }
            }
            Reader::Ndjson(reader, line) => {
                while row < self.next + CHUNK as u64
                    && read_line(reader, line, self.limits.bytes).map_err(io(&self.path))?
                {
                    if !line.trim_ascii().is_empty() {
                        take(row, read_json(line, &self.connector, &self.limits));
                    }
                    row += 1;
                }
                // A chunk of blank lines is not the end.
                if chunk.is_empty() && row > self.next {
                    self.next = row;
                    return self.read();
                }
            }
        }
        self.next = row;
        Ok(chunk)
    }
}

/// Reads a line without its end into `line`, of which no more than `limit` + 1 bytes are kept; false at the end.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: usize) -> std::io::Result<bool> {
    line.clear();
    let mut any = false;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let piece = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
        let room = (limit + 1).saturating_sub(line.len()).min(piece.len());
        line.extend_from_slice(piece.get(..room).unwrap_or_default());
        let used = end.map_or(buffer.len(), |end| end + 1);
        reader.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

fn broken(path: &Path, error: csv::Error) -> FileError {
    FileError::Io { path: path.to_owned(), source: std::io::Error::other(error) }
}
