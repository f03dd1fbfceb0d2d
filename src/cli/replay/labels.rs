//! Labels that wait for their time in the stream.

use std::collections::BTreeMap;
use std::path::Path;

use crate::base::clock::Millis;
use crate::engine::Label;
use crate::store::files::{FileError, read_labels};

/// Labels by the time at which they were given, then in their order of coming; every one of them is in memory.
#[derive(Debug, Default)]
pub(super) struct Labels {
    waiting: BTreeMap<(Millis, u64), Label>,
    added: u64,
}

impl Labels {
    /// Reads NDJSON in the shape of `POST /labels`, in any order; other keys, such as `fraud_kind`, are not sent.
    pub(super) fn read(path: &Path) -> Result<Self, FileError> {
        let mut labels = Self::default();
        read_labels(path)?.into_iter().for_each(|label| labels.insert(label));
        Ok(labels)
    }

    fn insert(&mut self, label: Label) {
        self.waiting.insert((label.labelled_at, self.added), label);
        self.added += 1;
    }

    /// Adds a confirmed fraud.
    pub(super) fn add(&mut self, transaction_id: String, labelled_at: Millis) {
        self.insert(Label { transaction_id, is_fraud: true, labelled_at, source: "chargeback".to_owned() });
    }

    /// The body of the next label given at `now` or before; `None` when there is none.
    pub(super) fn due(&mut self, now: Millis) -> Option<String> {
        let next = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        serde_json::to_string(&next.remove()).ok()
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_in_the_order_of_their_time_and_not_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("labels.ndjson");
        let lines = r#"
            {"transaction_id":"b","is_fraud":false,"labelled_at":"1970-01-01T00:00:02Z","source":"review","fraud_kind":"stolen_card"}
            {"transaction_id":"a","is_fraud":true,"labelled_at":1000,"source":"customer"}"#;
        std::fs::write(&path, lines).unwrap();
        let mut labels = Labels::read(&path).unwrap();
        labels.add("c".to_owned(), Millis(1_500));
        labels.add("a".to_owned(), Millis(1_500));
        assert_eq!(labels.due(Millis(999)), None);
        let all: Vec<String> = std::iter::from_fn(|| labels.due(Millis(2_000))).collect();
        assert_eq!(
            all,
            [
                r#"{"transaction_id":"a","is_fraud":true,"labelled_at":1000,"source":"customer"}"#,
                r#"{"transaction_id":"c","is_fraud":true,"labelled_at":1500,"source":"chargeback"}"#,
                r#"{"transaction_id":"a","is_fraud":true,"labelled_at":1500,"source":"chargeback"}"#,
                r#"{"transaction_id":"b","is_fraud":false,"labelled_at":2000,"source":"review"}"#,
            ]
        );
        assert_eq!(labels.len(), 0);
    }
}
