//! The end, asked for once and seen by everybody.
//!
//! The first SIGTERM or SIGINT asks for an orderly end; the second ends the process at once.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit status when a second signal cuts the orderly end short.
const EXIT_AT_ONCE: i32 = 130;

/// The request to end. Cheap to clone; every clone sees it.
#[derive(Debug, Clone)]
pub struct Shutdown {
    asked: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { asked: Arc::new(watch::Sender::new(false)) }
    }
}

impl Shutdown {
    /// Asks for the end. Asking again changes nothing.
    pub fn ask(&self) {
        self.asked.send_replace(true);
    }

    /// Whether the end was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until the end is asked for. Cancel safety: may be dropped and called again.
    pub async fn asked(&self) {
        let mut seen = self.asked.subscribe();
        // The sender lives in `self`, so the channel cannot close under this wait.
        let _open = seen.wait_for(|asked| *asked).await;
    }

    /// Listens for SIGTERM and SIGINT from now on, on a task of its own that ends with the process.
    ///
    /// # Errors
    /// When the kernel refuses a signal handler.
    pub fn on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                if shutdown.is_asked() {
                    tracing::warn!(signal = name, "second signal: ending at once, what is in flight is dropped");
                    std::process::exit(EXIT_AT_ONCE);
                }
                tracing::info!(signal = name, "ending: finishing what is in flight; a second signal ends at once");
                shutdown.ask();
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_sees_the_request() {
        let shutdown = Shutdown::default();
        let other = shutdown.clone();
        assert!(!other.is_asked());
        shutdown.ask();
        other.asked().await;
        assert!(other.is_asked());
    }
}
