//! What a key can hold, how it is read, and how it is printed back.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use figment::value::Value;

use super::Workers;
use super::models::Activate;
use super::stack::{Switch, WhenAway};
use crate::base::money::Currency;
use crate::base::secret::Secret;
use crate::decision::{By, OnFallback};
use crate::engine::{Durability, TimeSource};
use crate::model::OnDeviceFailure;
use crate::ops::telemetry::LogFormat;
use crate::stream::{Compression, Mechanism};

/// A value of a key.
pub(super) trait Setting: Sized {
    /// What the key must hold, in words.
    const RULE: &'static str;
    /// Reads it; `None` when it breaks the rule.
    fn read(value: &Raw) -> Option<Self>;
    /// As it would stand in a TOML file; a secret prints `"***"`.
    fn print(&self) -> String;
}

/// What stood there: an integer (or text from the environment that is one), or text.
pub(super) enum Raw {
    /// A whole number.
    Integer(i128),
    /// Another number.
    Number(f64),
    /// Text.
    Text(String),
    /// Anything else, printed.
    Other(String),
}

impl Raw {
    pub(super) fn of(value: &Value) -> Self {
        if let Some(text) = value.as_str() {
            return Self::Text(text.to_owned());
        }
        match (value.to_i128(), value.to_f64()) {
            (Some(number), _) => Self::Integer(number),
            (None, Some(number)) => Self::Number(number),
            (None, None) => Self::Other(serde_json::to_string(value).unwrap_or_default()),
        }
    }

    /// As a person wrote it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => format!("{text:?}"),
            Self::Other(text) => text.clone(),
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Integer(_) | Self::Number(_) | Self::Other(_) => None,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(number) => Some(*number as f64),
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            Self::Other(_) => None,
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(number) => Some(*number),
            // The environment knows only text.
            Self::Text(text) => text.parse().ok(),
            Self::Number(_) | Self::Other(_) => None,
        }
    }
}

/// `12 unit` or `12unit` as (12, unit); decimals are refused.
fn split_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim()))
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const BYTE_UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Setting for Bytes {
    const RULE: &'static str = "a size such as \"512 B\", \"64 KiB\", \"8 MiB\" or \"2 GiB\"";

    fn read(value: &Raw) -> Option<Self> {
        let (number, unit) = split_unit(value.text()?)?;
        let (_, scale) = BYTE_UNITS.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*scale).map(Self)
    }

    fn print(&self) -> String {
        let exact = BYTE_UNITS.iter().find(|(_, scale)| self.0 >= *scale && self.0.is_multiple_of(*scale));
        exact.map_or_else(|| "\"0 B\"".to_owned(), |(name, scale)| format!("\"{} {name}\"", self.0 / scale))
    }
}

const TIME_UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

impl Setting for Duration {
    const RULE: &'static str = "a time such as \"250us\", \"250ms\", \"30s\", \"10m\", \"48h\" or \"30d\"";

    fn read(value: &Raw) -> Option<Self> {
        let (number, unit) = split_unit(value.text()?)?;
        let (_, scale) = TIME_UNITS.iter().find(|(name, _)| *name == unit)?;
        number.checked_mul(*scale).map(Self::from_micros)
    }

    fn print(&self) -> String {
        let micros = u64::try_from(self.as_micros()).unwrap_or(u64::MAX);
        // Days are read but not printed: "48h" is how lateness is spoken of.
        let units = TIME_UNITS.iter().skip(1);
        let exact = units.clone().find(|(_, scale)| micros >= *scale && micros % scale == 0);
        exact.map_or_else(|| "\"0ms\"".to_owned(), |(name, scale)| format!("\"{}{name}\"", micros / scale))
    }
}

impl Setting for usize {
    const RULE: &'static str = "a whole number";

    fn read(value: &Raw) -> Option<Self> {
        value.integer()?.try_into().ok()
    }

    fn print(&self) -> String {
        self.to_string()
    }
}

impl Setting for Workers {
    const RULE: &'static str = "\"auto\" (one a core) or a whole number of 1 to 256";

    fn read(value: &Raw) -> Option<Self> {
        if value.text() == Some("auto") {
            return Some(Self::Auto);
        }
        let number = usize::try_from(value.integer()?).ok()?;
        (1..=256).contains(&number).then_some(Self::Number(number))
    }

    fn print(&self) -> String {
        match self {
            Self::Auto => "\"auto\"".to_owned(),
            Self::Number(number) => number.to_string(),
        }
    }
}

impl Setting for String {
    const RULE: &'static str = "text";

    fn read(value: &Raw) -> Option<Self> {
        value.text().map(str::to_owned)
    }

