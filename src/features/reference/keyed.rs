//! A table that is too large to be held whole: a bounded cache of the rows that were asked for.
//!
//! Invariant: a look-up takes what is there and waits for nothing. What is not there is noted, a bounded number of keys at a
//! time, for whoever loads. A key without a row is remembered too, so that it is not asked for at every payment. Nothing
//! expires by time: the last good row is served until a newer one is put or the room is needed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use compact_str::CompactString;
use hashbrown::HashSet;
use moka::sync::Cache;

/// The most keys that wait to be fetched; what is asked for beyond it is asked for again by the next payment.
pub const MOST_WANTED: usize = 65_536;

/// See the module.
#[derive(Debug)]
pub struct Keyed {
    /// `None`: there is no row of this key.
    cache: Cache<CompactString, Option<Arc<[f64]>>>,
    wanted: Mutex<HashSet<CompactString>>,
}

impl Keyed {
    /// Room for so many keys.
    #[must_use]
    pub fn new(capacity: u64) -> Self {
        Self { cache: Cache::new(capacity), wanted: Mutex::default() }
    }

    /// The row of a key, as it was fetched last; a key that was never fetched is noted.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<[f64]>> {
        if let Some(known) = self.cache.get(key) {
            return known;
        }
        let mut wanted = self.wanted();
        if wanted.len() < MOST_WANTED && !wanted.contains(key) {
            wanted.insert(key.into());
        }
        None
    }

    /// Keys that were asked for and are not here; they are no longer noted.
    #[must_use]
    pub fn take_wanted(&self) -> Vec<CompactString> {
        self.wanted().drain().collect()
    }

    /// Keys that are here, to be fetched again.
    #[must_use]
    pub fn keys(&self) -> Vec<CompactString> {
        self.cache.iter().map(|(key, _)| (*key).clone()).collect()
    }

    /// Puts a row, or that there is none.
    pub fn put(&self, key: CompactString, row: Option<Arc<[f64]>>) {
        self.cache.insert(key, row);
    }

    /// How many keys are here, about.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Panics never: a lock whose holder panicked is taken as it is.
    fn wanted(&self) -> MutexGuard<'_, HashSet<CompactString>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
