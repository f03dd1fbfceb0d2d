//! What is asked for, held against what there is. Pure.

use anyhow::{Result, bail};

use crate::base::clock::Millis;
use crate::features::Catalogue;

/// A span of time; without a beginning it begins with what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: Option<Millis>,
    pub(super) to: Millis,
}

/// Reads a moment.
pub(super) fn moment(text: &str) -> Result<Millis, String> {
    let number = text.parse().ok().map(Millis);
    let found = number.or_else(|| Millis::parse_rfc3339(text));
    found.ok_or_else(|| {
        format!("{text:?} is no moment: RFC 3339 such as 2026-01-31T00:00:00Z, or milliseconds since 1970")
    })
}

/// From when on windows must be filled so that the features of payments from `start` on are complete.
///
/// # Errors
/// When the view begins later than that and is not the whole of it: each feature that lacks something, by name.
pub(super) fn windows_begin(
    catalogue: &Catalogue,
    names: &[String],
    start: Millis,
    view_begins: Option<Millis>,
    is_whole: bool,
) -> Result<Millis> {
    let mut begin = start;
    let mut lacking = Vec::new();
    for name in names {
        // The left edge is open: what happened at it is not in the window.
        let needed = Millis(start.0.saturating_sub(catalogue.needs(name)?.reach));
        begin = begin.min(needed);
        if view_begins.is_some_and(|begins| begins > needed) {
            lacking.push(name.as_str());
        }
    }
    let Some(view_begins) = view_begins.filter(|_| !is_whole && !lacking.is_empty()) else { return Ok(begin) };
    bail!(
        "inputs of the model are not available: the view begins at {view_begins}, and for payments of {start} it would have to \
         reach back to {begin} for {}; begin later, widen the view, or say --whole-view where there was nothing before",
        lacking.join(", ")
    )
}

/// Whether the topic of labels reaches back as far as the windows; `since` is where it begins, where earlier messages are gone.
///
/// # Errors
/// When it does not and the model needs it: each feature that lacks something, by name.
pub(super) fn labels_reach(
    catalogue: &Catalogue,
    names: &[String],
    windows: Millis,
    since: Option<Millis>,
) -> Result<()> {
    let Some(since) = since.filter(|since| *since > windows) else { return Ok(()) };
    let mut lacking = Vec::new();
    for name in names {
        if catalogue.needs(name)?.labels {
            lacking.push(name.as_str());
        }
    }
    if lacking.is_empty() {
        return Ok(());
    }
    bail!(
        "inputs of the model are not available: the topic of labels holds those since {since}, and {} count them from {windows} on; \
         give the verdicts with --labels FILE or --labels view",
        lacking.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::DAY;
    use crate::base::money::Currency;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn catalogue() -> Catalogue {
        Catalogue::shipped(Currency::parse("EUR").unwrap()).unwrap()
    }

    #[test]
    fn a_moment_is_a_date_or_a_number() {
        assert_eq!(moment("1767225600000"), moment("2026-01-01T00:00:00Z"));
        assert!(moment("yesterday").unwrap_err().contains("RFC 3339"));
    }

    #[test]
    fn windows_are_filled_from_the_longest_reach_on_and_a_view_that_begins_later_is_refused_by_feature() {
        let (catalogue, start) = (catalogue(), Millis(1_767_225_600_000));
        let short = names(&["amount", "customer_tx_count_1d"]);
        let begin = |names: &[String], begins, whole| windows_begin(&catalogue, names, start, begins, whole);
        assert_eq!(begin(&short, Some(Millis(start.0 - DAY)), false).unwrap(), Millis(start.0 - DAY));
        let late = Some(Millis(start.0 - DAY + 1));
        let told = begin(&short, late, false).unwrap_err().to_string();
        assert!(told.contains("customer_tx_count_1d") && !told.contains("amount"), "{told}");
        assert_eq!(begin(&short, late, true).unwrap(), Millis(start.0 - DAY));
        assert_eq!(begin(&names(&["amount"]), late, false).unwrap(), start);
        assert_eq!(begin(&short, None, false).unwrap(), Millis(start.0 - DAY));
    }

    #[test]
    fn labels_that_are_gone_matter_to_who_counts_them() {
        let (catalogue, windows) = (catalogue(), Millis(1_000));
        let share = names(&["amount", "terminal_fraud_share_7d"]);
        for since in [None, Some(windows)] {
            assert!(labels_reach(&catalogue, &share, windows, since).is_ok());
        }
        let later = Some(Millis(1_001));
        let told = labels_reach(&catalogue, &share, windows, later).unwrap_err().to_string();
        assert!(told.contains("terminal_fraud_share_7d") && !told.contains("amount"), "{told}");
        assert!(labels_reach(&catalogue, &names(&["amount"]), windows, later).is_ok());
    }
}
