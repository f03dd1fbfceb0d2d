//! Rows into a file: columns of equal length, a chunk at a time.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
    cast::AsArray,
    types::{Float32Type, Float64Type, Int64Type, TimestampMillisecondType},
};
use arrow_schema::{DataType, Field, Schema, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::{FileError, Format, io};
use crate::base::clock::Millis;

/// One column of a chunk. `None` is a null.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Text.
    Text(Vec<Option<String>>),
    /// Text, all of it in one string: (bytes, end of each value).
    Packed(String, Vec<usize>),
    /// Integers.
    Integer(Vec<Option<i64>>),
    /// Integers without nulls.
    Whole(Vec<i64>),
    /// 64-bit floats.
    Float(Vec<f64>),
    /// 32-bit floats.
    Single(Vec<f32>),
    /// Truth values.
    Flag(Vec<Option<bool>>),
    /// UTC milliseconds.
    Time(Vec<i64>),
}

/// A file being written.
pub struct Sink {
    path: PathBuf,
    partial: PathBuf,
    names: Vec<String>,
    schema: Option<Arc<Schema>>,
    writer: Writer,
}

enum Writer {
    /// The schema is known with the first chunk.
    Parquet(Option<File>, Option<Box<ArrowWriter<File>>>),
    Csv(BufWriter<File>),
    Ndjson(BufWriter<File>),
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sink").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sink {
    /// Begins a file with columns of these names.
    ///
    /// # Errors
    /// When the ending tells no format or the file cannot be made.
    pub fn create(path: &Path, names: Vec<String>) -> Result<Self, FileError> {
        let format = Format::of(path)?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = File::create(&partial).map_err(io(&partial))?;
        let writer = match format {
            Format::Parquet => Writer::Parquet(Some(file), None),
            Format::Csv => {
                let mut file = BufWriter::with_capacity(1 << 20, file);
                writeln!(file, "{}", names.join(",")).map_err(io(&partial))?;
                Writer::Csv(file)
            }
            Format::Ndjson => Writer::Ndjson(BufWriter::with_capacity(1 << 20, file)),
        };
        Ok(Self { path: path.to_owned(), partial, names, schema: None, writer })
    }

    /// Appends a chunk: a column for each name, all of one length.
    ///
    /// # Errors
    /// When the columns do not fit the names or each other, or the file cannot be written.
    pub fn write(&mut self, columns: Vec<Column>) -> Result<(), FileError> {
        let table = |source| FileError::Table { path: self.path.clone(), source };
        let arrays: Vec<ArrayRef> = columns.into_iter().map(Column::into_array).collect();
        let schema = self.schema.get_or_insert_with(|| {
            let fields = self.names.iter().zip(&arrays);
            let nullable = |array: &ArrayRef| matches!(array.data_type(), DataType::Boolean) || array.null_count() > 0;
            let fields = fields.map(|(name, array)| {
                let required =
                    matches!(array.data_type(), DataType::Float64 | DataType::Float32 | DataType::Timestamp(..))
                        || name == "transaction_id";
                Field::new(name, array.data_type().clone(), !required || nullable(array))
            });
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        });
        let batch = RecordBatch::try_new(Arc::clone(schema), arrays).map_err(table)?;
        match &mut self.writer {
            Writer::Parquet(file, writer) => {
                let parquet = |source| FileError::Parquet { path: self.path.clone(), source };
                if let Some(file) = file.take() {
                    let made = ArrowWriter::try_new(file, batch.schema(), Some(properties())).map_err(parquet)?;
                    *writer = Some(Box::new(made));
                }
                writer.as_mut().map_or(Ok(()), |writer| writer.write(&batch)).map_err(parquet)
            }
            Writer::Csv(file) => write_csv(file, &batch).map_err(io(&self.path)),
            Writer::Ndjson(file) => write_ndjson(file, &batch).map_err(io(&self.path)),
        }
    }

