//! What following does to the ledger besides what every mouth does.

use std::sync::Arc;

use crate::base::money::BaseAmount;
use crate::decision::{Decision, ModelRef};
use crate::engine::ids::Seen;
use crate::engine::ledger::Ledger;
use crate::features::Event;
use crate::transaction::Transaction;

impl<S> Ledger<S> {
    /// Inserts a transaction that is new; labels that waited for it count from now on.
    pub(super) fn insert(&mut self, transaction: &Transaction, base: BaseAmount) {
        self.history.insert(&Event { transaction, base });
        self.apply_waiting(transaction, base);
    }

    /// Lets a copy of a transaction that is in history count for the optional entities it names. That the same event is
    /// inserted twice changes nothing, as long as history knows its ids: an older copy fills nothing.
    pub(super) fn fill(&mut self, transaction: &Transaction, base: BaseAmount) {
        if !transaction.has_optional() || transaction.occurred_at < self.kept_from() {
            return;
        }
        self.history.complete(&Event { transaction, base }, Transaction::requires);
    }

    pub(super) fn put(&mut self, id: u128, seen: Seen) {
        let kept = self.kept_from();
        self.ids.put(id, &seen, kept);
    }

    /// The number in the index of the model that made a decision.
    pub(super) fn model_of(&mut self, decision: &Decision) -> u8 {
        let threshold = decision.threshold.unwrap_or_default();
        if let Some(number) = self.known_model(decision, threshold) {
            return number;
        }
        let model = ModelRef {
            name: decision.model.clone(),
            version: decision.model_version.clone(),
            sha256: decision.model_sha256.clone(),
            threshold,
        };
        self.number_of(&Arc::new(model))
    }
}
