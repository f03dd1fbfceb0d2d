//! Cells of a table: what a raw value is as a number, a truth value, a time or text.

use std::borrow::Cow;

use compact_str::CompactString;

use crate::base::clock::Millis;
use crate::transaction::RawValue;

/// What a column's cells are read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any number; text only where the format has no types (CSV).
    Number,
    /// A boolean, or 0 and 1.
    Flag,
    /// A timestamp, RFC 3339 (without a zone: UTC), or integer milliseconds since 1970.
    Time,
    /// Text; numbers and booleans as they are written.
    Text,
}

/// A column's cells; `None` is a null.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Numbers. `single` says that the file has them as 32-bit floats.
    Number {
        /// The cells.
        cells: Vec<Option<f64>>,
        /// Every one of them was a 32-bit float.
        single: bool,
    },
    /// Truth values.
    Flag(Vec<Option<bool>>),
    /// Moments.
    Time(Vec<Option<Millis>>),
    /// Text.
    Text(Vec<Option<CompactString>>),
}

/// A value of a JSON object; `None` where the object has no such key.
pub(super) fn of_json(value: Option<&serde_json::Value>) -> RawValue<'_> {
    use serde_json::Value;
    match value {
        None => RawValue::Absent,
        Some(Value::Null) => RawValue::Null,
        Some(Value::Bool(value)) => RawValue::Bool(*value),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => RawValue::Int(value),
            (None, Some(value)) => RawValue::Large(value),
            (None, None) => RawValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Some(Value::String(text)) => RawValue::Text(Cow::Borrowed(text)),
        Some(Value::Array(_) | Value::Object(_)) => RawValue::Composite,
    }
}

impl Values {
    pub(super) const fn new(kind: Kind) -> Self {
        match kind {
            Kind::Number => Self::Number { cells: Vec::new(), single: true },
            Kind::Flag => Self::Flag(Vec::new()),
            Kind::Time => Self::Time(Vec::new()),
            Kind::Text => Self::Text(Vec::new()),
        }
    }

    /// Appends a cell. What is wrong is said without the cell's content, which may be personal.
    pub(super) fn push(&mut self, raw: &RawValue<'_>) -> Result<(), &'static str> {
        let null = raw.is_empty();
        match self {
            Self::Number { cells, single } => {
                *single = false;
                cells.push(if null { None } else { Some(number(raw).ok_or("it is no number")?) });
            }
            Self::Flag(cells) => {
                cells.push(if null { None } else { Some(flag(raw).ok_or("it is neither true, false, 1 nor 0")?) });
            }
            Self::Time(cells) => {
                let rule = "it is no time: a timestamp, RFC 3339, or integer milliseconds since 1970";
                cells.push(if null { None } else { Some(time(raw).ok_or(rule)?) });
            }
            Self::Text(cells) => {
                cells.push(if null { None } else { Some(text(raw).ok_or("it is no text")?) });
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "what a 64-bit float holds of it")]
fn number(raw: &RawValue<'_>) -> Option<f64> {
    match raw {
        RawValue::Int(value) => Some(*value as f64),
        RawValue::Large(value) => Some(*value as f64),
        RawValue::Float(value) => Some(*value),
        RawValue::Cell(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn flag(raw: &RawValue<'_>) -> Option<bool> {
    match raw {
        RawValue::Bool(value) => Some(*value),
        RawValue::Cell(text) if text.eq_ignore_ascii_case("true") => Some(true),
        RawValue::Cell(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => match number(raw)? {
            0.0 => Some(false),
            1.0 => Some(true),
            _ => None,
        },
    }
}

fn time(raw: &RawValue<'_>) -> Option<Millis> {
    match raw {
        RawValue::Int(value) | RawValue::Time(value) => Some(Millis(*value)),
        RawValue::Cell(text) if text.parse::<i64>().is_ok() => text.parse().ok().map(Millis),
        RawValue::Text(text) | RawValue::Cell(text) => {
            Millis::parse_rfc3339(text).or_else(|| Millis::parse_rfc3339(&format!("{text}Z")))
        }
        _ => None,
    }
}

fn text(raw: &RawValue<'_>) -> Option<CompactString> {
    match raw {
        // A whole number that became a float on the way, as pandas does to a column with nulls.
        RawValue::Float(value) if value.fract() == 0.0 && value.abs() < 1e15 => {
            Some(CompactString::from(format!("{value:.0}")))
        }
        RawValue::Absent | RawValue::Null | RawValue::Composite => None,
        _ => raw.text().map(CompactString::from),
    }
}
