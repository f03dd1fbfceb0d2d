//! The category schema, read from `schemas/transaction.v1.json`: which fields there are, how each is read, its limits.
//!
//! In: the JSON text. Out: a [`Schema`] that has every field the program knows by name, plus any further identifiers.

use std::collections::HashMap;
use std::fmt;

use compact_str::CompactString;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use thiserror::Error;

use super::Channel;

/// The schema that is built into the program.
const SHIPPED: &str = include_str!("../../schemas/transaction.v1.json");
/// The one form of identifiers.
const ID_PATTERN: &str = "^[A-Za-z0-9._:-]+$";

/// The fields of a transaction, in the file's order.
#[derive(Debug, Clone)]
pub struct Schema {
    fields: Vec<Field>,
}

/// Why a schema cannot be used: the field, and what is wrong with it.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// Not JSON of the expected form.
    #[error("schema of the transaction: {0}")]
    Form(#[from] serde_json::Error),
    /// A field breaks a rule.
    #[error("schema of the transaction: {field}: {rule}")]
    Field {
        /// The field.
        field: String,
        /// What it should be.
        rule: String,
    },
}

/// How a field is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An identifier: letters, digits, `.` `_` `:` `-`.
    Id,
    /// A moment.
    Time,
    /// An amount in minor units.
    Amount,
    /// An ISO 4217 code.
    Currency,
    /// An ISO 3166-1 alpha-2 code.
    Country,
    /// One of the schema's channels.
    Channel,
    /// Fraud or not.
    Label,
}

/// Whether a field has to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has to.
    Required,
    /// It may.
    Optional,
    /// It may, and should no longer be sent.
    Deprecated,
}

/// One field of the schema.
#[derive(Debug, Clone)]
pub struct Field {
    /// Canonical name.
    pub name: CompactString,
    /// How it is read.
    pub kind: Kind,
    /// Whether it has to be there.
    pub state: State,
    /// Whether its value may be shown nowhere in full.
    pub personal: bool,
    /// Longest identifier, in characters.
    pub max_length: usize,
    /// Lowest time or amount.
    pub minimum: i64,
    /// Highest time or amount.
    pub maximum: i64,
    /// The channels that are accepted.
    pub channels: Vec<Channel>,
    /// What the field means, for a person.
    pub meaning: String,
}

/// The fields that the program has a place for, how each is read, and whether it cannot do without.
const KNOWN: [(&str, Kind, bool); 13] = [
    ("transaction_id", Kind::Id, true),
    ("occurred_at", Kind::Time, true),
    ("customer_id", Kind::Id, true),
    ("terminal_id", Kind::Id, true),
    ("amount_minor", Kind::Amount, true),
    ("currency", Kind::Currency, true),
    ("merchant_id", Kind::Id, false),
    ("product_id", Kind::Id, false),
    ("country", Kind::Country, false),
    ("channel", Kind::Channel, false),
    ("card_id", Kind::Id, false),
    ("device_id", Kind::Id, false),
    ("is_fraud", Kind::Label, false),
];

impl Schema {
    /// The schema that is built into the program.
    ///
    /// # Errors
    /// When it breaks a rule; a test keeps it right.
    pub fn shipped() -> Result<Self, SchemaError> {
        Self::parse(SHIPPED)
    }

    /// Reads a schema.
    ///
    /// # Errors
    /// The first field that breaks a rule.
    pub fn parse(json: &str) -> Result<Self, SchemaError> {
        let document: Document = serde_json::from_str(json)?;
        let Document { properties, required } = document;
        let fields = properties.0.into_iter().map(|(name, property)| property.field(name)).collect::<Result<_, _>>()?;
        let schema = Self { fields };
        schema.check(&required)?;
        Ok(schema)
    }

