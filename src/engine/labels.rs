//! Labels: verdicts that arrive after their transaction, or before it.
//!
//! The log keeps every verdict and says which transaction it is about. One whose transaction the log does not have yet
//! is looked for among the open ones; else it waits, bounded in number and in time, and is applied when its transaction
//! is observed. A label may be applied twice: history takes each once.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::core::Core;
use super::fingerprint::id_of;
use super::ports::{Entry, Scorer, event_label};
use super::{EngineError, Label, LabelOutcome};
use crate::base::clock::{HOUR, Millis};
use crate::base::money::BaseAmount;
use crate::transaction::Transaction;

/// How often a label looks again for a transaction that left `open` for the log meanwhile.
const LOOKS: usize = 3;

/// Labels whose transaction has not come.
#[derive(Debug)]
pub(super) struct Waiting {
    labels: BTreeMap<String, Vec<Label>>,
    count: usize,
    most: usize,
    retention: i64,
    swept: Millis,
}

impl Waiting {
    /// At most `most` labels, each until the stream is `retention` milliseconds past it.
    pub(super) fn new(most: usize, retention: i64) -> Self {
        Self { labels: BTreeMap::new(), count: 0, most, retention, swept: Millis(i64::MIN) }
    }

    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Lets a label wait; `false` when there is no room.
    pub(super) fn put(&mut self, label: Label) -> bool {
        let others = self.labels.entry(label.transaction_id.clone()).or_default();
        if others.contains(&label) {
            return true;
        }
        if self.count >= self.most {
            if others.is_empty() {
                self.labels.remove(&label.transaction_id);
            }
            return false;
        }
        others.push(label);
        self.count += 1;
        true
    }

    /// The labels of a transaction that has come.
    pub(super) fn take(&mut self, transaction_id: &str) -> Vec<Label> {
        if self.count == 0 {
            return Vec::new();
        }
        let labels = self.labels.remove(transaction_id).unwrap_or_default();
        self.count -= labels.len();
        labels
    }

    /// The labels of the transactions after id `after` in the order of ids, of so many that they are `most` or more.
    pub(super) fn after(&self, after: Option<&str>, most: usize) -> Vec<&Label> {
        let mut found = Vec::new();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.labels.range::<str, _>((begin, Bound::Unbounded));
        while found.len() < most
            && let Some((_, labels)) = rest.next()
        {
            found.extend(labels);
        }
        found
    }

    /// How long after a label the stream has passed all that it could count for, milliseconds: the longest window, its delay
    /// and the lateness.
    pub(super) const fn retention(&self) -> i64 {
        self.retention
    }

    /// Gives up labels past their retention, looking once in an hour of the stream; how many.
    pub(super) fn give_up(&mut self, newest: Millis) -> usize {
        if newest.0.saturating_sub(HOUR) < self.swept.0 {
            return 0;
        }
        self.swept = newest;
        let before = self.count;
        let horizon = newest.0.saturating_sub(self.retention);
        self.labels.retain(|_, labels| {
            labels.retain(|label| label.labelled_at.0 >= horizon);
            !labels.is_empty()
        });
        self.count = self.labels.values().map(Vec::len).sum();
        before - self.count
    }
}

enum Place {
    Applied,
    Waits,
    LookAgain,
}

impl<S: Scorer> Core<S> {
    /// Records a verdict, then lets it count or wait.
    pub(super) async fn label(self: &Arc<Self>, label: Label) -> Result<LabelOutcome, EngineError> {
        self.accepting()?;
        let mut repeated = false;
        for look in 0..LOOKS {
            let written = self.append_and_wait(Entry::Label(label.clone()), self.limits.store_wait).await?;
            repeated |= look == 0 && !written.first;
            let outcome = match self.place(&label, written.transaction.as_deref(), look + 1 == LOOKS) {
                Place::LookAgain => continue,
                _ if repeated => LabelOutcome::Repeated,
                Place::Applied => LabelOutcome::Recorded,
                Place::Waits => LabelOutcome::Waiting,
            };
            self.compare_label(&label.transaction_id, label.labelled_at, label.is_fraud);
            self.observer.labelled(outcome);
            return Ok(outcome);
        }
        Err(EngineError::Internal("a label found no place".to_owned()))
    }

    fn place(&self, label: &Label, written: Option<&(Transaction, BaseAmount)>, last: bool) -> Place {
        let mut ledger = self.ledger();
        let ledger = &mut *ledger;
        let open = ledger.open.get(label.transaction_id.as_str()).map(|open| (&*open.transaction, open.base));
        if let Some((transaction, base)) = written.map(|(transaction, base)| (transaction, *base)).or(open) {
            ledger.history.label(&event_label(transaction, base, label));
            return Place::Applied;
        }
        if !last && ledger.ids.get(id_of(self.key, &label.transaction_id)).is_some() {
            return Place::LookAgain;
        }
        if !ledger.waiting.put(label.clone()) {
            self.observer.unmatched(1);
        }
        Place::Waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(id: &str, labelled_at: i64) -> Label {
        Label { transaction_id: id.into(), is_fraud: true, labelled_at: Millis(labelled_at), source: "review".into() }
    }

    #[test]
    fn labels_wait_bounded_in_number() {
        let mut waiting = Waiting::new(2, HOUR);
        assert!(waiting.put(label("a", 1)) && waiting.put(label("a", 1)) && waiting.put(label("a", 2)));
        assert!(!waiting.put(label("b", 1)));
        assert_eq!((waiting.len(), waiting.labels.len()), (2, 1));
        assert_eq!(waiting.take("a").len(), 2);
        assert_eq!((waiting.len(), waiting.take("a").len()), (0, 0));
    }

    #[test]
    fn waiting_labels_are_walked_by_their_transactions() {
        let mut waiting = Waiting::new(9, HOUR);
        assert!([("b", 1), ("a", 1), ("b", 2), ("c", 1)].into_iter().all(|(id, at)| waiting.put(label(id, at))));
        let ids = |after, most| waiting.after(after, most).iter().map(|one| &*one.transaction_id).collect::<String>();
        assert_eq!([ids(None, 9), ids(None, 2), ids(Some("a"), 1), ids(Some("c"), 1)], ["abbc", "abb", "bb", ""]);
    }

    #[test]
    fn labels_wait_bounded_in_time() {
        let mut waiting = Waiting::new(9, 10 * HOUR);
        assert!(waiting.put(label("old", 0)) && waiting.put(label("new", 5 * HOUR)));
        assert_eq!(waiting.give_up(Millis(9 * HOUR)), 0);
        assert_eq!(waiting.give_up(Millis(12 * HOUR)), 1);
        assert_eq!((waiting.take("old").len(), waiting.take("new").len()), (0, 1));
    }
}
