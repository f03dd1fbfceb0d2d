//! CSV: a header and rows to transactions. Columns are found by the connector's dotted paths; an empty cell is absent;
//! cells have no types, so a number is read where the schema wants one.

use std::borrow::Cow;
use std::collections::HashSet;

use ::csv::ByteRecord;
use thiserror::Error;

use super::connector::Connector;
use super::raw::RawValue;
use super::rejection::shortened;
use super::{Limits, Read, Rejection};

/// Why a table cannot be read with this connector at all.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ColumnError {
    /// No column can fill a required field.
    #[error("no column for the required field {field}: connector {connector} looks for {}", columns.join(", "))]
    Missing {
        /// The canonical field.
        field: String,
        /// The connector.
        connector: String,
        /// The columns any of which would do.
        columns: Vec<String>,
    },
    /// Two columns have one name.
    #[error("two columns are named {0:?}")]
    Duplicate(String),
    /// A column's type is none that can be read.
    #[error("column {column} has the type {found}; readable are integers, floats, decimals, text, booleans and times")]
    Type {
        /// The column.
        column: String,
        /// Its type.
        found: String,
    },
    /// The header is not UTF-8 or not CSV.
    #[error("the header cannot be read: {0}")]
    Header(String),
}

/// Which cell of a row fills which slot of the connector.
#[derive(Debug, Clone)]
pub struct CsvColumns<'c> {
    connector: &'c Connector,
    limits: Limits,
    /// Per slot, the cell's index.
    cells: Vec<Option<usize>>,
    width: usize,
    unknown: u32,
}

impl<'c> CsvColumns<'c> {
    /// Finds the connector's columns in the header row.
    ///
    /// # Errors
    /// When a name stands twice, or no column can fill a required field.
    pub fn new(connector: &'c Connector, limits: Limits, header: &ByteRecord) -> Result<Self, ColumnError> {
        let mut names = Vec::with_capacity(header.len());
        let mut seen = HashSet::new();
        for cell in header {
            let name = std::str::from_utf8(cell).map_err(|error| ColumnError::Header(error.to_string()))?.trim();
            if !seen.insert(name) {
                return Err(ColumnError::Duplicate(shortened(name, 64)));
            }
            names.push(name);
        }
        let place = |path: &String| names.iter().position(|name| name == path);
        let cells: Vec<_> = connector.paths().iter().map(place).collect();
        check_required(connector, |slot| cells.get(slot).is_some_and(Option::is_some))?;
        let used = cells.iter().flatten().count();
        let unknown = u32::try_from(names.len().saturating_sub(used)).unwrap_or(u32::MAX);
        Ok(Self { connector, limits, cells, width: names.len(), unknown })
    }

    /// Reads one row.
    ///
    /// # Errors
    /// The first rule that the row breaks; a row of another width than the header, or not in UTF-8, is `not_json`.
    pub fn read(&self, row: &ByteRecord) -> Result<Read, Rejection> {
        if row.as_slice().len() > self.limits.bytes {
            return Err(Rejection::too_large(row.as_slice().len(), self.limits.bytes));
        }
        if row.len() != self.width {
            let rule = format!("a row must have {} cells as the header has; here are {}", self.width, row.len());
            return Err(Rejection::not_json(&rule));
        }
        let slots = self.cells.iter().map(|cell| slot(cell.and_then(|index| row.get(index))));
        let slots = slots.collect::<Result<Vec<_>, _>>()?;
        self.connector.assemble(&slots, self.limits.labels, self.unknown)
    }
}

fn slot(cell: Option<&[u8]>) -> Result<RawValue<'_>, Rejection> {
    let Some(cell) = cell.filter(|cell| !cell.is_empty()) else { return Ok(RawValue::Absent) };
    let text = std::str::from_utf8(cell).map_err(|error| Rejection::not_json(&format!("not UTF-8: {error}")))?;
    Ok(RawValue::Cell(Cow::Borrowed(text)))
}

/// That every required field has a column or a constant, and the accept rule its column.
pub(super) fn check_required(connector: &Connector, is_there: impl Fn(usize) -> bool) -> Result<(), ColumnError> {
    let Some((field, columns)) = connector.unfilled(is_there) else { return Ok(()) };
    Err(ColumnError::Missing {
        field: field.to_owned(),
        connector: connector.name().to_owned(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    })
}

/// Reads a whole CSV text with a header. Items are (1-based line where the row begins, outcome).
///
/// # Errors
/// When the header does not fit the connector.
pub fn csv<'a>(
    bytes: &'a [u8],
    connector: &'a Connector,
    limits: Limits,
) -> Result<impl Iterator<Item = (u64, Result<Read, Rejection>)> + 'a, ColumnError> {
    let mut reader = ::csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = reader.byte_headers().map_err(|error| ColumnError::Header(error.to_string()))?;
    let columns = CsvColumns::new(connector, limits, header)?;
    Ok(reader.into_byte_records().map(move |row| match row {
        Ok(row) => (row.position().map_or(0, ::csv::Position::line), columns.read(&row)),
        Err(error) => (0, Err(Rejection::not_json(&format!("not CSV: {error}")))),
    }))
}