    fn print(&self) -> String {
        format!("{self:?}")
    }
}

impl Setting for SocketAddr {
    const RULE: &'static str = "an IP address and a port such as \"127.0.0.1:8080\" (port 0: any free one)";

    fn read(value: &Raw) -> Option<Self> {
        value.text()?.parse().ok()
    }

    fn print(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for PathBuf {
    const RULE: &'static str = "a path";

    fn read(value: &Raw) -> Option<Self> {
        value.text().filter(|text| !text.is_empty()).map(Self::from)
    }

    fn print(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

impl Setting for Option<PathBuf> {
    const RULE: &'static str = "a path, or \"\" for none";

    fn read(value: &Raw) -> Option<Self> {
        value.text().map(|text| (!text.is_empty()).then(|| PathBuf::from(text)))
    }

    fn print(&self) -> String {
        self.as_ref().map_or_else(|| "\"\"".to_owned(), Setting::print)
    }
}

impl Setting for Option<Mechanism> {
    const RULE: &'static str = "\"off\", \"plain\", \"scram_sha_256\" or \"scram_sha_512\"";

    fn read(value: &Raw) -> Option<Self> {
        if value.text() == Some("off") { Some(None) } else { Mechanism::read(value).map(Some) }
    }

    fn print(&self) -> String {
        self.as_ref().map_or_else(|| "\"off\"".to_owned(), Setting::print)
    }
}

impl Setting for Option<Secret> {
    const RULE: &'static str = "32 hexadecimal digits (16 bytes), or \"\" to use hash_key_file";

    fn read(value: &Raw) -> Option<Self> {
        let text = match value {
            Raw::Integer(_) | Raw::Number(_) | Raw::Other(_) => return None,
            Raw::Text(text) => text,
        };
        if text.is_empty() {
            return Some(None);
        }
        let is_key = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| Some(Secret::new(text.clone())))
    }

    fn print(&self) -> String {
        if self.is_some() { "\"***\"".to_owned() } else { "\"\"".to_owned() }
    }
}

/// A password; empty for none.
#[derive(Debug, Clone, Default)]
pub struct Password(pub Option<Secret>);

impl Setting for Password {
    const RULE: &'static str = "text, or \"\" for none";

    fn read(value: &Raw) -> Option<Self> {
        value.text().map(|text| Self((!text.is_empty()).then(|| Secret::new(text.to_owned()))))
    }

    fn print(&self) -> String {
        if self.0.is_some() { "\"***\"".to_owned() } else { "\"\"".to_owned() }
    }
}

impl Setting for Currency {
    const RULE: &'static str = "an ISO 4217 currency code such as \"EUR\"";

    fn read(value: &Raw) -> Option<Self> {
        Self::parse(value.text()?)
    }

    fn print(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Setting for Vec<String> {
    const RULE: &'static str = "a list of names such as [\"one\", \"two\"], or \"one,two\" in the environment";

    fn read(value: &Raw) -> Option<Self> {
        match value {
            Raw::Integer(_) | Raw::Number(_) => None,
            Raw::Text(text) => {
                Some(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
            }
            // Printed as JSON: a list of texts reads back as one.
            Raw::Other(text) => serde_json::from_str(text).ok(),
        }
    }

    fn print(&self) -> String {
        let names: Vec<_> = self.iter().map(|name| format!("{name:?}")).collect();
        format!("[{}]", names.join(", "))
    }
}

/// A number of at least 0 that need not be whole.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Share(pub f64);

impl Share {
    /// `None` for 0, which switches a bound off.
    #[must_use]
    pub fn bound(self) -> Option<f64> {
        (self.0 > 0.0).then_some(self.0)
    }
}

impl Setting for Share {
    const RULE: &'static str = "a number";

    fn read(value: &Raw) -> Option<Self> {
        let number: f64 = value.number()?;
        (number.is_finite() && number >= 0.0).then_some(Self(number))
    }

    fn print(&self) -> String {
        self.0.to_string()
    }
}

/// Where the listener of the models is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminAddress {
    /// Nowhere.
    Off,
    /// On 127.0.0.1, at the port after the server's.
    Beside,
    /// There.
    At(SocketAddr),
}

impl Setting for AdminAddress {
    const RULE: &'static str = "\"auto\", \"off\", or an IP address and a port such as \"127.0.0.1:8081\"";

    fn read(value: &Raw) -> Option<Self> {
        match value.text()? {
            "auto" => Some(Self::Beside),
            "off" => Some(Self::Off),
            text => text.parse().ok().map(Self::At),
        }
    }

    fn print(&self) -> String {
        match self {
            Self::Off => "\"off\"".to_owned(),
            Self::Beside => "\"auto\"".to_owned(),
            Self::At(address) => format!("\"{address}\""),
        }
    }
}

/// Reads and prints an enum by its words.
macro_rules! words {
    ($name:ty, $rule:literal, { $($variant:ident = $text:literal),+ }) => {
        impl Setting for $name {
            const RULE: &'static str = $rule;

            fn read(value: &Raw) -> Option<Self> {
                match value.text()? { $($text => Some(Self::$variant),)+ _ => None }
            }

            fn print(&self) -> String {
                match self { $(Self::$variant => concat!("\"", $text, "\"").to_owned(),)+ }
            }
        }
    };
}

words!(Activate, "\"command\" or \"newest\"", { Command = "command", Newest = "newest" });
words!(Durability, "\"committed\" or \"queued\"", { Committed = "committed", Queued = "queued" });
words!(TimeSource, "\"wall\" or \"stream\"", { Wall = "wall", Stream = "stream" });
words!(OnDeviceFailure, "\"refuse\" or \"cpu\"", { Refuse = "refuse", Cpu = "cpu" });
words!(By, "\"feature\" or \"group\"", { Feature = "feature", Group = "group" });
words!(Switch, "\"on\" or \"off\"", { On = "on", Off = "off" });
words!(WhenAway, "\"refuse\" or \"answer\"", { Refuse = "refuse", Answer = "answer" });
words!(Compression, "\"none\", \"lz4\" or \"zstd\"", { None = "none", Lz4 = "lz4", Zstd = "zstd" });
words!(Mechanism, "\"plain\", \"scram_sha_256\" or \"scram_sha_512\"", {
    Plain = "plain",
    ScramSha256 = "scram_sha_256",
    ScramSha512 = "scram_sha_512"
});
words!(LogFormat, "\"human\" or \"json\"", { Human = "human", Json = "json" });
words!(OnFallback, "\"fail_open\", \"fail_closed\" or \"refuse\"", {
    FailOpen = "fail_open",
    FailClosed = "fail_closed",
    Refuse = "refuse"
});

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn mechanisms_are_read_and_printed_back() {
        for (written, mechanism) in [("off", None), ("scram_sha_512", Some(Mechanism::ScramSha512))] {
            let read = Option::<Mechanism>::read(&text(written)).unwrap();
            assert_eq!((read, read.print()), (mechanism, format!("\"{written}\"")));
        }
        assert!(Option::<Mechanism>::read(&text("none")).is_none());
    }

    #[test]
    fn units_are_read_and_printed_back() {
        for (written, bytes, printed) in
            [("64 MiB", 64 << 20, "\"64 MiB\""), ("1024KiB", 1 << 20, "\"1 MiB\""), ("7B", 7, "\"7 B\"")]
        {
            let read = Bytes::read(&text(written)).unwrap();
            assert_eq!((read.0, read.print().as_str()), (bytes, printed));
        }
        for (written, micros, printed) in [
            ("48h", 172_800_000_000, "\"48h\""),
            ("2d", 172_800_000_000, "\"48h\""),
            ("1500us", 1_500, "\"1500us\""),
            ("90 s", 90_000_000, "\"90s\""),
        ] {
            let read = Duration::read(&text(written)).unwrap();
            assert_eq!((read, read.print().as_str()), (Duration::from_micros(micros), printed));
        }
        for wrong in ["", "12", "ms", "-1s", "1.5s", "1 sec", "99999999999999999999s", "18446744073709551615h"] {
            assert!(Duration::read(&text(wrong)).is_none(), "{wrong}");
        }
        assert!(Bytes::read(&text("1 MB")).is_none());
        assert!(Bytes::read(&Raw::Integer(5)).is_none());
    }

    #[test]
    fn lists_are_read_as_toml_and_as_the_environments_text() {
        let names = ["a".to_owned(), "b".to_owned()];
        assert_eq!(<Vec<String>>::read(&text("a, b")).unwrap(), names);
        assert_eq!(<Vec<String>>::read(&Raw::Other("[\"a\",\"b\"]".to_owned())).unwrap(), names);
        assert!(<Vec<String>>::read(&text("")).unwrap().is_empty());
        assert!(<Vec<String>>::read(&Raw::Other("[1]".to_owned())).is_none());
        assert!(<Vec<String>>::read(&Raw::Integer(1)).is_none());
        assert_eq!(names.to_vec().print(), "[\"a\", \"b\"]");
    }

    #[test]
    fn secrets_print_stars() {
        let key = <Option<Secret>>::read(&text("000102030405060708090a0b0c0d0e0f")).unwrap();
        assert_eq!(key.print(), "\"***\"");
        assert!(<Option<Secret>>::read(&text("short")).is_none());
    }
}
