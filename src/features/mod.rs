//! Features: what is computed, from what, over which window. The catalogue is data (`schemas/features.toml`); the
//! history holds what the whole catalogue needs; a plan reads the features that one model asks for. What is known of merchants
//! and countries beforehand is reference data, loaded by others and read here.

pub mod catalogue;
mod encode;
pub mod history;
pub mod reference;
pub mod rows;

pub use catalogue::{Catalogue, CatalogueError, Plan};
pub use history::{History, HistoryOptions, HistorySize};
pub use reference::Reference;
pub use rows::{Marks, Rows};

use compact_str::CompactString;

use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::transaction::Transaction;

/// A transaction with what the line adds to it before history sees it.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The payment.
    pub transaction: &'a Transaction,
    /// Its amount in the base currency, converted once, when it was accepted.
    pub base: BaseAmount,
}

/// A verdict on an earlier transaction, with the entities it counts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLabel {
    /// The transaction the verdict is about.
    pub transaction_id: String,
    /// When that transaction happened.
    pub occurred_at: Millis,
    /// Its entities as text, by canonical field name: customer, terminal and so on, those that the schema adds included.
    pub entities: Vec<(CompactString, CompactString)>,
    /// Its amount, minor units of the base currency.
    pub base_minor: i64,
    /// The verdict.
    pub is_fraud: bool,
    /// When the verdict was given.
    pub labelled_at: Millis,
}
