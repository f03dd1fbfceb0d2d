//! Rows from the most suspicious down, tied rows as one step, and what follows from their order alone.
//!
//! A step is a threshold: everything at or above its score. Sums run over rows in an order that depends on their
//! values only, so every figure is the same to the last bit however the rows were sorted in the file.

use std::cmp::Ordering;

use super::sample::{Sample, real};

/// One row as it is ranked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Judged {
    pub(super) score: f64,
    /// In the sample's unit; 0 where amounts are not known.
    pub(super) amount: f64,
    /// Its place in the sample.
    pub(super) row: u32,
    pub(super) fraud: bool,
}

impl Judged {
    /// Highest score first; ties by values, so that equal rows may stand in any order.
    fn order(&self, other: &Self) -> Ordering {
        let by_score = other.score.total_cmp(&self.score);
        by_score.then(other.fraud.cmp(&self.fraud)).then(self.amount.total_cmp(&other.amount))
    }
}

/// The rows of a sample, highest score first.
pub(super) fn ranked(sample: &Sample) -> Vec<Judged> {
    let amounts = sample.amounts.as_ref().map(|amounts| amounts.values.as_slice()).unwrap_or_default();
    let amounts = amounts.iter().copied().chain(std::iter::repeat(0.0));
    let rows = (0_u32..).zip(&sample.scores).zip(&sample.frauds).zip(amounts);
    // Adding zero makes -0 a 0: they are tied, and `total_cmp` tells them apart.
    let mut rows: Vec<Judged> =
        rows.map(|(((row, score), fraud), amount)| Judged { score: score + 0.0, amount, row, fraud: *fraud }).collect();
    rows.sort_unstable_by(Judged::order);
    rows
}

/// Everything at or above one score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) score: f64,
    /// Rows at or above it.
    pub(super) rows: u64,
    /// Frauds among them.
    pub(super) frauds: u64,
    /// What those frauds amount to, in the sample's unit.
    pub(super) caught: f64,
}

/// Steps from the highest score to the lowest.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ranking {
    steps: Vec<Step>,
    /// All rows, all frauds, and their amount.
    pub(super) total: Step,
}

impl Ranking {
    /// The steps of rows that stand highest score first.
    pub(super) fn of<'a>(rows: impl IntoIterator<Item = &'a Judged>) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        let mut total = Step { score: f64::INFINITY, rows: 0, frauds: 0, caught: 0.0 };
        for row in rows {
            total = Step {
                score: row.score,
                rows: total.rows + 1,
                frauds: total.frauds + u64::from(row.fraud),
                caught: total.caught + if row.fraud { row.amount } else { 0.0 },
            };
            match steps.last_mut() {
                Some(last) if last.score.total_cmp(&row.score).is_eq() => *last = total,
                _ => steps.push(total),
            }
        }
        Self { steps, total }
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The last step at or above `threshold`; `None` when every score is below it.
    pub(super) fn at(&self, threshold: f64) -> Option<&Step> {
        let above = self.steps.partition_point(|step| step.score >= threshold);
        above.checked_sub(1).and_then(|last| self.steps.get(last))
    }

    /// The last step with at most this many rows; `None` when already the highest score has more.
    pub(super) fn at_most(&self, rows: u64) -> Option<&Step> {
        let within = self.steps.partition_point(|step| step.rows <= rows);
        within.checked_sub(1).and_then(|last| self.steps.get(last))
    }

    /// Probability that a fraud scores above a legitimate row, ties by half (Mann and Whitney 1947; Hanley and McNeil
    /// 1982): the area under the ROC curve. 0 to 1, counted in integers.
    pub(super) fn roc_auc(&self) -> f64 {
        let (mut frauds, mut legitimate, mut twice) = (0_u64, 0_u64, 0_u128);
        for step in &self.steps {
            let below = step.rows - step.frauds - legitimate;
            twice += u128::from(below) * u128::from(frauds + step.frauds);
            (frauds, legitimate) = (step.frauds, step.rows - step.frauds);
        }
        let pairs = 2 * u128::from(frauds) * u128::from(legitimate);
        #[expect(clippy::cast_precision_loss, reason = "rounded once, to 16 digits")]
        let share = twice as f64 / pairs as f64;
        share
    }

    /// Average precision: the sum over steps of (recall - recall before) × precision, tied rows as one step and nothing
    /// interpolated. 0 to 1.
    pub(super) fn average_precision(&self) -> f64 {
        let mut before = 0;
        let mut sum = 0.0;
        for step in &self.steps {
            if step.frauds > before {
                sum += real(step.frauds - before) * (real(step.frauds) / real(step.rows));
                before = step.frauds;
            }
        }
        sum / real(self.total.frauds)
    }

    /// (false positive rate, recall) from (0, 0) to (1, 1), a point a step.
    pub(super) fn roc(&self) -> Vec<[f64; 2]> {
        let legitimate = real(self.total.rows - self.total.frauds);
        let frauds = real(self.total.frauds);
        let points =
            self.steps.iter().map(|step| [real(step.rows - step.frauds) / legitimate, real(step.frauds) / frauds]);
        std::iter::once([0.0, 0.0]).chain(points).collect()
    }

    /// (recall, precision) from (0, 1), which stands for no alert, to all rows; a point a step.
    pub(super) fn precision_recall(&self) -> Vec<[f64; 2]> {
        let frauds = real(self.total.frauds);
        let points = self.steps.iter().map(|step| [real(step.frauds) / frauds, real(step.frauds) / real(step.rows)]);
        std::iter::once([0.0, 1.0]).chain(points).collect()
    }
}
