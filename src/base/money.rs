//! Money: integers in the minor unit of an ISO 4217 currency, and published exchange rates. Never a float.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::clock::Millis;

/// Active ISO 4217 codes whose minor unit is a hundredth.
const TWO_DIGITS: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY \
    COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR \
    JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO \
    NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB \
    TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG";
/// Codes without a minor unit.
const ZERO_DIGITS: &str = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Codes whose minor unit is a thousandth.
const THREE_DIGITS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// Whether `code` stands in `codes`: three letters each, one space between two, in alphabetical order.
fn is_listed(codes: &str, code: &str) -> bool {
    const WIDTH: usize = 4;
    let (mut low, mut high) = (0, codes.len().div_ceil(WIDTH));
    while low < high {
        let middle = usize::midpoint(low, high);
        let Some(known) = codes.get(middle * WIDTH..middle * WIDTH + 3) else { return false };
        match known.cmp(code) {
            std::cmp::Ordering::Equal => return true,
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    false
}

/// An ISO 4217 currency: its three letters and the number of digits of its minor unit (0, 2 or 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency {
    code: [u8; 3],
    digits: u8,
}

impl Currency {
    /// The currency with this upper-case code; `None` when ISO 4217 has none such in use.
    #[must_use]
    pub fn parse(code: &str) -> Option<Self> {
        let letters: [u8; 3] = code.as_bytes().try_into().ok()?;
        if !letters.iter().all(u8::is_ascii_uppercase) {
            return None;
        }
        [(TWO_DIGITS, 2), (ZERO_DIGITS, 0), (THREE_DIGITS, 3)]
            .into_iter()
            .find(|(codes, _)| is_listed(codes, code))
            .map(|(_, digits)| Self { code: letters, digits })
    }

    /// The three letters.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.code).unwrap_or("???")
    }

    /// Digits of the minor unit: 0, 2 or 3.
    #[must_use]
    pub const fn digits(self) -> u8 {
        self.digits
    }

    /// Minor units in one major unit: 1, 100 or 1000.
    #[must_use]
    pub const fn minor_per_major(self) -> i64 {
        10_i64.pow(self.digits as u32)
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        Self::parse(&code).ok_or_else(|| serde::de::Error::custom(format!("{code:?} is not an ISO 4217 currency code")))
    }
}

/// An amount in the base currency, and how well the rate behind it was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseAmount {
    /// Minor units of the base currency; 0 when no rate is known.
    pub minor: i64,
    /// How well the rate was known.
    pub rate: RateQuality,
}

/// How well the exchange rate of an amount was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateQuality {
    /// Published within [`Rates::MAX_AGE_DAYS`] days before the event, or the currency is the base.
    Fresh,
    /// Published earlier than that.
    Stale,
    /// No rate was published before the event's day.
    Missing,
}

/// Exchange rates by currency and publication day. A day once published is never changed.
#[derive(Debug, Clone)]
pub struct Rates {
    base: Currency,
    /// Per currency, ascending by day: (days since the epoch, units of the currency for one unit of the base × 10⁹).
    published: HashMap<Currency, Vec<(i64, i64)>>,
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

impl Rates {
    /// A rate published earlier than this many days before the event's day is stale.
    pub const MAX_AGE_DAYS: i64 = 4;
    const SCALE: i64 = 1_000_000_000;

    /// Rates of the base currency alone.
    #[must_use]
    pub fn of_base(base: Currency) -> Self {
        Self { base, published: HashMap::new() }
    }

