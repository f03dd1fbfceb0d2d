//! The files: rows in the order in which chunks come, verdicts in the order in which they are given.

use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::chunk::Body;
use crate::base::clock::Millis;
use crate::simulate::{CSV_HEADER, Verdict, schema};

/// What a file's ending says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Ndjson,
    Csv,
    Parquet,
}

impl Format {
    pub(super) fn of(path: &Path) -> anyhow::Result<Self> {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("csv") => Ok(Self::Csv),
            Some("parquet") => Ok(Self::Parquet),
            _ => bail!("{} must end in .ndjson, .csv or .parquet: the ending says the format", path.display()),
        }
    }
}

/// The file of payments.
pub(super) struct Output {
    sink: Sink,
    /// Taken by the maker of chunks.
    columns: Cell<Option<ArrowRowGroupWriterFactory>>,
}

enum Sink {
    Text(BufWriter<File>),
    Parquet(SerializedFileWriter<BufWriter<File>>),
}

impl Output {
    pub(super) fn create(path: &Path, format: Format) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut file = BufWriter::with_capacity(1 << 20, file);
        match format {
            Format::Ndjson => {}
            Format::Csv => file.write_all(CSV_HEADER.as_bytes())?,
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::SNAPPY)
                    // No value comes twice: a dictionary would only cost.
                    .set_column_dictionary_enabled(ColumnPath::from("transaction_id"), false)
                    .set_column_dictionary_enabled(ColumnPath::from("occurred_at"), false)
                    .build();
                let writer = ArrowWriter::try_new(file, schema(), Some(properties))?;
                let (writer, columns) = writer.into_serialized_writer()?;
                return Ok(Self { sink: Sink::Parquet(writer), columns: Cell::new(Some(columns)) });
            }
        }
        Ok(Self { sink: Sink::Text(file), columns: Cell::new(None) })
    }

    /// What encodes row groups; `None` for text, and after the first call.
    pub(super) fn columns(&self) -> Option<ArrowRowGroupWriterFactory> {
        self.columns.take()
    }

    pub(super) fn write(&mut self, body: Body) -> anyhow::Result<()> {
        match (&mut self.sink, body) {
            (Sink::Text(file), Body::Text(text)) => file.write_all(&text)?,
            (Sink::Parquet(writer), Body::RowGroup(columns)) => {
                let mut group = writer.next_row_group()?;
                for column in columns {
                    column.append_to_row_group(&mut group)?;
                }
                group.close()?;
            }
            _ => bail!("a chunk of another format than the file's"),
        }
        Ok(())
    }

    pub(super) fn finish(self) -> anyhow::Result<()> {
        match self.sink {
            Sink::Text(mut file) => file.flush()?,
            Sink::Parquet(writer) => drop(writer.close()?),
        }
        Ok(())
    }
}

/// The file of verdicts; those of the next three weeks wait in memory until their time.
pub(super) struct Labels {
    file: BufWriter<File>,
    waiting: BinaryHeap<Waiting>,
    written: u64,
}

/// The earliest first, then by id.
struct Waiting(Verdict);

impl Labels {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file: BufWriter::new(file), waiting: BinaryHeap::new(), written: 0 })
    }

    pub(super) fn add(&mut self, verdicts: Vec<Verdict>) {
        self.waiting.extend(verdicts.into_iter().map(Waiting));
    }

    /// Writes what was given before `moment`: nothing earlier may be added after it.
    pub(super) fn write_before(&mut self, moment: Millis) -> anyhow::Result<()> {
        while self.waiting.peek().is_some_and(|waiting| waiting.0.labelled_at < moment) {
            if let Some(Waiting(verdict)) = self.waiting.pop() {
                self.file.write_all(verdict.to_json().as_bytes())?;
                self.file.write_all(b"\n")?;
                self.written += 1;
            }
        }
        Ok(())
    }

    /// Writes the rest and returns how many there were in all.
    pub(super) fn finish(mut self) -> anyhow::Result<u64> {
        self.write_before(Millis(i64::MAX))?;
        self.file.flush()?;
        Ok(self.written)
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |waiting: &Self| (waiting.0.labelled_at, waiting.0.transaction_id.clone());
        key(other).cmp(&key(self))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}
