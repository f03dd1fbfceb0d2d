//! A payment as the service knows it: the canonical transaction, how one is read out of bytes, and why one is refused.
//!
//! In: bytes and a connector. Out: a [`Transaction`] that satisfies every rule of `schemas/transaction.v1.json`, or a
//! [`Rejection`]. Pure: no clock, no I/O; whoever reads a clock passes the moment in.

pub mod rejection;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::base::money::Currency;
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

impl Transaction {
    /// The text of an identifier-like field by canonical name.
    #[must_use]
    pub fn entity(&self, field: &str) -> Option<&str> {
        match field {
            "customer_id" => Some(&self.customer_id),
            "terminal_id" => Some(&self.terminal_id),
            "merchant_id" => self.merchant_id.as_deref(),
            "card_id" => self.card_id.as_deref(),
            "device_id" => self.device_id.as_deref(),
            _ => None,
        }
    }
}
