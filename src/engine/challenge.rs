//! The challenger: a model that scores a share of the transactions besides the one that decides them, and decides nothing.
//!
//! ```text
//! decided ─▶ queue (bounded; full: dropped and counted) ─▶ its own threads: infer ─▶ comparison ◀─ labels
//! ```
//!
//! In: rows of transactions that were decided. Out: what both models said, compared. Invariant: whoever decides does no
//! more than hand over a row; nothing here waits for it, slows it or fails it. Threads are of the lowest priority.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_queue::ArrayQueue;

use super::active::Chosen;
use super::comparison::{Comparison, Pair};
use super::ports::Scorer;
use super::share::Share;
use crate::base::priority;
use crate::decision::{Decision, ModelRef};

/// The most rows that are scored together.
const BATCH: usize = 64;
/// How long a worker sleeps that found nothing. Why not woken: to wake it is work of whoever decides, and a thread of the
/// lowest priority that holds a channel's lock would be waited for.
const NAP: Duration = Duration::from_millis(2);

/// Bounds of a challenger.
#[derive(Debug, Clone, Copy)]
pub struct ChallengerOptions {
    /// Threads that score; 0 counts as 1.
    pub workers: usize,
    /// The most rows that wait; more are dropped.
    pub queue: usize,
}

/// See the module. Dropped, it ends its threads without waiting for them.
#[derive(Debug)]
pub(super) struct Challenger<S> {
    pub(super) chosen: Arc<Chosen<S>>,
    pub(super) share: Share,
    pub(super) comparison: Arc<Comparison>,
    line: Arc<Waiting>,
}

/// What waits to be scored.
#[derive(Debug)]
struct Waiting {
    queue: ArrayQueue<Challenge>,
    /// Rows handed over and not compared or dropped yet.
    rows: AtomicU64,
    ended: AtomicBool,
}

/// A transaction to be scored once more.
#[derive(Debug)]
pub(super) struct Challenge {
    /// Its id's hash.
    pub(super) id: u128,
    /// What was decided, by which model.
    pub(super) decision: Arc<Decision>,
    /// The challenger's row.
    pub(super) row: Vec<f32>,
}

impl<S: Scorer> Challenger<S> {
    /// Starts its threads.
    pub(super) fn start(
        chosen: Arc<Chosen<S>>,
        share: Share,
        comparison: Arc<Comparison>,
        options: ChallengerOptions,
    ) -> std::io::Result<Self> {
        let queue = ArrayQueue::new(options.queue.max(1));
        let line = Arc::new(Waiting { queue, rows: AtomicU64::new(0), ended: AtomicBool::new(false) });
        let challenger = Self { chosen, share, comparison, line };
        for index in 0..options.workers.max(1) {
            let Self { chosen, comparison, line, .. } = &challenger;
            let (chosen, comparison, line) = (Arc::clone(chosen), Arc::clone(comparison), Arc::clone(line));
            let worker = Worker { chosen, comparison, line };
            priority::give_way(&format!("challenger-{index}"), move || worker.run())?;
        }
        Ok(challenger)
    }
}

impl<S> Challenger<S> {
    /// Hands a transaction over, or drops it where too many wait. Returns at once.
    pub(super) fn challenge(&self, challenge: Challenge) {
        self.line.rows.fetch_add(1, Ordering::Relaxed);
        if self.line.queue.push(challenge).is_err() {
            self.line.rows.fetch_sub(1, Ordering::Relaxed);
            self.comparison.dropped();
        }
    }

    /// Whether everything that was handed over is compared or dropped, and every verdict counted.
    pub(super) fn is_idle(&self) -> bool {
        self.line.rows.load(Ordering::Relaxed) == 0 && self.comparison.is_settled()
    }
}

impl<S> Drop for Challenger<S> {
    fn drop(&mut self) {
        self.line.ended.store(true, Ordering::Relaxed);
    }
}

struct Worker<S> {
    chosen: Arc<Chosen<S>>,
    comparison: Arc<Comparison>,
    line: Arc<Waiting>,
}

impl<S: Scorer> Worker<S> {
    /// Until the challenger is dropped.
    fn run(self) {
        while !self.line.ended.load(Ordering::Relaxed) {
            let batch: Vec<Challenge> = std::iter::from_fn(|| self.line.queue.pop()).take(BATCH).collect();
            if batch.is_empty() {
                self.comparison.settle();
                thread::sleep(NAP);
                continue;
            }
            let taken = batch.len() as u64;
            self.score(batch);
            self.line.rows.fetch_sub(taken, Ordering::Relaxed);
        }
    }

    fn score(&self, batch: Vec<Challenge>) {
        let rows: Vec<f32> = batch.iter().flat_map(|challenge| challenge.row.iter().copied()).collect();
        let reference: &ModelRef = &self.chosen.reference;
        match self.chosen.model.infer_rows(&rows) {
            Ok(scores) if scores.len() == batch.len() => {
                let pair = |(challenge, score): (Challenge, f32)| Pair {
                    id: challenge.id,
                    decided: challenge.decision.score.unwrap_or_default(),
                    decided_flagged: challenge.decision.flagged,
                    challenger: score,
                    challenger_flagged: score >= reference.threshold,
                };
                scores.iter().for_each(|score| self.chosen.tally.scored(*score));
                self.comparison.add(batch.into_iter().zip(scores).map(pair));
            }
            Ok(_) => self.fail(&batch, "fewer scores than rows"),
            Err(error) => self.fail(&batch, &error.to_string()),
        }
    }

    fn fail(&self, batch: &[Challenge], reason: &str) {
        tracing::warn!(
            model = self.chosen.reference.version,
            rows = batch.len(),
            reason,
            "a challenger gave no scores"
        );
        self.chosen.tally.failed(batch.len() as u64);
        self.comparison.failed(batch.len() as u64);
    }
}
