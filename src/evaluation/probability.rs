//! How good the scores are as probabilities: Brier score, log loss, and calibration by bins.

use serde::{Deserialize, Serialize};

use super::ranking::Judged;
use super::sample::real;

/// How scores are put into bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Bins of one width: 0 to 1 in equal parts.
    #[default]
    Width,
    /// Bins of one count: edges at quantiles of the scores.
    Count,
}

/// Mean scores held against shares of fraud.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calibration {
    /// Expected calibration error: the mean over rows of |fraud rate - mean score| of their bin, 0 to 1 (Naeini, Cooper
    /// and Hauskrecht 2015).
    pub expected_error: f64,
    /// How the bins were made.
    pub binning: Binning,
    /// Bins with rows, ascending.
    pub bins: Vec<Bin>,
}

/// Rows with scores in (`from`, `to`]; the first bin holds `from` too.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bin {
    /// Left edge.
    pub from: f64,
    /// Right edge.
    pub to: f64,
    /// Rows.
    pub rows: u64,
    /// Mean of their scores.
    pub mean_score: f64,
    /// Share of frauds.
    pub fraud_rate: f64,
}

/// Mean of (verdict - score)², 0 to 1 (Brier 1950).
pub(super) fn brier(rows: &[Judged]) -> f64 {
    let sum: f64 = rows.iter().map(|row| (f64::from(u8::from(row.fraud)) - row.score).powi(2)).sum();
    sum / real(rows.len() as u64)
}

/// Mean of -ln of the probability that was given to what happened, in nats, ≥ 0. Probabilities are kept off 0 and 1 by
/// the machine epsilon of a 64-bit float, as scikit-learn does, so that one certain error costs 36 and not infinity.
pub(super) fn log_loss(rows: &[Judged]) -> f64 {
    let given = |row: &Judged| if row.fraud { row.score } else { 1.0 - row.score };
    let sum: f64 = rows.iter().map(|row| -given(row).clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()).sum();
    sum / real(rows.len() as u64)
}

/// Calibration by `count` ≥ 1 bins of rows that stand highest score first.
pub(super) fn calibration(rows: &[Judged], count: usize, binning: Binning) -> Calibration {
    let edges: Vec<f64> = (0..=count).map(|edge| edge_of(rows, edge, count, binning)).collect();
    let mut bins = Vec::new();
    // Bins from above: each takes the rows above its left edge, the lowest takes what is left.
    let mut left = rows;
    for (number, pair) in edges.windows(2).enumerate().rev() {
        let &[from, to] = pair else { continue };
        let taken = if number == 0 { left.len() } else { left.partition_point(|row| row.score > from) };
        let (inside, rest) = left.split_at(taken);
        left = rest;
        if !inside.is_empty() {
            let rows = real(inside.len() as u64);
            bins.push(Bin {
                from,
                to,
                rows: inside.len() as u64,
                mean_score: inside.iter().map(|row| row.score).sum::<f64>() / rows,
                fraud_rate: real(inside.iter().filter(|row| row.fraud).count() as u64) / rows,
            });
        }
    }
    bins.reverse();
    let error = |bin: &Bin| real(bin.rows) * (bin.fraud_rate - bin.mean_score).abs();
    let expected_error = bins.iter().map(error).sum::<f64>() / real(rows.len() as u64);
    Calibration { expected_error, binning, bins }
}

/// Edge `edge` of `count` bins, computed in numpy's order of operations, so that a score that lies on an edge goes the
/// same way as in scikit-learn's `calibration_curve`.
#[expect(clippy::cast_precision_loss, reason = "at most a few thousand bins, and rows below 2^53")]
fn edge_of(rows: &[Judged], edge: usize, count: usize, binning: Binning) -> f64 {
    let even = if edge == count { 1.0 } else { edge as f64 * (1.0 / count as f64) };
    match binning {
        Binning::Width => even,
        Binning::Count => {
            // numpy.percentile(scores, even * 100), method "linear".
            let place = (even * 100.0 / 100.0) * (rows.len().saturating_sub(1) as f64);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to rows - 1")]
            let below = place.floor() as usize;
            let share = place - place.floor();
            let at = |ascending: usize| {
                let last = rows.len().saturating_sub(1);
                rows.get(last.saturating_sub(ascending)).map_or(0.0, |row| row.score)
            };
            let (low, high) = (at(below), at(below + 1));
            if share >= 0.5 { high - (high - low) * (1.0 - share) } else { low + (high - low) * share }
        }
    }
}
