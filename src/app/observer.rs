//! What the engine tells its observer, counted in the table of metrics.

use std::sync::Arc;
use std::time::Duration;

use crate::decision::DecisionKind;
use crate::engine::LabelOutcome;
use crate::engine::models::Action;
use crate::engine::ports::{Observer, Step};
use crate::ops::metrics::{self, Metrics};

/// Counts into [`Metrics`].
#[derive(Debug)]
pub(super) struct Counting(pub(super) Arc<Metrics>);

impl Observer for Counting {
    fn step(&self, step: Step, took: Duration) {
        let step = match step {
            Step::Observe => metrics::Step::Observe,
            Step::Encode => metrics::Step::Encode,
            Step::Infer => metrics::Step::Infer,
            Step::Judge => metrics::Step::Judge,
            Step::Commit => metrics::Step::Commit,
        };
        self.0.step_seconds.took(step, took);
    }

    fn decided(&self, kind: DecisionKind, flagged: bool, degraded: bool) {
        let kind = match kind {
            DecisionKind::Full => metrics::DecisionKind::Full,
            DecisionKind::Fallback => metrics::DecisionKind::Fallback,
        };
        self.0.decisions.up(kind);
        if flagged {
            self.0.flagged.up(kind);
        }
        if degraded {
            self.0.degraded.up(kind);
        }
    }

    fn repeated(&self) {
        self.0.repeated.up(());
    }

    fn superseded(&self) {
        self.0.superseded.up(());
    }

    fn labelled(&self, outcome: LabelOutcome) {
        self.0.labels.up(match outcome {
            LabelOutcome::Recorded => metrics::LabelOutcome::Recorded,
            LabelOutcome::Repeated => metrics::LabelOutcome::Repeated,
            LabelOutcome::Waiting => metrics::LabelOutcome::Waiting,
        });
    }

    fn model_changed(&self, action: Action) {
        if let Some(change) = metrics::ModelChange::of(action.as_str()) {
            self.0.model_changes.up(change);
        }
    }

    fn model_prepared(&self, took: Duration) {
        self.0.model_prepare_seconds.took((), took);
    }

    fn unmatched(&self, labels: usize) {
        self.0.labels_unmatched.add((), u64::try_from(labels).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::models::Stage;

    #[test]
    fn words_of_the_models_are_those_of_the_labels() {
        assert!(Action::ALL.iter().all(|action| metrics::ModelChange::of(action.as_str()).is_some()));
        assert!(Stage::ALL.iter().all(|stage| metrics::ModelStage::of(stage.as_str()).is_some()));
    }
}
