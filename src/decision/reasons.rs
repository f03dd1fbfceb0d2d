//! Reasons: what moved a score, and what was not as it should be. Codes are stable; a feature's code is its name.

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
}

impl DegradedCause {
    /// Every cause, in the order of the enum.
    pub const ALL: [Self; 9] = [
        Self::HistoryIncomplete,
        Self::StaleRate,
        Self::MissingRate,
        Self::ApproximateWindow,
        Self::NewCustomer,
        Self::Deadline,
        Self::Overload,
        Self::NoModel,
        Self::RecordUnavailable,
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
        }
    }

    /// Whether a decision with this reason is `degraded`; the others only inform.
    #[must_use]
    pub const fn degrades(self) -> bool {
        !matches!(self, Self::ApproximateWindow | Self::NewCustomer)
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
        }
    }

    /// As a reason of a decision.
    #[must_use]
    pub fn reason(self) -> Reason {
        Reason { code: self.as_str().to_owned(), message: self.message().to_owned(), value: None, contribution: None }
    }
}

/// One input of the model, as reasons and the stored document name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name in the catalogue.
    pub name: String,
    /// A sentence about it for a person.
    pub meaning: String,
    /// Whether its values are integers.
    pub integer: bool,
}

/// At most `most` reasons: the columns that moved the score furthest, furthest first; columns that did not move it are
/// left out. `values` and `contributions` are in the order of `columns`.
#[must_use]
pub fn feature_reasons(columns: &[Column], values: &[f64], contributions: &[f32], most: usize) -> Vec<Reason> {
    let mut moved: Vec<(&Column, f64, f32)> = columns
        .iter()
        .zip(values)
        .zip(contributions)
        .map(|((column, &value), &contribution)| (column, value, contribution))
        .filter(|(.., contribution)| contribution.is_finite() && *contribution != 0.0)
        .collect();
    moved.sort_by(|left, right| right.2.abs().total_cmp(&left.2.abs()));
    moved
        .into_iter()
        .take(most)
        .map(|(column, value, contribution)| {
            let verb = if contribution > 0.0 { "raises" } else { "lowers" };
            let meaning = if column.meaning.is_empty() { &column.name } else { &column.meaning };
            let shown = if column.integer { format!("{value:.0}") } else { format!("{value:.2}") };
            let meaning = meaning.trim_end_matches('.');
            Reason {
                code: column.name.clone(),
                message: format!("{meaning}: {shown}, {verb} the score by {:.3}", contribution.abs()),
                value: Some(value),
                contribution: Some(f64::from(contribution)),
            }
        })
        .collect()
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
        assert_eq!(DegradedCause::ALL.map(DegradedCause::as_str).iter().collect::<HashSet<_>>().len(), 9);
    }

    #[test]
    fn the_furthest_movers_come_first_with_their_direction() {
        let column = |name: &str, integer| Column { name: name.into(), meaning: format!("About {name}."), integer };
        let columns = [column("amount", false), column("count", true), column("still", true), column("share", false)];
        let reasons = feature_reasons(&columns, &[12.5, 3.0, 1.0, 0.25], &[0.1, -0.4, 0.0, f32::NAN], 3);
        assert_eq!(reasons.iter().map(|reason| reason.code.as_str()).collect::<Vec<_>>(), ["count", "amount"]);
        assert_eq!(reasons[0].message, "About count: 3, lowers the score by 0.400");
        assert_eq!(reasons[1].value, Some(12.5));
        assert_eq!(feature_reasons(&columns, &[1.0; 4], &[0.1; 4], 2).len(), 2);
    }
}
