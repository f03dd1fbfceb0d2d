//! The table: one line a metric, its documentation is the help text that Prometheus shows.
//! docs/METRICS.md is compared with it by a test.

use prometheus::{Encoder as _, Registry, TextEncoder};

use super::family::{Counter, Family, Gauge, Kind, NamedGauge, PartitionGauge, Sizes, Timer, VersionGauge};
use super::labels::{
    Challenged, Compared, DecisionKind, Delivered, Destination, Flags, LabelOutcome, Method, ModelChange, ModelStage,
    ProblemCode, QueueName, Refresh, Route, Step, Topic,
};
use crate::ops::process::Process;

/// A line of the table, for documents.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The series' name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
    /// Label names with all their values.
    pub labels: &'static [(&'static str, &'static [&'static str])],
}

macro_rules! metrics {
    ($(#[doc = $help:literal] $field:ident: $family:ty = $name:literal,)+) => {
        /// Every metric of the program.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $family,)+
        }

        /// The table, in order.
        pub const TABLE: &[Entry] = &[$(Entry {
            name: $name,
            kind: <$family as Family>::KIND,
            help: $help.trim_ascii(),
            labels: <$family as Family>::LABELS,
        },)+];

        impl Metrics {
            /// All metrics at 0.
            ///
            /// # Errors
            /// When the table names a metric twice or wrongly; a test keeps it right.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                Ok(Self {
                    $($field: <$family as Family>::register(&registry, $name, $help.trim_ascii())?,)+
                    registry,
                })
            }
        }
    };
}

metrics! {
    /// Requests answered.
    http_requests: Counter<Method> = "assay_http_requests_total",
    /// Time from a request's head to its answer's head.
    http_request_seconds: Timer<Route> = "assay_http_request_seconds",
    /// Requests being answered.
    http_in_flight: Gauge = "assay_http_requests_in_flight",
    /// Connections open.
    http_connections: Gauge = "assay_http_connections_open",
    /// Connections turned away because `server.max_connections` were open.
    http_connections_refused: Counter = "assay_http_connections_refused_total",
    /// Problems answered, items of batches included.
    problems: Counter<ProblemCode> = "assay_problems_total",
    /// Fields of transactions that the schema does not know; they are ignored.
    unknown_fields: Counter = "assay_unknown_fields_total",
    /// Decisions made: full ones by a model, fallbacks by policy.
    decisions: Counter<DecisionKind> = "assay_decisions_total",
    /// Decisions made that were flagged.
    flagged: Counter<DecisionKind> = "assay_decisions_flagged_total",
    /// Decisions made on incomplete or stale inputs, or by policy.
    degraded: Counter<DecisionKind> = "assay_decisions_degraded_total",
    /// Requests answered with the decision that was recorded earlier.
    repeated: Counter = "assay_decisions_repeated_total",
    /// Answers that another record of the same transaction was before.
    superseded: Counter = "assay_decisions_superseded_total",
    /// Time of each step of the line.
    step_seconds: Timer<Step> = "assay_step_seconds",
    /// Labels taken.
    labels: Counter<LabelOutcome> = "assay_labels_total",
    /// Labels given up because their transaction never came.
    labels_unmatched: Counter = "assay_labels_unmatched_total",
    /// What waits in bounded queues: entries for the log, transactions for their full decision, labels for their transaction.
    queue_depth: Gauge<QueueName> = "assay_queue_depth_items",
    /// Transactions between their first sight and their full decision.
    open_transactions: Gauge = "assay_transactions_open",
    /// Transaction ids in memory.
    ids: Gauge = "assay_index_ids",
    /// Memory of those ids.
    id_bytes: Gauge = "assay_index_resident_bytes",
    /// Messages of the topics handed to the merge.
    stream_messages: Counter<Topic> = "assay_stream_messages_total",
    /// Messages of a partition that the reader has not merged yet.
    stream_lag: PartitionGauge<Topic> = "assay_stream_lag_messages",
    /// Age of the last merged message of a partition that has more; 0 at its end.
    stream_lag_seconds: PartitionGauge<Topic> = "assay_stream_lag_seconds",
    /// Messages merged together.
    stream_batch: Sizes = "assay_stream_batch_messages",
    /// Messages merged while a partition that should have had more was not waited for any longer.
    merge_timeouts: Counter = "assay_merge_timeouts_total",
    /// Time of a commit of offsets.
    commit_seconds: Timer = "assay_commit_seconds",
    /// Assignments and revocations of the group's partitions.
    rebalances: Counter = "assay_rebalances_total",
    /// Partitions of the transactions that this instance scores.
    owned_partitions: Gauge = "assay_owned_partitions",
    /// Messages sent to the dead letters.
    dead_letters: Counter<ProblemCode> = "assay_dead_letters_total",
    /// Records delivered, by what became of them; applied are those whose row was completed at once.
    delivered: Counter<Delivered> = "assay_delivered_records_total",
    /// Records delivered together.
    delivery_batch: Sizes<Destination> = "assay_delivery_batch_records",
    /// Time to deliver a batch, tries that failed included.
    delivery_seconds: Timer<Destination> = "assay_delivery_seconds",
    /// Tries of a batch that failed.
    delivery_failures: Counter<Destination> = "assay_delivery_failures_total",
    /// Records of a partition that are not delivered yet.
    delivery_lag: PartitionGauge<Destination> = "assay_delivery_lag_records",
    /// Decisions whose row has not appeared.
    waiting_decisions: Gauge<Destination> = "assay_waiting_decisions",
    /// Age of the oldest of them.
    waiting_oldest: Gauge<Destination> = "assay_waiting_oldest_seconds",
    /// Time from when the mouth or Kafka took a transaction until its decision was delivered.
    end_to_end: Timer<Destination> = "assay_end_to_end_seconds",
    /// How far the watermark is behind the clock: up to it every transaction that was read is decided; -1 while it is not known.
    watermark_age: Gauge = "assay_completeness_watermark_age_seconds",
    /// The same of the watermark up to which every decision stands in its row.
    applied_watermark_age: Gauge = "assay_completeness_applied_age_seconds",
    /// Age of the observation that both rest on; -1 while there is none.
    claim_age: Gauge = "assay_completeness_claim_age_seconds",
    /// Transactions without a full decision.
    undecided: Gauge = "assay_completeness_undecided_transactions",
    /// Dead letters that hold one of the watermarks.
    open_letters: Gauge = "assay_completeness_open_letters",
    /// Age of the newest snapshot of the history; -1 while there is none.
    snapshot_age: Gauge = "assay_snapshot_age_seconds",
    /// Time since the source of a table of reference data confirmed what is served; -1 while it never did.
    reference_age: NamedGauge = "assay_reference_age_seconds",
    /// Rows of a table of reference data that are held; of the rates, days of a currency.
    reference_rows: NamedGauge = "assay_reference_rows",
    /// Readings of a table of reference data, by what became of them.
    reference_refreshes: Counter<Refresh> = "assay_reference_refreshes_total",
    /// Rates that were published again with another value; each is ignored and counted once.
    rate_corrections: Counter = "assay_rate_corrections_total",
    /// Changes of the models that were recorded.
    model_changes: Counter<ModelChange> = "assay_model_changes_total",
    /// The version that decides, in the label version: one series.
    model_active: VersionGauge = "assay_model_active_state",
    /// Versions of models that are known, by where they stand.
    model_versions: Gauge<ModelStage> = "assay_model_versions",
    /// Time to load a version and hold it against its gates.
    model_prepare_seconds: Timer = "assay_model_prepare_seconds",
    /// Transactions of the comparison that runs; 0 while none does.
    challenged: Gauge<Challenged> = "assay_challenger_transactions",
    /// Of those compared the flagged ones, by who flagged them.
    challenger_flags: Gauge<Flags> = "assay_challenger_flagged_transactions",
    /// Of those compared the labelled ones, by what each model said.
    challenger_labels: Gauge<Compared> = "assay_challenger_labelled_transactions",
    /// Population stability index of the two distributions of scores, in thousandths.
    challenger_shift: Gauge = "assay_challenger_shift_thousandths",
    /// Whether the program is ready for requests: 1 or 0.
    ready: Gauge = "assay_ready_state",
    /// Resident memory.
    resident: Gauge = "assay_process_resident_bytes",
    /// Open file descriptors.
    open_files: Gauge = "assay_process_open_files",
    /// Threads.
    threads: Gauge = "assay_process_threads",
}

