//! Offsets of partitions, as Kafka's client takes and gives them.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;

use super::kafka::Telling;

/// Topics with partitions and offsets, for Kafka's client.
pub(super) fn list<'a>(
    places: impl IntoIterator<Item = (&'a str, i32, i64)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition, offset) in places {
        list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
    }
    Ok(list)
}

/// Topics, partitions and offsets that Kafka answered with; `None` where it named no offset.
pub(super) fn places(list: &TopicPartitionList) -> Vec<(String, i32, Option<i64>)> {
    let elements = list.elements().into_iter().map(|element| {
        let offset = if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None };
        (element.topic().to_owned(), element.partition(), offset)
    });
    elements.collect()
}

/// What the consumer's group has committed of a topic, by partition; `None` where it has not.
pub(super) fn committed(
    consumer: &BaseConsumer<Telling>,
    topic: &str,
    partitions: usize,
    patience: Duration,
) -> Result<Vec<Option<i64>>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for partition in (0_i32..).take(partitions) {
        list.add_partition(topic, partition);
    }
    // The answer keeps the order of the question.
    let answered = consumer.committed_offsets(list, patience)?;
    Ok(places(&answered).into_iter().map(|(_, _, offset)| offset).collect())
}
