//! Takes keys out of what was written, one by one, and keeps every fault it meets.
//!
//! In: TOML text and environment variables (`ASSAY__SECTION__KEY`; they win). Out: values, the effective text of
//! every key, and the faults: key, value, rule. A key that nobody took is a fault too.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::setting::{Raw, Setting};

/// Something wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// `section.key`; empty where the file as a whole is at fault.
    pub key: String,
    /// What stood there; empty where nothing did.
    pub value: String,
    /// What should.
    pub rule: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key.as_str(), self.value.as_str()) {
            ("", _) => write!(formatter, "{}", self.rule),
            (key, "") => write!(formatter, "{key}: {}", self.rule),
            (key, value) => write!(formatter, "{key} = {value}: {}", self.rule),
        }
    }
}

/// Environment variables as a source: `ASSAY__SECTION__KEY` sets `section.key`, always as text.
struct Environment(Vec<(String, String)>);

const PREFIX: &str = "ASSAY__";

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut sections = Dict::new();
        for (name, text) in &self.0 {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            let path = path.to_ascii_lowercase();
            let (section, key) = path.split_once("__").unwrap_or((&path, ""));
            let entry = sections.entry(section.to_owned()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, keys) = entry {
                keys.insert(key.to_owned(), Value::String(Tag::Default, text.clone()));
            }
        }
        Ok(Profile::default().collect(sections))
    }
}

/// The written configuration and what became of it so far.
pub(super) struct Reader {
    written: BTreeMap<String, Value>,
    taken: BTreeSet<&'static str>,
    effective: Vec<(&'static str, String)>,
    faults: Vec<Fault>,
}

impl Reader {
    /// Reads TOML and lays the environment over it.
    pub(super) fn new(toml: &str, environment: Vec<(String, String)>) -> Self {
        let mut faults = Vec::new();
        let mut written = BTreeMap::new();
        // Two sources are extracted apart so that a file that is not TOML does not hide the environment's faults.
        for figment in [Figment::from(Toml::string(toml)), Figment::from(Environment(environment))] {
            match figment.extract::<Dict>() {
                Ok(sections) => flatten(sections, &mut written),
                Err(error) => faults.push(Fault {
                    key: String::new(),
                    value: String::new(),
                    rule: format!("not TOML: {}", error.to_string().trim()),
                }),
            }
        }
        Self { written, taken: BTreeSet::new(), effective: Vec::new(), faults }
    }

    /// The value of `key`, or `default` when it is absent or wrong (then a fault is kept).
    pub(super) fn take<T: Setting>(&mut self, key: &'static str, default: T) -> T {
        self.take_if(key, default, T::RULE, |_| true)
    }

    /// The same, with a range.
    pub(super) fn take_in<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        default: T,
        range: RangeInclusive<T>,
    ) -> T {
        let rule = format!("{}, from {} to {}", T::RULE, range.start().print(), range.end().print());
        self.take_if(key, default, &rule, |value| range.contains(value))
    }

    /// The same, with a condition that `rule` tells in words.
    pub(super) fn take_if<T: Setting>(
        &mut self,
        key: &'static str,
        default: T,
        rule: &str,
        holds: impl Fn(&T) -> bool,
    ) -> T {
        self.taken.insert(key);
        let mut result = default;
        if let Some(value) = self.written.get(key) {
            let raw = Raw::of(value);
            match T::read(&raw).filter(holds) {
                Some(value) => result = value,
                None => self.faults.push(Fault {
                    key: key.to_owned(),
                    // What was meant as a secret is not printed, right or wrong.
                    value: if is_secret(key) { "***".to_owned() } else { raw.shown() },
                    rule: format!("must be {rule}"),
                }),
            }
        }
        self.effective.push((key, result.print()));
        result
    }

    /// Keeps a fault of a cross-field rule.
    pub(super) fn fault(&mut self, key: &str, rule: String) {
        let value = self.effective.iter().find(|(name, _)| *name == key).map(|(_, text)| text.clone());
        self.faults.push(Fault { key: key.to_owned(), value: value.unwrap_or_default(), rule });
    }

    /// Whether any fault was met so far.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// The effective text of every key, or every fault, those of unknown keys among them.
    pub(super) fn finish(mut self) -> Result<Vec<(&'static str, String)>, Vec<Fault>> {
        for (key, value) in &self.written {
            if !self.taken.contains(key.as_str()) {
                let near = self.taken.iter().find(|known| {
                    known.rsplit('.').next() == key.rsplit('.').next()
                        || known.replace('_', "") == key.replace(['_', '-'], "")
                });
                let hint = near.map_or_else(String::new, |known| format!("; did you mean {known}?"));
                self.faults.push(Fault {
                    key: key.clone(),
                    value: if is_secret(key) { "***".to_owned() } else { Raw::of(value).shown() },
                    rule: format!("no such key (docs/CONFIG.md has them all){hint}"),
                });
            }
        }
        if self.faults.is_empty() { Ok(self.effective) } else { Err(self.faults) }
    }
}

/// Keys whose value is never printed.
fn is_secret(key: &str) -> bool {
    let ends = ["hash_key", "_keys", "mongodb.url"];
    ends.iter().any(|end| key.ends_with(end)) || ["password", "secret", "token"].iter().any(|word| key.contains(word))
}

/// `section.key` for every leaf; a table inside a section keeps its dots.
fn flatten(sections: Dict, into: &mut BTreeMap<String, Value>) {
    for (name, value) in sections {
        match value {
            Value::Dict(_, keys) => {
                let inner = keys.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)).collect();
                flatten(inner, into);
            }
            leaf => {
                into.insert(name, leaf);
            }
        }
    }
}
