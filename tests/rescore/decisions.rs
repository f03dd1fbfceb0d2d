//! The topic of decisions, as the test looks at it.

use std::time::{Duration, Instant};

use assay::stream::record::Decoder;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

const TOPIC: &str = "fraud.decisions";

/// A full record.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) id: String,
    pub(crate) revision: Option<u32>,
    pub(crate) score: f32,
    pub(crate) source: String,
    pub(crate) record: String,
    pub(crate) names: Vec<String>,
    pub(crate) values: Vec<f64>,
    taken_at: i64,
}

/// Every record there is now, in the order in which Kafka took them.
pub(crate) fn decisions(kafka: &str) -> Vec<Seen> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("group.id", "test").set("enable.auto.commit", "false");
    let consumer: BaseConsumer = config.create().unwrap();
    let wait = Duration::from_secs(15);
    let metadata = consumer.fetch_metadata(Some(TOPIC), wait).unwrap();
    let mut left = 0;
    let mut list = TopicPartitionList::new();
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(TOPIC, partition.id(), wait).unwrap();
        left += high - low;
        list.add_partition_offset(TOPIC, partition.id(), Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut seen, mut decoder, begun) = (Vec::new(), Decoder::default(), Instant::now());
    while left > 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{left} records of {TOPIC} do not come");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        left -= 1;
        let bytes = bytes::Bytes::copy_from_slice(message.payload().unwrap());
        let published = decoder.decode(bytes).unwrap();
        let features = published.features.unwrap();
        seen.push(Seen {
            id: published.transaction.transaction_id.to_string(),
            revision: published.decision.revision,
            score: published.decision.score.unwrap(),
            source: published.decision.source.as_str().to_owned(),
            record: published.record.to_string(),
            names: features.names.to_vec(),
            values: features.values,
            taken_at: message.timestamp().to_millis().unwrap(),
        });
    }
    seen.sort_by_key(|one| one.taken_at);
    seen
}
