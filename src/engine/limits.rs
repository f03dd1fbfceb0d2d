//! What bounds the line, and what its answers promise.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an answer promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The record is on disk before the answer.
    Committed,
    /// The record is in memory; a crash may lose it.
    #[default]
    Queued,
}

/// Whose the log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetUp {
    /// The instance's own: it alone writes, and reads itself to rebuild.
    #[default]
    Embedded,
    /// Shared by several instances: the first record of an id in it is the decision, and a reader that follows it
    /// (see [`super::follow`]) says which that is.
    Stack,
}

/// Which clock `too_far_ahead` compares with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The machine's.
    #[default]
    Wall,
    /// None: events of any time are a replay.
    Stream,
}

/// Bounds of the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Which clock bounds `occurred_at`.
    pub time: TimeSource,
    /// How far ahead of that clock a transaction may be.
    pub too_far_ahead: Duration,
    /// Transactions between observe and commit, or without a full decision, in memory.
    pub max_open: usize,
    /// Of those, in the background queue while the log holds them too.
    pub max_background: usize,
    /// Decisions in the cache.
    pub cache: u64,
    /// Labels that wait for their transaction.
    pub max_waiting_labels: usize,
    /// How long the log may take to answer a read or a label.
    pub store_wait: Duration,
    /// How long a decision may wait for its explanation; zero explains none.
    pub explain_wait: Duration,
    /// On the stack: after so long without the log's acknowledgement the answer goes out from memory, marked. `None`
    /// refuses it at its deadline.
    pub unrecorded: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: TimeSource::Wall,
            too_far_ahead: Duration::from_secs(600),
            max_open: 65_536,
            max_background: 16_384,
            cache: 65_536,
            max_waiting_labels: 100_000,
            store_wait: Duration::from_secs(2),
            explain_wait: Duration::from_millis(5),
            unrecorded: None,
        }
    }
}
