//! Reasons that no feature gives: what was not as it should be. Codes are stable.

use serde::Serialize;

use super::Reason;

/// What was not as it should be, a closed list. Documented in docs/API.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DegradedCause {
    /// The history did not hold everything the features look back on.
    HistoryIncomplete,
    /// The exchange rate was older than the limit.
    StaleRate,
    /// No exchange rate was known: the amount counted as 0 in the base currency.
    MissingRate,
    /// A window edge fell among aggregated events: within the documented bound. Informational: degrades nothing.
    ApproximateWindow,
    /// The customer had no earlier transaction. Informational: degrades nothing.
    NewCustomer,
    /// Fallback: no score within the deadline.
    Deadline,
    /// Fallback: the model's queue was full.
    Overload,
    /// Fallback: no model is active, or it failed on this row.
    NoModel,
    /// The full record could not be read; score and flag come from the index of recent ids.
    RecordUnavailable,
    /// What moved the score could not be computed within `model.explain_wait`. Informational: degrades nothing.
    ReasonsUnavailable,
    /// The reader that follows the topics was behind: events of before may have been missing.
    ReaderBehind,
    /// A partition that should have had more was not waited for any longer: events of before may have been missing.
    MergeTimeout,
    /// The answer is not recorded yet: the log is away, and the configuration lets answers go out from memory.
    NotRecorded,
    /// Reasons were asked for later, and the model that scored is not the one in force. Informational: degrades nothing.
    ModelNotLoaded,
    /// Reference data that was read was confirmed by its source longer ago than `reference.stale_after`.
    ReferenceStale,
    /// The reference data has no row of a merchant, product, country or currency, or it is not fetched yet: defaults counted.
    ReferenceMissing,
}

impl DegradedCause {
    /// Every cause, in the order of the enum.
    pub const ALL: [Self; 16] = [
        Self::HistoryIncomplete,
        Self::StaleRate,
        Self::MissingRate,
        Self::ApproximateWindow,
        Self::NewCustomer,
        Self::Deadline,
        Self::Overload,
        Self::NoModel,
        Self::RecordUnavailable,
        Self::ReasonsUnavailable,
        Self::ReaderBehind,
        Self::MergeTimeout,
        Self::NotRecorded,
        Self::ModelNotLoaded,
        Self::ReferenceStale,
        Self::ReferenceMissing,
    ];

    /// The stable code.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HistoryIncomplete => "history_incomplete",
            Self::StaleRate => "stale_rate",
            Self::MissingRate => "missing_rate",
            Self::ApproximateWindow => "approximate_window",
            Self::NewCustomer => "new_customer",
            Self::Deadline => "deadline",
            Self::Overload => "overload",
            Self::NoModel => "no_model",
            Self::RecordUnavailable => "record_unavailable",
            Self::ReasonsUnavailable => "reasons_unavailable",
            Self::ReaderBehind => "reader_behind",
            Self::MergeTimeout => "merge_timeout",
            Self::NotRecorded => "not_recorded",
            Self::ModelNotLoaded => "model_not_loaded",
            Self::ReferenceStale => "reference_stale",
            Self::ReferenceMissing => "reference_missing",
        }
    }

    /// Whether a decision with this reason is `degraded`; the others only inform.
    #[must_use]
    pub const fn degrades(self) -> bool {
        let informs = matches!(
            self,
            Self::ApproximateWindow | Self::NewCustomer | Self::ReasonsUnavailable | Self::ModelNotLoaded
        );
        !informs
    }

    /// The sentence that goes with it.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::HistoryIncomplete => "the history behind the features is incomplete",
            Self::StaleRate => "the exchange rate is more than four days older than the transaction",
            Self::MissingRate => "no exchange rate is known; the amount counts as 0 in the base currency",
            Self::ApproximateWindow => "a window of a very busy entity is approximate, within the documented bound",
            Self::NewCustomer => "the customer has no earlier transaction",
            Self::Deadline => "no score within the deadline; decided by policy",
            Self::Overload => "too many transactions at once; decided by policy",
            Self::NoModel => "no model could score the transaction; decided by policy",
            Self::RecordUnavailable => "the full record cannot be read at the moment; its reasons are left out",
            Self::ReasonsUnavailable => {
                "what moved the score could not be computed in time; ask again with explain=true"
            }
            Self::ReaderBehind => "the reader of the topics is behind; events of before may be missing in the features",
            Self::MergeTimeout => {
                "a partition was not waited for any longer; events of before may be missing in the features"
            }
            Self::NotRecorded => "the log is away; the decision is in memory and is recorded when it is back",
            Self::ModelNotLoaded => {
                "what moved the score cannot be computed: the model that scored is no longer in force"
            }
            Self::ReferenceStale => {
                "the reference data could not be confirmed for too long; the last that was read counts"
            }
            Self::ReferenceMissing => {
                "the reference data has no row of the merchant, product, country or currency; defaults count"
            }
        }
    }

    /// As a reason of a decision.
    #[must_use]
    pub fn reason(self) -> Reason {
        Reason { code: self.as_str().to_owned(), message: self.message().to_owned(), value: None, contribution: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn codes_are_their_serialised_names_and_distinct() {
        for cause in DegradedCause::ALL {
            assert_eq!(serde_json::to_value(cause).unwrap(), cause.as_str());
        }
        assert_eq!(DegradedCause::ALL.map(DegradedCause::as_str).iter().collect::<HashSet<_>>().len(), 16);
    }
}
