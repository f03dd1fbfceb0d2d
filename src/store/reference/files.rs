//! A folder of reference data: `merchants.csv` or `.parquet` or `.ndjson`, a file a table, and `rates.csv`.
//!
//! A file that has not changed (by its time and size) is not read again. Whoever replaces one writes it beside and renames
//! it: half a file would be read as what it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{ReadTable, ReferenceError, SourceError, of_rates};
use crate::base::rates::{self, Publication};
use crate::features::reference::{Content, RATES, Reference, ReferenceSchema, Rows, Table, TableSchema};
use crate::store::files::{self, FileError, Kind, Values};

const ENDINGS: [&str; 4] = ["csv", "parquet", "ndjson", "jsonl"];

/// What tells one state of a file from the next.
type Stamp = (PathBuf, SystemTime, u64);

/// A folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    seen: HashMap<String, Stamp>,
}

impl Files {
    /// The folder, as it will be when it is read.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, seen: HashMap::new() }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it has a file of a table.
    pub(super) fn has(&self, table: &str) -> bool {
        ENDINGS.iter().any(|ending| self.folder.join(format!("{table}.{ending}")).is_file())
    }

    /// Where its rates are, where there are any.
    #[must_use]
    pub fn rates(&self) -> Option<PathBuf> {
        Some(self.folder.join(format!("{RATES}.csv"))).filter(|path| path.is_file())
    }

    pub(super) fn table(&mut self, schema: &TableSchema, most: usize) -> Result<ReadTable, SourceError> {
        let stamp = self.stamp(&schema.name)?;
        if self.seen.get(&schema.name) == Some(&stamp) {
            return Ok(ReadTable::Same);
        }
        let rows = read(&stamp.0, schema)?;
        if rows.len() > most {
            return Err(SourceError::Wrong(format!(
                "{}: {} rows, and reference.whole_rows allows {most}",
                stamp.0.display(),
                rows.len()
            )));
        }
        self.seen.insert(schema.name.clone(), stamp);
        Ok(ReadTable::Rows(rows))
    }

    fn stamp(&self, table: &str) -> Result<Stamp, SourceError> {
        let there = |ending: &&str| self.folder.join(format!("{table}.{ending}")).is_file();
        let mut endings = ENDINGS.iter().filter(|ending| there(ending));
        let path = match (endings.next(), endings.next()) {
            (Some(ending), None) => self.folder.join(format!("{table}.{ending}")),
            (None, _) => {
                return Err(SourceError::Away(format!("{}: there is no file of {table}", self.folder.display())));
            }
            (Some(one), Some(two)) => {
                let folder = self.folder.display();
                return Err(SourceError::Wrong(format!("{folder}: {table}.{one} and {table}.{two}: keep one of them")));
            }
        };
        let about = std::fs::metadata(&path)
            .and_then(|about| Ok((about.modified()?, about.len())))
            .map_err(|error| SourceError::Away(format!("{}: {error}", path.display())))?;
        Ok((path, about.0, about.1))
    }
}

/// The rows of a file.
fn read(path: &Path, schema: &TableSchema) -> Result<Rows, FileError> {
    let wanted: Vec<(&str, Kind)> = std::iter::once(schema.key.as_str())
        .chain(schema.attributes.iter().map(|attribute| attribute.column.as_str()))
        .map(|column| (column, Kind::Text))
        .collect();
    let table = files::Table::read(path, &wanted)?;
    let cells = |column: &str| match table.column(column, Kind::Text) {
        Some(Values::Text(cells)) => Ok(cells),
        _ => Err(table.no_column(column)),
    };
    let keys = cells(&schema.key)?;
    let columns = schema.attributes.iter().map(|attribute| Ok((attribute, cells(&attribute.column)?)));
    let columns = columns.collect::<Result<Vec<_>, FileError>>()?;
    let mut rows = Rows::new(columns.len());
    let mut values = Vec::with_capacity(columns.len());
    for (index, key) in keys.iter().enumerate() {
        let key = key.clone().filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| table.cell_error(index, &schema.key, "a key is needed"))?;
        values.clear();
        for (attribute, cells) in &columns {
            let cell = cells.get(index).and_then(Option::as_deref).unwrap_or_default();
            values.push(attribute.value(cell).map_err(|rule| table.cell_error(index, &attribute.column, rule))?);
        }
        let added = rows.push(key, values.iter().copied());
        added.map_err(|error| table.cell_error(index, &schema.key, error.to_string()))?;
    }
    Ok(rows)
}

/// What a rates file publishes.
pub(super) fn read_rates(path: &Path) -> Result<Vec<Publication>, SourceError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| SourceError::Away(format!("{}: {error}", path.display())))?;
    rates::parse(&text).map_err(|error| of_rates(path, &error))
}

/// The reference data of a folder as it is now, for a command that reads files: nothing is refreshed.
///
/// # Errors
/// Everything that is wrong with its files, and where it has none.
pub fn read_folder(folder: &Path) -> Result<Reference, ReferenceError> {
    let schema = ReferenceSchema::shipped().map_err(|error| ReferenceError::Faults(vec![error.to_string()]))?;
    let mut files = Files::new(folder.to_owned());
    let (mut tables, mut configured, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for table in schema.tables() {
        let there = files.has(&table.name);
        configured.push(there);
        let content = match there.then(|| files.table(table, usize::MAX)) {
            Some(Ok(ReadTable::Rows(rows))) => Content::Whole(Arc::new(rows)),
            Some(Err(error)) => {
                faults.push(error.to_string());
                Content::Unknown
            }
            _ => Content::Unknown,
        };
        tables.push(Table { content, stale: false });
    }
    if !configured.contains(&true) && files.rates().is_none() {
        let names: Vec<_> = schema.tables().iter().map(|table| table.name.as_str()).collect();
        faults.push(format!("{} has no file of {}, {RATES}", folder.display(), names.join(", ")));
    }
    if !faults.is_empty() {
        return Err(ReferenceError::Faults(faults));
    }
    let reference = Reference::new(configured);
    reference.put(tables);
    Ok(reference)
}
