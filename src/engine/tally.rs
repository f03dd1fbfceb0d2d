//! How a model does since it came into force: rows scored and failed, how long they took, how their scores lie.
//!
//! In: one row's end, from any thread, without a lock. Out: [`Counts`], which are compared with those of another model or
//! of an earlier moment. Scores are counted by their log-odds, since most payments score far below a hundredth.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Cells of scores: log-odds from −10 to 10, one each; what is beyond counts in the outermost.
const CELLS: usize = 20;
/// Cells of durations: four an octave, from 1 µs to 16 s.
const SPANS: usize = 96;
/// What is added to each cell before two distributions are compared, so that an empty cell is no infinity.
const SMOOTHING: f64 = 0.5;

/// Counts as they come in.
#[derive(Debug)]
pub(super) struct Tally {
    scores: [AtomicU64; CELLS],
    took: [AtomicU64; SPANS],
    failed: AtomicU64,
}

/// Counts of one moment, or of the time between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    scores: [u64; CELLS],
    took: [u64; SPANS],
    failed: u64,
}

impl Default for Tally {
    fn default() -> Self {
        let none = |_| AtomicU64::new(0);
        Self { scores: std::array::from_fn(none), took: std::array::from_fn(none), failed: AtomicU64::new(0) }
    }
}

