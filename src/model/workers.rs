//! Who computes a score, and when.
//!
//! In: rows and how long their caller waits. Out: one score a row. Every session lies in a slot behind a mutex that is
//! held for one run. Two ways lead to a slot:
//!
//! - **inline**: nothing waits, a slot is free, and so few rows were measured to run within [`INLINE_BUDGET`]: the caller
//!   runs them itself. Why: a hand-off to another thread and back costs 10 to 40 µs, more than a small model takes.
//! - **queued**: otherwise. There are as many worker threads as slots. A worker locks a slot first (a free one, else its
//!   own) and takes rows after, so a batch is what queued while the slots were busy; nothing waits for one to fill.
//!
//! Invariants: rows that wait go before rows that arrive (inline is for an empty queue); at most `max_queue` rows wait;
//! a row whose caller left or whose deadline passed is never computed; no lock is held across an await.
//! A caller on an asynchronous runtime is kept from its thread for [`INLINE_BUDGET`] at most, measured at warm-up.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::InferError;
use crate::base::priority;

/// The longest run that a caller does on its own thread: about what four hand-offs cost.
pub(super) const INLINE_BUDGET: Duration = Duration::from_micros(200);

/// What computes scores: a session, or a double in tests.
pub(super) trait Scorer: Send + 'static {
    /// Values of a row.
    fn width(&self) -> usize;

    /// Appends one score for each of `rows` (row-major, whole rows, at least one).
    fn score(&mut self, rows: &[f32], scores: &mut Vec<f32>) -> Result<(), InferError>;
}

/// Bounds of a [`Pool`]. All in rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most a batch takes; a larger request runs alone.
    pub(super) max_batch: usize,
    /// The most that wait; a request larger than that is taken when nothing else waits.
    pub(super) max_queue: usize,
    /// The most that a caller runs itself.
    pub(super) inline: usize,
}

/// Sessions in slots, a worker thread for each, and the queue between callers and workers.
#[derive(Debug)]
pub(super) struct Pool<S> {
    shared: Arc<Shared<S>>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<S> {
    slots: Vec<Mutex<S>>,
    queue: Mutex<Queue>,
    arrived: Condvar,
    limits: Limits,
    width: usize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Request>,
    /// Rows of `waiting`.
    rows: usize,
    closed: bool,
}

type Scores = Result<Vec<f32>, InferError>;

#[derive(Debug)]
struct Request {
    rows: Vec<f32>,
    count: usize,
    deadline: Instant,
    reply: oneshot::Sender<Scores>,
}

impl<S: Scorer> Pool<S> {
    /// Starts a worker for each of `scorers` (at least one, all of one width).
    pub(super) fn start(scorers: Vec<S>, limits: Limits) -> io::Result<Self> {
        let width = scorers.first().map_or(1, Scorer::width).max(1);
        let slots: Vec<_> = scorers.into_iter().map(Mutex::new).collect();
        let shared = Arc::new(Shared { slots, queue: Mutex::default(), arrived: Condvar::new(), limits, width });
        let mut pool = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for index in 0..shared.slots.len() {
            let shared = Arc::clone(&shared);
            // Whoever loads a model may give way; what serves must not.
            pool.threads.push(priority::spawn(format!("model-{index}"), move || shared.work(index))?);
        }
        Ok(pool)
    }

    /// One score for each of `rows` (row-major), within `wait`.
    ///
    /// Cancel safety: dropped early, rows that still wait are not computed.
    pub(super) async fn score(&self, rows: Vec<f32>, wait: Duration) -> Scores {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        if !rows.len().is_multiple_of(self.shared.width) {
            return Err(InferError::Failed(format!("{} values are not rows of {}", rows.len(), self.shared.width)));
        }
        if wait.is_zero() {
            return Err(InferError::Deadline);
        }
        if let Some(scores) = self.shared.run_inline(&rows) {
            return scores;
        }
        let reply = self.shared.submit(rows, Instant::now() + wait)?;
        match tokio::time::timeout(wait, reply).await {
            Err(_elapsed) => Err(InferError::Deadline),
            Ok(Err(_closed)) => Err(InferError::Failed("the model's workers have ended".to_owned())),
            Ok(Ok(scores)) => scores,
        }
    }
}

impl<S> Drop for Pool<S> {
    /// Ends the workers: waits for the batches they run, at most.
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_all();
        for thread in self.threads.drain(..) {
            // A worker catches what its scorer throws; there is no error to tell of.
            let _ended = thread.join();
        }
    }
}

