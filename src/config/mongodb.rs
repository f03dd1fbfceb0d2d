//! The section `[mongodb]`: where features are kept, and the keys of what leaves the boundary.

use std::path::PathBuf;
use std::time::Duration;

use super::reader::Reader;
use super::setting::Password;
use super::stack::{HOUR, MS, S, text};
use crate::store::mongodb::{is_collection, is_database, url_fault};

const DATABASE: &str = "a name of 1 to 63 letters, digits, '_' and '-'";
const COLLECTION: &str = "a name of 1 to 63 letters, digits, '.', '_' and '-'";

/// `[mongodb]`
#[derive(Debug, Clone)]
pub struct Mongodb {
    /// Where it is; none delivers to none. A secret: it may hold a password.
    pub url: Password,
    /// The database.
    pub database: String,
    /// The collection of the decisions.
    pub collection: String,
    /// The collection of raw events; empty keeps none.
    pub raw_collection: String,
    /// How long after the decision a document expires.
    pub ttl: Duration,
    /// Records written together.
    pub batch: usize,
    /// How long a batch waits to become fuller.
    pub linger: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a server is looked for.
    pub selection_timeout: Duration,
    /// How long one operation may take.
    pub operation_timeout: Duration,
    /// The keys of pseudonyms.
    pub pseudonyms: Keys,
    /// The keys of raw events.
    pub raw: Keys,
}

/// Where keys come from: one of the three.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The keys themselves.
    pub text: Password,
    /// The file that holds them.
    pub file: Option<PathBuf>,
    /// The command that prints them.
    pub command: String,
}

impl Keys {
    /// How many of the three are given.
    fn sources(&self) -> usize {
        usize::from(self.text.0.is_some()) + usize::from(self.file.is_some()) + usize::from(!self.command.is_empty())
    }
}

impl Mongodb {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            url: reader.take("mongodb.url", Password::default()),
            database: reader.take_if("mongodb.database", "assay".to_owned(), DATABASE, |name| is_database(name)),
            collection: reader
                .take_if("mongodb.collection", "decisions".to_owned(), COLLECTION, |name| is_collection(name)),
            raw_collection: reader.take_if("mongodb.raw_collection", String::new(), COLLECTION, |name| {
                name.is_empty() || is_collection(name)
            }),
            ttl: reader.take_in("mongodb.ttl", S(730 * 24 * HOUR), Duration::ZERO..=S(24_000 * 24 * HOUR)),
            batch: reader.take_in("mongodb.batch", 2_000, 1..=10_000),
            linger: reader.take_in("mongodb.linger", Duration::ZERO, Duration::ZERO..=S(1)),
            connect_timeout: reader.take_in("mongodb.connect_timeout", S(2), MS(10)..=S(60)),
            selection_timeout: reader.take_in("mongodb.selection_timeout", S(1), MS(10)..=S(60)),
            operation_timeout: reader.take_in("mongodb.operation_timeout", S(10), MS(10)..=S(300)),
            pseudonyms: Keys {
                text: reader.take("mongodb.pseudonym_keys", Password::default()),
                file: reader.take("mongodb.pseudonym_keys_file", None),
                command: text(reader, "mongodb.pseudonym_keys_command", ""),
            },
            raw: Keys {
                text: reader.take("mongodb.raw_keys", Password::default()),
                file: reader.take("mongodb.raw_keys_file", None),
                command: text(reader, "mongodb.raw_keys_command", ""),
            },
        }
    }

    /// Whether decisions are delivered there.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.url.0.is_some()
    }

    /// Rules between its keys, and with Kafka.
    pub(super) fn check(&self, has_kafka: bool, reader: &mut Reader) {
        let Some(url) = &self.url.0 else { return };
        if !has_kafka {
            reader.fault("mongodb.url", "needs kafka.brokers: decisions come to MongoDB by Kafka".to_owned());
        }
        if let Some(rule) = url_fault(url) {
            reader.fault("mongodb.url", rule);
        }
        let one =
            "must be the one source of its keys: give this key, or its _file, or its _command, and no two of them";
        if self.pseudonyms.sources() != 1 {
            reader.fault("mongodb.pseudonym_keys", one.to_owned());
        }
        let wanted = usize::from(!self.raw_collection.is_empty());
        if wanted == 1 && self.raw.sources() != 1 {
            reader.fault("mongodb.raw_keys", one.to_owned());
        }
        if wanted == 1 && self.raw_collection == self.collection {
            reader.fault("mongodb.raw_collection", "must be another one than mongodb.collection".to_owned());
        }
        if self.ttl.subsec_nanos() > 0 {
            reader.fault("mongodb.ttl", "must be whole seconds".to_owned());
        }
        if self.selection_timeout > self.operation_timeout {
            reader.fault("mongodb.selection_timeout", "must be at most mongodb.operation_timeout".to_owned());
        }
    }
}
