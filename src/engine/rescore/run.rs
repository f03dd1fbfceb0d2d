//! The run itself: each batch of payments is read, held against what is decided, scored, recorded, noted.

use std::sync::Arc;
use std::time::Instant;

use super::scratch::Scratch;
use super::select::{Fate, fate, record_of};
use super::stored::StoredFeatures;
use super::{Inputs, Outside, Payment, Position, Tally, Wanted};
use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Rates};
use crate::decision::{DegradedCause, ReasonRules, Source, judge};
use crate::engine::active::Chosen;
use crate::engine::explain::{Reasons, single};
use crate::engine::line::{Lacks, causes_of, circumstances};
use crate::engine::matrix;
use crate::engine::ports::{Features, Record, Scorer};
use crate::features::{Catalogue, CatalogueError, HistoryOptions, Marks};
use crate::transaction::Transaction;

/// What a run is made of.
#[derive(Debug)]
pub struct RescoreParts<S> {
    /// Names its records: drawn when the run was begun, kept when it is taken up.
    pub run: u64,
    /// Which payments.
    pub wanted: Wanted,
    /// How far it was when it was interrupted.
    pub done: Option<Position>,
    /// What it had done until then.
    pub tally: Tally,
    /// The model.
    pub model: Arc<S>,
    /// Where its inputs come from.
    pub inputs: Inputs,
    /// Every feature.
    pub catalogue: Catalogue,
    /// Of the scratch history.
    pub history: HistoryOptions,
    /// Exchange rates.
    pub rates: Arc<Rates>,
    /// Which reasons are told.
    pub reasons: ReasonRules,
    /// Records that are made, acknowledged and noted together at most.
    pub batch: usize,
}

/// A run.
#[derive(Debug)]
pub struct Rescore<S> {
    run: u64,
    wanted: Wanted,
    done: Option<Position>,
    tally: Tally,
    chosen: Chosen<S>,
    reasons: Reasons,
    reading: Reading,
    batch: usize,
}

/// See [`Inputs`].
#[derive(Debug)]
enum Reading {
    Scratch(Box<Scratch>),
    Stored(StoredFeatures),
}

/// What was read of a payment.
#[derive(Debug)]
pub(super) enum Read {
    Features(BaseAmount, Vec<f64>, Marks),
    /// It is the one before it once more.
    Repeated,
    /// No features are kept of its newest decision.
    Lacking,
}

impl<S: Scorer> Rescore<S> {
    /// A run, over an empty scratch history where features are computed.
    ///
    /// # Errors
    /// When the catalogue lacks a feature of the model.
    pub fn new(parts: RescoreParts<S>) -> Result<Self, CatalogueError> {
        let RescoreParts { run, wanted, done, tally, model, catalogue, history, rates, reasons, .. } = parts;
        let reading = match parts.inputs {
            Inputs::Scratch => Reading::Scratch(Box::new(Scratch::new(&catalogue, history, rates))),
            Inputs::Stored => Reading::Stored(StoredFeatures::new(model.features().to_vec(), rates)),
        };
        Ok(Self {
            run,
            wanted,
            done,
            tally,
            chosen: Chosen::new(model, &catalogue)?,
            reasons: Reasons::new(reasons, &catalogue),
            reading,
            batch: parts.batch.max(1),
        })
    }

    /// Runs to the end of the payments, or to the first error; what was done until then stays done.
    ///
    /// # Errors
    /// The first that `outside` says.
    pub fn run<O: Outside>(mut self, outside: &mut O) -> Result<Tally, O::Error> {
        loop {
            let payments = outside.payments()?;
            if payments.is_empty() {
                return Ok(self.tally);
            }
            let (known, rest) = payments.split_at(payments.partition_point(|payment| !self.is_due(payment)));
            if let Reading::Scratch(scratch) = &mut self.reading {
                scratch.insert(known);
            }
            for batch in rest.chunks(self.batch) {
                self.score(batch, outside)?;
            }
        }
    }

    /// Whether a payment is of the range and behind what is done.
    fn is_due(&self, payment: &Payment) -> bool {
        let Transaction { occurred_at, transaction_id, .. } = &payment.transaction;
        let behind = |done: &Position| (done.occurred_at, &done.transaction_id) < (*occurred_at, transaction_id);
        *occurred_at >= self.wanted.from && self.done.as_ref().is_none_or(behind)
    }

