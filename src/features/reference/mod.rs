//! Reference data as features read it: what is known of merchants, products, countries and currencies.
//!
//! In: rows of the tables that `schemas/reference.toml` describes, put here by whoever loads them. Out: the attributes of
//! one key, or why there are none. A reader takes the tables once for a batch ([`Reference::now`]), so a refresh is seen as a
//! whole or not at all, and no look-up waits for anybody: a table that is too large to be held is read through a bounded
//! cache, what the cache lacks is noted, and whoever loads fetches it later.
//!
//! It knows no source, no clock and no file.

mod keyed;
mod rows;
mod schema;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arc_swap::ArcSwap;

pub use keyed::{Keyed, MOST_WANTED};
pub use rows::{Repeated, Rows};
pub use schema::{Attribute, AttributeKind, Pick, RATES, ReferenceSchema, SHIPPED, SchemaError, TableSchema};

/// The tables that are there, and what is known of them now. Shared by whoever loads and whoever reads.
#[derive(Debug)]
pub struct Reference {
    /// Which tables of the schema are configured, by place.
    configured: Vec<bool>,
    now: ArcSwap<Vec<Table>>,
}

/// What is known of one table.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Its rows.
    pub content: Content,
    /// Whether they were confirmed by their source too long ago.
    pub stale: bool,
}

/// The rows of one table.
#[derive(Debug, Clone, Default)]
pub enum Content {
    /// Nothing was ever loaded.
    #[default]
    Unknown,
    /// All of them.
    Whole(Arc<Rows>),
    /// Those that were asked for.
    Keyed(Arc<Keyed>),
}

/// What a look-up finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<'a> {
    /// The attributes of a row of a table that is held whole, NaN where there is none.
    Row(&'a [f64]),
    /// The same of a row out of the cache.
    Cached(Arc<[f64]>),
    /// There is no row of this key, or it was not fetched yet.
    Missing,
    /// The transaction names none.
    Unnamed,
}

impl Reference {
    /// Nothing loaded yet, of a schema's tables those `configured`, by place.
    #[must_use]
    pub fn new(configured: Vec<bool>) -> Self {
        let tables = vec![Table::default(); configured.len()];
        Self { configured, now: ArcSwap::from_pointee(tables) }
    }

    /// Whether the table with this place in the schema is configured.
    #[must_use]
    pub fn has(&self, table: usize) -> bool {
        self.configured.get(table).copied().unwrap_or(false)
    }

    /// The tables as they are now, by place in the schema: one value for a whole batch.
    #[must_use]
    pub fn now(&self) -> Arc<Vec<Table>> {
        self.now.load_full()
    }

    /// Puts tables in the place of what was there, all at once.
    pub fn put(&self, tables: Vec<Table>) {
        self.now.store(Arc::new(tables));
    }
}

impl Table {
    /// The attributes of `key`.
    #[must_use]
    pub fn find(&self, key: &str) -> Found<'_> {
        match &self.content {
            Content::Unknown => Found::Missing,
            Content::Whole(rows) => rows.get(key).map_or(Found::Missing, Found::Row),
            Content::Keyed(cache) => cache.get(key).map_or(Found::Missing, Found::Cached),
        }
    }
}

impl Found<'_> {
    /// An attribute by its place; `None` where it has no value.
    #[must_use]
    pub fn value(&self, attribute: usize) -> Option<f64> {
        let values = match self {
            Self::Row(values) => values,
            Self::Cached(values) => &**values,
            Self::Missing | Self::Unnamed => return None,
        };
        values.get(attribute).copied().filter(|value| !value.is_nan())
    }
}
