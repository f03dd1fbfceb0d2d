//! How well scores tell frauds from legitimate rows: the figures of `assay evaluate`. Pure.
//!
//! In: a [`Sample`], scores and verdicts with what else is known of the rows. Out: an [`Evaluation`], or a [`Comparison`]
//! of two scores of the same rows. Every definition, with its source: docs/EVALUATION.md.
//!
//! Invariants: no figure depends on the order of the rows; what a missing column makes impossible is `None`, and
//! [`Evaluation::notes`] says why. It knows nothing of files, models or the line.

mod alerts;
mod cards;
mod comparison;
mod cost;
mod curve;
mod folds;
mod groups;
mod kinds;
mod probability;
mod ranking;
mod sample;
#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroUsize};

use serde::Serialize;

pub use alerts::{AtAlerts, AtThreshold, Caught};
use alerts::{Known, at_alerts, at_threshold};
pub use cards::CardPrecision;
use cards::card_precision;
pub use comparison::{Comparison, Difference, Differences, FoldDifferences, Resampling, Unit, compare};
pub use cost::{Cost, CostPoint};
use curve::thin;
pub use folds::{Figures, Fold};
pub use groups::Groups;
pub use kinds::{Kind, RecallAtAlerts};
pub use probability::{Bin, Binning, Calibration};
use ranking::{Ranking, ranked};
pub use sample::{Amounts, Fault, MAX_GROUPS, MAX_ROWS, Sample, date};

/// What is asked besides the figures that need no choice.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Scores at or above it are flagged.
    pub threshold: Option<f64>,
    /// Alerts a day that a team can look at.
    pub alerts_a_day: Vec<u64>,
    /// Cards a day that a team can look at.
    pub card_precision_k: NonZeroU32,
    /// What looking at one alert costs, in the currency's major unit.
    pub review_cost: Option<f64>,
    /// Bins of the calibration table.
    pub bins: NonZeroUsize,
    /// How they are made.
    pub binning: Binning,
    /// Points of a curve at most; 0 keeps every one.
    pub curve_points: usize,
}

/// The figures of one score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows.
    pub rows: u64,
    /// Frauds among them.
    pub frauds: u64,
    /// Days (UTC) with a row; null without times.
    pub days: Option<u64>,
    /// The first of them, such as `2018-08-08`.
    pub first_day: Option<String>,
    /// The last of them.
    pub last_day: Option<String>,
    /// Area under the ROC curve, 0 to 1, ties by half.
    pub roc_auc: f64,
    /// Average precision, 0 to 1, tied rows as one step.
    pub average_precision: f64,
    /// Card precision at k; null without times or customers.
    pub card_precision: Option<CardPrecision>,
    /// Brier score, 0 to 1.
    pub brier: f64,
    /// Log loss, nats.
    pub log_loss: f64,
    /// Calibration table and error.
    pub calibration: Calibration,
    /// At the threshold; null without one.
    pub at_threshold: Option<AtThreshold>,
    /// By alerts a day; null without times.
    pub alerts: Option<Vec<AtAlerts>>,
    /// (false positive rate, recall).
    pub roc: Vec<[f64; 2]>,
    /// (recall, precision).
    pub precision_recall: Vec<[f64; 2]>,
    /// Cost curve; null without amounts or the cost of a review.
    pub cost: Option<Cost>,
    /// By kind of fraud; null without kinds.
    pub kinds: Option<Vec<Kind>>,
    /// Fold by fold; null without folds.
    pub folds: Option<Vec<Fold>>,
    /// Mean over the folds; null without folds.
    pub mean: Option<Figures>,
    /// Standard deviation over the folds (divided by folds - 1); null below two folds.
    pub spread: Option<Figures>,
    /// Why a figure is null.
    pub notes: Vec<String>,
}

/// Judges a sample.
#[must_use]
pub fn evaluate(sample: &Sample, options: &Options) -> Evaluation {
    let rows = ranked(sample);
    let ranking = Ranking::of(&rows);
    let days = sample.days();
    let known = Known { days: days.as_ref().map(|days| days.len() as u64), amounts: sample.amounts.is_some() };
    let k = options.card_precision_k.get();
    let alerts = at_alerts(&ranking, &options.alerts_a_day, known);
    let folds = sample.folds.is_some().then(|| folds::folds(sample, k, &options.alerts_a_day));
    let cost = options
        .review_cost
        .zip(sample.amounts.as_ref())
        .map(|(review, amounts)| cost::cost(&ranking, review, amounts.per_major, known.days, options.curve_points));
    let day = |pick: fn(&[i64]) -> Option<&i64>| days.as_deref().and_then(pick).map(|day| date(*day));
    Evaluation {
        rows: ranking.total.rows,
        frauds: ranking.total.frauds,
        days: known.days,
        first_day: day(<[i64]>::first),
        last_day: day(<[i64]>::last),
        roc_auc: ranking.roc_auc(),
        average_precision: ranking.average_precision(),
        card_precision: card_precision(sample, k),
        brier: probability::brier(&rows),
        log_loss: probability::log_loss(&rows),
        calibration: probability::calibration(&rows, options.bins.get(), options.binning),
        at_threshold: options.threshold.map(|threshold| at_threshold(&ranking, threshold, known)),
        roc: thin(&ranking.roc(), options.curve_points, |point| *point),
        precision_recall: thin(&ranking.precision_recall(), options.curve_points, |point| *point),
        cost,
        kinds: kinds::kinds(sample, &rows, options.threshold, alerts.as_deref()),
        mean: folds.as_deref().and_then(folds::mean_of),
        spread: folds.as_deref().and_then(folds::spread_of),
        folds,
        alerts,
        notes: notes(sample, options, ranking.total.caught),
    }
}

fn notes(sample: &Sample, options: &Options, fraud_amount: f64) -> Vec<String> {
    let (no_times, no_amounts) = (sample.days.is_none(), sample.amounts.is_none());
    let told = [
        (no_times, "days and alerts a day: no times"),
        (no_times || sample.customers.is_none(), "card precision: needs times and customers"),
        (options.threshold.is_none(), "figures at a threshold: none was given"),
        (no_amounts, "amount recall and cost: no amounts"),
        (!no_amounts && fraud_amount <= 0.0, "amount recall: the frauds amount to 0"),
        (!no_amounts && options.review_cost.is_none(), "cost: what a review costs was not given"),
        (sample.kinds.is_none(), "kinds of fraud: no column was named"),
        (sample.folds.is_none(), "folds, their mean and spread: no column was named"),
        (sample.fold_rows().len() == 1, "spread over folds: there is one fold"),
    ];
    told.into_iter().filter(|(missing, _)| *missing).map(|(_, why)| why.to_owned()).collect()
}
