//! What the threads of the stream tell each other and whoever looks: how far the reader is, whether it has caught up,
//! whether the end was asked for.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::item::Topic;
use super::lanes::{Lanes, Positions};
use super::publisher::Publisher;
use crate::base::clock::Millis;

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    stop: Arc<AtomicBool>,
    behind: AtomicBool,
    merged_at: AtomicI64,
    publisher: Arc<Publisher>,
    positions: Mutex<Positions>,
    /// What the group had done when the reading began.
    done: Positions,
    caught_up: watch::Sender<bool>,
}

impl State {
    pub(super) fn new(stop: Arc<AtomicBool>, publisher: Arc<Publisher>, done: Positions) -> Self {
        let (behind, positions, caught_up) = (AtomicBool::new(true), Mutex::default(), watch::Sender::new(false));
        Self { stop, behind, merged_at: AtomicI64::new(0), publisher, positions, done, caught_up }
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Whether another decision could be recorded now.
    pub(super) fn has_room(&self) -> bool {
        self.publisher.has_room()
    }

    pub(super) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Notes it; whether that is news.
    pub(super) fn set_behind(&self, behind: bool) -> bool {
        self.behind.swap(behind, Ordering::Relaxed) != behind
    }

    /// Notes when Kafka took what was merged last.
    pub(super) fn set_merged_at(&self, taken_at: Millis) {
        self.merged_at.store(taken_at.0, Ordering::Relaxed);
    }

    /// When Kafka took what was merged last.
    pub(super) fn merged_at(&self) -> Millis {
        Millis(self.merged_at.load(Ordering::Relaxed))
    }

    /// Where the reader is.
    pub(super) fn positions(&self) -> Positions {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes where the reader is; the first time that it has passed what the group had done, it has caught up.
    pub(super) fn reached(&self, lanes: &Lanes, is_empty: impl Fn(usize) -> bool) {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner).clone_from(lanes.positions());
        if *self.caught_up.borrow() {
            return;
        }
        let passed = Topic::ALL.into_iter().all(|topic| {
            let positions = lanes.positions()[topic].iter().zip(&self.done[topic]).enumerate();
            // The last offsets before an end may be no messages: then the end alone is seen.
            positions.into_iter().all(|(partition, (position, end))| {
                let lane = lanes.lane(topic, i32::try_from(partition).unwrap_or(0));
                position >= end || (lanes.has_ended(lane) && is_empty(lane))
            })
        });
        if passed {
            self.caught_up.send_replace(true);
        }
    }

    /// Waits until the reader has passed what the group had done.
    pub(super) async fn caught_up(&self) {
        let mut seen = self.caught_up.subscribe();
        // The sender lives in `self`, so the channel cannot close under this wait.
        let _open = seen.wait_for(|caught_up| *caught_up).await;
    }
}