impl Tally {
    /// A row got a score, 0 to 1.
    pub(super) fn scored(&self, score: f32) {
        if let Some(cell) = self.scores.get(cell_of(score)) {
            cell.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A single row's score was waited for so long.
    pub(super) fn took(&self, took: Duration) {
        if let Some(span) = self.took.get(span_of(took)) {
            span.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Rows got none: the model failed, took longer than there was time, or had too many waiting.
    pub(super) fn failed(&self, rows: u64) {
        self.failed.fetch_add(rows, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> Counts {
        let read = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        Counts {
            scores: self.scores.each_ref().map(read),
            took: self.took.each_ref().map(read),
            failed: read(&self.failed),
        }
    }
}

impl Counts {
    /// Of a list of scores.
    #[must_use]
    pub fn of_scores(scores: &[f32]) -> Self {
        let tally = Tally::default();
        scores.iter().for_each(|score| tally.scored(*score));
        tally.counts()
    }

    /// Counts of scores alone, from [`Counts::cells`]; cells that are not there are empty.
    pub(super) fn of_cells(cells: &[u64]) -> Self {
        let mut counts = Tally::default().counts();
        counts.scores.iter_mut().zip(cells).for_each(|(cell, count)| *cell = *count);
        counts
    }

    /// The distribution of the scores.
    pub(super) const fn cells(&self) -> &[u64] {
        &self.scores
    }

    /// One more score.
    pub(super) fn add_score(&mut self, score: f32) {
        if let Some(cell) = self.scores.get_mut(cell_of(score)) {
            *cell += 1;
        }
    }

    /// Rows that got a score.
    #[must_use]
    pub fn scored(&self) -> u64 {
        self.scores.iter().sum()
    }

    /// Rows that got none.
    #[must_use]
    pub const fn failed(&self) -> u64 {
        self.failed
    }

    /// Of all rows those that failed, 0 to 1; 0 where there is none.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        let all = self.scored() + self.failed;
        if all == 0 { 0.0 } else { self.failed as f64 / all as f64 }
    }

    /// The time that `share` (0 to 1) of the single rows stayed within, to a fifth of it; `None` without any.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let all: u64 = self.took.iter().sum();
        let wanted = (all as f64 * share).ceil().max(1.0);
        let mut below = 0;
        for (span, count) in self.took.iter().enumerate() {
            below += count;
            if below as f64 >= wanted {
                return Some(end_of(span));
            }
        }
        None
    }

    /// What came since `earlier`, which is of the same model.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut rest = self.clone();
        rest.failed = rest.failed.saturating_sub(earlier.failed);
        for (cell, before) in rest.scores.iter_mut().zip(earlier.scores) {
            *cell = cell.saturating_sub(before);
        }
        for (span, before) in rest.took.iter_mut().zip(earlier.took) {
            *span = span.saturating_sub(before);
        }
        rest
    }

    /// The population stability index of the two distributions of scores: Σ (p − q) · ln(p / q) over the cells. 0 is the
    /// same; by the usual rule below 0.1 is no shift, above 0.25 a large one (Siddiqi 2006, "Credit Risk Scorecards").
    #[must_use]
    pub fn shift(&self, other: &Self) -> f64 {
        let whole = |counts: &Self| counts.scored() as f64 + SMOOTHING * CELLS as f64;
        let (all, others) = (whole(self), whole(other));
        let cell = |(own, others_own): (&u64, &u64)| {
            let (p, q) = ((*own as f64 + SMOOTHING) / all, (*others_own as f64 + SMOOTHING) / others);
            (p - q) * (p / q).ln()
        };
        self.scores.iter().zip(&other.scores).map(cell).sum()
    }
}

fn cell_of(score: f32) -> usize {
    let score = f64::from(score);
    let odds = (score / (1.0 - score)).ln();
    let lowest = -(CELLS as f64) / 2.0;
    // What is no number (it cannot be here) counts lowest.
    (odds - lowest).floor().clamp(0.0, CELLS as f64 - 1.0) as usize
}

fn span_of(took: Duration) -> usize {
    let micros = took.as_secs_f64() * 1e6;
    (micros.max(1.0).log2() * 4.0).floor().clamp(0.0, SPANS as f64 - 1.0) as usize
}

/// Where a span ends.
fn end_of(span: usize) -> Duration {
    Duration::from_secs_f64(((span as f64 + 1.0) / 4.0).exp2() / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(scores: &[(f32, usize)]) -> Counts {
        let all: Vec<f32> = scores.iter().flat_map(|(score, times)| vec![*score; *times]).collect();
        Counts::of_scores(&all)
    }

    #[test]
    fn every_score_has_its_cell() {
        assert_eq!([0.0, 0.5, 1.0, 0.000_02].map(cell_of), [0, 10, 19, 0]);
        assert_eq!(cell_of(0.1), 7, "ln(1/9) = −2.2 lies in the cell from −3 to −2");
    }

    #[test]
    fn the_shift_is_that_of_the_formula() {
        let (one, other) = (counts(&[(0.1, 900), (0.6, 100)]), counts(&[(0.1, 700), (0.6, 300)]));
        let cell = |p: f64, q: f64| {
            let (p, q) = ((p + 0.5) / 1010.0, (q + 0.5) / 1010.0);
            (p - q) * (p / q).ln()
        };
        assert!((one.shift(&other) - cell(900.0, 700.0) - cell(100.0, 300.0)).abs() < 1e-12);
        assert_eq!(one.shift(&one).to_bits(), 0.0_f64.to_bits());
        assert!((one.shift(&other) - other.shift(&one)).abs() < 1e-12);
    }

    #[test]
    fn quantiles_are_those_of_the_rows() {
        let tally = Tally::default();
        assert_eq!(tally.counts().quantile(0.99), None);
        (0..99).for_each(|_| tally.took(Duration::from_micros(100)));
        tally.took(Duration::from_millis(50));
        let within = |share: f64, low: u64, high: u64| {
            let found = tally.counts().quantile(share).unwrap();
            assert!((Duration::from_micros(low)..Duration::from_micros(high)).contains(&found), "{share}: {found:?}");
        };
        within(0.5, 100, 120);
        within(0.99, 100, 120);
        within(1.0, 50_000, 60_000);
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let tally = Tally::default();
        tally.scored(0.2);
        tally.failed(1);
        let before = tally.counts();
        (0..3).for_each(|_| tally.scored(0.2));
        tally.failed(1);
        let since = tally.counts().since(&before);
        assert_eq!((since.scored(), since.failed()), (3, 1));
        assert!((since.error_rate() - 0.25).abs() < 1e-12);
    }
}
