//! The tables of reference data, as data (`schemas/reference.toml`): which field of a transaction names a row, and which
//! attributes a row has, with type, unit and default.

use std::collections::BTreeMap;

use serde::Deserialize;
use thiserror::Error;

use crate::base::clock::Millis;

/// The shipped schema's text.
pub const SHIPPED: &str = include_str!("../../../schemas/reference.toml");

/// Every table there can be.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceSchema {
    tables: Vec<TableSchema>,
}

/// One table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableSchema {
    /// Its name.
    pub name: String,
    /// The field of a transaction that names a row.
    pub entity: String,
    /// The column of the key.
    pub key: String,
    /// A few words for a person.
    pub meaning: String,
    /// Its attributes, in the file's order.
    pub attributes: Vec<Attribute>,
}

/// One attribute of a table's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// Its column.
    pub column: String,
    /// How a cell becomes a number.
    pub kind: AttributeKind,
    /// Unit, for a person.
    pub unit: String,
    /// Its value where there is no row, or no value in the row.
    pub default: f64,
    /// A sentence for a person.
    pub meaning: String,
}

/// How a cell becomes a number.
#[derive(Debug, Clone, PartialEq)]
pub enum AttributeKind {
    /// As it is.
    Number,
    /// 1 or 0.
    Flag,
    /// The number that is written beside this word; a word without one has no value.
    Category(BTreeMap<String, f64>),
    /// A day. As a feature: whole days from it to the day of the payment, UTC.
    Date,
}

/// Which attribute of which table a feature reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Pick {
    /// Place of the table in the schema.
    pub table: usize,
    /// Place of the attribute in the table.
    pub attribute: usize,
    /// `table.attribute`, for a person.
    pub name: String,
    /// The table's name.
    pub table_name: String,
    /// Its unit.
    pub unit: String,
    /// Whether the feature is days since the attribute.
    pub days: bool,
    /// Whether its values are whole numbers.
    pub integer: bool,
    /// The attribute's default.
    pub default: f64,
}

/// Why a schema cannot be used.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// It is not TOML of the documented form.
    #[error("reference data: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A table or an attribute breaks a rule.
    #[error("reference data: {name}: {rule}")]
    Invalid {
        /// Which.
        name: String,
        /// The rule.
        rule: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    table: Vec<WrittenTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTable {
    name: String,
    entity: String,
    key: Option<String>,
    meaning: String,
    attribute: Vec<WrittenAttribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenAttribute {
    name: String,
    column: Option<String>,
    #[serde(rename = "type")]
    kind: KindName,
    codes: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    default: f64,
    meaning: String,
}

#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum KindName {
    Number,
    Flag,
    Category,
    Date,
}

impl ReferenceSchema {
    /// The schema that is built into the program.
    ///
    /// # Errors
    /// When the text breaks a rule; a test keeps the shipped one right.
    pub fn shipped() -> Result<Self, SchemaError> {
        Self::parse(SHIPPED)
    }

    /// Reads a schema.
    ///
    /// # Errors
    /// The first table or attribute that breaks a rule, by name.
    pub fn parse(text: &str) -> Result<Self, SchemaError> {
        let document: Document = toml::from_str(text)?;
        let mut tables: Vec<TableSchema> = Vec::with_capacity(document.table.len());
        for written in document.table {
            let name = written.name.clone();
            let refuse = |rule| Err(SchemaError::Invalid { name: name.clone(), rule });
            let rule = match () {
                () if !is_name(&name) => "a name is lower-case letters, digits and _",
                () if name == RATES => "rates are read as published, currency, rate: they are no table of attributes",
                () if tables.iter().any(|earlier| earlier.name == name) => "the name stands twice",
                () if tables.iter().any(|earlier| earlier.entity == written.entity) => {
                    "another table has this entity: add its attributes there"
                }
                () if written.attribute.is_empty() => "it has no attribute",
                () => {
                    let key = written.key.unwrap_or_else(|| written.entity.clone());
                    let attributes = attributes(&name, written.attribute)?;
                    tables.push(TableSchema {
                        name: written.name,
                        entity: written.entity,
                        key,
                        meaning: written.meaning,
                        attributes,
                    });
                    continue;
                }
            };
            return refuse(rule);
        }
        Ok(Self { tables })
    }

    /// The tables, in the file's order.
    #[must_use]
    pub fn tables(&self) -> &[TableSchema] {
        &self.tables
    }

    /// Place of the table of this name.
    #[must_use]
    pub fn place(&self, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.name == name)
    }

    /// The attribute that a feature of `entity` reads by this name.
    ///
    /// # Errors
    /// What is not there, in words.
    pub fn pick(&self, entity: &str, attribute: &str) -> Result<Pick, String> {
        let place = self.tables.iter().position(|table| table.entity == entity);
        let known = place.and_then(|place| self.tables.get(place).map(|table| (place, table)));
        let (table, of) = known.ok_or_else(|| format!("schemas/reference.toml has no table of entity {entity:?}"))?;
        let found = (0..).zip(&of.attributes).find(|(_, one)| one.name == attribute);
        let (attribute, one) = found.ok_or_else(|| format!("the table {} has no attribute {attribute:?}", of.name))?;
        let integer = match &one.kind {
            AttributeKind::Number => false,
            AttributeKind::Flag | AttributeKind::Date => true,
            AttributeKind::Category(codes) => codes.values().all(|code| code.fract() == 0.0),
        };
        Ok(Pick {
            table,
            attribute,
            name: format!("{}.{}", of.name, one.name),
            table_name: of.name.clone(),
            unit: one.unit.clone(),
            days: one.kind == AttributeKind::Date,
            integer,
            default: one.default,
        })
    }
}

