//! A thread of the stream.
//!
//! In: its name, and what it does. Out: its end, waited for once. Invariant: a panic is told, and goes no further.

use std::thread::{Builder, JoinHandle};

use super::kafka::StreamError;

/// See the module.
#[derive(Debug)]
pub(super) struct Thread {
    /// What panicked, in words.
    who: &'static str,
    handle: JoinHandle<()>,
}

impl Thread {
    /// Starts it.
    pub(super) fn start(
        name: impl Into<String>,
        who: &'static str,
        work: impl FnOnce() + Send + 'static,
    ) -> Result<Self, StreamError> {
        Ok(Self { who, handle: Builder::new().name(name.into()).spawn(work)? })
    }

    /// Waits for the end of the thread, which was told to stop.
    pub(super) fn join(self) {
        if self.handle.join().is_err() {
            tracing::error!("{} panicked", self.who);
        }
    }
}
