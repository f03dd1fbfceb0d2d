//! Transactions that the reader of the topics has passed and whose first record it has not: what they need is not forgotten.
//!
//! In: ids with the seconds of their transactions. Out: the oldest of them. A new owner reads an undecided one again and
//! scores it as of its time; and any record comes back, after a restart to a process that takes it for another's, and
//! fills what its transaction left open. To know such an event as the one it has, index and history keep the ids of what
//! is at and after it, however far the stream's time has gone on meanwhile. An acknowledgement is not enough: the
//! record is in the log then, and the reader not yet behind it.
//! Bounds: so many are remembered; of more, the oldest go first. One that no window reaches any more goes, too: its
//! record may have left the log.

use std::collections::BTreeSet;

use super::ids::{Ids, hash_of, second_of};
use crate::base::clock::{Millis, SECOND};

/// The most that are remembered.
const MOST: usize = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed {
    /// By second, then by the part of the id's hash that the index keeps.
    waiting: BTreeSet<(u32, [u8; 12])>,
}

impl Unconfirmed {
    /// Those of an index.
    pub(super) fn of(ids: &Ids) -> Self {
        let mut unconfirmed = Self { waiting: ids.unconfirmed().collect() };
        unconfirmed.bound();
        unconfirmed
    }

    pub(super) fn put(&mut self, id: u128, at: Millis) {
        self.waiting.insert((second_of(at), hash_of(id)));
        self.bound();
    }

    /// Takes out an id whose transaction was in this second.
    pub(super) fn remove(&mut self, id: u128, second: u32) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&(second, hash_of(id)));
        }
    }

    /// Lets go of those before `horizon`.
    pub(super) fn forget_before(&mut self, horizon: Millis) {
        let horizon = second_of(horizon);
        while self.waiting.first().is_some_and(|(second, _)| *second < horizon) {
            self.waiting.pop_first();
        }
    }

    /// The beginning of the second of the oldest.
    pub(super) fn oldest(&self) -> Option<Millis> {
        self.waiting.first().map(|(second, _)| Millis(i64::from(*second) * SECOND))
    }

    fn bound(&mut self) {
        while self.waiting.len() > MOST {
            self.waiting.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids::Seen;

    #[test]
    fn the_oldest_is_told_until_it_is_confirmed() {
        let mut unconfirmed = Unconfirmed::default();
        unconfirmed.put(1, Millis(5_500));
        unconfirmed.put(2, Millis(3_999));
        unconfirmed.put(2, Millis(3_999));
        assert_eq!(unconfirmed.oldest(), Some(Millis(3_000)));
        unconfirmed.remove(2, 3);
        assert_eq!(unconfirmed.oldest(), Some(Millis(5_000)));
        unconfirmed.remove(1, 5);
        assert_eq!(unconfirmed.oldest(), None);
    }

    #[test]
    fn an_index_knows_its_unconfirmed_ones() {
        let mut ids = Ids::new();
        let start = Millis(i64::MIN);
        ids.put(7, &Seen::undecided(1, 9), start);
        ids.put(6, &Seen { decided: true, ..Seen::undecided(1, 12) }, start);
        ids.put(8, &Seen { decided: true, confirmed: true, ..Seen::undecided(1, 4) }, start);
        let mut unconfirmed = Unconfirmed::of(&ids);
        assert_eq!(unconfirmed.oldest(), Some(Millis(9_000)));
        unconfirmed.remove(7, 9);
        assert_eq!(unconfirmed.oldest(), Some(Millis(12_000)), "its record is acknowledged, and not seen");
        unconfirmed.forget_before(Millis(13_000));
        assert_eq!(unconfirmed.oldest(), None);
    }
}
