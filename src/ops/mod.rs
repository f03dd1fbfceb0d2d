//! What every long-running program needs and no payment knows of: metrics, logs, health and an ordered end.
//! Knows nothing of the line: what the metrics mean is in their table, who moves them is elsewhere.

pub mod health;
pub mod metrics;
pub mod process;
pub mod shutdown;
pub mod telemetry;