    /// Ends the file and gives it its name. A file without rows is written too, its columns as text.
    ///
    /// # Errors
    /// When the file cannot be written or renamed.
    pub fn finish(mut self) -> Result<(), FileError> {
        if matches!(self.writer, Writer::Parquet(Some(_), _)) {
            let empty = self.names.iter().map(|_| Column::Text(Vec::new())).collect();
            self.write(empty)?;
        }
        match self.writer {
            Writer::Parquet(_, writer) => {
                if let Some(writer) = writer {
                    writer.close().map_err(|source| FileError::Parquet { path: self.path.clone(), source })?;
                }
            }
            Writer::Csv(mut file) | Writer::Ndjson(mut file) => file.flush().map_err(io(&self.partial))?,
        }
        std::fs::rename(&self.partial, &self.path).map_err(io(&self.path))
    }
}

impl Column {
    /// Values in the column.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(all) => all.len(),
            Self::Packed(_, ends) => ends.len(),
            Self::Integer(all) => all.len(),
            Self::Whole(all) | Self::Time(all) => all.len(),
            Self::Float(all) => all.len(),
            Self::Single(all) => all.len(),
            Self::Flag(all) => all.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn into_array(self) -> ArrayRef {
        match self {
            Self::Text(all) => Arc::new(StringArray::from(all)),
            Self::Packed(text, ends) => {
                let lengths = ends.iter().scan(0, |start, end| {
                    let length = end - *start;
                    *start = *end;
                    Some(length)
                });
                let offsets = arrow_buffer::OffsetBuffer::from_lengths(lengths);
                Arc::new(StringArray::new(offsets, text.into_bytes().into(), None))
            }
            Self::Integer(all) => Arc::new(Int64Array::from(all)),
            Self::Whole(all) => Arc::new(Int64Array::from(all)),
            Self::Float(all) => Arc::new(Float64Array::from(all)),
            Self::Single(all) => Arc::new(Float32Array::from(all)),
            Self::Flag(all) => Arc::new(BooleanArray::from(all)),
            Self::Time(all) => Arc::new(TimestampMillisecondArray::from(all).with_timezone("UTC")),
        }
    }
}

/// Zstandard at its fastest level; no dictionaries or page statistics, which cost more time than they save here.
fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .build()
}

fn write_csv(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
    for row in 0..batch.num_rows() {
        for (index, column) in batch.columns().iter().enumerate() {
            if index > 0 {
                file.write_all(b",")?;
            }
            // No value holds a comma, a quote or a line end: identifiers, codes and numbers only.
            write_value(file, column, row, false)?;
        }
        file.write_all(b"\n")?;
    }
    Ok(())
}

fn write_ndjson(file: &mut impl Write, batch: &RecordBatch) -> std::io::Result<()> {
    let schema = batch.schema();
    for row in 0..batch.num_rows() {
        let mut separator = '{';
        for (field, column) in schema.fields().iter().zip(batch.columns()) {
            if column.is_valid(row) {
                write!(file, "{separator}\"{}\":", field.name())?;
                write_value(file, column, row, true)?;
                separator = ',';
            }
        }
        file.write_all(if separator == '{' { b"{}\n" } else { b"}\n" })?;
    }
    Ok(())
}

fn write_value(file: &mut impl Write, column: &ArrayRef, row: usize, json: bool) -> std::io::Result<()> {
    if column.is_null(row) {
        return Ok(());
    }
    match column.data_type() {
        DataType::Utf8 if json => write!(file, "{}", serde_json::Value::from(column.as_string::<i32>().value(row))),
        DataType::Utf8 => file.write_all(column.as_string::<i32>().value(row).as_bytes()),
        DataType::Int64 => write!(file, "{}", column.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => write!(file, "{}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => write!(file, "{}", column.as_primitive::<Float32Type>().value(row)),
        DataType::Boolean => write!(file, "{}", column.as_boolean().value(row)),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            let time = Millis(column.as_primitive::<TimestampMillisecondType>().value(row));
            if json { write!(file, "\"{time}\"") } else { write!(file, "{time}") }
        }
        other => Err(std::io::Error::other(format!("no column is of type {other}"))),
    }
}
