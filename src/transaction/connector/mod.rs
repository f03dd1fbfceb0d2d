//! Connectors: how a source's fields become canonical ones. Data (`schemas/connectors/*.toml`), no code.
//!
//! Every source takes the same way: its reader fills one slot of raw values for each path that the connector names,
//! and `Connector::assemble` makes a transaction of the slots. The connector is compiled once: paths are split into
//! a tree, fields know their slots, constants are validated.

mod compile;
mod file;
mod tree;

use std::collections::HashMap;
use std::path::Path;

use compact_str::CompactString;
use thiserror::Error;

use super::raw::RawValue;
use super::rejection::{RejectionCode, shortened};
use super::schema::{Field, Kind, Schema, SchemaError, State};
use super::validation::{Value, read_field};
use super::{Read, Rejection, Transaction};
use crate::base::money::Currency;
pub(crate) use tree::Tree;

/// The connectors that are built into the program: name and text.
const SHIPPED: [(&str, &str); 4] = [
    ("canonical", include_str!("../../../schemas/connectors/canonical.toml")),
    ("major", include_str!("../../../schemas/connectors/major.toml")),
    ("stripe", include_str!("../../../schemas/connectors/stripe.toml")),
    ("handbook", include_str!("../../../schemas/connectors/handbook.toml")),
];

/// A compiled mapping of a source's fields to the canonical ones.
#[derive(Debug, Clone)]
pub struct Connector {
    name: String,
    fields: Vec<FieldPlan>,
    accept: Option<Accept>,
    paths: Vec<String>,
    tree: Tree,
}

/// Why a connector cannot be used.
#[derive(Debug, Error)]
pub enum ConnectorError {
    /// No connector of that name is shipped.
    #[error("there is no connector {name:?}; shipped are {known}; a file is named by its path, ending in .toml")]
    Unknown {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The text is not TOML, or has keys or types that a connector does not have.
    #[error("connector: {0}")]
    Form(#[from] toml::de::Error),
    /// Every rule that the text breaks.
    #[error("connector {name}: {}", faults.join("; "))]
    Faults {
        /// The connector's name.
        name: String,
        /// Which field or key, and what it should be.
        faults: Vec<String>,
    },
    /// The schema behind it cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// How the number of a time or amount is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// RFC 3339 or milliseconds; minor units.
    Default,
    Milliseconds,
    Seconds,
    Rfc3339,
    Minor,
    Major,
}

/// Source values that stand for others.
#[derive(Debug, Clone)]
pub(crate) struct ValueMap {
    pub(crate) entries: HashMap<String, String>,
    pub(crate) default: Option<String>,
}

/// One canonical field and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct FieldPlan {
    pub(crate) field: Field,
    pub(crate) target: Target,
    /// Slots to ask in this order.
    pub(crate) slots: Vec<usize>,
    pub(crate) unit: Unit,
    pub(crate) upper: bool,
    pub(crate) as_text: bool,
    pub(crate) map: Option<ValueMap>,
    /// What holds when no slot has a value.
    pub(crate) constant: Option<Value>,
}

/// The place of a field in [`Transaction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    TransactionId,
    OccurredAt,
    CustomerId,
    TerminalId,
    AmountMinor,
    Currency,
    MerchantId,
    ProductId,
    Country,
    Channel,
    CardId,
    DeviceId,
    IsFraud,
    Extra,
}

/// Which records of the source are transactions at all.
#[derive(Debug, Clone)]
pub(crate) struct Accept {
    slot: usize,
    values: Vec<String>,
}

