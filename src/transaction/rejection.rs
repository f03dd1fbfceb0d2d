//! Why a transaction is refused: a closed list of codes, each with one rule.

use std::fmt;

use serde::Serialize;

use super::Transaction;
use crate::base::clock::{HOUR, MINUTE, Millis, SECOND};

/// The closed list. The strings are stable: clients and dashboards match on them. Documented in docs/API.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// The bytes are not JSON (or not a row of the format that was announced).
    NotJson,
    /// Objects or arrays stand deeper in each other than the limit.
    NestedTooDeep,
    /// The bytes of one transaction are more than the limit.
    TooLarge,
    /// A required field is absent or null.
    MissingField,
    /// A field has another type than the schema says.
    WrongType,
    /// A key stands twice in one object.
    DuplicateKey,
    /// An identifier is empty or longer than 64.
    IdLength,
    /// An identifier has a character that is not allowed.
    IdCharacter,
    /// The amount is below zero.
    AmountNegative,
    /// The amount is a fraction of a minor unit.
    AmountFractional,
    /// The amount is above the limit.
    AmountTooLarge,
    /// A major-unit amount has more decimals than its currency.
    AmountDigits,
    /// Not an ISO 4217 code.
    UnknownCurrency,
    /// Not an ISO 3166-1 alpha-2 code.
    UnknownCountry,
    /// Not a channel of the schema.
    UnknownChannel,
    /// The time is neither RFC 3339 nor integer milliseconds in range.
    TimeFormat,
    /// The time is further ahead of the clock than allowed.
    TooFarAhead,
    /// The time is before the stream's time less the allowed lateness, and the id is unknown.
    TooOld,
    /// The same id came before with another value in a required field.
    Conflict,
}

impl RejectionCode {
    /// Every code, in the order of the enum.
    pub const ALL: [Self; 19] = [
        Self::NotJson,
        Self::NestedTooDeep,
        Self::TooLarge,
        Self::MissingField,
        Self::WrongType,
        Self::DuplicateKey,
        Self::IdLength,
        Self::IdCharacter,
        Self::AmountNegative,
        Self::AmountFractional,
        Self::AmountTooLarge,
        Self::AmountDigits,
        Self::UnknownCurrency,
        Self::UnknownCountry,
        Self::UnknownChannel,
        Self::TimeFormat,
        Self::TooFarAhead,
        Self::TooOld,
        Self::Conflict,
    ];

    /// The stable string.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::NestedTooDeep => "nested_too_deep",
            Self::TooLarge => "too_large",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::DuplicateKey => "duplicate_key",
            Self::IdLength => "id_length",
            Self::IdCharacter => "id_character",
            Self::AmountNegative => "amount_negative",
            Self::AmountFractional => "amount_fractional",
            Self::AmountTooLarge => "amount_too_large",
            Self::AmountDigits => "amount_digits",
            Self::UnknownCurrency => "unknown_currency",
            Self::UnknownCountry => "unknown_country",
            Self::UnknownChannel => "unknown_channel",
            Self::TimeFormat => "time_format",
            Self::TooFarAhead => "too_far_ahead",
            Self::TooOld => "too_old",
            Self::Conflict => "conflict",
        }
    }

    /// Whether the bytes could not be read at all (HTTP 400), rather than read and refused (422; 409 for a conflict).
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        matches!(self, Self::NotJson | Self::NestedTooDeep | Self::DuplicateKey)
    }
}

/// A refusal: which rule, where, and what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Which rule.
    pub code: RejectionCode,
    /// The canonical field, or the path in the source; empty when no field is at fault.
    pub field: String,
    /// What stood there: at most 32 characters, and of a personal field only its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The rule in words, with the limit and what to do.
    pub rule: String,
}

impl Rejection {
    /// The bytes cannot be read as what they were announced to be, for the reason `detail`.
    #[must_use]
    pub fn not_json(detail: &str) -> Self {
        Self::plain(RejectionCode::NotJson, "", detail.to_owned())
    }

    /// Parts stand in each other deeper than `limit`, at `path`.
    #[must_use]
    pub fn nested_too_deep(path: &str, limit: usize) -> Self {
        let rule = format!("objects and arrays may stand in each other at most {limit} deep");
        Self::plain(RejectionCode::NestedTooDeep, path, rule)
    }

