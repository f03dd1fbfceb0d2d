//! The connection to Kafka before anything is read.
//!
//! In: options, and what the topics must be. Out: the producer and the log that the engine appends to; where the topics
//! begin and end, what they held at a moment, and what the group has done.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;

use super::by_topic::ByTopic;
use super::item::Topic;
use super::kafka::{KafkaOptions, StreamError};
use super::lanes::Positions;
use super::log::KafkaLog;
use super::offsets;
use super::publisher::Publisher;
use super::topics::{self, TopicRules};
use crate::base::clock::Millis;
use crate::engine::ports::Lookup;

/// How long Kafka may take to say where its topics begin and end.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Where a topic's partitions begin and end now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermarks {
    /// First offsets.
    pub begin: BTreeMap<String, Vec<i64>>,
    /// Next offsets.
    pub end: BTreeMap<String, Vec<i64>>,
}

/// The connection to Kafka before anything is read: the producer, and the log that the engine appends to.
#[derive(Debug)]
pub struct Connection {
    pub(super) options: KafkaOptions,
    pub(super) partitions: ByTopic<usize>,
    pub(super) publisher: Arc<Publisher>,
}

impl Connection {
    /// Checks the topics and opens the producer.
    ///
    /// # Errors
    /// See [`StreamError`].
    pub async fn open(options: KafkaOptions, rules: &TopicRules) -> Result<Self, StreamError> {
        let partitions = topics::check(&options, rules).await?;
        let publisher = Arc::new(Publisher::open(&options)?);
        Ok(Self { options, partitions, publisher })
    }

    /// The engine's log.
    #[must_use]
    pub fn log(&self, store: Arc<dyn Lookup>, runtime: Handle) -> KafkaLog {
        KafkaLog::new(Arc::clone(&self.publisher), self.options.topics.clone(), store, runtime)
    }

    /// Where the followed topics begin and end. Blocking.
    ///
    /// # Errors
    /// When Kafka does not say.
    pub fn watermarks(&self) -> Result<Watermarks, StreamError> {
        let consumer = self.options.asking(None)?;
        let names = &self.options.topics;
        let (mut begin, mut end) = (Positions::default(), Positions::default());
        for topic in Topic::ALL {
            let name = names.of(topic);
            for partition in (0_i32..).take(self.partitions[topic]) {
                let marks = patiently(|| consumer.fetch_watermarks(name, partition, PATIENCE));
                let (low, high) =
                    marks.map_err(StreamError::kafka(format!("Kafka does not say where {name} begins and ends")))?;
                begin[topic].push(low);
                end[topic].push(high);
            }
        }
        Ok(Watermarks { begin: names.named(&begin), end: names.named(&end) })
    }

    /// Where the decisions end now, by partition. Blocking.
    ///
    /// # Errors
    /// When Kafka does not say.
    pub fn decisions_end(&self) -> Result<Vec<i64>, StreamError> {
        Ok(self.watermarks()?.end.remove(&self.options.topics.decisions).unwrap_or_default())
    }

    /// How many records below `ends` a destination has not kept, as the offsets say that its group has committed. Blocking.
    ///
    /// # Errors
    /// When Kafka does not say.
    pub fn left_of(&self, destination: &str, ends: &[i64]) -> Result<u64, StreamError> {
        let Self { options, partitions, .. } = self;
        let consumer = options.asking(Some(&format!("{}-{destination}", options.group)))?;
        let topic = &options.topics.decisions;
        let unsaid = || StreamError::kafka(format!("Kafka does not say what {destination} has kept"));
        let committed = patiently(|| offsets::committed(&consumer, topic, partitions.decisions, PATIENCE));
        let mut left = 0;
        for ((partition, committed), end) in (0_i32..).zip(committed.map_err(unsaid())?).zip(ends) {
            let (low, _) = patiently(|| consumer.fetch_watermarks(topic, partition, PATIENCE)).map_err(unsaid())?;
            left += end.saturating_sub(committed.unwrap_or(low).max(low)).max(0).unsigned_abs();
        }
        Ok(left)
    }

    /// What the group has committed of the transactions, by partition; 0 where it has not. Blocking.
    pub(super) fn committed(&self) -> Result<Vec<i64>, StreamError> {
        let Self { options, partitions, .. } = self;
        let consumer = options.asking(Some(&options.group))?;
        let topic = &options.topics.transactions;
        let found = patiently(|| offsets::committed(&consumer, topic, partitions.transactions, PATIENCE));
        let found = found.map_err(StreamError::kafka("Kafka does not say what the group has done"))?;
        Ok(found.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// The first offsets whose messages Kafka took at `moment` or later; the end where there are none. Blocking.
    ///
    /// # Errors
    /// When Kafka does not say.
    pub fn offsets_at(&self, moment: Millis) -> Result<BTreeMap<String, Vec<i64>>, StreamError> {
        let consumer = self.options.asking(None)?;
        let mut found = self.watermarks()?.end;
        let wanted = found.iter().flat_map(|(name, ends)| {
            (0_i32..).zip(ends).map(move |(partition, _)| (name.as_str(), partition, moment.0.max(0)))
        });
        let answered = offsets::list(wanted).and_then(|wanted| consumer.offsets_for_times(wanted, PATIENCE));
        let answered = answered.map_err(StreamError::kafka("Kafka does not say what it held then"))?;
        for (topic, partition, offset) in offsets::places(&answered) {
            let ends = found.get_mut(&topic).zip(usize::try_from(partition).ok());
            if let (Some(end), Some(offset)) = (ends.and_then(|(ends, place)| ends.get_mut(place)), offset) {
                *end = offset;
            }
        }
        Ok(found)
    }

    /// Positions under their names as those of every partition; 0 where none is named.
    pub(super) fn positions(&self, by_name: &BTreeMap<String, Vec<i64>>) -> Positions {
        ByTopic::of(|topic| {
            let mut positions = by_name.get(self.options.topics.of(topic)).cloned().unwrap_or_default();
            positions.resize(self.partitions[topic], 0);
            positions
        })
    }
}

/// Asks again for a while: a broker that has just started does not know at once what it leads.
fn patiently<T>(mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    let begun = Instant::now();
    loop {
        match ask() {
            Err(error) if begun.elapsed() < PATIENCE => {
                tracing::debug!(%error, "Kafka does not know yet; asked again");
                std::thread::sleep(PAUSE);
            }
            answered => return answered,
        }
    }
}