    /// Reads CSV lines `published,currency,rate` (a header of those names first): an ISO day, a currency code and
    /// how many units of it one unit of `base` buys, with at most nine decimals.
    ///
    /// # Errors
    /// The first line that is not of that form, or that publishes a day of a currency again with another rate.
    pub fn parse(base: Currency, text: &str) -> Result<Self, RatesError> {
        let mut rates = Self::of_base(base);
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
            let (Some(day), Some(code), Some(rate), None) = (cells.next(), cells.next(), cells.next(), cells.next())
            else {
                return Err(fail("expected three cells: published,currency,rate"));
            };
            let day = Millis::parse_rfc3339(&format!("{day}T00:00:00Z"))
                .ok_or_else(|| fail("published must be a day such as 2026-01-31"))?
                .day();
            let currency = Currency::parse(code).ok_or_else(|| fail("currency must be an ISO 4217 code"))?;
            let rate =
                parse_scaled(rate).ok_or_else(|| fail("rate must be a positive decimal with at most nine decimals"))?;
            let series = rates.published.entry(currency).or_default();
            match series.binary_search_by_key(&day, |entry| entry.0) {
                Ok(found) if series.get(found).is_some_and(|entry| entry.1 != rate) => {
                    return Err(fail("this day of this currency was published before with another rate"));
                }
                Ok(_) => {}
                Err(place) => series.insert(place, (day, rate)),
            }
        }
        Ok(rates)
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
        let last_before = self.published.get(&currency).and_then(|series| {
            let after = series.partition_point(|entry| entry.0 < day);
            after.checked_sub(1).and_then(|place| series.get(place))
        });
        let Some(&(published, rate)) = last_before else {
            return BaseAmount { minor: 0, rate: RateQuality::Missing };
        };
        let numerator = i128::from(minor) * i128::from(self.base.minor_per_major()) * i128::from(Self::SCALE);
        let denominator = i128::from(currency.minor_per_major()) * i128::from(rate);
        let converted = divide_half_even(numerator, denominator);
        let minor = i64::try_from(converted).unwrap_or(if converted < 0 { i64::MIN } else { i64::MAX });
        let fresh = day - published <= Self::MAX_AGE_DAYS;
        BaseAmount { minor, rate: if fresh { RateQuality::Fresh } else { RateQuality::Stale } }
    }
}

/// A positive decimal times 10⁹.
fn parse_scaled(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let scaled: i64 = format!("{whole}{fraction:0<9}").parse().ok()?;
    (scaled > 0).then_some(scaled)
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
mod tests {
    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn every_listed_code_is_found() {
        for (codes, digits) in [(TWO_DIGITS, 2), (ZERO_DIGITS, 0), (THREE_DIGITS, 3)] {
            let listed: Vec<&str> = codes.split(' ').collect();
            assert!(listed.is_sorted() && listed.iter().all(|code| code.len() == 3));
            assert!(listed.iter().all(|code| currency(code).digits() == digits));
        }
    }

    #[test]
    fn codes_are_exact_and_upper_case() {
        assert_eq!(currency("KWD").digits(), 3);
        assert_eq!(currency("JPY").digits(), 0);
        for wrong in ["eur", "EU", "EURO", "XXX", "   ", ""] {
            assert_eq!(Currency::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn converts_at_the_last_rate_before_the_day() {
        let text = "published,currency,rate\n2026-01-01,USD,1.10\n2026-01-02,USD,1.20\n2026-01-02,JPY,160\n";
        let rates = Rates::parse(currency("EUR"), text).unwrap();
        let at = |text| Millis::parse_rfc3339(text).unwrap();
        let noon = at("2026-01-02T12:00:00Z");
        // The rate of the 2nd is not known to be final on the 2nd: the 1st's counts.
        assert_eq!(
            rates.to_base(11_000, currency("USD"), noon),
            BaseAmount { minor: 10_000, rate: RateQuality::Fresh }
        );
        assert_eq!(rates.to_base(1_600, currency("JPY"), at("2026-01-03T00:00:00Z")).minor, 1_000);
        assert_eq!(rates.to_base(1_600, currency("JPY"), noon).rate, RateQuality::Missing);
        assert_eq!(rates.to_base(12_000, currency("USD"), at("2026-01-06T23:59:59Z")).rate, RateQuality::Fresh);
        assert_eq!(rates.to_base(12_000, currency("USD"), at("2026-01-07T00:00:00Z")).rate, RateQuality::Stale);
    }

    #[test]
    fn ties_round_to_even_and_a_published_day_stays() {
        assert_eq!([1, 3, 5, -1, -3].map(|odd| divide_half_even(odd, 2)), [0, 2, 2, 0, -2]);
        let again = "published,currency,rate\n2026-01-01,USD,1.10\n2026-01-01,USD,1.11\n";
        assert_eq!(Rates::parse(currency("EUR"), again).unwrap_err().line, 3);
    }
}
