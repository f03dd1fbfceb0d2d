//! The thread that explains: one a model, apart from the workers and from every thread that answers requests.
//!
//! In: a row and how long its caller waits. Out: its explanation, or why there is none. Invariants: at most `most` rows
//! wait, one more is told so at once; a row whose caller left or whose deadline passed is not explained; no lock is held
//! across an await.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Explain, Explanation};
use crate::base::priority;
use crate::model::InferError;

/// A thread with the explainer it owns.
#[derive(Debug)]
pub(in crate::model) struct ExplanationThread {
    /// `None` once it is told to end.
    queue: Option<SyncSender<Request>>,
    most: usize,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Request {
    row: Vec<f32>,
    deadline: Instant,
    reply: oneshot::Sender<Result<Explanation, InferError>>,
}

impl ExplanationThread {
    /// Starts it; at most `most` rows (0 counts as 1) wait for it.
    pub(in crate::model) fn start(explainer: impl Explain, most: usize) -> io::Result<Self> {
        let most = most.max(1);
        let (queue, requests) = sync_channel(most);
        let thread = priority::spawn("explanation".to_owned(), move || work(explainer, &requests))?;
        Ok(Self { queue: Some(queue), most, thread: Some(thread) })
    }

    /// The explanation of a row, within `wait`.
    ///
    /// Cancel safety: dropped early, a row that still waits is not explained.
    pub(in crate::model) async fn explain(&self, row: Vec<f32>, wait: Duration) -> Result<Explanation, InferError> {
        let ended = || InferError::Failed("the explanation thread has ended".to_owned());
        if wait.is_zero() {
            return Err(InferError::Deadline);
        }
        let (reply, answer) = oneshot::channel();
        let request = Request { row, deadline: Instant::now() + wait, reply };
        match self.queue.as_ref().ok_or_else(ended)?.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(InferError::Overloaded(self.most)),
            Err(TrySendError::Disconnected(_)) => return Err(ended()),
        }
        match tokio::time::timeout(wait, answer).await {
            Err(_elapsed) => Err(InferError::Deadline),
            Ok(answered) => answered.unwrap_or_else(|_closed| Err(ended())),
        }
    }
}

impl Drop for ExplanationThread {
    /// Ends the thread: waits for the row it explains, at most; those that wait are not explained.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // It catches what its explainer throws; there is no error to tell of.
            let _ended = thread.join();
        }
    }
}

/// The thread's life: until the queue is closed.
fn work(mut explainer: impl Explain, requests: &Receiver<Request>) {
    while let Ok(Request { row, deadline, reply }) = requests.recv() {
        if reply.is_closed() || deadline <= Instant::now() {
            continue;
        }
        // Panics never: an explainer that does is a failure of this row, not of the thread.
        let explained = catch_unwind(AssertUnwindSafe(|| explainer.explain(&row)))
            .unwrap_or_else(|_panic| Err(InferError::Failed("the explanation panicked".to_owned())));
        // Whoever left does not hear it.
        let _left = reply.send(explained);
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
