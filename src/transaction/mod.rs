//! A payment as the service knows it: the canonical transaction, how one is read out of bytes, and why one is refused.
//!
//! In: bytes and a connector. Out: a [`Transaction`] that satisfies every rule of `schemas/transaction.v1.json`, or a
//! [`Rejection`]. Pure: no clock, no I/O; whoever reads a clock passes the moment in.

pub mod arrow;
pub mod connector;
mod country;
pub mod csv;
mod decimal;
mod identity;
pub mod json;
mod raw;
pub mod rejection;
pub mod schema;
mod validation;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::base::money::Currency;
pub use connector::{Connector, ConnectorError};
pub use json::{ndjson, read_json};
pub(crate) use raw::RawValue;
pub use rejection::{Rejection, RejectionCode};

/// A validated payment. Field meanings and limits: `schemas/transaction.v1.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transaction {
    /// 1 to 64 of letters, digits, `.` `_` `:` `-`; the key of its one decision.
    pub transaction_id: CompactString,
    /// When the payment happened, by its own account.
    pub occurred_at: Millis,
    /// Who pays. Personal.
    pub customer_id: CompactString,
    /// Where: a point of sale, a web shop's checkout.
    pub terminal_id: CompactString,
    /// ≥ 0, in the minor unit of `currency`.
    pub amount_minor: i64,
    /// ISO 4217.
    pub currency: Currency,
    /// The seller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant_id: Option<CompactString>,
    /// What was bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_id: Option<CompactString>,
    /// ISO 3166-1 alpha-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<CompactString>,
    /// How it was paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// The card. Personal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card_id: Option<CompactString>,
    /// The payer's device. Personal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<CompactString>,
    /// A label that came with the row of a file; never reaches a model as an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_fraud: Option<bool>,
    /// Further identifiers that the schema names, as (canonical name, value), in the schema's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra: Vec<(CompactString, CompactString)>,
}

/// A transaction as it was read, and how many fields of the source were not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The payment.
    pub transaction: Transaction,
    /// Fields that the connector does not name, and labels where none are accepted. What stands inside an unknown
    /// field is not counted again.
    pub unknown_fields: u32,
}

/// What a reader accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one transaction.
    pub bytes: usize,
    /// How deep objects and arrays may stand in each other; the transaction itself is 1. At most 100.
    pub depth: usize,
    /// Whether `is_fraud` is read (files) or ignored and counted (everywhere else).
    pub labels: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, depth: 16, labels: false }
    }
}

impl Limits {
    /// The default limits with labels read: for files.
    #[must_use]
    pub fn of_files() -> Self {
        Self { labels: true, ..Self::default() }
    }
}

/// How a payment was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The card was read by the terminal.
    CardPresent,
    /// A web shop or an app.
    Online,
    /// Account to account.
    Transfer,
    /// Cash out.
    Withdrawal,
    /// None of these.
    Other,
}

impl Channel {
    const ALL: [Self; 5] = [Self::CardPresent, Self::Online, Self::Transfer, Self::Withdrawal, Self::Other];

    /// The word of the schema.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CardPresent => "card_present",
            Self::Online => "online",
            Self::Transfer => "transfer",
            Self::Withdrawal => "withdrawal",
            Self::Other => "other",
        }
    }

    /// The channel of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == word)
    }
}
