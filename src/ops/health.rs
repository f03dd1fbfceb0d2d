//! Where the program stands between its start and its end.
//!
//! ```text
//! Starting ─▶ Serving ─▶ Stopping
//! ```
//!
//! Invariant: a state is never left backwards; whoever is stopping is never called serving again.

use std::sync::atomic::{AtomicU8, Ordering};

/// The three states, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Stage {
    /// Bound, but what it needs is still being read.
    Starting = 0,
    /// Taking requests.
    Serving = 1,
    /// Finishing what it has, taking nothing more.
    Stopping = 2,
}

/// The state of this process; shared by reference.
#[derive(Debug, Default)]
pub struct Health(AtomicU8);

impl Health {
    /// The state now.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Acquire) {
            0 => Stage::Starting,
            1 => Stage::Serving,
            _ => Stage::Stopping,
        }
    }

    /// Moves to `stage`; an earlier one than the present changes nothing.
    pub fn enter(&self, stage: Stage) {
        self.0.fetch_max(stage as u8, Ordering::AcqRel);
    }

    /// Why this process should get no requests: `None` while it serves.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self.stage() {
            Stage::Starting => Some("starting: the model and the history are being loaded"),
            Stage::Serving => None,
            Stage::Stopping => Some("stopping: requests in flight are finished, new ones go elsewhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_go_forward_only() {
        let health = Health::default();
        assert_eq!((health.stage(), health.reason().is_some()), (Stage::Starting, true));
        health.enter(Stage::Serving);
        assert_eq!(health.reason(), None);
        health.enter(Stage::Stopping);
        health.enter(Stage::Serving);
        assert_eq!(health.stage(), Stage::Stopping);
        assert!(health.reason().is_some());
    }
}
