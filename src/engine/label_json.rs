//! A label as JSON: read and checked, for every mouth.

use serde::Deserialize;
use serde_json::Value;

use super::Label;
use crate::base::clock::Millis;
use crate::transaction::{Rejection, RejectionCode};

/// The last moment of the year 9999, UTC.
const LAST: i64 = 253_402_300_799_999;
/// The most characters of a transaction's id.
const MAX_ID: usize = 64;
/// The most characters of a source.
const MAX_SOURCE: usize = 32;
/// What a label is.
const OBJECT: &str = "must be a JSON object with transaction_id, is_fraud, labelled_at and source";

/// A label as it is written; unknown fields are ignored.
#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    transaction_id: Option<Value>,
    #[serde(default)]
    is_fraud: Option<Value>,
    #[serde(default)]
    labelled_at: Option<Value>,
    #[serde(default)]
    source: Option<Value>,
}

impl Label {
    /// Reads one label from a JSON object.
    ///
    /// # Errors
    /// The first rule that is broken. A `source` that is no word has the code `wrong_type`.
    pub fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let written: Written = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        // Why: serde also takes a struct's fields from an array, by their places.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(refusal(RejectionCode::WrongType, "", None, OBJECT));
        }
        let transaction_id = text("transaction_id", written.transaction_id)?;
        if !(1..=MAX_ID).contains(&transaction_id.len()) {
            let rule = format!("must be 1 to {MAX_ID} characters");
            return Err(refusal(RejectionCode::IdLength, "transaction_id", None, &rule));
        }
        if !is_word(&transaction_id, b"._:-") {
            let rule = "must be of letters, digits, '.', '_', ':' and '-'";
            return Err(refusal(RejectionCode::IdCharacter, "transaction_id", Some(transaction_id), rule));
        }
        let is_fraud = match written.is_fraud {
            Some(Value::Bool(verdict)) => verdict,
            other => return Err(wrong("is_fraud", other, "must be true or false")),
        };
        let source = text("source", written.source)?;
        if !(1..=MAX_SOURCE).contains(&source.len()) || !is_word(&source, b"_-") {
            let rule = format!("must be 1 to {MAX_SOURCE} letters, digits, '_' or '-': chargeback, review, customer");
            return Err(refusal(RejectionCode::WrongType, "source", Some(source), &rule));
        }
        Ok(Self { transaction_id, is_fraud, labelled_at: moment(written.labelled_at)?, source })
    }
}

fn unreadable(error: &serde_json::Error) -> Rejection {
    let text = error.to_string();
    let code = if text.starts_with("duplicate field") {
        RejectionCode::DuplicateKey
    } else if text.starts_with("recursion limit") {
        RejectionCode::NestedTooDeep
    } else if error.is_data() {
        RejectionCode::WrongType
    } else {
        RejectionCode::NotJson
    };
    refusal(code, "", None, &format!("{OBJECT}: {text}"))
}

fn text(field: &str, value: Option<Value>) -> Result<String, Rejection> {
    match value {
        Some(Value::String(text)) => Ok(text),
        other => Err(wrong(field, other, "must be a string")),
    }
}

fn moment(value: Option<Value>) -> Result<Millis, Rejection> {
    let rule = "must be RFC 3339, or whole milliseconds since 1970 up to the year 9999";
    let parsed = match &value {
        Some(Value::String(text)) => Millis::parse_rfc3339(text),
        Some(Value::Number(number)) => number.as_i64().map(Millis),
        other => return Err(wrong("labelled_at", other.clone(), rule)),
    };
    parsed.filter(|moment| (0..=LAST).contains(&moment.0)).ok_or_else(|| {
        let shown = value.as_ref().map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        refusal(RejectionCode::TimeFormat, "labelled_at", shown, rule)
    })
}

/// Absent, or of another type.
fn wrong(field: &str, value: Option<Value>, rule: &str) -> Rejection {
    match value {
        None | Some(Value::Null) => refusal(RejectionCode::MissingField, field, None, rule),
        Some(other) => refusal(RejectionCode::WrongType, field, Some(other.to_string()), rule),
    }
}

fn refusal(code: RejectionCode, field: &str, value: Option<String>, rule: &str) -> Rejection {
    let value = value.map(|value| value.chars().take(32).collect());
    Rejection { code, field: field.to_owned(), value, rule: rule.to_owned() }
}

fn is_word(text: &str, also: &[u8]) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || also.contains(&byte))
}
