//! Figures by kind of fraud: the frauds of one kind against all legitimate rows.

use serde::Serialize;

use super::alerts::AtAlerts;
use super::ranking::{Judged, Ranking};
use super::sample::{Sample, real};

/// One kind of fraud.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kind {
    /// As the column has it.
    pub kind: String,
    /// Frauds of this kind.
    pub frauds: u64,
    /// Share of them at or above the threshold; null without one.
    pub recall_at_threshold: Option<f64>,
    /// Share of them at or above the thresholds for alerts a day, which are those of all rows; null without times.
    pub recall_at_alerts: Option<Vec<RecallAtAlerts>>,
    /// Mean of their scores.
    pub mean_score: f64,
    /// Probability that one of them scores above a legitimate row, ties by half.
    pub roc_auc: f64,
    /// Average precision of them among all legitimate rows.
    pub average_precision: f64,
}

/// Recall for a number of alerts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecallAtAlerts {
    /// Alerts a day, of all kinds.
    pub a_day: u64,
    /// 0 to 1.
    pub recall: f64,
}

/// Every kind that a fraud has, in the order of the column's names; `None` without kinds.
pub(super) fn kinds(
    sample: &Sample,
    rows: &[Judged],
    threshold: Option<f64>,
    alerts: Option<&[AtAlerts]>,
) -> Option<Vec<Kind>> {
    let groups = sample.kinds.as_ref()?;
    let kind = |(code, name): (u32, &String)| {
        let inside = |row: &&Judged| !row.fraud || groups.of.get(row.row as usize) == Some(&code);
        let ranking = Ranking::of(rows.iter().filter(inside));
        let frauds = ranking.total.frauds;
        if frauds == 0 {
            return None;
        }
        let recall = |threshold: f64| ranking.at(threshold).map_or(0.0, |step| real(step.frauds) / real(frauds));
        let at_alerts = |at: &AtAlerts| RecallAtAlerts { a_day: at.a_day, recall: at.threshold.map_or(0.0, recall) };
        let scores = rows.iter().filter(inside).filter(|row| row.fraud).map(|row| row.score);
        Some(Kind {
            kind: name.clone(),
            frauds,
            recall_at_threshold: threshold.map(recall),
            recall_at_alerts: alerts.map(|alerts| alerts.iter().map(at_alerts).collect()),
            mean_score: scores.sum::<f64>() / real(frauds),
            roc_auc: ranking.roc_auc(),
            average_precision: ranking.average_precision(),
        })
    };
    Some((0..).zip(&groups.names).filter_map(kind).collect())
}