    /// One transaction of `bytes` bytes, more than `limit`.
    #[must_use]
    pub fn too_large(bytes: usize, limit: usize) -> Self {
        Self {
            value: Some(format!("{bytes} bytes")),
            ..Self::plain(RejectionCode::TooLarge, "", format!("a transaction may have at most {limit} bytes"))
        }
    }

    /// The required `field` is absent or null.
    #[must_use]
    pub fn missing_field(field: &str) -> Self {
        Self::plain(RejectionCode::MissingField, field, "is required, and absent or null here".to_owned())
    }

    /// The key at `path` stands twice.
    #[must_use]
    pub fn duplicate_key(path: &str) -> Self {
        Self::plain(RejectionCode::DuplicateKey, path, "a key may stand once in an object".to_owned())
    }

    /// `occurred_at` is more than `limit` milliseconds ahead of the clock.
    #[must_use]
    pub fn too_far_ahead(occurred_at: Millis, now: Millis, limit: i64) -> Self {
        let rule = format!("may be at most {} ahead of the clock, which shows {now}", duration(limit));
        Self { value: Some(occurred_at.to_string()), ..Self::plain(RejectionCode::TooFarAhead, "occurred_at", rule) }
    }

    /// `occurred_at` is more than `lateness` milliseconds before the stream's time, and the id is unknown.
    #[must_use]
    pub fn too_old(occurred_at: Millis, stream_time: Millis, lateness: i64) -> Self {
        let rule = format!(
            "an unknown transaction may be at most {} before the newest accepted one, which is of {stream_time}",
            duration(lateness)
        );
        Self { value: Some(occurred_at.to_string()), ..Self::plain(RejectionCode::TooOld, "occurred_at", rule) }
    }

    /// The id of `transaction` came before with another value in a required field.
    #[must_use]
    pub fn conflict(transaction: &Transaction) -> Self {
        let rule = "this id came before with another occurred_at, customer_id, terminal_id, amount_minor or currency; \
            a new transaction needs a new id";
        Self {
            value: Some(shortened(&transaction.transaction_id, 32)),
            ..Self::plain(RejectionCode::Conflict, "transaction_id", rule.to_owned())
        }
    }

    fn plain(code: RejectionCode, field: &str, rule: String) -> Self {
        Self { code, field: field.to_owned(), value: None, rule }
    }
}

/// At most `limit` characters of `text`, then `…`; control characters as `\u{fffd}`, so that a log line stays one.
pub(crate) fn shortened(text: &str, limit: usize) -> String {
    let mut characters = text.chars().map(|one| if one.is_control() { char::REPLACEMENT_CHARACTER } else { one });
    let mut short: String = characters.by_ref().take(limit).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

/// Milliseconds in the largest unit that shows them whole.
fn duration(millis: i64) -> String {
    [(HOUR, "h"), (MINUTE, "min"), (SECOND, "s")]
        .into_iter()
        .find(|(unit, _)| millis % unit == 0)
        .map_or_else(|| format!("{millis} ms"), |(unit, name)| format!("{} {name}", millis / unit))
}

impl fmt::Display for Rejection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.code.as_str())?;
        if !self.field.is_empty() {
            write!(formatter, ": {}", self.field)?;
        }
        if let Some(value) = &self.value {
            write!(formatter, " = {value}")?;
        }
        write!(formatter, ": {}", self.rule)
    }
}

impl std::error::Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_strings_that_serde_writes() {
        for code in RejectionCode::ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }

    #[test]
    fn messages_say_value_limit_and_rule() {
        let ahead = Rejection::too_far_ahead(Millis(3_600_000), Millis(0), 5 * MINUTE).to_string();
        assert_eq!(
            ahead,
            "too_far_ahead: occurred_at = 1970-01-01T01:00:00.000Z: may be at most 5 min ahead of the clock, which \
             shows 1970-01-01T00:00:00.000Z"
        );
        assert!(Rejection::too_old(Millis(0), Millis(0), 48 * HOUR).rule.contains("48 h"));
        assert_eq!(duration(1_500), "1500 ms");
        assert_eq!(shortened(&"é".repeat(33), 32), format!("{}…", "é".repeat(32)));
        assert_eq!(shortened("a\nb", 32), "a\u{fffd}b");
    }
}
