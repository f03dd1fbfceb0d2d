//! From a raw value to the value of one field, by the field's kind and limits: every rule that looks at one field.

use std::borrow::Cow;

use compact_str::{CompactString, ToCompactString, format_compact};

use super::Channel;
use super::connector::{FieldPlan, Unit};
use super::country::is_country;
use super::decimal::{DecimalFault, scaled};
use super::raw::RawValue;
use super::rejection::{Rejection, RejectionCode, shortened};
use super::schema::Kind;
use crate::base::clock::Millis;
use crate::base::money::Currency;

/// A field's value that satisfies the schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// An identifier or a country.
    Text(CompactString),
    /// A moment.
    Time(Millis),
    /// Minor units.
    Amount(i64),
    /// A currency.
    Currency(Currency),
    /// A channel.
    Channel(Channel),
    /// A label.
    Label(bool),
}

/// Reads one field. `currency` is that of the transaction: amounts in major units need it.
pub(crate) fn read_field(plan: &FieldPlan, raw: &RawValue<'_>, currency: Option<Currency>) -> Result<Value, Rejection> {
    if let Some(map) = &plan.map {
        let mapped = raw.text().and_then(|text| map.entries.get(text.as_ref())).or(map.default.as_ref());
        if let Some(mapped) = mapped {
            return read_kind(plan, &RawValue::Cell(Cow::Borrowed(mapped)), currency);
        }
    }
    read_kind(plan, raw, currency)
}

fn read_kind(plan: &FieldPlan, raw: &RawValue<'_>, currency: Option<Currency>) -> Result<Value, Rejection> {
    match plan.field.kind {
        Kind::Id => id(plan, raw).map(Value::Text),
        Kind::Time => time(plan, raw).map(|moment| Value::Time(Millis(moment))),
        Kind::Amount => amount(plan, raw, currency).map(Value::Amount),
        Kind::Currency => {
            let code = code(plan, raw)?;
            Currency::parse(&code).map(Value::Currency).ok_or_else(|| {
                refuse(plan, raw, RejectionCode::UnknownCurrency, "must be an ISO 4217 code in use, in upper case")
            })
        }
        Kind::Country => {
            let code = code(plan, raw)?;
            if is_country(&code) {
                return Ok(Value::Text(code.to_compact_string()));
            }
            Err(refuse(plan, raw, RejectionCode::UnknownCountry, "must be an ISO 3166-1 alpha-2 code, in upper case"))
        }
        Kind::Channel => {
            let word = code(plan, raw)?;
            let channel = plan.field.channels.iter().find(|channel| channel.as_str() == word);
            channel.copied().map(Value::Channel).ok_or_else(|| {
                let mut words: Vec<&str> = plan.field.channels.iter().map(|channel| channel.as_str()).collect();
                words.sort_unstable();
                refuse(plan, raw, RejectionCode::UnknownChannel, &format!("must be one of {}", words.join(", ")))
            })
        }
        Kind::Label => match raw {
            RawValue::Bool(label) => Ok(Value::Label(*label)),
            RawValue::Int(0) => Ok(Value::Label(false)),
            RawValue::Int(1) => Ok(Value::Label(true)),
            RawValue::Cell(text) if matches!(text.as_ref(), "0" | "false") => Ok(Value::Label(false)),
            RawValue::Cell(text) if matches!(text.as_ref(), "1" | "true") => Ok(Value::Label(true)),
            _ => Err(wrong_type(plan, raw, "true or false, or 1 or 0")),
        },
    }
}

fn id(plan: &FieldPlan, raw: &RawValue<'_>) -> Result<CompactString, Rejection> {
    let text = match raw {
        RawValue::Text(text) | RawValue::Cell(text) => cased(plan, text).to_compact_string(),
        RawValue::Int(number) if plan.as_text => number.to_compact_string(),
        RawValue::Large(number) if plan.as_text => number.to_compact_string(),
        _ => return Err(wrong_type(plan, raw, "text")),
    };
    let limit = plan.field.max_length;
    if text.is_empty() || (text.len() > limit && text.chars().count() > limit) {
        let rule = format!("must have 1 to {limit} characters");
        return Err(refuse(plan, raw, RejectionCode::IdLength, &rule));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
    if !text.bytes().all(allowed) {
        let rule = "must consist of letters a to z and A to Z, digits, and . _ : -";
        return Err(refuse(plan, raw, RejectionCode::IdCharacter, rule));
    }
    Ok(text)
}

/// The text of a code: a currency, a country, a channel.
fn code<'r>(plan: &FieldPlan, raw: &'r RawValue<'_>) -> Result<Cow<'r, str>, Rejection> {
    match raw {
        RawValue::Text(text) | RawValue::Cell(text) => Ok(cased(plan, text)),
        _ => Err(wrong_type(plan, raw, "text")),
    }
}

fn cased<'t>(plan: &FieldPlan, text: &'t str) -> Cow<'t, str> {
    if plan.upper { Cow::Owned(text.to_ascii_uppercase()) } else { Cow::Borrowed(text) }
}

