//! Transactions that the reader of the topics has passed and nobody has decided yet: what they need is not forgotten.
//!
//! In: ids with the seconds of their transactions. Out: the oldest of them. A new owner reads such a transaction again
//! and scores it as of its time; to know it, and its place among its entities' events, index and history keep what is at
//! and after it, however far the stream's time has gone on meanwhile.
//! Bound: so many are remembered; of more, the oldest go first.

use std::collections::BTreeSet;

use super::ids::{Ids, hash_of, second_of};
use crate::base::clock::{Millis, SECOND};

/// The most that are remembered.
const MOST: usize = 1_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    /// By second, then by the part of the id's hash that the index keeps.
    waiting: BTreeSet<(u32, [u8; 12])>,
}

impl Undecided {
    /// Those of an index.
    pub(super) fn of(ids: &Ids) -> Self {
        let mut undecided = Self { waiting: ids.undecided().collect() };
        undecided.bound();
        undecided
    }

    pub(super) fn put(&mut self, id: u128, at: Millis) {
        self.waiting.insert((second_of(at), hash_of(id)));
        self.bound();
    }

    pub(super) fn remove(&mut self, id: u128, at: Millis) {
        if !self.waiting.is_empty() {
            self.waiting.remove(&(second_of(at), hash_of(id)));
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
    fn the_oldest_is_told_until_it_is_decided() {
        let mut undecided = Undecided::default();
        undecided.put(1, Millis(5_500));
        undecided.put(2, Millis(3_999));
        undecided.put(2, Millis(3_999));
        assert_eq!(undecided.oldest(), Some(Millis(3_000)));
        undecided.remove(2, Millis(3_999));
        assert_eq!(undecided.oldest(), Some(Millis(5_000)));
        undecided.remove(1, Millis(5_500));
        assert_eq!(undecided.oldest(), None);
    }

    #[test]
    fn an_index_knows_its_undecided_ones() {
        let mut ids = Ids::new();
        let start = Millis(i64::MIN);
        ids.put(7, &Seen::undecided(1, 9), start);
        ids.put(8, &Seen { decided: true, ..Seen::undecided(1, 4) }, start);
        let mut undecided = Undecided::of(&ids);
        assert_eq!(undecided.oldest(), Some(Millis(9_000)));
        undecided.remove(7, Millis(9_999));
        assert_eq!(undecided.oldest(), None);
    }
}
