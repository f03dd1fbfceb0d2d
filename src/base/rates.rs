//! Exchange rates as they were first published: by currency and day, what one unit of the base currency buys.
//!
//! In: publications, in any order, any number of times. Out: an amount in the base currency, at the last rate published
//! before the UTC day of the event.
//! Invariant: the first rate of a (currency, day) stays. A later one for the same day is a correction: it is told to
//! whoever published it and changes nothing, so no order of publications and corrections after the first changes an amount.

use std::collections::HashMap;
use std::fmt;

use arc_swap::ArcSwap;
use thiserror::Error;

use super::clock::{DAY, Millis};
use super::money::{BaseAmount, Currency, RateQuality};

/// Units of a currency for one unit of the base: a positive decimal of at most nine decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate(i64);

impl Rate {
    const SCALE: i64 = 1_000_000_000;

    /// Reads `1.0865`; zeros beyond the ninth decimal are nothing. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let fraction = if fraction.len() > 9 { fraction.trim_end_matches('0') } else { fraction };
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
            return None;
        }
        let scaled: i64 = format!("{whole}{fraction:0<9}").parse().ok()?;
        (scaled > 0).then_some(Self(scaled))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:09}", self.0 / Self::SCALE, self.0 % Self::SCALE)
    }
}

/// A rate of a currency, published on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// The currency.
    pub currency: Currency,
    /// Days since the epoch, UTC.
    pub day: i64,
    /// The rate.
    pub rate: Rate,
}

impl Publication {
    /// Reads its three words: an ISO day, a currency code, a rate.
    ///
    /// # Errors
    /// The rule that one of them breaks.
    pub fn parse(day: &str, currency: &str, rate: &str) -> Result<Self, &'static str> {
        let day =
            Millis::parse_rfc3339(&format!("{day}T00:00:00Z")).ok_or("published must be a day such as 2026-01-31")?;
        let currency = Currency::parse(currency).ok_or("currency must be an ISO 4217 code")?;
        let rate = Rate::parse(rate).ok_or("rate must be a positive decimal with at most nine decimals")?;
        Ok(Self { currency, day: day.day(), rate })
    }

    /// Its day as ISO 8601 has it.
    #[must_use]
    pub fn date(&self) -> String {
        let mut text = Millis(self.day.saturating_mul(DAY)).to_rfc3339();
        text.truncate(10);
        text
    }
}

/// Why a rates file cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("line {line}: {rule}")]
pub struct RatesError {
    /// 1-based line of the file.
    pub line: usize,
    /// What the line should have been.
    pub rule: String,
}

/// Reads CSV lines `published,currency,rate` (a header of those names first): an ISO day, a currency code and how many
/// units of it one unit of the base buys, with at most nine decimals.
///
/// # Errors
/// The first line that is not of that form, or that publishes a day of a currency again with another rate.
pub fn parse(text: &str) -> Result<Vec<Publication>, RatesError> {
    let mut all = Vec::new();
    let mut known = HashMap::new();
    for (index, line) in text.lines().enumerate() {
        let fail = |rule: &str| RatesError { line: index + 1, rule: rule.to_owned() };
        if index == 0 {
            if line.trim() != "published,currency,rate" {
                return Err(fail("the header must be published,currency,rate"));
            }
            continue;
        }
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut cells = line.split(',').map(str::trim);
        let (Some(day), Some(code), Some(rate), None) = (cells.next(), cells.next(), cells.next(), cells.next()) else {
            return Err(fail("expected three cells: published,currency,rate"));
        };
        let one = Publication::parse(day, code, rate).map_err(fail)?;
        match known.insert((one.currency, one.day), one.rate) {
            None => all.push(one),
            Some(earlier) if earlier == one.rate => {}
            Some(_) => return Err(fail("this day of this currency was published before with another rate")),
        }
    }
    Ok(all)
}

/// Per currency, ascending by day: what was published first.
type Published = HashMap<Currency, Vec<(i64, Rate)>>;

/// What became of publications.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that were the first of their day.
    pub new: usize,
    /// Those that say otherwise than the first of their day did; they count for nothing.
    pub corrections: Vec<Publication>,
}

/// The rates of one base currency. Readers see a publication as a whole or not at all.
#[derive(Debug)]
pub struct Rates {
    base: Currency,
    published: ArcSwap<Published>,
}

