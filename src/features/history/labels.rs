//! Verdicts of one entity: a small set of their own, so that events need no id to be labelled.
//!
//! A read as of t counts the events of a window whose newest verdict with `labelled_at` ≤ t is fraud; of two verdicts
//! of one moment fraud wins. Every version is kept: a verdict that arrives late changes no reading before it.

/// Verdicts kept of one entity at most; beyond, the oldest event's goes first.
const MOST: usize = 65_536;

/// One verdict on one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Verdict {
    /// When the event happened.
    pub(super) at: i64,
    /// Keyed hash of its transaction's id.
    pub(super) id: u64,
    /// When the verdict was given.
    pub(super) labelled_at: i64,
    pub(super) is_fraud: bool,
}

/// The verdicts of one entity, ordered by (event's time, id, labelled_at, verdict).
#[derive(Debug, Default)]
pub(super) struct Labels {
    verdicts: Vec<Verdict>,
}

impl Labels {
    /// Takes a verdict; the same one again changes nothing.
    pub(super) fn insert(&mut self, verdict: Verdict) {
        if let Err(place) = self.verdicts.binary_search(&verdict) {
            if self.verdicts.len() == self.verdicts.capacity() {
                self.verdicts.reserve_exact(self.verdicts.len() / 4 + 1);
            }
            self.verdicts.insert(place, verdict);
            if self.verdicts.len() > MOST {
                self.verdicts.remove(0);
            }
        }
    }

    /// Events in `(left, right]` that count as fraud as of `now`.
    pub(super) fn frauds(&self, left: i64, right: i64, now: i64) -> u32 {
        let start = self.verdicts.partition_point(|verdict| verdict.at <= left);
        let mut frauds = 0;
        let rest = self.verdicts.get(start..).unwrap_or_default();
        for event in rest.chunk_by(|one, other| (one.at, one.id) == (other.at, other.id)) {
            if event.first().is_none_or(|verdict| verdict.at > right) {
                break;
            }
            // Sorted by (labelled_at, verdict): the last that is known is the newest, and at a tie fraud.
            let newest = event.iter().rev().find(|verdict| verdict.labelled_at <= now);
            frauds += u32::from(newest.is_some_and(|verdict| verdict.is_fraud));
        }
        frauds
    }

    /// Forgets verdicts on events up to and including `horizon`.
    pub(super) fn forget_until(&mut self, horizon: i64) {
        let gone = self.verdicts.partition_point(|verdict| verdict.at <= horizon);
        if gone > 0 {
            self.verdicts.drain(..gone);
            self.verdicts.shrink_to_fit();
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.verdicts.is_empty()
    }

    /// Bytes used and reserved.
    pub(super) const fn bytes(&self) -> (usize, usize) {
        (self.verdicts.len() * size_of::<Verdict>(), self.verdicts.capacity() * size_of::<Verdict>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_known_verdict_counts_and_fraud_wins_a_tie() {
        let mut labels = Labels::default();
        let verdict = |labelled_at, is_fraud| Verdict { at: 10, id: 1, labelled_at, is_fraud };
        labels.insert(verdict(20, true));
        labels.insert(verdict(20, true));
        assert_eq!([19, 20].map(|now| labels.frauds(5, 10, now)), [0, 1]);
        labels.insert(verdict(30, false));
        assert_eq!([29, 30].map(|now| labels.frauds(5, 10, now)), [1, 0]);
        labels.insert(verdict(30, true));
        assert_eq!(labels.frauds(5, 10, 30), 1, "tie: fraud");
        assert_eq!(labels.frauds(10, 20, 99), 0, "left edge is open");
        assert_eq!(labels.frauds(9, 9, 99), 0, "right edge is closed, at 9");
        labels.forget_until(10);
        assert!(labels.is_empty());
    }
}
