//! ROC AUC and average precision of weighted rows: one pass over rows that were sorted once.

use crate::evaluation::ranking::ranked;
use crate::evaluation::sample::{Sample, real};

/// ROC AUC, average precision, card precision; `None` where there is no such figure.
pub(super) type Triple = [Option<f64>; 3];

/// A row in 32 bits: its unit, whether it is a fraud, whether it is the last of its tie.
#[derive(Debug, Clone, Copy)]
struct Packed(u32);

const FRAUD: u32 = 2;
const LAST: u32 = 1;

/// Rows, highest score first.
#[derive(Debug)]
pub(super) struct Weighted(Vec<Packed>);

impl Weighted {
    /// The rows of a sample; `units` has the unit (below 2^30) of each.
    pub(super) fn new(sample: &Sample, units: &[u32]) -> Self {
        let rows = ranked(sample);
        let next = rows.iter().skip(1).map(|row| Some(row.score)).chain([None]);
        let packed = rows.iter().zip(next).map(|(row, next)| {
            let unit = units.get(row.row as usize).copied().unwrap_or_default();
            let fraud = if row.fraud { FRAUD } else { 0 };
            let last = if next == Some(row.score) { 0 } else { LAST };
            Packed((unit << 2) | fraud | last)
        });
        Self(packed.collect())
    }

    /// ROC AUC and average precision of rows that stand there as often as their unit's weight says; `None` where no
    /// fraud or no legitimate row is left.
    pub(super) fn figures(&self, weights: &[u32]) -> Option<(f64, f64)> {
        let (mut frauds, mut legitimate) = (0_u64, 0_u64);
        let (mut tied_frauds, mut tied_legitimate) = (0_u64, 0_u64);
        let (mut twice, mut precisions) = (0_u128, 0.0);
        for Packed(row) in &self.0 {
            let weight = u64::from(weights.get((row >> 2) as usize).copied().unwrap_or_default());
            if row & FRAUD == 0 {
                tied_legitimate += weight;
            } else {
                tied_frauds += weight;
            }
            if row & LAST == 0 {
                continue;
            }
            if tied_legitimate > 0 {
                twice += u128::from(tied_legitimate) * u128::from(2 * frauds + tied_frauds);
                legitimate += tied_legitimate;
            }
            if tied_frauds > 0 {
                frauds += tied_frauds;
                precisions += real(tied_frauds) * (real(frauds) / real(frauds + legitimate));
            }
            (tied_frauds, tied_legitimate) = (0, 0);
        }
        if frauds == 0 || legitimate == 0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "rounded once, to 16 digits")]
        let area = twice as f64 / (2 * u128::from(frauds) * u128::from(legitimate)) as f64;
        Some((area, precisions / real(frauds)))
    }
}
