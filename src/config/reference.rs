//! The section `[reference]`: where reference data comes from, and how it is kept.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::stack::{HOUR, MS, S};
use crate::features::reference::{RATES, ReferenceSchema};

/// `[reference]`
#[derive(Debug, Clone)]
pub struct Reference {
    /// A folder of files.
    pub directory: Option<PathBuf>,
    /// Tables of PostgreSQL, as `name=schema.table`.
    pub tables: Vec<String>,
    /// How often it is read again.
    pub refresh: Duration,
    /// Unconfirmed for longer than this, decisions say so.
    pub stale_after: Duration,
    /// The copy on this disk.
    pub copy: Option<PathBuf>,
    /// Rows of a table that is held whole.
    pub whole_rows: usize,
    /// Keys of a larger one that are kept.
    pub cached_rows: usize,
}

impl Reference {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            directory: reader.take("reference.directory", None),
            tables: reader.take("reference.tables", Vec::new()),
            refresh: reader.take_in("reference.refresh", S(300), MS(100)..=S(24 * HOUR)),
            stale_after: reader.take_in("reference.stale_after", S(HOUR), S(1)..=S(30 * 24 * HOUR)),
            copy: reader.take("reference.copy", Some(PathBuf::from("data/reference.db"))),
            whole_rows: reader.take_in("reference.whole_rows", 1_000_000, 1..=50_000_000),
            cached_rows: reader.take_in("reference.cached_rows", 100_000, 1..=50_000_000),
        }
    }

    /// (name in the schema of reference data, table of PostgreSQL) of each table.
    #[must_use]
    pub fn named(&self) -> Vec<(String, String)> {
        let parts =
            |text: &String| text.split_once('=').map(|(name, table)| (name.trim().to_owned(), table.trim().to_owned()));
        self.tables.iter().filter_map(parts).collect()
    }

    /// Rules between its keys, with PostgreSQL and with the file of rates.
    pub(super) fn check(&self, has_postgres: bool, has_rates: bool, reader: &mut Reader) {
        let named = self.named();
        let names: Vec<String> = match ReferenceSchema::shipped() {
            Ok(schema) => schema.tables().iter().map(|table| table.name.clone()).chain([RATES.to_owned()]).collect(),
            Err(error) => return reader.fault("reference.tables", error.to_string()),
        };
        let unknown = named.iter().any(|(name, table)| !names.contains(name) || table.is_empty());
        if named.len() < self.tables.len() || unknown {
            let rule = format!("must be like \"merchants=shop.merchants\", with one of the names {}", names.join(", "));
            reader.fault("reference.tables", rule);
        }
        if (1..named.len())
            .any(|at| named.iter().take(at).any(|(name, _)| named.get(at).is_some_and(|one| one.0 == *name)))
        {
            reader.fault("reference.tables", "names a table twice".to_owned());
        }
        if !self.tables.is_empty() && !has_postgres {
            reader.fault("reference.tables", "needs postgres.host: they are read by assay's role there".to_owned());
        }
        if !self.tables.is_empty() && self.directory.is_some() {
            reader.fault("reference.directory", "is instead of reference.tables: leave one empty".to_owned());
        }
        if has_rates && named.iter().any(|(name, _)| name == RATES) {
            reader.fault("money.rates", "is instead of the rates of reference.tables: leave one out".to_owned());
        }
        if self.stale_after < self.refresh {
            reader.fault("reference.stale_after", "must be at least reference.refresh".to_owned());
        }
    }
}
