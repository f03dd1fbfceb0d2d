//! Threads that give way: what they do may take longer, and nobody who serves waits behind them.
//!
//! On Linux a thread inherits the priority of the one that starts it, and may not raise it. So whoever gives way lets a thread
//! of its own, the starter, start those that must not: what serves and what it prepares are started there.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread::{Builder, JoinHandle};

use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};

type Work = Box<dyn FnOnce() + Send>;

/// The starter, once somebody gives way.
static STARTER: OnceLock<Sender<Work>> = OnceLock::new();

/// The calling thread gets the processor when nobody else wants it (`SCHED_IDLE`; nice 19 where that is not to be had). Where the
/// system refuses both, it stays as it is.
///
/// Why not nice 19 alone: Linux lets such a thread end its slice of some milliseconds before one that has just woken gets the
/// processor, and sends nobody to a processor on which it runs. One of `SCHED_IDLE` goes at once, and its processor counts as idle.
pub fn lowest() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _refused = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    // On Linux a nice value is a thread's own, and 0 means the calling one.
    let _refused = rustix::process::setpriority_process(None, 19);
}

/// Starts a thread that gives way. The calling one does not.
///
/// # Errors
/// When the system gives no thread.
pub fn give_way(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    if STARTER.get().is_none() {
        let (starter, asked) = channel::<Work>();
        Builder::new().name("starter".to_owned()).spawn(move || asked.into_iter().for_each(|work| work()))?;
        // Somebody else may have been first; this one ends then.
        let _first = STARTER.set(starter);
    }
    Builder::new().name(name.to_owned()).spawn(move || {
        lowest();
        work();
    })
}

/// Starts a thread of the usual priority, whoever asks.
///
/// # Errors
/// When the system gives no thread.
pub fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let Some(starter) = STARTER.get() else { return Builder::new().name(name).spawn(work) };
    let (told, started) = channel();
    let ended = || io::Error::other("the thread that starts others has ended");
    let start = move || {
        // Whoever asked waits for it.
        let _left = told.send(Builder::new().name(name).spawn(work));
    };
    starter.send(Box::new(start)).map_err(|_| ended())?;
    started.recv().map_err(|_| ended())?
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use thread_priority::unix::thread_schedule_policy;

    use super::*;

    /// Policy and nice value of the calling thread.
    fn own() -> (ThreadSchedulePolicy, i32) {
        (thread_schedule_policy().unwrap(), rustix::process::getpriority_process(None).unwrap())
    }

    #[test]
    fn whoever_gives_way_starts_threads_that_do_not() {
        let usual = own();
        let (told, heard) = mpsc::channel();
        let low = give_way("low", move || {
            let (low, inner) = (own(), told.clone());
            let child = spawn("usual".to_owned(), move || inner.send(own()).unwrap()).unwrap();
            child.join().unwrap();
            told.send(low).unwrap();
        });
        low.unwrap().join().unwrap();
        assert_eq!(heard.recv().unwrap(), usual, "the thread that it started");
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        assert_eq!(heard.recv().unwrap(), (idle, 19), "itself");
        assert_eq!(own(), usual, "whoever asked");
    }
}
