//! The policy: what is answered when a score cannot be had, by the cause of it.

use serde::{Deserialize, Serialize};

use super::DegradedCause;

/// Why there is no score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FallbackCause {
    /// The deadline passed before the model answered.
    Deadline,
    /// The model's queue was full.
    Overload,
    /// No model is active, or the active one failed on this row.
    NoModel,
}

/// What to answer then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFallback {
    /// Let the payment pass: not flagged.
    #[default]
    FailOpen,
    /// Hold the payment: flagged.
    FailClosed,
    /// Give no decision but an error of the cause's class.
    Refuse,
}

/// [`OnFallback`] for each cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Policy {
    /// The deadline passed.
    pub deadline: OnFallback,
    /// Too much at once.
    pub overload: OnFallback,
    /// No model, or a model that failed.
    pub no_model: OnFallback,
}

impl Policy {
    /// What the policy says of `cause`: whether to flag, or `None` to refuse.
    #[must_use]
    pub const fn flags(&self, cause: FallbackCause) -> Option<bool> {
        let on = match cause {
            FallbackCause::Deadline => self.deadline,
            FallbackCause::Overload => self.overload,
            FallbackCause::NoModel => self.no_model,
        };
        match on {
            OnFallback::FailOpen => Some(false),
            OnFallback::FailClosed => Some(true),
            OnFallback::Refuse => None,
        }
    }
}

impl FallbackCause {
    /// Every cause, in the order of the enum.
    pub const ALL: [Self; 3] = [Self::Deadline, Self::Overload, Self::NoModel];

    /// The reason a fallback of this cause carries.
    #[must_use]
    pub const fn degraded(self) -> DegradedCause {
        match self {
            Self::Deadline => DegradedCause::Deadline,
            Self::Overload => DegradedCause::Overload,
            Self::NoModel => DegradedCause::NoModel,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_answer() {
        let policy =
            Policy { deadline: OnFallback::FailOpen, overload: OnFallback::FailClosed, no_model: OnFallback::Refuse };
        assert_eq!(FallbackCause::ALL.map(|cause| policy.flags(cause)), [Some(false), Some(true), None]);
    }
}
