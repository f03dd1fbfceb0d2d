//! Every definition by the shortest way.

use std::collections::{BTreeMap, BTreeSet};

use super::Row;
use crate::evaluation::Caught;

pub(super) fn roc_auc(rows: &[Row]) -> f64 {
    let (mut won, mut pairs) = (0.0, 0.0);
    for fraud in rows.iter().filter(|row| row.1) {
        for other in rows.iter().filter(|row| !row.1) {
            pairs += 1.0;
            won += if fraud.0 > other.0 { 1.0 } else { f64::from(u8::from(fraud.0 == other.0)) / 2.0 };
        }
    }
    won / pairs
}

/// Different scores, highest first.
pub(super) fn thresholds(rows: &[Row]) -> Vec<f64> {
    let mut scores: Vec<f64> = rows.iter().map(|row| row.0).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.dedup();
    scores
}

pub(super) fn flagged(rows: &[Row], threshold: f64) -> u64 {
    rows.iter().filter(|row| row.0 >= threshold).count() as u64
}

fn frauds(rows: &[Row], threshold: f64) -> f64 {
    rows.iter().filter(|row| row.0 >= threshold && row.1).count() as f64
}

pub(super) fn average_precision(rows: &[Row]) -> f64 {
    let all = frauds(rows, 0.0);
    let (mut sum, mut before) = (0.0, 0.0);
    for threshold in thresholds(rows) {
        let recall = frauds(rows, threshold) / all;
        sum += (recall - before) * frauds(rows, threshold) / flagged(rows, threshold) as f64;
        before = recall;
    }
    sum
}

pub(super) fn brier(rows: &[Row]) -> f64 {
    rows.iter().map(|row| if row.1 { (1.0 - row.0).powi(2) } else { row.0.powi(2) }).sum::<f64>() / rows.len() as f64
}

pub(super) fn log_loss(rows: &[Row]) -> f64 {
    let kept = |p: f64| p.max(2.0_f64.powi(-52)).min(1.0 - 2.0_f64.powi(-52));
    let loss = |row: &Row| -kept(if row.1 { row.0 } else { 1.0 - row.0 }).ln();
    rows.iter().map(loss).sum::<f64>() / rows.len() as f64
}

/// The error, and the rows of each bin that has any.
pub(super) fn calibration(rows: &[Row], count: usize) -> (f64, Vec<u64>) {
    let mut bins: BTreeMap<usize, Vec<&Row>> = BTreeMap::new();
    let edges: Vec<f64> = (1..count).map(|edge| edge as f64 * (1.0 / count as f64)).collect();
    for row in rows {
        bins.entry(edges.iter().filter(|edge| row.0 > **edge).count()).or_default().push(row);
    }
    let error = |inside: &Vec<&Row>| {
        let score: f64 = inside.iter().map(|row| row.0).sum();
        let rate = inside.iter().filter(|row| row.1).count() as f64;
        (rate - score).abs()
    };
    (
        bins.values().map(error).sum::<f64>() / rows.len() as f64,
        bins.values().map(|inside| inside.len() as u64).collect(),
    )
}

pub(super) fn check_caught(rows: &[Row], threshold: f64, count: u64, caught: &Caught) {
    let amount = |threshold: f64| -> f64 {
        rows.iter().filter(|row| row.1 && row.0 >= threshold).map(|row| f64::from(row.4)).sum()
    };
    let legitimate = |threshold: f64| flagged(rows, threshold) as f64 - frauds(rows, threshold);
    assert_eq!(count, flagged(rows, threshold));
    assert_eq!(caught.precision, (count > 0).then(|| frauds(rows, threshold) / count as f64));
    assert_eq!(caught.recall, frauds(rows, threshold) / frauds(rows, 0.0));
    assert_eq!(caught.false_positive_rate, legitimate(threshold) / legitimate(0.0));
    assert_eq!(caught.amount_recall, (amount(0.0) > 0.0).then(|| amount(threshold) / amount(0.0)));
}

pub(super) fn cost(rows: &[Row], threshold: f64, review: f64) -> f64 {
    let of = |row: &Row| match (row.0 >= threshold, row.1) {
        (true, _) => review,
        (false, true) => f64::from(row.4) / 100.0,
        (false, false) => 0.0,
    };
    rows.iter().map(of).sum()
}

/// The handbook's loop: days in turn, cards by their highest score, k of them, what was found is left out later.
pub(super) fn card_precision(rows: &[Row], k: u32) -> Vec<f64> {
    let days: BTreeSet<i64> = rows.iter().map(|row| row.2).collect();
    let mut known: BTreeSet<u32> = BTreeSet::new();
    let mut precisions = Vec::new();
    for day in days {
        let mut cards: BTreeMap<u32, (f64, bool)> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.2 == day && !known.contains(&row.3)) {
            let card = cards.entry(row.3).or_insert((row.0, false));
            *card = (card.0.max(row.0), card.1 || row.1);
        }
        let mut cards: Vec<(u32, (f64, bool))> = cards.into_iter().collect();
        // Stable: cards that tie stay in the order of their customers.
        cards.sort_by(|a, b| b.1.0.total_cmp(&a.1.0));
        let found: Vec<u32> = cards.iter().take(k as usize).filter(|card| card.1.1).map(|card| card.0).collect();
        precisions.push(found.len() as f64 / f64::from(k));
        known.extend(found);
    }
    precisions
}
