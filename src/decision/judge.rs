//! `judge`: a score against its threshold, or a fallback by policy. The one place where a [`Decision`] is made.

use serde::{Deserialize, Serialize};

use super::{Decision, DecisionKind, DegradedCause, Explained, FallbackCause, Source};
use crate::base::clock::Millis;

/// Which model scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its `model.onnx`, hex.
    pub sha256: String,
    /// Scores at or above it are flagged.
    pub threshold: f32,
}

/// What is true of a decision besides its score.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The transaction.
    pub transaction_id: &'a str,
    /// Which mouth it came in by.
    pub source: Source,
    /// Wall time of the decision.
    pub scored_at: Millis,
    /// Microseconds from the mouth to the decision.
    pub took_micros: u64,
}

/// A full decision, revision 0: flagged when `score` ≥ the model's threshold (a score that equals it is flagged).
/// `explained` is what moved the score, where that is known; `causes` what was not as it should be.
#[must_use]
pub fn judge(
    circumstances: Circumstances<'_>,
    model: &ModelRef,
    score: f32,
    explained: Option<Explained>,
    causes: &[DegradedCause],
) -> Decision {
    let (mut reasons, explanation) =
        explained.map_or_else(Default::default, |explained| (explained.reasons, Some(explained.explanation)));
    reasons.extend(causes.iter().map(|cause| cause.reason()));
    Decision {
        transaction_id: circumstances.transaction_id.to_owned(),
        kind: DecisionKind::Full,
        revision: Some(0),
        score: Some(score),
        flagged: score >= model.threshold,
        threshold: Some(model.threshold),
        model: model.name.clone(),
        model_version: model.version.clone(),
        model_sha256: model.sha256.clone(),
        reasons,
        explanation,
        degraded: causes.iter().any(|cause| cause.degrades()),
        source: circumstances.source,
        scored_at: circumstances.scored_at,
        took_micros: circumstances.took_micros,
    }
}

/// A fallback: no revision, no score, `flagged` as the policy says.
#[must_use]
pub fn fall_back(
    circumstances: Circumstances<'_>,
    model: Option<&ModelRef>,
    cause: FallbackCause,
    flagged: bool,
) -> Decision {
    let named = |part: fn(&ModelRef) -> &str| model.map(part).unwrap_or_default().to_owned();
    Decision {
        transaction_id: circumstances.transaction_id.to_owned(),
        kind: DecisionKind::Fallback,
        revision: None,
        score: None,
        flagged,
        threshold: model.map(|model| model.threshold),
        model: named(|model| &model.name),
        model_version: named(|model| &model.version),
        model_sha256: named(|model| &model.sha256),
        reasons: vec![cause.degraded().reason()],
        explanation: None,
        degraded: true,
        source: circumstances.source,
        scored_at: circumstances.scored_at,
        took_micros: circumstances.took_micros,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEN: Circumstances<'_> =
        Circumstances { transaction_id: "t1", source: Source::Predict, scored_at: Millis(7), took_micros: 9 };

    fn model() -> ModelRef {
        ModelRef { name: "fraud".into(), version: "1".into(), sha256: "ab".into(), threshold: 0.5 }
    }

    #[test]
    fn a_score_at_the_threshold_is_flagged() {
        assert!(judge(WHEN, &model(), 0.5, None, &[]).flagged);
        assert!(!judge(WHEN, &model(), 0.499_999, None, &[]).flagged);
    }

    #[test]
    fn only_what_degrades_marks_the_decision() {
        for cause in [DegradedCause::ApproximateWindow, DegradedCause::ReasonsUnavailable] {
            let informed = judge(WHEN, &model(), 0.1, None, &[cause]);
            assert!(!informed.degraded && informed.reasons[0].code == cause.as_str());
        }
        assert!(judge(WHEN, &model(), 0.1, None, &[DegradedCause::StaleRate]).degraded);
    }

    #[test]
    fn a_fallback_has_no_score_and_no_revision() {
        let decision = fall_back(WHEN, None, FallbackCause::Overload, true);
        assert_eq!((decision.kind, decision.revision, decision.score), (DecisionKind::Fallback, None, None));
        assert!(decision.flagged && decision.degraded && decision.reasons[0].code == "overload");
    }
}
