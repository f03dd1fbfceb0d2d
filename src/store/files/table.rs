//! Named columns of a file as values in memory: what a command needs that judges rows and scores none.
//!
//! Only the columns asked for are loaded. A column that the file does not have is absent, not an error; a cell that is
//! not of its kind is one, and names its row. An empty cell is a null.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::cells::{Kind, Values, of_json};
use super::{FileError, Format, io};
use crate::transaction::RawValue;
use crate::transaction::arrow::Column;
use crate::transaction::csv::ColumnError;

/// Columns of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    path: PathBuf,
    rows: usize,
    /// Names of all columns, also of those that were not asked for; of NDJSON the keys of every object.
    names: Vec<String>,
    columns: Vec<(String, Kind, Values)>,
    /// Lines of an NDJSON file that are rows, where blank ones lie between.
    lines: Option<Vec<u64>>,
}

impl Table {
    /// Reads the columns of these names that the file has.
    ///
    /// # Errors
    /// When the file cannot be read, two columns have one name, or a cell is not of its column's kind.
    pub fn read(path: &Path, wanted: &[(&str, Kind)]) -> Result<Self, FileError> {
        let format = Format::of(path)?;
        let file = File::open(path).map_err(io(path))?;
        let columns = wanted.iter().map(|(name, kind)| ((*name).to_owned(), *kind, Values::new(*kind))).collect();
        let path = path.to_owned();
        let mut table = Self { path, rows: 0, names: Vec::new(), columns, lines: None };
        match format {
            Format::Parquet => table.read_parquet(file)?,
            Format::Csv => table.read_csv(file)?,
            Format::Ndjson => table.read_ndjson(file)?,
        }
        let names = &table.names;
        table.columns.retain(|(name, ..)| names.contains(name));
        Ok(table)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Rows.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// A column that was asked for as this kind; `None` where the file has none of this name.
    #[must_use]
    pub fn column(&self, name: &str, kind: Kind) -> Option<&Values> {
        self.columns.iter().find(|(own, as_kind, _)| own == name && *as_kind == kind).map(|(.., values)| values)
    }

    /// The error that there is no such column.
    #[must_use]
    pub fn no_column(&self, name: &str) -> FileError {
        FileError::NoColumn { path: self.path.clone(), column: name.to_owned(), there: self.names.clone() }
    }

    /// The error about a cell; `row` counts from 0.
    #[must_use]
    pub fn cell_error(&self, row: usize, column: &str, rule: impl Into<String>) -> FileError {
        FileError::Cell {
            path: self.path.clone(),
            row: self.row_number(row),
            column: column.to_owned(),
            rule: rule.into(),
        }
    }

    /// How a person counts the row with this index: from 1; in NDJSON the line.
    #[must_use]
    pub fn row_number(&self, row: usize) -> u64 {
        let line = self.lines.as_ref().and_then(|lines| lines.get(row)).copied();
        line.unwrap_or(row as u64 + 1)
    }

    fn read_parquet(&mut self, file: File) -> Result<(), FileError> {
        let path = self.path.clone();
        let parquet = |source| FileError::Parquet { path: path.clone(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(parquet)?;
        self.names = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
        self.check_names()?;
        let wanted = |name: &String| self.columns.iter().any(|(own, ..)| own == name);
        let places = self.names.iter().enumerate().filter(|(_, name)| wanted(name)).map(|(place, _)| place);
        let mask = ProjectionMask::roots(builder.parquet_schema(), places.collect::<Vec<_>>());
        for batch in builder.with_projection(mask).with_batch_size(8_192).build().map_err(parquet)? {
            let batch = batch.map_err(|source| FileError::Table { path: path.clone(), source })?;
            self.take(&batch)?;
        }
        Ok(())
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        let (path, begun) = (self.path.clone(), self.rows as u64);
        for (name, _, values) in &mut self.columns {
            let Some(array) = batch.column_by_name(name) else { continue };
            if let (DataType::Float32, Values::Number { cells, .. }) = (array.data_type(), &mut *values) {
                // As they are: the connector's reader gives the digits that were written instead.
                cells.extend(array.as_primitive::<Float32Type>().iter().map(|cell| cell.map(f64::from)));
                continue;
            }
            let column = Column::find(name, array.as_ref(), "");
            let column = column.map_err(|source| FileError::Columns { path: path.clone(), source })?;
            for row in 0..array.len() {
                let raw = column.as_ref().map_or(RawValue::Null, |column| column.value(row));
                values.push(&raw).map_err(|rule| FileError::Cell {
                    path: path.clone(),
                    row: begun + row as u64 + 1,
                    column: name.clone(),
                    rule: rule.to_owned(),
                })?;
            }
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    fn read_csv(&mut self, file: File) -> Result<(), FileError> {
        let path = self.path.clone();
        let broken = |error| io(&path)(std::io::Error::other(error));
        let mut reader = csv::ReaderBuilder::new().from_reader(file);
        self.names = reader.headers().map_err(broken)?.iter().map(|name| name.trim().to_owned()).collect();
        self.check_names()?;
        let places: Vec<Option<usize>> =
            self.columns.iter().map(|(wanted, ..)| self.names.iter().position(|name| name == wanted)).collect();
        let mut record = csv::StringRecord::new();
        while reader.read_record(&mut record).map_err(broken)? {
            let cell = |place: &Option<usize>| match place.and_then(|place| record.get(place)) {
                None => RawValue::Absent,
                Some("") => RawValue::Null,
                Some(text) => RawValue::Cell(Cow::Borrowed(text)),
            };
            self.push_row(places.iter().map(cell))?;
        }
        Ok(())
    }

    fn read_ndjson(&mut self, file: File) -> Result<(), FileError> {
        let path = self.path.clone();
        let mut names: HashSet<String> = HashSet::new();
        for (number, line) in (1_u64..).zip(BufReader::with_capacity(1 << 20, file).lines()) {
            let line = line.map_err(io(&path))?;
            if line.trim().is_empty() {
                continue;
            }
            let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line)
                .map_err(|error| io(&path)(std::io::Error::other(format!("line {number}: no JSON object: {error}"))))?;
            for name in object.keys() {
                if !names.contains(name) {
                    names.insert(name.clone());
                    self.names.push(name.clone());
                }
            }
            self.lines.get_or_insert_default().push(number);
            let cells: Vec<RawValue> = self.columns.iter().map(|(name, ..)| of_json(object.get(name))).collect();
            self.push_row(cells.into_iter())?;
        }
        Ok(())
    }

    fn push_row<'a>(&mut self, cells: impl Iterator<Item = RawValue<'a>>) -> Result<(), FileError> {
        let mut fault = None;
        for ((name, _, values), raw) in self.columns.iter_mut().zip(cells) {
            if let (Err(rule), None) = (values.push(&raw), &fault) {
                fault = Some((name.clone(), rule));
            }
        }
        if let Some((column, rule)) = fault {
            return Err(self.cell_error(self.rows, &column, rule));
        }
        self.rows += 1;
        Ok(())
    }

    fn check_names(&self) -> Result<(), FileError> {
        let mut seen = HashSet::new();
        let twice = self.names.iter().find(|name| !seen.insert(name.as_str()));
        twice.map_or(Ok(()), |name| {
            Err(FileError::Columns { path: self.path.clone(), source: ColumnError::Duplicate(name.clone()) })
        })
    }
}

#[cfg(test)]
mod tests {
    use compact_str::CompactString;

    use super::*;
    use crate::base::clock::Millis;

    fn read(name: &str, content: &str, wanted: &[(&str, Kind)]) -> Result<Table, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        Table::read(&path, wanted).map_err(|error| error.to_string())
    }

    #[test]
    fn cells_are_read_as_what_is_asked_for() {
        let wanted =
            [("n", Kind::Number), ("f", Kind::Flag), ("t", Kind::Time), ("s", Kind::Text), ("absent", Kind::Text)];
        let csv = "n,f,t,s\n1.5,1,1970-01-01T00:00:01Z,x\n,,,\n2,False,1970-01-01 00:00:02,7\n3,true,3000,\"a,b\"\n";
        let json = r#"{"n":1.5,"f":1,"t":"1970-01-01T00:00:01Z","s":"x"}
            {"n":null}
            {"n":2,"f":false,"t":"1970-01-01T00:00:02Z","s":7.0}
            {"n":3,"f":true,"t":3000,"s":"a,b"}"#;
        for table in [read("a.csv", csv, &wanted).unwrap(), read("a.ndjson", json, &wanted).unwrap()] {
            assert_eq!(table.rows(), 4);
            let number = Values::Number { cells: vec![Some(1.5), None, Some(2.0), Some(3.0)], single: false };
            assert_eq!(table.column("n", Kind::Number), Some(&number));
            let flags = Values::Flag(vec![Some(true), None, Some(false), Some(true)]);
            assert_eq!(table.column("f", Kind::Flag), Some(&flags));
            let times = [Some(1_000), None, Some(2_000), Some(3_000)].map(|at| at.map(Millis));
            assert_eq!(table.column("t", Kind::Time), Some(&Values::Time(times.to_vec())));
            let texts = [Some("x"), None, Some("7"), Some("a,b")].map(|text| text.map(CompactString::from));
            assert_eq!(table.column("s", Kind::Text), Some(&Values::Text(texts.to_vec())));
            assert_eq!(table.column("absent", Kind::Text), None);
        }
    }

    #[test]
    fn faults_name_file_row_and_column() {
        let number = [("n", Kind::Number)];
        for (name, content, words) in [
            ("a.csv", "n\n1\nx\n", ["a.csv", "row 2", "column n"]),
            ("a.csv", "n,n\n1,2\n", ["a.csv", "two columns", "\"n\""]),
            ("a.csv", "n,m\n1,2\n3\n", ["a.csv", "line: 3", "2 fields"]),
            ("a.ndjson", "{\"n\":1}\n\n{\"n\":\"1\"}\n", ["a.ndjson", "row 3", "column n"]),
            ("a.ndjson", "{\"n\":1}\n[]\n", ["a.ndjson", "line 2", "no JSON object"]),
        ] {
            let said = read(name, content, &number).unwrap_err();
            assert!(words.iter().all(|word| said.contains(word)), "{words:?} in {said}");
        }
        let said = read("a.csv", "secret\n1\n", &[("n", Kind::Number)]).unwrap().no_column("n").to_string();
        assert!(said.contains("\"n\"") && said.contains("secret"), "{said}");
    }
}
