//! Verdicts on transactions that are read in bulk: those of a file or of the topic, else the rows' own.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::engine::Label;
use crate::store::files::read_labels;
use crate::transaction::Transaction;

/// Labels held at most: some 150 bytes each.
const MOST: usize = 5_000_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Verdicts(Option<HashMap<String, Vec<Label>>>);

impl Verdicts {
    /// Those of the rows themselves: `is_fraud`, known at the transaction's time plus the feature's delay, as in files
    /// everywhere.
    pub(super) const fn of_rows() -> Self {
        Self(None)
    }

    /// None yet; the rows' own do not count.
    pub(super) fn none() -> Self {
        Self(Some(HashMap::new()))
    }

    /// Those of a file (NDJSON, as `POST /labels` takes them).
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        let mut verdicts = Self::none();
        for label in read_labels(path)? {
            verdicts.put(label);
        }
        Ok(verdicts)
    }

    /// Takes one more.
    pub(super) fn put(&mut self, label: Label) {
        self.0.get_or_insert_default().entry(label.transaction_id.clone()).or_default().push(label);
    }

    /// Refuses more than memory should hold.
    pub(super) fn check(&self) -> Result<()> {
        let count = self.0.as_ref().map_or(0, HashMap::len);
        ensure!(
            count <= MOST,
            "there are verdicts on more than {MOST} transactions: give a file with those that windows reach"
        );
        Ok(())
    }

    /// The verdicts on this transaction; they are given once.
    pub(super) fn take(&mut self, transaction: &Transaction) -> Vec<Label> {
        match &mut self.0 {
            Some(verdicts) => verdicts.remove(transaction.transaction_id.as_str()).unwrap_or_default(),
            None if transaction.is_fraud == Some(true) => vec![Label {
                transaction_id: transaction.transaction_id.to_string(),
                is_fraud: true,
                labelled_at: transaction.occurred_at,
                source: "file".to_owned(),
            }],
            None => Vec::new(),
        }
    }

    /// Those that nobody took.
    pub(super) fn rest(self) -> impl Iterator<Item = Label> {
        self.0.unwrap_or_default().into_values().flatten()
    }
}