impl<S> Shared<S> {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is consistent between any two of its statements: a panic elsewhere leaves it usable.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Scorer> Shared<S> {
    /// Runs `rows` on this thread if they are few, nothing waits, and a slot is free.
    fn run_inline(&self, rows: &[f32]) -> Option<Scores> {
        if rows.len() > self.limits.inline * self.width || !self.queue().waiting.is_empty() {
            return None;
        }
        let mut scorer = self.free_slot()?;
        Some(run(&mut *scorer, rows).and_then(checked))
    }

    fn free_slot(&self) -> Option<MutexGuard<'_, S>> {
        self.slots.iter().find_map(|slot| match slot.try_lock() {
            Ok(scorer) => Some(scorer),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    fn submit(&self, rows: Vec<f32>, deadline: Instant) -> Result<oneshot::Receiver<Scores>, InferError> {
        let (reply, receiver) = oneshot::channel();
        let count = rows.len() / self.width;
        let mut queue = self.queue();
        if queue.rows > 0 && queue.rows + count > self.limits.max_queue {
            return Err(InferError::Overloaded(queue.rows));
        }
        queue.rows += count;
        queue.waiting.push_back(Request { rows, count, deadline, reply });
        drop(queue);
        self.arrived.notify_one();
        Ok(receiver)
    }

    /// A worker's life: until the queue is closed.
    fn work(&self, index: usize) {
        let Some(slot) = self.slots.get(index) else { return };
        let mut rows = Vec::new();
        while self.wait_for_rows() {
            // Invariant: a slot is locked before rows are taken, so that they wait where others can join them.
            let own = || slot.lock().unwrap_or_else(PoisonError::into_inner);
            let mut scorer = self.free_slot().unwrap_or_else(own);
            let batch = self.queue().take(self.limits.max_batch, Instant::now());
            if batch.is_empty() {
                continue;
            }
            rows.clear();
            batch.iter().for_each(|request| rows.extend_from_slice(&request.rows));
            let scores = run(&mut *scorer, &rows);
            drop(scorer);
            answer(batch, scores);
        }
    }

    /// False when the queue was closed.
    fn wait_for_rows(&self) -> bool {
        let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
        let queue = self.arrived.wait_while(self.queue(), idle).unwrap_or_else(PoisonError::into_inner);
        !queue.closed
    }
}

impl Queue {
    /// The oldest requests of together at most `max` rows (at least one request), without those nobody waits for.
    fn take(&mut self, max: usize, now: Instant) -> Vec<Request> {
        let mut batch = Vec::new();
        let mut taken = 0;
        while let Some(next) = self.waiting.front() {
            let wanted = !next.reply.is_closed() && next.deadline > now;
            if wanted && !batch.is_empty() && taken + next.count > max {
                break;
            }
            let Some(request) = self.waiting.pop_front() else { break };
            self.rows -= request.count;
            if wanted {
                taken += request.count;
                batch.push(request);
            } else {
                // Whoever left does not hear it.
                let _left = request.reply.send(Err(InferError::Deadline));
            }
        }
        batch
    }
}

/// Gives every request its own scores. One row that is no probability fails its own request alone.
fn answer(batch: Vec<Request>, scores: Scores) {
    let mut rest = scores.as_deref().map_err(Clone::clone);
    for request in batch {
        let own = rest.clone().and_then(|all| {
            let (own, others) = all.split_at_checked(request.count).ok_or_else(too_few)?;
            rest = Ok(others);
            checked(own.to_vec())
        });
        // Whoever left does not hear it.
        let _left = request.reply.send(own);
    }
}

fn too_few() -> InferError {
    InferError::Failed("the model gave fewer scores than rows".to_owned())
}

/// Panics never: a scorer that does is a failure of these rows, not of the thread.
pub(super) fn run<S: Scorer>(scorer: &mut S, rows: &[f32]) -> Scores {
    let mut scores = Vec::with_capacity(rows.len() / scorer.width().max(1));
    catch_unwind(AssertUnwindSafe(|| scorer.score(rows, &mut scores)))
        .unwrap_or_else(|_panic| Err(InferError::Failed("the runtime panicked".to_owned())))?;
    Ok(scores)
}

/// Rounding may carry a probability past 0 or 1 by this much; it is cut back.
const SLACK: f32 = 1e-6;

/// Scores as probabilities, or the first that is none.
pub(super) fn checked(mut scores: Vec<f32>) -> Scores {
    for score in &mut scores {
        if !(-SLACK..=1.0 + SLACK).contains(score) {
            return Err(InferError::Failed(format!("the score {score} is not of 0 to 1")));
        }
        *score = score.clamp(0.0, 1.0);
    }
    Ok(scores)
}

#[cfg(test)]
#[path = "workers_tests.rs"]
mod tests;
