//! What was decided before: an id that comes again.
//!
//! In: an arrival that the index knows, or that is older than the index. Out: its earlier decision, from the cache, else
//! the log, else the index; or what the log says of it instead. A later copy moves no window and may fill what was absent.

use std::sync::Arc;

use tokio::time::timeout;

use super::core::{Core, of_log};
use super::fingerprint::fingerprint_of;
use super::ids::Seen;
use super::ledger::{Arrival, Asked};
use super::line::{before_commit, rejected};
use super::ports::{Done, Entry, LogError, Scorer};
use super::{EngineError, Received};
use crate::decision::{Decision, DecisionKind, DegradedCause, ModelRef, Source};
use crate::transaction::Rejection;

/// What was recalled of an arrival.
pub(super) enum Recalled {
    Decision(Arc<Decision>),
    Not(Asked),
}

/// The decision that was made before: from the cache, else the log, else, without its reasons, from the index.
pub(super) async fn earlier<S: Scorer>(
    core: &Core<S>,
    arrival: &Arrival,
    seen: Option<Seen>,
    received: &Received,
) -> Result<Recalled, EngineError> {
    let id = &arrival.transaction.transaction_id;
    // Only the index vouches that the cached decision is of the same payment.
    if seen.is_some()
        && let Some(decision) = core.cache.get(id)
    {
        return Ok(Recalled::Decision(decision));
    }
    let wait = before_commit(received).min(core.limits.store_wait);
    let found = timeout(wait, core.find(id)).await.unwrap_or(Err(LogError::Late(wait)));
    let from_index = seen.filter(|seen| seen.decided).map(|seen| indexed(core, arrival, seen));
    match found {
        Ok(Some(stored)) => {
            if fingerprint_of(core.key, &stored.transaction) != arrival.marked.fingerprint {
                return Err(rejected(core, Rejection::conflict(&arrival.transaction)));
            }
            let Some(decision) = stored.decision.map(Arc::new) else {
                return Ok(Recalled::Not(Asked::Undecided(stored.base)));
            };
            // Beyond the horizon the index would have to vouch for what is cached: it is read from the log each time.
            if seen.is_some() && decision.kind == DecisionKind::Full {
                core.cache.insert(id.clone(), Arc::clone(&decision));
            }
            Ok(Recalled::Decision(decision))
        }
        Ok(None) => Ok(from_index.map_or(Recalled::Not(Asked::Absent), Recalled::Decision)),
        Err(error) => from_index.map(Recalled::Decision).ok_or_else(|| of_log(error)),
    }
}

fn indexed<S>(core: &Core<S>, arrival: &Arrival, seen: Seen) -> Arc<Decision> {
    let model = core.ledger().model(seen.model);
    let named = |part: fn(&ModelRef) -> &str| model.as_deref().map(part).unwrap_or_default().to_owned();
    Arc::new(Decision {
        transaction_id: arrival.transaction.transaction_id.to_string(),
        kind: DecisionKind::Full,
        revision: Some(0),
        score: Some(seen.score),
        flagged: seen.flagged,
        threshold: model.as_ref().map(|model| model.threshold),
        model: named(|model| &model.name),
        model_version: named(|model| &model.version),
        model_sha256: named(|model| &model.sha256),
        reasons: vec![DegradedCause::RecordUnavailable.reason()],
        explanation: None,
        degraded: true,
        source: Source::Predict,
        scored_at: core.clock.now(),
        took_micros: 0,
    })
}

/// A later copy: may fill optional fields in the log and then in history; the decision stays.
pub(super) fn repeat<S: Scorer>(core: &Arc<Core<S>>, arrival: &Arrival, decision: Arc<Decision>) -> Arc<Decision> {
    core.observer.repeated();
    if arrival.transaction.has_optional() {
        let filling = Arc::clone(core);
        let done: Done = Box::new(move |result| {
            if let Some(filled) = result.ok().and_then(|written| written.filled) {
                filling.ledger().complete(&filled);
            }
        });
        // Best effort: a full queue or a failing log keeps everything as it is, and the next copy fills again.
        drop(core.log.append(Entry::Fill(Arc::clone(&arrival.transaction)), Some(done)));
    }
    decision
}