impl Metrics {
    /// The text that Prometheus scrapes (exposition format 0.0.4), with the process read afresh.
    ///
    /// # Errors
    /// When a series cannot be written as text.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        let process = Process::read();
        for (gauge, figure) in [
            (&self.resident, process.resident_bytes),
            (&self.open_files, process.open_files),
            (&self.threads, process.threads),
        ] {
            if let Some(figure) = figure {
                gauge.set((), i64::try_from(figure).unwrap_or(i64::MAX));
            }
        }
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::Status;
    use super::*;

    #[test]
    fn every_series_is_there_at_zero() {
        let metrics = Metrics::new().unwrap();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        for entry in TABLE {
            assert!(text.contains(&format!("# TYPE {} {}", entry.name, entry.kind.as_str())), "{}", entry.name);
            for (label, values) in entry.labels {
                for value in *values {
                    assert!(text.contains(&format!("{label}=\"{value}\"")), "{} {label}={value}", entry.name);
                }
            }
        }
        assert!(text.contains("assay_problems_total{code=\"conflict\"} 0"), "{text}");
    }

    #[test]
    fn pairs_of_labels_reach_their_own_series() {
        let metrics = Metrics::new().unwrap();
        metrics.http_requests.up((Route::Labels, Status::Server));
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        assert!(text.contains("assay_http_requests_total{route=\"labels\",status=\"5xx\"} 1"), "{text}");
        assert_eq!(
            text.lines().filter(|line| line.starts_with("assay_http_requests_total") && line.ends_with(" 1")).count(),
            1
        );
    }

    #[test]
    fn names_follow_the_rule() {
        for entry in TABLE {
            assert!(entry.name.starts_with("assay_"), "{}", entry.name);
            assert_eq!(entry.name.ends_with("_total"), entry.kind == Kind::Counter, "{}", entry.name);
            assert!(entry.help.ends_with('.'), "{}", entry.name);
        }
    }
}
