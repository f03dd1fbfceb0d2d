//! The batch of the stream that is scored, the rows of each model together: encode ▸ infer ▸ judge ▸ commit.
//!
//! In: claims whose features were read. Out: each is recorded and then settled, or given back to come again: without a
//! model, without scores, without an acknowledgement. What moved a flagged score is told here and now, for as many rows
//! as there is time for.

use std::sync::Arc;
use std::time::Instant;

use super::{FollowedTransaction, Follower, Scored, Settlement};
use crate::base::clock::Millis;
use crate::decision::{DegradedCause, Explained, Source, judge};
use crate::engine::active::Chosen;
use crate::engine::explain::single;
use crate::engine::line::{Lacks, causes_of, circumstances};
use crate::engine::matrix;
use crate::engine::ports::{Record, Scorer, Step};

/// Flagged rows of one batch that are explained; more go without reasons of features.
const MOST_EXPLAINED: usize = 32;

/// What moved a flagged score, or why that is not told.
type Told = Result<Explained, DegradedCause>;

/// What one model decides of a batch; `None` while there is no model.
type Share<S> = (Option<Arc<Chosen<S>>>, Vec<Scored<S>>);

/// The batch by the model that decides: one part, or two while a canary runs; order stays within each.
fn by_model<S>(scored: Vec<Scored<S>>) -> Vec<Share<S>> {
    let mut parts: Vec<Share<S>> = Vec::with_capacity(1);
    for one in scored {
        let chosen = one.claim.observed().and_then(|observed| observed.chosen.clone());
        let same = |part: &&mut Share<S>| part.0.as_ref().map(Arc::as_ptr) == chosen.as_ref().map(Arc::as_ptr);
        match parts.iter_mut().find(same) {
            Some(part) => part.1.push(one),
            None => parts.push((chosen, vec![one])),
        }
    }
    parts
}

impl<S: Scorer, T: Settlement> Follower<S, T> {
    pub(super) fn decide(&self, scored: Vec<Scored<S>>, now: Millis, at: Instant) {
        for (chosen, scored) in by_model(scored) {
            match chosen {
                Some(chosen) => self.decide_by(&chosen, scored, now, at),
                None => scored.into_iter().for_each(|one| self.give_back(one)),
            }
        }
    }

    fn decide_by(&self, chosen: &Chosen<S>, scored: Vec<Scored<S>>, now: Millis, at: Instant) {
        let begun = Instant::now();
        let rows: Vec<f32> =
            scored.iter().filter_map(|one| one.claim.observed()).flat_map(|seen| single(&seen.values)).collect();
        self.core.observer.step(Step::Encode, begun.elapsed());
        let begun = Instant::now();
        let scores = matrix::scores(chosen, &rows);
        self.core.observer.step(Step::Infer, begun.elapsed());
        if scores.len() != scored.len() {
            return scored.into_iter().for_each(|one| self.give_back(one));
        }
        let begun = Instant::now();
        let told = self.explain(chosen, &scored, &scores, &rows);
        let mut judged = Vec::with_capacity(scored.len());
        for (one, (score, told)) in scored.into_iter().zip(scores.into_iter().zip(told)) {
            match score {
                Some(score) => judged.push(self.judge(chosen, one, (score, told), (now, at))),
                None => self.give_back(one),
            }
        }
        self.core.observer.step(Step::Judge, begun.elapsed());
        for (record, followed) in judged {
            self.commit(record, followed);
        }
    }

    fn give_back(&self, Scored { claim, followed }: Scored<S>) {
        drop(claim);
        self.again(followed);
    }

    /// What moved the flagged scores of a batch; `None` of those that are not flagged.
    fn explain(
        &self,
        chosen: &Chosen<S>,
        scored: &[Scored<S>],
        scores: &[Option<f32>],
        rows: &[f32],
    ) -> Vec<Option<Told>> {
        let mut left = if self.core.limits.explain_wait.is_zero() { None } else { Some(MOST_EXPLAINED) };
        let one = |((one, score), row): ((&Scored<S>, &Option<f32>), &[f32])| {
            let left = left.as_mut().filter(|_| score.is_some_and(|score| score >= chosen.reference.threshold))?;
            if *left == 0 {
                return Some(Err(DegradedCause::ReasonsUnavailable));
            }
            *left -= 1;
            let values = one.claim.observed().map_or(&[][..], |seen| &seen.values);
            Some(matrix::told(&self.core.reasons, chosen, values, row))
        };
        let width = chosen.plan.width().max(1);
        scored.iter().zip(scores).zip(rows.chunks(width)).map(one).collect()
    }

    fn judge(
        &self,
        chosen: &Chosen<S>,
        Scored { claim, followed }: Scored<S>,
        (score, told): (f32, Option<Told>),
        (now, at): (Millis, Instant),
    ) -> (Record, FollowedTransaction) {
        // Whoever follows is never behind itself.
        let lacks = |incomplete| Lacks { history: incomplete, recent: false, partition: followed.late };
        let mut causes = claim.observed().map_or_else(Vec::new, |seen| causes_of(seen.marks, lacks(seen.incomplete)));
        let explained = told.and_then(|told| told.map_err(|cause| causes.push(cause)).ok());
        let circumstances = circumstances(&claim.transaction.transaction_id, Source::Stream, now, at);
        let decision = judge(circumstances, &chosen.reference, score, explained, &causes);
        (self.core.record_of(claim, chosen, decision, followed.taken_at), followed)
    }

    pub(super) fn commit(&self, record: Record, followed: FollowedTransaction) {
        let settlement = Arc::clone(&self.settlement);
        self.core.record_then(record, move |fate| match (fate, &followed.place) {
            (Ok(_), Some((place, _))) => settlement.decided(*place),
            (Ok(_), None) => {}
            (Err(error), _) => {
                tracing::debug!(%error, "a decision of the stream was not acknowledged; it is sent again");
                settlement.again(FollowedTransaction { again: true, ..followed });
            }
        });
    }
}
