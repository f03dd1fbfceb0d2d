//! Copies of one id in a file: the checks of [`super::Engine::decide`] that need no log.

use super::fingerprint::{fingerprint_of, id_of};
use super::ids::{Ids, Seen, second_of};
use crate::base::clock::Millis;
use crate::base::hash::HashKey;
use crate::transaction::{Rejection, Transaction};

/// The ids of a file within the deduplication horizon.
#[derive(Debug)]
pub struct Copies {
    key: HashKey,
    lateness: i64,
    ids: Ids,
}

impl Copies {
    /// None seen yet; `lateness` is the horizon L, milliseconds.
    #[must_use]
    pub fn new(key: HashKey, lateness: i64) -> Self {
        Self { key, lateness, ids: Ids::new() }
    }

    /// Remembers a transaction.
    ///
    /// # Errors
    /// `too_old` when it is before `stream_time` less the horizon, `conflict` when its id came with other content.
    pub fn check(&mut self, transaction: &Transaction, stream_time: Millis) -> Result<(), Rejection> {
        let horizon = Millis(stream_time.0.saturating_sub(self.lateness));
        let id = id_of(self.key, &transaction.transaction_id);
        let fingerprint = fingerprint_of(self.key, transaction);
        match self.ids.get(id) {
            Some(seen) if seen.fingerprint == fingerprint => Ok(()),
            Some(_) => Err(Rejection::conflict(transaction)),
            None if transaction.occurred_at < horizon => {
                Err(Rejection::too_old(transaction.occurred_at, stream_time, self.lateness))
            }
            None => {
                let second = second_of(transaction.occurred_at);
                let seen = Seen::undecided(fingerprint, second);
                self.ids.put(id, &seen, horizon);
                Ok(())
            }
        }
    }
}
