//! Rows that are scored together, off the threads that answer: the stream's batches, and payments of before.

use super::active::Chosen;
use super::explain::Reasons;
use super::ports::Scorer;
use crate::decision::{DegradedCause, Explained};

/// The scores of a matrix; where it gets none as a whole, those of its rows one by one, so that a row without a score
/// holds up no other. Blocking.
pub(super) fn scores<S: Scorer>(chosen: &Chosen<S>, rows: &[f32]) -> Vec<Option<f32>> {
    let width = chosen.plan.width().max(1);
    match chosen.model.infer_rows(rows) {
        Ok(scores) => {
            scores.iter().for_each(|score| chosen.tally.scored(*score));
            scores.into_iter().map(Some).collect()
        }
        Err(error) => {
            tracing::warn!(model = chosen.reference.version, %error, "rows got no scores together; they are tried one by one");
            let one = |row| chosen.model.infer_rows(row).ok().and_then(|mut scores| scores.pop());
            let scores: Vec<Option<f32>> = rows.chunks(width).map(one).collect();
            scores.iter().flatten().for_each(|score| chosen.tally.scored(*score));
            chosen.tally.failed(scores.iter().filter(|score| score.is_none()).count() as u64);
            scores
        }
    }
}

/// What moved the score of one row, whose values in 64 bits are `values`. Blocking.
pub(super) fn told<S: Scorer>(
    reasons: &Reasons,
    chosen: &Chosen<S>,
    values: &[f64],
    row: &[f32],
) -> Result<Explained, DegradedCause> {
    let moved = chosen.model.explain_rows(row).ok().and_then(|mut told| told.pop());
    moved.map_or(Err(DegradedCause::ReasonsUnavailable), |moved| reasons.tell(chosen, values, &moved))
}
