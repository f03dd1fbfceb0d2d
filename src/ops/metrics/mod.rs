//! Metrics for Prometheus. The table in `table` is the only place where one is declared; whoever counts holds
//! the field itself, so nothing is looked up by name or label while a request is served.

mod family;
mod labels;
mod table;

pub use family::{Counter, Gauge, Kind, LabelSet, NamedGauge, PartitionGauge, Sizes, Timer};
pub use labels::{
    Challenged, Compared, DecisionKind, Delivered, Delivery, Destination, Flags, LabelOutcome, Method, ModelChange,
    ModelStage, ProblemCode, QueueName, Refresh, Route, Status, Step, Topic,
};
pub use table::{Entry, Metrics, TABLE};

/// Seconds from 5 µs to 10 s: a step of the line at one end, a batch at the other.
pub const SECONDS: &[f64] = &[
    0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05,
    0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