    fn score<O: Outside>(&mut self, batch: &[Payment], outside: &mut O) -> Result<(), O::Error> {
        let (now, at) = (outside.now(), Instant::now());
        let batch: Vec<&Payment> =
            batch.iter().filter(|payment| payment.transaction.occurred_at < self.wanted.to).collect();
        let Some(last) = batch.last() else { return Ok(()) };
        let position = Position {
            occurred_at: last.transaction.occurred_at,
            transaction_id: last.transaction.transaction_id.clone(),
        };
        let ids: Vec<&str> = batch.iter().map(|payment| payment.transaction.transaction_id.as_str()).collect();
        let decided = outside.decided(&ids)?;
        let read = match &mut self.reading {
            Reading::Scratch(scratch) => scratch.observe(&batch, &self.chosen.plan),
            Reading::Stored(stored) => stored.read(&batch, &decided, outside)?,
        };
        let mut due = Vec::with_capacity(batch.len());
        for ((payment, decided), read) in batch.iter().zip(&decided).zip(read) {
            self.tally.looked += 1;
            match (fate(self.run, self.wanted.replace, &payment.transaction, decided.as_ref()), read) {
                (_, Read::Repeated) => self.tally.repeated += 1,
                (Fate::Decided, _) => self.tally.decided += 1,
                (Fate::Done, _) => self.tally.done += 1,
                (Fate::Conflict, _) => self.tally.conflicts += 1,
                (Fate::Score(_), Read::Lacking) => self.tally.lacking += 1,
                (Fate::Score(revision), Read::Features(base, values, marks)) => {
                    due.push(Due { payment, base, values, marks, revision });
                }
            }
        }
        let records = self.records(due, now, at);
        let made = records.len();
        if made > 0 {
            outside.append(records)?;
        }
        outside.note(&position, &self.tally)?;
        self.done = Some(position);
        outside.pace(made);
        Ok(())
    }

    /// The records of those that the model gives a score: encode ▸ infer ▸ judge.
    fn records(&mut self, due: Vec<Due<'_>>, now: Millis, at: Instant) -> Vec<Record> {
        if due.is_empty() {
            return Vec::new();
        }
        let rows: Vec<f32> = due.iter().flat_map(|one| single(&one.values)).collect();
        let scores = matrix::scores(&self.chosen, &rows);
        let width = self.chosen.plan.width().max(1);
        let mut records = Vec::with_capacity(due.len());
        for ((one, score), row) in due.into_iter().zip(scores).zip(rows.chunks(width)) {
            let Some(score) = score.filter(|score| score.is_finite()) else {
                self.tally.unscored += 1;
                continue;
            };
            if one.revision == 0 {
                self.tally.first += 1;
            } else {
                self.tally.replaced += 1;
            }
            records.push(self.record(one, score.clamp(0.0, 1.0), row, (now, at)));
        }
        records
    }

    fn record(&self, due: Due<'_>, score: f32, row: &[f32], (now, at): (Millis, Instant)) -> Record {
        let Due { payment, base, values, marks, revision } = due;
        let transaction = Transaction { is_fraud: None, ..payment.transaction.clone() };
        let mut causes: Vec<DegradedCause> = causes_of(marks, Lacks::default());
        let flagged = score >= self.chosen.reference.threshold;
        let explained = flagged.then(|| matrix::told(&self.reasons, &self.chosen, &values, row));
        let explained = explained.and_then(|told| told.map_err(|cause| causes.push(cause)).ok());
        let circumstances = circumstances(&transaction.transaction_id, Source::Rescore, now, at);
        let mut decision = judge(circumstances, &self.chosen.reference, score, explained, &causes);
        decision.revision = Some(revision);
        Record {
            id: record_of(self.run, &transaction.transaction_id, revision),
            received_at: now,
            transaction: Arc::new(transaction),
            base,
            decision: Arc::new(decision),
            model: Arc::clone(&self.chosen.reference),
            features: Arc::new(Features { columns: Arc::clone(&self.chosen.columns), values }),
        }
    }
}

/// A payment that is to be scored, with what was read as of it.
struct Due<'p> {
    payment: &'p Payment,
    base: BaseAmount,
    values: Vec<f64>,
    marks: Marks,
    revision: u32,
}