impl Connector {
    /// The connector of this name that is built into the program: `canonical`, `major`, `stripe` or `handbook`.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn shipped(name: &str) -> Result<Self, ConnectorError> {
        let (_, text) = SHIPPED.iter().find(|(known, _)| *known == name).ok_or_else(|| ConnectorError::Unknown {
            name: name.to_owned(),
            known: Self::shipped_names().collect::<Vec<_>>().join(", "),
        })?;
        Self::parse(text)
    }

    /// Names of the shipped connectors.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// Whether `name` means a file to read and [`Connector::parse`], rather than a shipped connector.
    #[must_use]
    pub fn is_file(name: &str) -> bool {
        Path::new(name).extension().is_some_and(|extension| extension == "toml")
    }

    /// Reads a mapping against the shipped schema.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(toml: &str) -> Result<Self, ConnectorError> {
        Self::parse_with(&Schema::shipped()?, toml)
    }

    /// Reads a mapping against `schema`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse_with(schema: &Schema, toml: &str) -> Result<Self, ConnectorError> {
        compile::compile(schema, toml::from_str(toml)?)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The paths of the source that it reads, dotted, one for each slot.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The path that a canonical field is read from, and in which unit; `None` where it is not read as it is from one path
    /// alone.
    pub(crate) fn plain(&self, field: &str) -> Option<(&str, Unit)> {
        let plan = self.fields.iter().find(|plan| plan.field.name == field)?;
        match plan.slots.as_slice() {
            [slot] if plan.map.is_none() && plan.constant.is_none() => {
                self.paths.get(*slot).map(|path| (path.as_str(), plan.unit))
            }
            _ => None,
        }
    }

    pub(crate) const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// What nothing can fill when only the slots with `is_there` exist: the path of the accept rule, else the first
    /// required field, and the paths that would do.
    pub(crate) fn unfilled(&self, is_there: impl Fn(usize) -> bool) -> Option<(&str, Vec<&str>)> {
        let path = |slot: usize| self.paths.get(slot).map(String::as_str);
        if let Some(accept) = self.accept.as_ref().filter(|accept| !is_there(accept.slot)) {
            return path(accept.slot).map(|path| (path, vec![path]));
        }
        let plan = self.fields.iter().find(|plan| {
            let required = plan.field.state == State::Required && plan.constant.is_none();
            required && !plan.slots.iter().any(|slot| is_there(*slot))
        })?;
        Some((&plan.field.name, plan.slots.iter().filter_map(|slot| path(*slot)).collect()))
    }

    /// Makes a transaction of one raw value a slot. `unknown` is how many fields the reader has not used.
    pub(crate) fn assemble(&self, slots: &[RawValue<'_>], labels: bool, unknown: u32) -> Result<Read, Rejection> {
        if let Some(accept) = &self.accept {
            self.accepted(accept, slots)?;
        }
        let mut draft = Draft::default();
        let mut unknown_fields = unknown;
        for plan in &self.fields {
            let raw = plan.slots.iter().filter_map(|slot| slots.get(*slot)).find(|raw| !raw.is_empty());
            let value = match (raw, &plan.constant) {
                (Some(_), _) if plan.field.kind == Kind::Label && !labels => {
                    unknown_fields = unknown_fields.saturating_add(1);
                    continue;
                }
                (Some(raw), _) => read_field(plan, raw, draft.currency)?,
                (None, Some(constant)) => constant.clone(),
                (None, None) if plan.field.state == State::Required => {
                    return Err(Rejection::missing_field(&plan.field.name));
                }
                (None, None) => continue,
            };
            draft.put(plan, value);
        }
        Ok(Read { transaction: draft.finish()?, unknown_fields })
    }

    fn accepted(&self, accept: &Accept, slots: &[RawValue<'_>]) -> Result<(), Rejection> {
        let path = self.paths.get(accept.slot).map_or("", String::as_str);
        let raw = slots.get(accept.slot).filter(|raw| !raw.is_empty());
        let text = raw.and_then(RawValue::text).ok_or_else(|| Rejection::missing_field(path))?;
        if accept.values.iter().any(|value| *value == text) {
            return Ok(());
        }
        Err(Rejection {
            code: RejectionCode::WrongType,
            field: path.to_owned(),
            value: Some(shortened(&text, 32)),
            rule: format!("connector {} reads only records with {}", self.name, accept.values.join(", ")),
        })
    }
}

/// A transaction in the making.
#[derive(Default)]
struct Draft {
    transaction_id: Option<CompactString>,
    occurred_at: Option<crate::base::clock::Millis>,
    customer_id: Option<CompactString>,
    terminal_id: Option<CompactString>,
    amount_minor: Option<i64>,
    currency: Option<Currency>,
    merchant_id: Option<CompactString>,
    product_id: Option<CompactString>,
    country: Option<CompactString>,
    channel: Option<super::Channel>,
    card_id: Option<CompactString>,
    device_id: Option<CompactString>,
    is_fraud: Option<bool>,
    extra: Vec<(CompactString, CompactString)>,
}

impl Draft {
    fn put(&mut self, plan: &FieldPlan, value: Value) {
        match (plan.target, value) {
            (Target::TransactionId, Value::Text(text)) => self.transaction_id = Some(text),
            (Target::OccurredAt, Value::Time(moment)) => self.occurred_at = Some(moment),
            (Target::CustomerId, Value::Text(text)) => self.customer_id = Some(text),
            (Target::TerminalId, Value::Text(text)) => self.terminal_id = Some(text),
            (Target::AmountMinor, Value::Amount(amount)) => self.amount_minor = Some(amount),
            (Target::Currency, Value::Currency(currency)) => self.currency = Some(currency),
            (Target::MerchantId, Value::Text(text)) => self.merchant_id = Some(text),
            (Target::ProductId, Value::Text(text)) => self.product_id = Some(text),
            (Target::Country, Value::Text(text)) => self.country = Some(text),
            (Target::Channel, Value::Channel(channel)) => self.channel = Some(channel),
            (Target::CardId, Value::Text(text)) => self.card_id = Some(text),
            (Target::DeviceId, Value::Text(text)) => self.device_id = Some(text),
            (Target::IsFraud, Value::Label(label)) => self.is_fraud = Some(label),
            (Target::Extra, Value::Text(text)) => self.extra.push((plan.field.name.clone(), text)),
            // The schema has checked that every known field is of its target's kind.
            _ => {}
        }
    }

    fn finish(self) -> Result<Transaction, Rejection> {
        let missing = |field| move || Rejection::missing_field(field);
        Ok(Transaction {
            transaction_id: self.transaction_id.ok_or_else(missing("transaction_id"))?,
            occurred_at: self.occurred_at.ok_or_else(missing("occurred_at"))?,
            customer_id: self.customer_id.ok_or_else(missing("customer_id"))?,
            terminal_id: self.terminal_id.ok_or_else(missing("terminal_id"))?,
            amount_minor: self.amount_minor.ok_or_else(missing("amount_minor"))?,
            currency: self.currency.ok_or_else(missing("currency"))?,
            merchant_id: self.merchant_id,
            product_id: self.product_id,
            country: self.country,
            channel: self.channel,
            card_id: self.card_id,
            device_id: self.device_id,
            is_fraud: self.is_fraud,
            extra: self.extra,
        })
    }
}
