//! What a threshold costs: every alert costs a review, every fraud below the threshold costs its amount.
//!
//! cost(threshold) = review × alerts + amounts of missed frauds. It takes a flagged fraud as stopped in full, and a false
//! alert as costing its review and no more.

use serde::Serialize;

use super::curve::thin;
use super::ranking::{Ranking, Step};
use super::sample::real;

/// The curve and its lowest point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cost {
    /// What looking at one alert costs, in the currency's major unit.
    pub review: f64,
    /// From no alert to everything flagged.
    pub points: Vec<CostPoint>,
    /// The cheapest of all thresholds (not only of `points`); of equal ones the one with the fewest alerts.
    pub best: CostPoint,
}

/// One threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CostPoint {
    /// Scores at or above it are flagged; null flags nothing.
    pub threshold: Option<f64>,
    /// Rows it flags.
    pub alerts: u64,
    /// The same a day; null without times.
    pub alerts_a_day: Option<f64>,
    /// In the currency's major unit, over all days.
    pub cost: f64,
}

/// The cost of every step of `ranking`, whose amounts have `per_major` units in a major one.
pub(super) fn cost(ranking: &Ranking, review: f64, per_major: f64, days: Option<u64>, most: usize) -> Cost {
    let amount = ranking.total.caught;
    let point = |step: Option<&Step>| {
        let (alerts, caught) = step.map_or((0, 0.0), |step| (step.rows, step.caught));
        CostPoint {
            threshold: step.map(|step| step.score),
            alerts,
            alerts_a_day: days.map(|days| real(alerts) / real(days)),
            cost: review * real(alerts) + (amount - caught) / per_major,
        }
    };
    let nothing = point(None);
    let points: Vec<CostPoint> =
        std::iter::once(nothing).chain(ranking.steps().iter().map(|step| point(Some(step)))).collect();
    let best = points.iter().fold(nothing, |best, point| if point.cost < best.cost { *point } else { best });
    // Few alerts are what is looked at: half of the points go where alerts double, half where the cost moves.
    let most_alerts = real(ranking.total.rows + 1).ln();
    let span = (amount / per_major).max(f64::MIN_POSITIVE);
    let place = |point: &CostPoint| [real(point.alerts + 1).ln() / most_alerts, (point.cost / span).min(2.0)];
    Cost { review, points: thin(&points, most, place), best }
}
