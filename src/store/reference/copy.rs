//! The copy on this disk: the rates that count, and the last good rows of tables that are held whole. One SQLite file.
//!
//! Invariant: of a (currency, day) the first rate stays ([`Copy::freeze`]). Rows of attributes that mean something else now
//! are not given back. `SELECT published, currency, rate FROM rates` is what `--rates` reads.

use std::path::Path;
use std::time::Duration;

use compact_str::CompactString;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::ReferenceError;
use crate::base::clock::Millis;
use crate::base::rates::Publication;
use crate::features::reference::{Rows, TableSchema};

const VERSION: i64 = 1;
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS rates (
    published TEXT NOT NULL,
    currency  TEXT NOT NULL,
    rate      TEXT NOT NULL,
    PRIMARY KEY (currency, published)
) STRICT, WITHOUT ROWID;
-- form: what the values mean; content: keys and values, postcard.
CREATE TABLE IF NOT EXISTS tables (
    name         TEXT PRIMARY KEY,
    form         TEXT NOT NULL,
    confirmed_at INTEGER NOT NULL,
    content      BLOB NOT NULL
) STRICT;
PRAGMA user_version = 1;
";

/// See the module.
#[derive(Debug)]
pub(super) struct Copy(Connection);

impl Copy {
    /// Opens or makes the file.
    pub(super) fn open(path: &Path) -> Result<Self, ReferenceError> {
        let failed = |source| ReferenceError::Copy { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| {
                ReferenceError::Faults(vec![format!("reference.copy: {} cannot be made: {error}", folder.display())])
            })?;
        }
        let connection = Connection::open(path).map_err(failed)?;
        connection.busy_timeout(Duration::from_secs(5)).map_err(failed)?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(failed)?;
        if found > VERSION {
            return Err(ReferenceError::Version { path: path.to_owned(), found });
        }
        connection.execute_batch("PRAGMA synchronous = FULL;").map_err(failed)?;
        if found < VERSION {
            connection.execute_batch(TABLES).map_err(failed)?;
        }
        Ok(Self(connection))
    }

    /// Every rate that counts.
    pub(super) fn rates(&self) -> rusqlite::Result<Vec<Publication>> {
        let mut statement = self.0.prepare("SELECT published, currency, rate FROM rates")?;
        let words = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let mut all = Vec::new();
        for one in words {
            let (day, currency, rate): (String, String, String) = one?;
            // What this program does not know, a later one may.
            all.extend(Publication::parse(&day, &currency, &rate));
        }
        Ok(all)
    }

    /// Keeps each where its day has none yet, on disk before this returns; what counts of their days now.
    pub(super) fn freeze(&mut self, publications: &[Publication]) -> rusqlite::Result<Vec<Publication>> {
        let change = self.0.transaction()?;
        let mut counting = Vec::with_capacity(publications.len());
        {
            let sql = "INSERT INTO rates (published, currency, rate) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            let mut insert = change.prepare(sql)?;
            let mut select = change.prepare("SELECT rate FROM rates WHERE published = ?1 AND currency = ?2")?;
            for one in publications {
                let (day, code) = (one.date(), one.currency.code());
                insert.execute(params![day, code, one.rate.to_string()])?;
                let rate: String = select.query_row(params![day, code], |row| row.get(0))?;
                counting.extend(Publication::parse(&day, code, &rate));
            }
        }
        change.commit()?;
        Ok(counting)
    }

    /// The last good rows of a table, and when its source confirmed them.
    pub(super) fn table(&self, schema: &TableSchema) -> rusqlite::Result<Option<(Rows, Millis)>> {
        let sql = "SELECT confirmed_at, content FROM tables WHERE name = ?1 AND form = ?2";
        let found = self
            .0
            .query_row(sql, params![schema.name, schema.form()], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))
            .optional()?;
        Ok(found.and_then(|(at, content)| Some((rows_of(&content, schema.attributes.len())?, Millis(at)))))
    }

    /// Puts the rows of a table in the place of those before.
    pub(super) fn put(&self, schema: &TableSchema, rows: &Rows, at: Millis) -> rusqlite::Result<()> {
        let content = postcard::to_stdvec(&rows.parts()).unwrap_or_default();
        let sql = "INSERT INTO tables (name, form, confirmed_at, content) VALUES (?1, ?2, ?3, ?4)
                   ON CONFLICT (name) DO UPDATE SET form = excluded.form, confirmed_at = excluded.confirmed_at,
                                                    content = excluded.content";
        self.0.execute(sql, params![schema.name, schema.form(), at.0, content]).map(drop)
    }

    /// Says that the rows of a table were confirmed.
    pub(super) fn confirm(&self, schema: &TableSchema, at: Millis) -> rusqlite::Result<()> {
        let sql = "UPDATE tables SET confirmed_at = ?2 WHERE name = ?1";
        self.0.execute(sql, params![schema.name, at.0]).map(drop)
    }
}

/// Rows out of what [`Rows::parts`] gave; `None` where it is damaged.
fn rows_of(content: &[u8], width: usize) -> Option<Rows> {
    let (keys, values): (Vec<CompactString>, Vec<f64>) = postcard::from_bytes(content).ok()?;
    if values.len() != keys.len() * width {
        return None;
    }
    let mut rows = Rows::new(width);
    let mut of_rows = values.chunks_exact(width.max(1));
    for key in keys {
        rows.push(key, of_rows.next()?.iter().copied()).ok()?;
    }
    Some(rows)
}
