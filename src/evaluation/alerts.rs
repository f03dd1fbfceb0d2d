//! What a threshold catches and what it costs in alerts. A row is flagged when its score ≥ the threshold, as in service.

use serde::Serialize;

use super::ranking::{Ranking, Step};
use super::sample::real;

/// Figures at one threshold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtThreshold {
    /// Scores at or above it are flagged.
    pub threshold: f64,
    /// Rows that are.
    pub flagged: u64,
    /// Flagged rows a day; null without times.
    pub alerts_a_day: Option<f64>,
    /// What is caught at what price.
    #[serde(flatten)]
    pub caught: Caught,
}

/// Figures for a number of alerts that can be looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AtAlerts {
    /// Alerts a day.
    pub a_day: u64,
    /// The lowest threshold that flags no more rows than `a_day` × days: tied rows are flagged together or not at all.
    /// Null when already the rows with the highest score are more than that; then nothing is flagged.
    pub threshold: Option<f64>,
    /// Rows at or above it; below `a_day` × days where ties leave room.
    pub flagged: u64,
    /// What is caught at what price.
    #[serde(flatten)]
    pub caught: Caught,
}

/// What a threshold catches. All are shares, 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Caught {
    /// Flagged frauds of flagged rows; null when nothing is flagged.
    pub precision: Option<f64>,
    /// Flagged frauds of all frauds.
    pub recall: f64,
    /// Flagged legitimate rows of all legitimate rows.
    pub false_positive_rate: f64,
    /// Amount of flagged frauds of the amount of all frauds; null without amounts, or when frauds amount to nothing.
    pub amount_recall: Option<f64>,
}

/// What is known of the rows besides their ranking.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    /// Days with a row; `None` without times.
    pub(super) days: Option<u64>,
    pub(super) amounts: bool,
}

pub(super) fn at_threshold(ranking: &Ranking, threshold: f64, known: Known) -> AtThreshold {
    let step = ranking.at(threshold);
    let flagged = step.map_or(0, |step| step.rows);
    AtThreshold {
        threshold,
        flagged,
        alerts_a_day: known.days.map(|days| real(flagged) / real(days)),
        caught: caught(ranking, step, known),
    }
}

/// `None` without times: nothing is a day then.
pub(super) fn at_alerts(ranking: &Ranking, a_day: &[u64], known: Known) -> Option<Vec<AtAlerts>> {
    let days = known.days?;
    let at = |a_day: &u64| {
        let step = ranking.at_most(a_day.saturating_mul(days));
        AtAlerts {
            a_day: *a_day,
            threshold: step.map(|step| step.score),
            flagged: step.map_or(0, |step| step.rows),
            caught: caught(ranking, step, known),
        }
    };
    Some(a_day.iter().map(at).collect())
}

fn caught(ranking: &Ranking, step: Option<&Step>, known: Known) -> Caught {
    let total = ranking.total;
    let (rows, frauds, amount) = step.map_or((0, 0, 0.0), |step| (step.rows, step.frauds, step.caught));
    Caught {
        precision: (rows > 0).then(|| real(frauds) / real(rows)),
        recall: real(frauds) / real(total.frauds),
        false_positive_rate: real(rows - frauds) / real(total.rows - total.frauds),
        amount_recall: (known.amounts && total.caught > 0.0).then(|| amount / total.caught),
    }
}