    /// The fields, in the file's order.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field of this canonical name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn check(&self, required: &[String]) -> Result<(), SchemaError> {
        for (name, kind, needed) in KNOWN {
            let field = self.field(name).ok_or_else(|| fault(name, "the program needs this field"))?;
            if field.kind != kind {
                return Err(fault(name, &format!("the program reads this field as {kind:?}")));
            }
            if needed && field.state != State::Required {
                return Err(fault(name, "the program cannot do without it: its state must be required"));
            }
        }
        for (index, field) in self.fields.iter().enumerate() {
            let known = KNOWN.iter().any(|(name, ..)| field.name == *name);
            if !known && (field.kind != Kind::Id || field.state == State::Required) {
                return Err(fault(&field.name, "a further field must be of kind id and not required"));
            }
            if self.fields.iter().take(index).any(|before| before.name == field.name) {
                return Err(fault(&field.name, "stands twice"));
            }
            if required.contains(&field.name.to_string()) != (field.state == State::Required) {
                return Err(fault(&field.name, "state and the list `required` disagree"));
            }
        }
        Ok(())
    }
}

fn fault(field: &str, rule: &str) -> SchemaError {
    SchemaError::Field { field: field.to_owned(), rule: rule.to_owned() }
}

#[derive(Deserialize)]
struct Document {
    properties: Properties,
    required: Vec<String>,
}

/// The properties in the order of the text.
struct Properties(Vec<(String, Property)>);

#[derive(Deserialize)]
struct Property {
    #[serde(default)]
    description: String,
    kind: Kind,
    state: State,
    #[serde(default)]
    personal: bool,
    #[serde(rename = "maxLength")]
    max_length: Option<usize>,
    pattern: Option<String>,
    minimum: Option<i64>,
    maximum: Option<i64>,
    #[serde(rename = "enum", default)]
    values: Vec<Option<String>>,
}

impl Property {
    fn field(self, name: String) -> Result<Field, SchemaError> {
        let max_length = match (self.kind, self.max_length) {
            (Kind::Id, None) => return Err(fault(&name, "an identifier needs maxLength")),
            (_, length) => length.unwrap_or_default(),
        };
        if self.kind == Kind::Id && self.pattern.as_deref() != Some(ID_PATTERN) {
            return Err(fault(&name, &format!("the pattern of an identifier must be {ID_PATTERN}")));
        }
        let range = match (self.kind, self.minimum, self.maximum) {
            (Kind::Time | Kind::Amount, Some(minimum), Some(maximum)) if minimum >= 0 && minimum <= maximum => {
                (minimum, maximum)
            }
            (Kind::Time | Kind::Amount, ..) => {
                return Err(fault(&name, "needs minimum and maximum, 0 ≤ minimum ≤ maximum"));
            }
            _ => (0, 0),
        };
        let mut channels = HashMap::new();
        for value in self.values.into_iter().flatten() {
            let channel = Channel::parse(&value)
                .ok_or_else(|| fault(&name, &format!("{value:?} is not a channel that the program knows")))?;
            channels.insert(value, channel);
        }
        if self.kind == Kind::Channel && channels.is_empty() {
            return Err(fault(&name, "needs enum, the channels that are accepted"));
        }
        Ok(Field {
            name: name.into(),
            kind: self.kind,
            state: self.state,
            personal: self.personal,
            max_length,
            minimum: range.0,
            maximum: range.1,
            channels: channels.into_values().collect(),
            meaning: self.description,
        })
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Properties;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Properties, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Properties(entries))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_schema_is_right() {
        let schema = Schema::shipped().unwrap();
        assert_eq!(schema.fields().len(), 13);
        assert_eq!(schema.fields()[0].name, "transaction_id");
        let personal: Vec<_> = schema.fields().iter().filter(|field| field.personal).map(|field| &field.name).collect();
        assert_eq!(personal, ["customer_id", "card_id", "device_id"]);
        assert_eq!(schema.field("amount_minor").unwrap().maximum, 1_000_000_000_000);
        assert_eq!(schema.field("channel").unwrap().channels.len(), 5);
    }

    #[test]
    fn a_broken_schema_is_refused_by_field() {
        for (from, to, field) in [
            ("\"customer_id\": {", "\"payer_id\": {", "customer_id"),
            ("\"kind\": \"time\"", "\"kind\": \"id\"", "occurred_at"),
            ("\"other\", null", "\"barter\", null", "channel"),
            ("\"maximum\": 1000000000000", "\"maximum\": -1", "amount_minor"),
            ("[\"transaction_id\", \"occurred_at\", ", "[\"occurred_at\", ", "transaction_id"),
        ] {
            assert!(SHIPPED.contains(from), "{from}");
            let error = Schema::parse(&SHIPPED.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.contains(field), "{error}");
        }
    }
}