/// What rates are named among the tables.
pub const RATES: &str = "rates";

fn attributes(table: &str, written: Vec<WrittenAttribute>) -> Result<Vec<Attribute>, SchemaError> {
    let mut attributes: Vec<Attribute> = Vec::with_capacity(written.len());
    for mut one in written {
        let codes = one.codes.take();
        let twice = attributes.iter().any(|earlier| earlier.name == one.name);
        let coded = codes.as_ref().is_some_and(|codes| !codes.is_empty());
        let finite = one.default.is_finite() && codes.iter().flat_map(BTreeMap::values).all(|code| code.is_finite());
        let rule = match () {
            () if !is_name(&one.name) => "a name is lower-case letters, digits and _",
            () if twice => "the name stands twice",
            () if coded != (one.kind == KindName::Category) => "type \"category\", and no other, has `codes`",
            () if !finite => "default and codes must be finite numbers",
            () => {
                let kind = match one.kind {
                    KindName::Number => AttributeKind::Number,
                    KindName::Flag => AttributeKind::Flag,
                    KindName::Category => AttributeKind::Category(codes.unwrap_or_default()),
                    KindName::Date => AttributeKind::Date,
                };
                let WrittenAttribute { name, column, unit, default, meaning, .. } = one;
                let column = column.unwrap_or_else(|| name.clone());
                attributes.push(Attribute { name, column, kind, unit, default, meaning });
                continue;
            }
        };
        return Err(SchemaError::Invalid { name: format!("{table}.{}", one.name), rule });
    }
    Ok(attributes)
}

impl TableSchema {
    /// What the values of a row mean, as text: a copy that was made of other attributes is of no use.
    #[must_use]
    pub fn form(&self) -> String {
        self.attributes.iter().map(|one| format!("{}={:?};", one.name, one.kind)).collect()
    }
}

impl Attribute {
    /// The number that a cell means; NaN for an empty one, and for a word without a code.
    ///
    /// # Errors
    /// What the cell should have been; never what it holds.
    pub fn value(&self, cell: &str) -> Result<f64, &'static str> {
        let cell = cell.trim();
        if cell.is_empty() {
            return Ok(f64::NAN);
        }
        match &self.kind {
            AttributeKind::Number => {
                let number: f64 = cell.parse().map_err(|_| "it is no number")?;
                if number.is_finite() { Ok(number) } else { Err("it is no finite number") }
            }
            AttributeKind::Flag => match cell {
                "true" | "True" | "TRUE" | "t" | "1" => Ok(1.0),
                "false" | "False" | "FALSE" | "f" | "0" => Ok(0.0),
                _ => Err("it is neither true, false, 1 nor 0"),
            },
            AttributeKind::Category(codes) => Ok(codes.get(cell).copied().unwrap_or(f64::NAN)),
            AttributeKind::Date => {
                let rule = "it is no day such as 2026-01-31, nor integer milliseconds since 1970";
                if let Ok(millis) = cell.parse() {
                    return Ok(number_of(Millis(millis)));
                }
                let (day, rest) = cell.split_at_checked(10).ok_or(rule)?;
                let ends = rest.is_empty() || rest.starts_with(['T', ' ']);
                let midnight = Millis::parse_rfc3339(&format!("{day}T00:00:00Z")).filter(|_| ends).ok_or(rule)?;
                Ok(number_of(midnight))
            }
        }
    }
}

/// The day of a moment.
#[expect(clippy::cast_precision_loss, reason = "days are small")]
fn number_of(moment: Millis) -> f64 {
    moment.day() as f64
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}
