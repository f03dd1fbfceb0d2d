//! Rebuilding: history and the index of ids, from the log alone.
//!
//! In: the log from the newest transaction's time less the retention (longest window, its delay, the lateness). Out: a
//! ledger that answers as the one before the stop did. Order does not matter: history is a set.

use std::time::{Duration, Instant};

use super::Label;
use super::core::Core;
use super::ledger::{Ledger, Marked};
use super::ports::{LogError, Replayed, Scorer, Sink};
use crate::base::clock::Millis;
use crate::base::hash::HashKey;
use crate::features::{Event, EventLabel};

/// What a rebuild found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rebuilt {
    /// Transactions read into history.
    pub transactions: usize,
    /// Labels read into history.
    pub labels: usize,
    /// How long it took.
    pub took: Duration,
}

/// Reads the log into `ledger`. Blocking.
pub(super) fn rebuild<S: Scorer>(core: &Core<S>, ledger: &mut Ledger<S>) -> Result<Rebuilt, LogError> {
    let started = Instant::now();
    let mut rebuilt = Rebuilt::default();
    if let Some(newest) = core.log.newest()? {
        ledger.newest = Some(newest);
        let since = Millis(newest.0.saturating_sub(ledger.waiting.retention()));
        core.log.replay(since, &mut Reading { ledger, rebuilt: &mut rebuilt, key: core.key })?;
    } else {
        core.log.replay(Millis(i64::MIN), &mut Reading { ledger, rebuilt: &mut rebuilt, key: core.key })?;
    }
    rebuilt.took = started.elapsed();
    Ok(rebuilt)
}

struct Reading<'a, S> {
    ledger: &'a mut Ledger<S>,
    rebuilt: &'a mut Rebuilt,
    key: HashKey,
}

impl<S> Sink for Reading<'_, S> {
    fn transaction(&mut self, row: &Replayed<'_>) {
        self.rebuilt.transactions += 1;
        self.ledger.history.insert(&Event { transaction: row.transaction, base: row.base });
        if row.transaction.occurred_at >= self.ledger.horizon() {
            let marked = Marked::new(row.transaction, self.key);
            let outcome = row.outcome.as_ref();
            let outcome = outcome.map(|known| (known.score, known.flagged, known.degraded, &known.model));
            self.ledger.remember(marked, outcome);
        }
    }

    fn label(&mut self, label: &EventLabel) {
        self.rebuilt.labels += 1;
        self.ledger.history.label(label);
    }

    fn waiting(&mut self, label: Label) {
        self.ledger.waiting.put(label);
    }
}