/// A copy of what is known now; what is published later reaches only one of the two.
impl Clone for Rates {
    fn clone(&self) -> Self {
        Self { base: self.base, published: ArcSwap::new(self.published.load_full()) }
    }
}

impl Rates {
    /// A rate published earlier than this many days before the event's day is stale.
    pub const MAX_AGE_DAYS: i64 = 4;

    /// Rates of the base currency alone.
    #[must_use]
    pub fn of_base(base: Currency) -> Self {
        Self { base, published: ArcSwap::default() }
    }

    /// The rates of a CSV text; see [`parse`].
    ///
    /// # Errors
    /// As [`parse`].
    pub fn parse(base: Currency, text: &str) -> Result<Self, RatesError> {
        let rates = Self::of_base(base);
        rates.publish(&parse(text)?);
        Ok(rates)
    }

    /// Takes publications: the first of a (currency, day) stays, a repeated one changes nothing, a correction is told.
    pub fn publish(&self, publications: &[Publication]) -> Outcome {
        let known = self.published.load();
        if publications.iter().all(|one| first(&known, one.currency, one.day) == Some(one.rate)) {
            return Outcome::default();
        }
        drop(known);
        let mut outcome = Outcome::default();
        self.published.rcu(|known| {
            outcome = Outcome::default();
            let mut next = Published::clone(known);
            for one in publications {
                let series = next.entry(one.currency).or_default();
                match series.binary_search_by_key(&one.day, |entry| entry.0) {
                    Ok(place) if series.get(place).is_some_and(|entry| entry.1 != one.rate) => {
                        outcome.corrections.push(*one);
                    }
                    Ok(_) => {}
                    Err(place) => {
                        series.insert(place, (one.day, one.rate));
                        outcome.new += 1;
                    }
                }
            }
            next
        });
        outcome
    }

    /// The rate that was published first for a day of a currency.
    #[must_use]
    pub fn of_day(&self, currency: Currency, day: i64) -> Option<Rate> {
        first(&self.published.load(), currency, day)
    }

    /// How many (currency, day) have a rate.
    #[must_use]
    pub fn len(&self) -> usize {
        self.published.load().values().map(Vec::len).sum()
    }

    /// Whether the base currency alone is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The base currency.
    #[must_use]
    pub const fn base(&self) -> Currency {
        self.base
    }

    /// `minor` units of `currency` in minor units of the base, at the last rate published before the UTC day of
    /// `at`, rounded half to even; saturates at the range of `i64`.
    #[must_use]
    pub fn to_base(&self, minor: i64, currency: Currency, at: Millis) -> BaseAmount {
        if currency == self.base {
            return BaseAmount { minor, rate: RateQuality::Fresh };
        }
        let day = at.day();
        let known = self.published.load();
        let last_before = known.get(&currency).and_then(|series| {
            let after = series.partition_point(|entry| entry.0 < day);
            after.checked_sub(1).and_then(|place| series.get(place))
        });
        let Some(&(published, Rate(rate))) = last_before else {
            return BaseAmount { minor: 0, rate: RateQuality::Missing };
        };
        let numerator = i128::from(minor) * i128::from(self.base.minor_per_major()) * i128::from(Rate::SCALE);
        let denominator = i128::from(currency.minor_per_major()) * i128::from(rate);
        let converted = divide_half_even(numerator, denominator);
        let minor = i64::try_from(converted).unwrap_or(if converted < 0 { i64::MIN } else { i64::MAX });
        let fresh = day - published <= Self::MAX_AGE_DAYS;
        BaseAmount { minor, rate: if fresh { RateQuality::Fresh } else { RateQuality::Stale } }
    }
}

fn first(known: &Published, currency: Currency, day: i64) -> Option<Rate> {
    let series = known.get(&currency)?;
    let place = series.binary_search_by_key(&day, |entry| entry.0).ok()?;
    series.get(place).map(|entry| entry.1)
}

/// `numerator / denominator` rounded to the nearest integer, ties to even; `denominator` > 0.
fn divide_half_even(numerator: i128, denominator: i128) -> i128 {
    let (quotient, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
    match (rest * 2).cmp(&denominator) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Greater => quotient + 1,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
    }
}

#[cfg(test)]
#[path = "rates_tests.rs"]
mod tests;