fn time(plan: &FieldPlan, raw: &RawValue<'_>) -> Result<i64, Rejection> {
    let number_scale = if plan.unit == Unit::Seconds { 3 } else { 0 };
    let moment = match raw {
        RawValue::Time(moment) => Some(*moment),
        RawValue::Text(text) if matches!(plan.unit, Unit::Default | Unit::Rfc3339) => rfc3339(text),
        RawValue::Cell(text) => match plan.unit {
            Unit::Rfc3339 => rfc3339(text),
            Unit::Default => scaled(text, 0).ok().or_else(|| rfc3339(text)),
            _ => scaled(text, number_scale).ok(),
        },
        RawValue::Text(_) => return Err(wrong_type(plan, raw, "a number")),
        RawValue::Int(_) | RawValue::Large(_) | RawValue::Float(_) if plan.unit == Unit::Rfc3339 => {
            return Err(wrong_type(plan, raw, "text in RFC 3339"));
        }
        RawValue::Int(number) if number_scale == 0 => Some(*number),
        RawValue::Int(number) => number.checked_mul(1_000),
        RawValue::Large(_) => None,
        RawValue::Float(number) => scaled(&plain(*number), number_scale).ok(),
        _ => return Err(wrong_type(plan, raw, "text in RFC 3339, or integer milliseconds")),
    };
    let range = plan.field.minimum..=plan.field.maximum;
    moment.filter(|moment| range.contains(moment)).ok_or_else(|| {
        let form = match plan.unit {
            Unit::Rfc3339 => "RFC 3339 such as 2026-01-31T12:00:00.250Z",
            Unit::Seconds => "seconds since 1970-01-01T00:00:00Z, with at most 3 decimals",
            Unit::Milliseconds => "integer milliseconds since 1970-01-01T00:00:00Z",
            _ => "RFC 3339 such as 2026-01-31T12:00:00.250Z, or integer milliseconds since 1970-01-01T00:00:00Z",
        };
        let rule = format!("must be {form}, from {} to {}", Millis(*range.start()), Millis(*range.end()));
        refuse(plan, raw, RejectionCode::TimeFormat, &rule)
    })
}

fn rfc3339(text: &str) -> Option<i64> {
    Millis::parse_rfc3339(text).map(|moment| moment.0)
}

/// The shortest decimal that reads back as `number`; longer than any limit where the number is beyond all amounts.
fn plain(number: f64) -> CompactString {
    format_compact!("{number}")
}

fn amount(plan: &FieldPlan, raw: &RawValue<'_>, currency: Option<Currency>) -> Result<i64, Rejection> {
    let digits = match (plan.unit, currency) {
        (Unit::Major, Some(currency)) => currency.digits(),
        (Unit::Major, None) => return Err(Rejection::missing_field("currency")),
        _ => 0,
    };
    let outcome = match raw {
        RawValue::Int(number) if *number < 0 => Err(DecimalFault::Negative),
        RawValue::Int(number) => number.checked_mul(10_i64.pow(digits.into())).ok_or(DecimalFault::TooLarge),
        RawValue::Large(_) => Err(DecimalFault::TooLarge),
        RawValue::Float(number) if number.is_finite() => scaled(&plain(*number), digits),
        RawValue::Cell(text) => scaled(text, digits),
        RawValue::Text(text) if plan.unit == Unit::Major => scaled(text, digits),
        _ => Err(DecimalFault::NotDecimal),
    };
    let limit = plan.field.maximum;
    match outcome {
        Ok(amount) if amount > limit => Err(DecimalFault::TooLarge),
        other => other,
    }
    .map_err(|fault| match fault {
        DecimalFault::NotDecimal => {
            let wanted = if plan.unit == Unit::Major { "a decimal number or its text" } else { "an integer" };
            wrong_type(plan, raw, wanted)
        }
        DecimalFault::Negative => refuse(plan, raw, RejectionCode::AmountNegative, "must be at least 0"),
        DecimalFault::TooLarge => {
            refuse(plan, raw, RejectionCode::AmountTooLarge, &format!("must be at most {limit} minor units"))
        }
        DecimalFault::Digits if plan.unit == Unit::Major => {
            let code = currency.map_or_else(String::new, |currency| currency.to_string());
            let rule = format!("must have at most {digits} decimals, as {code} has");
            refuse(plan, raw, RejectionCode::AmountDigits, &rule)
        }
        DecimalFault::Digits => {
            refuse(plan, raw, RejectionCode::AmountFractional, "must be an integer of the currency's minor unit")
        }
    })
}

fn wrong_type(plan: &FieldPlan, raw: &RawValue<'_>, wanted: &str) -> Rejection {
    let rule = format!("must be {wanted}; here stands {}", raw.type_name());
    refuse(plan, raw, RejectionCode::WrongType, &rule)
}

/// A rejection of the field with what stood there; of a personal field only how much of it.
fn refuse(plan: &FieldPlan, raw: &RawValue<'_>, code: RejectionCode, rule: &str) -> Rejection {
    let value = raw.text().map(|text| {
        if plan.field.personal { format!("({} characters)", text.chars().count()) } else { shortened(&text, 32) }
    });
    Rejection { code, field: plan.field.name.to_string(), value, rule: rule.to_owned() }
}
