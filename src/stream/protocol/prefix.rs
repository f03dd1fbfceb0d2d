//! The contiguous acknowledged prefix of one partition: how far offsets may be committed.
//!
//! In: offsets that were begun, in increasing order, and those that are done, in any. Out: the position below which
//! everything that was begun is done. Offsets may have gaps (compaction, markers of transactions): what was never begun
//! holds nothing up.
//!
//! Invariant: the position never goes back and never passes an offset that is begun and not done.
//!
//! Memory: the outstanding offsets. The caller bounds how many it begins.

use std::collections::BTreeSet;

/// See the module.
#[derive(Debug, Clone)]
pub struct Prefix {
    /// One past the last offset that was begun.
    next: i64,
    outstanding: BTreeSet<i64>,
}

impl Prefix {
    /// Nothing begun; the position is `from`.
    #[must_use]
    pub const fn new(from: i64) -> Self {
        Self { next: from, outstanding: BTreeSet::new() }
    }

    /// Begins an offset. False, and nothing changes, when it is below one that was begun, or below the start.
    pub fn begin(&mut self, offset: i64) -> bool {
        if offset < self.next {
            return false;
        }
        self.next = offset.saturating_add(1);
        self.outstanding.insert(offset)
    }

    /// Ends an offset; one that is not outstanding changes nothing.
    pub fn done(&mut self, offset: i64) {
        self.outstanding.remove(&offset);
    }

    /// What may be committed: the next offset to read such that everything below it is done.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.outstanding.first().copied().unwrap_or(self.next)
    }

    /// Offsets begun and not done.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::Prefix;

    #[test]
    fn the_position_waits_for_the_first_that_is_not_done() {
        let mut prefix = Prefix::new(10);
        assert_eq!(prefix.position(), 10);
        for offset in [10, 11, 15] {
            assert!(prefix.begin(offset));
        }
        prefix.done(11);
        assert_eq!((prefix.position(), prefix.outstanding()), (10, 2));
        prefix.done(10);
        assert_eq!(prefix.position(), 15, "12 to 14 were never there");
        prefix.done(15);
        assert_eq!((prefix.position(), prefix.outstanding()), (16, 0));
    }

    #[test]
    fn what_was_begun_is_not_begun_again() {
        let mut prefix = Prefix::new(0);
        assert!(prefix.begin(3));
        prefix.done(3);
        assert!(!prefix.begin(3) && !prefix.begin(1));
        assert_eq!((prefix.position(), prefix.outstanding()), (4, 0));
        prefix.done(77);
        assert_eq!(prefix.position(), 4);
    }

    proptest! {
        #[test]
        fn it_is_what_a_recount_says(from in -3_i64..3, steps in prop::collection::vec((any::<bool>(), 0_i64..40), 0..120)) {
            let mut prefix = Prefix::new(from);
            let (mut begun, mut done) = (BTreeSet::new(), BTreeSet::new());
            let mut before = prefix.position();
            for (begins, offset) in steps {
                if begins {
                    let fresh = offset >= from && begun.last().is_none_or(|last| offset > *last);
                    prop_assert_eq!(prefix.begin(offset), fresh);
                    if fresh {
                        begun.insert(offset);
                    }
                } else if begun.contains(&offset) {
                    prefix.done(offset);
                    done.insert(offset);
                }
                let open = begun.difference(&done).next().copied();
                let expected = open.unwrap_or_else(|| begun.last().map_or(from, |last| last + 1));
                prop_assert_eq!(prefix.position(), expected);
                prop_assert!(prefix.position() >= before);
                prop_assert_eq!(prefix.outstanding(), begun.difference(&done).count());
                before = prefix.position();
            }
        }
    }
}
