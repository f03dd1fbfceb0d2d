//! One thread of the lowest priority for work that comes again and again.
//!
//! Why one thread and not one for each piece: the system's allocator gives each thread a share of memory of its own, and what
//! pieces of work left in many shares is of use to none of the others. Memory that grew by hundreds of MB over a hundred swaps of
//! models of 3.5 MB stays flat when one thread loads them all.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::priority;

type Work = Box<dyn FnOnce() + Send>;

/// See the module. Dropped, its thread ends after the work that it has.
#[derive(Debug, Default)]
pub struct Bench {
    queue: Mutex<Option<Sender<Work>>>,
}

impl Bench {
    /// Runs `work` behind all that was given earlier.
    ///
    /// # Errors
    /// One sentence: the system gives no thread, or the work panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let (told, done) = oneshot::channel();
        // Whoever asked may have left.
        self.give(Box::new(move || drop(told.send(work()))))?;
        done.await.map_err(|_| "the work panicked".to_owned())
    }

    fn give(&self, work: Work) -> Result<(), String> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = match &*queue {
            Some(sender) => sender,
            None => {
                let (sender, receiver) = channel();
                let started = priority::give_way("bench", move || serve(&receiver));
                started.map_err(|error| format!("a thread cannot be started: {error}"))?;
                queue.insert(sender)
            }
        };
        sender.send(work).map_err(|_| "the thread has ended".to_owned())
    }
}

fn serve(receiver: &Receiver<Work>) {
    for work in receiver {
        // Whoever asked hears of a panic, since nobody tells anything; the next work is not concerned.
        let _panic = catch_unwind(AssertUnwindSafe(work));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_work_is_done_by_one_thread_that_outlives_a_panic() {
        let bench = Bench::default();
        let name = || std::thread::current().id();
        let first = bench.run(name).await.unwrap();
        let panicked: Result<(), String> = bench.run(|| panic!("a test's own")).await;
        assert_eq!(panicked.unwrap_err(), "the work panicked");
        assert_eq!(bench.run(name).await.unwrap(), first);
        assert_ne!(first, std::thread::current().id());
    }
}
