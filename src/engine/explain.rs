//! Reasons: beside the line, and later on request.
//!
//! In: a scored row, or a decision that was made before. Out: what moved its score, or the code that says why that cannot
//! be told. Nothing here fails or degrades a decision: the model explains on a thread of its own, and the line waits for
//! it no longer than `explain_wait`, a request for the reasons of an earlier decision no longer than `store_wait`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::active::Chosen;
use super::core::Core;
use super::ports::{LogError, Scorer};
use crate::decision::{Column, Decision, DecisionKind, DegradedCause, Explained, ReasonRules};
use crate::features::Catalogue;
use crate::model::Explanation;

/// The rules for reasons, and every code that they hide.
#[derive(Debug)]
pub(super) struct Reasons {
    rules: ReasonRules,
    /// Hidden features and groups, and the features of those groups.
    hidden: BTreeSet<String>,
}

impl Reasons {
    pub(super) fn new(rules: ReasonRules, catalogue: &Catalogue) -> Self {
        let mut hidden = rules.hidden.clone();
        let members = catalogue.features().iter().filter(|feature| rules.hidden.contains(&feature.group));
        hidden.extend(members.map(|feature| feature.name.clone()));
        Self { rules, hidden }
    }

    /// The largest contributions of a row as reasons, as the rules have it.
    pub(super) fn tell<S: Scorer>(
        &self,
        chosen: &Chosen<S>,
        values: &[f64],
        explanation: &Explanation,
    ) -> Result<Explained, DegradedCause> {
        if explanation.margin.is_finite() && explanation.baseline.is_finite() {
            return Ok(self.rules.explain(&chosen.columns, values, explanation));
        }
        tracing::warn!(model = chosen.reference.version, "an explanation is no finite number");
        Err(DegradedCause::ReasonsUnavailable)
    }

    /// Takes out of a decision of the log what is hidden by now.
    pub(super) fn redact(&self, decision: &mut Decision) {
        ReasonRules::redact(decision, &self.hidden);
    }

    /// The same of a stored document of features.
    pub(super) fn redact_features(&self, document: &mut serde_json::Value) {
        if let Some(members) = document.as_object_mut() {
            members.retain(|name, _| !self.hidden.contains(name));
        }
    }
}

/// What moved the score of a row within `wait`; the cause why that is not known otherwise.
pub(super) async fn explain<S: Scorer>(
    core: &Core<S>,
    chosen: &Chosen<S>,
    values: &[f64],
    row: Vec<f32>,
    wait: Duration,
) -> Result<Explained, DegradedCause> {
    match timeout(wait, chosen.model.explain(row, wait)).await {
        Ok(Ok(explanation)) => core.reasons.tell(chosen, values, &explanation),
        Ok(Err(error)) => {
            tracing::debug!(model = chosen.reference.version, %error, "a decision stays without reasons");
            Err(DegradedCause::ReasonsUnavailable)
        }
        Err(_elapsed) => Err(DegradedCause::ReasonsUnavailable),
    }
}

/// A decision that was made before, with its reasons computed from its stored features within `wait`. A decision that
/// has them, or that no model made, stays as it is; where they cannot be computed, a code says why.
pub(super) async fn explain_later<S: Scorer>(core: &Core<S>, decision: Arc<Decision>, wait: Duration) -> Arc<Decision> {
    if decision.explanation.is_some() || decision.kind == DecisionKind::Fallback {
        return decision;
    }
    let late = Err(DegradedCause::ReasonsUnavailable);
    let explained = timeout(wait, explain_stored(core, &decision, wait)).await.unwrap_or(late);
    let mut told = (*decision).clone();
    // What was told by a method of before, or of reasons that were not to be had, holds no more.
    let outdated = [DegradedCause::ReasonsUnavailable.as_str(), DegradedCause::ModelNotLoaded.as_str()];
    told.reasons.retain(|reason| !outdated.contains(&reason.code.as_str()));
    match explained {
        Ok(Explained { mut reasons, explanation }) => {
            told.reasons.retain(|reason| reason.contribution.is_none());
            reasons.append(&mut told.reasons);
            (told.reasons, told.explanation) = (reasons, Some(explanation));
        }
        Err(cause) => told.reasons.push(cause.reason()),
    }
    Arc::new(told)
}

async fn explain_stored<S: Scorer>(
    core: &Core<S>,
    decision: &Decision,
    wait: Duration,
) -> Result<Explained, DegradedCause> {
    let active = core.active.load_full();
    let scored = |chosen: &&Arc<Chosen<S>>| {
        let model = &chosen.reference;
        (&model.name, &model.version, &model.sha256)
            == (&decision.model, &decision.model_version, &decision.model_sha256)
    };
    let canary = active.canary.as_ref().map(|canary| &canary.chosen);
    let chosen = active.chosen.iter().chain(canary).find(scored).ok_or(DegradedCause::ModelNotLoaded)?;
    let stored = core.stored_features(&decision.transaction_id, decision.revision).await;
    let document = stored.ok().flatten().ok_or(DegradedCause::ReasonsUnavailable)?;
    let value = |column: &Column| document.get(&column.name).and_then(serde_json::Value::as_f64);
    let values: Option<Vec<f64>> = chosen.columns.iter().map(value).collect();
    let values = values.ok_or(DegradedCause::ReasonsUnavailable)?;
    explain(core, chosen, &values, single(&values), wait).await
}

/// Values of 64 bits to the model's 32, held to the finite range.
pub(super) fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32).collect()
}

impl<S> Core<S> {
    /// The features of a decision as the log has them; what is still in its queue is written first.
    pub(super) async fn stored_features(
        &self,
        transaction_id: &str,
        revision: Option<u32>,
    ) -> Result<Option<serde_json::Value>, LogError> {
        let found = self.log.features(transaction_id, revision).await?;
        let decided = || self.cache.contains_key(transaction_id) || self.knows_more(transaction_id, true);
        if found.is_some() || !decided() {
            return Ok(found);
        }
        // Decided a moment ago: it is in the log's queue.
        self.log.flush().await?;
        self.log.features(transaction_id, revision).await
    }
}
