//! How far behind the reader and the destinations are: asked of Kafka now and then, and told as metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;

use super::item::Topic;
use super::kafka::{KafkaOptions, StreamError, Telling};
use super::offsets::committed;
use super::state::State;
use super::thread::Thread;
use crate::base::clock::{Clock as _, SystemClock};
use crate::ops::metrics::{self, Metrics};

const EVERY: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// Starts to ask, until `stop`; the groups of the destinations by their names.
pub(super) fn start(
    options: &KafkaOptions,
    destinations: Vec<(metrics::Destination, String)>,
    state: Arc<State>,
    metrics: Arc<Metrics>,
    stop: Arc<AtomicBool>,
) -> Result<Thread, StreamError> {
    let ends = options.asking(None)?;
    let groups = destinations
        .into_iter()
        .map(|(label, suffix)| Ok((label, options.asking(Some(&format!("{}-{suffix}", options.group)))?)))
        .collect::<Result<Vec<_>, StreamError>>()?;
    let options = options.clone();
    Thread::start("lag", "the thread that measures the lag", move || {
        while !stop.load(Ordering::Relaxed) {
            if let Err(error) = measure(&options, (&ends, &groups), &state, &metrics) {
                tracing::debug!(%error, "the lag could not be measured");
            }
            let next = Instant::now() + EVERY;
            while Instant::now() < next && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(STEP);
            }
        }
    })
}

fn measure(
    options: &KafkaOptions,
    (ends, groups): (&BaseConsumer<Telling>, &[(metrics::Destination, BaseConsumer<Telling>)]),
    state: &State,
    metrics: &Metrics,
) -> Result<(), KafkaError> {
    let positions = state.positions();
    let newest = state.merged_at();
    let age = SystemClock.now().0.saturating_sub(newest.0).max(0);
    for topic in Topic::ALL {
        for (partition, position) in positions[topic].iter().enumerate() {
            let (low, end) = watermarks(ends, options.topics.of(topic), partition)?;
            let lag = end.saturating_sub((*position).max(low)).max(0);
            #[expect(clippy::cast_precision_loss, reason = "a gauge of what is far below 2^53")]
            let (lag, seconds) = (lag as f64, if lag == 0 { 0.0 } else { age as f64 / 1_000.0 });
            metrics.stream_lag.set(topic.into(), partition, lag);
            metrics.stream_lag_seconds.set(topic.into(), partition, seconds);
        }
    }
    let decisions = &options.topics.decisions;
    for (label, group) in groups {
        let committed = committed(group, decisions, positions.decisions.len(), PATIENCE)?;
        for (partition, committed) in committed.into_iter().enumerate() {
            let (low, end) = watermarks(ends, decisions, partition)?;
            let lag = end.saturating_sub(committed.unwrap_or(low)).max(0);
            #[expect(clippy::cast_precision_loss, reason = "a gauge of what is far below 2^53")]
            metrics.delivery_lag.set(*label, partition, lag as f64);
        }
    }
    Ok(())
}

fn watermarks(ends: &BaseConsumer<Telling>, topic: &str, partition: usize) -> Result<(i64, i64), KafkaError> {
    ends.fetch_watermarks(topic, i32::try_from(partition).unwrap_or(i32::MAX), PATIENCE)
}
