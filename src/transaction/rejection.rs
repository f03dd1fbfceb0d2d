//! Why a transaction is refused: a closed list of codes, each with one rule.

use std::fmt;

use serde::Serialize;

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
