//! What a person configures of the destination, as plain values.

use std::time::Duration;

use crate::base::pseudonym::Pseudonyms;
use crate::base::seal::Seals;
use crate::base::secret::Secret;

/// How MongoDB is reached and what it holds.
#[derive(Debug, Clone)]
pub struct MongoOptions {
    /// `mongodb://user:password@host:port,…/?options`; its options of time-outs are not used, those below are.
    pub url: Secret,
    /// Database.
    pub database: String,
    /// Collection of the decisions.
    pub collection: String,
    /// The collection of raw events, where they are kept.
    pub raw: Option<RawOptions>,
    /// How long after its decision a document expires; zero keeps it for ever. Whole seconds.
    pub ttl: Duration,
    /// The longest that making a connection may take.
    pub connect_timeout: Duration,
    /// The longest that a server to speak with is looked for.
    pub selection_timeout: Duration,
    /// The longest that one operation may take, both of those included.
    pub operation_timeout: Duration,
    /// Makes what stands for personal identifiers.
    pub pseudonyms: Pseudonyms,
    /// The fields of a transaction that are personal.
    pub personal: Vec<String>,
}

/// Where raw events are kept, and what encrypts them.
#[derive(Debug, Clone)]
pub struct RawOptions {
    /// Collection.
    pub collection: String,
    /// Encrypts and decrypts.
    pub seals: Seals,
}

/// The longest time to live: what an index may say.
const LONGEST_TTL: Duration = Duration::from_secs(i32::MAX as u64);
/// Names: MongoDB's limit of a database's is 63 bytes, of a whole namespace 255.
const LONGEST_NAME: usize = 63;

impl MongoOptions {
    /// Every fault of these options, the url apart.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !is_database(&self.database) {
            faults.push(format!("the database {:?} must be 1 to 63 of letters, digits, '_' and '-'", self.database));
        }
        let raw = self.raw.as_ref().map(|raw| &raw.collection);
        for name in std::iter::once(&self.collection).chain(raw) {
            if !is_collection(name) {
                faults.push(format!("the collection {name:?} must be 1 to 63 of letters, digits, '.', '_' and '-'"));
            }
        }
        if raw == Some(&self.collection) {
            faults.push(format!("decisions and raw events are both in {:?}: give one another name", self.collection));
        }
        if self.ttl > LONGEST_TTL || self.ttl.subsec_nanos() > 0 {
            faults.push(format!("the time to live is {:?} and must be whole seconds, 68 years at most", self.ttl));
        }
        let limits = [
            ("connect", self.connect_timeout),
            ("selection", self.selection_timeout),
            ("operation", self.operation_timeout),
        ];
        for (name, limit) in limits {
            if limit < Duration::from_millis(1) || limit > Duration::from_secs(600) {
                faults.push(format!("the {name} time-out is {limit:?} and must be 1 ms to 10 min"));
            }
        }
        faults
    }
}

/// Whether a database may have this name.
#[must_use]
pub fn is_database(name: &str) -> bool {
    is_collection(name) && !name.contains('.')
}

/// Whether a collection may have this name.
#[must_use]
pub fn is_collection(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.starts_with("system.")
}
