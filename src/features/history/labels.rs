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
    /// The transaction's amount, minor units of the base currency.
    pub(super) amount: u64,
}

/// The frauds of a window, as far as known at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frauds {
    /// The window, (left, right].
    pub(super) left: i64,
    pub(super) right: i64,
    pub(super) count: u32,
    /// Of their amounts; the sum stops at the largest number.
    pub(super) sum: u64,
    pub(super) smallest: u64,
    /// Time of the first and of the last, where there is one.
    pub(super) first: i64,
    pub(super) last: i64,
}

impl Frauds {
    /// None of a window without length.
    pub(super) const NONE: Self = Self::of(0, 0);

    /// None yet, of the window (left, right].
    pub(super) const fn of(left: i64, right: i64) -> Self {
        Self { left, right, count: 0, sum: 0, smallest: u64::MAX, first: i64::MAX, last: i64::MIN }
    }

    fn add(&mut self, fraud: &Verdict) {
        if fraud.at > self.left && fraud.at <= self.right {
            self.count += 1;
            self.sum = self.sum.saturating_add(fraud.amount);
            self.smallest = self.smallest.min(fraud.amount);
            self.first = self.first.min(fraud.at);
            self.last = self.last.max(fraud.at);
        }
    }
}

/// The verdicts of one entity, ordered by (event's time, id, labelled_at, verdict).
#[derive(Debug, Default)]
pub(super) struct Labels {
    pub(super) verdicts: Vec<Verdict>,
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

    /// Adds to each of `windows` the events in it that count as fraud as of `now`: one pass for all.
    pub(super) fn frauds(&self, windows: &mut [Frauds], now: i64) {
        let left = windows.iter().map(|window| window.left).min().unwrap_or(i64::MAX);
        let right = windows.iter().map(|window| window.right).max().unwrap_or(i64::MIN);
        let start = self.verdicts.partition_point(|verdict| verdict.at <= left);
        let rest = self.verdicts.get(start..).unwrap_or_default();
        for event in rest.chunk_by(|one, other| (one.at, one.id) == (other.at, other.id)) {
            if event.first().is_none_or(|verdict| verdict.at > right) {
                break;
            }
            // Sorted by (labelled_at, verdict): the last that is known is the newest, and at a tie fraud.
            let newest = event.iter().rev().find(|verdict| verdict.labelled_at <= now);
            if let Some(fraud) = newest.filter(|verdict| verdict.is_fraud) {
                windows.iter_mut().for_each(|window| window.add(fraud));
            }
        }
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
        let verdict = |labelled_at, is_fraud| Verdict { at: 10, id: 1, labelled_at, is_fraud, amount: 7 };
        let count = |labels: &Labels, left, right, now| {
            let mut windows = [Frauds::of(left, right), Frauds::of(0, 0)];
            labels.frauds(&mut windows, now);
            assert_eq!(windows[1], Frauds::of(0, 0), "another window has its own frauds");
            windows[0].count
        };
        labels.insert(verdict(20, true));
        labels.insert(verdict(20, true));
        assert_eq!([19, 20].map(|now| count(&labels, 5, 10, now)), [0, 1]);
        let mut window = [Frauds::of(5, 10)];
        labels.frauds(&mut window, 20);
        assert_eq!(window, [Frauds { left: 5, right: 10, count: 1, sum: 7, smallest: 7, first: 10, last: 10 }]);
        labels.insert(verdict(30, false));
        assert_eq!([29, 30].map(|now| count(&labels, 5, 10, now)), [1, 0]);
        labels.insert(verdict(30, true));
        assert_eq!(count(&labels, 5, 10, 30), 1, "tie: fraud");
        assert_eq!(count(&labels, 10, 20, 99), 0, "left edge is open");
        assert_eq!(count(&labels, 9, 9, 99), 0, "right edge is closed, at 9");
        labels.forget_until(10);
        assert!(labels.is_empty());
    }
}
