//! The rules of the stream as state machines: which record is next, what may be committed, what this instance scores.
//!
//! In: what was read, acknowledged and assigned, and the moment at which it happened. Out: what to do next. Nothing here
//! reads a clock, waits, or names Kafka; docs/PROTOCOL.md tells the whole.
//!
//! Invariant: the same calls in the same order give the same answers.

pub mod completeness;
pub mod merge;
pub mod ownership;
pub mod prefix;

/// Monotonic time since the process began; passed in, never read.
pub type Moment = std::time::Duration;

#[cfg(test)]
mod simulation;
