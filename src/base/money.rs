//! Money: integers in the minor unit of an ISO 4217 currency. Never a float. Exchange rates are in [`super::rates`].

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use super::rates::{Rates, RatesError};

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
}
