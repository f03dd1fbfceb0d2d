//! Figures fold by fold, their mean and their spread. Each fold is judged alone: its own days, its own known cards.

use serde::Serialize;

use super::alerts::{AtAlerts, Known, at_alerts};
use super::cards::{card_precision, mean};
use super::ranking::{Ranking, ranked};
use super::sample::{Sample, real};

/// The three figures by which models are compared, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Area under the ROC curve.
    pub roc_auc: f64,
    /// Average precision.
    pub average_precision: f64,
    /// Card precision at k; null without times or customers.
    pub card_precision: Option<f64>,
}

/// One fold.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fold {
    /// As the column has it.
    pub name: String,
    /// Rows.
    pub rows: u64,
    /// Frauds among them.
    pub frauds: u64,
    /// Days with a row; null without times.
    pub days: Option<u64>,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// By alerts a day, thresholds of this fold's rows; null without times.
    pub alerts: Option<Vec<AtAlerts>>,
}

/// Every fold, in the order of their names.
pub(super) fn folds(sample: &Sample, k: u32, alerts_a_day: &[u64]) -> Vec<Fold> {
    let fold = |(name, rows): (&str, Vec<usize>)| {
        let inside = sample.pick(&rows);
        let ranking = Ranking::of(&ranked(&inside));
        let days = inside.days().map(|days| days.len() as u64);
        let known = Known { days, amounts: inside.amounts.is_some() };
        Fold {
            name: name.to_owned(),
            rows: ranking.total.rows,
            frauds: ranking.total.frauds,
            days,
            figures: Figures {
                roc_auc: ranking.roc_auc(),
                average_precision: ranking.average_precision(),
                card_precision: card_precision(&inside, k).map(|precision| precision.mean),
            },
            alerts: at_alerts(&ranking, alerts_a_day, known),
        }
    };
    sample.fold_rows().into_iter().map(fold).collect()
}

/// Mean over the folds; `None` without folds.
pub(super) fn mean_of(folds: &[Fold]) -> Option<Figures> {
    over(folds, |values| Some(mean(values)))
}

/// Standard deviation over the folds, divided by folds - 1; `None` below two folds.
pub(super) fn spread_of(folds: &[Fold]) -> Option<Figures> {
    over(folds, |values| {
        let centre = mean(values);
        let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
        (values.len() > 1).then(|| (squares / real(values.len() as u64 - 1)).sqrt())
    })
}

fn over(folds: &[Fold], figure: impl Fn(&[f64]) -> Option<f64>) -> Option<Figures> {
    let of = |get: fn(&Figures) -> Option<f64>| {
        let values: Option<Vec<f64>> = folds.iter().map(|fold| get(&fold.figures)).collect();
        values.filter(|values| !values.is_empty()).and_then(|values| figure(&values))
    };
    Some(Figures {
        roc_auc: of(|figures| Some(figures.roc_auc))?,
        average_precision: of(|figures| Some(figures.average_precision))?,
        card_precision: of(|figures| figures.card_precision),
    })
}
