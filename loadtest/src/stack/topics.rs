//! Topics: made, measured, and read from a place to where they end now.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use super::servers::Servers;

/// An offset of every partition.
pub(crate) type Offsets = BTreeMap<i32, i64>;

/// Kafka is asked for no longer than this.
const WAIT: Duration = Duration::from_secs(15);
/// A topic of which nothing came for this long has failed.
const SILENCE: Duration = Duration::from_secs(60);

/// Makes the topics that are not there, kept for good; the number of those that were made.
pub(crate) async fn create(servers: &Servers, names: &[&str], partitions: i32) -> anyhow::Result<usize> {
    let admin: AdminClient<DefaultClientContext> = servers.client()?.create()?;
    let brokers = admin.inner().fetch_metadata(None, WAIT).context("Kafka does not answer")?.brokers().len();
    let replicas = i32::try_from(brokers.clamp(1, 3))?;
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(replicas)).set("retention.ms", "-1"))
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(WAIT));
    let mut made = 0;
    for outcome in admin.create_topics(&topics, &options).await? {
        match outcome {
            Ok(_) => made += 1,
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => bail!("topic {name}: {code}"),
        }
    }
    for name in names {
        let there = partitions_of(&admin, name)?.len();
        ensure!(there == usize::try_from(partitions)?, "topic {name} has {there} partitions, not {partitions}");
    }
    Ok(made)
}

/// The partitions of a topic, once all of them have a leader.
fn partitions_of(admin: &AdminClient<DefaultClientContext>, topic: &str) -> anyhow::Result<Vec<i32>> {
    let begun = Instant::now();
    loop {
        let metadata = admin.inner().fetch_metadata(Some(topic), WAIT).context("Kafka does not answer")?;
        let found = metadata.topics().first().map(rdkafka::metadata::MetadataTopic::partitions).unwrap_or_default();
        if !found.is_empty() && found.iter().all(|partition| partition.leader() >= 0) {
            return Ok(found.iter().map(rdkafka::metadata::MetadataPartition::id).collect());
        }
        ensure!(begun.elapsed() < WAIT, "there is no topic {topic}: `loadtest stack prepare` makes it");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Where every partition of the topic ends now.
pub(crate) fn ends(servers: &Servers, topic: &str) -> anyhow::Result<Offsets> {
    let admin: AdminClient<DefaultClientContext> = servers.client()?.create()?;
    let mut ends = Offsets::new();
    for partition in partitions_of(&admin, topic)? {
        ends.insert(partition, admin.inner().fetch_watermarks(topic, partition, WAIT)?.1);
    }
    Ok(ends)
}

/// Records between two places.
pub(crate) fn between(from: &Offsets, to: &Offsets) -> u64 {
    let length = |(partition, end): (&i32, &i64)| end - from.get(partition).copied().unwrap_or_default();
    to.iter().map(length).sum::<i64>().try_into().unwrap_or_default()
}

/// A consumer outside of any group, at `from`.
pub(crate) fn at(servers: &Servers, topic: &str, from: &Offsets) -> anyhow::Result<BaseConsumer> {
    let mut config = servers.client()?;
    config.set("group.id", "loadtest-reader").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "20");
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for (partition, offset) in from {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

/// Visits every record of the topic from `from` to where the topic ends now, each partition in its order.
pub(crate) fn read(
    servers: &Servers,
    topic: &str,
    from: &Offsets,
    mut visit: impl FnMut(&BorrowedMessage<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let to = ends(servers, topic)?;
    let mut open: Offsets = to.into_iter().filter(|(partition, end)| from.get(partition).unwrap_or(&0) < end).collect();
    let start = open.keys().map(|partition| (*partition, from.get(partition).copied().unwrap_or_default())).collect();
    let consumer = at(servers, topic, &start)?;
    let (mut count, mut last) = (0, Instant::now());
    while !open.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                last = Instant::now();
                // A partition is read on past its end while others have theirs ahead: those records came later.
                if let Some(end) = open.get(&message.partition()).copied() {
                    if message.offset() < end {
                        visit(&message)?;
                        count += 1;
                    }
                    if message.offset() + 1 >= end {
                        open.remove(&message.partition());
                    }
                }
            }
            Some(Err(KafkaError::MessageConsumption(code))) if may_pass(code) => {}
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
        ensure!(last.elapsed() < SILENCE, "nothing of {topic} came for {} s", SILENCE.as_secs());
    }
    Ok(count)
}

/// The first answer that `look` has for a record of the topic, from `from` to where it ends now.
pub(crate) fn find<T>(
    servers: &Servers,
    topic: &str,
    from: &Offsets,
    mut look: impl FnMut(&BorrowedMessage<'_>) -> Option<T>,
) -> anyhow::Result<Option<T>> {
    let mut found = None;
    let outcome = read(servers, topic, from, |message| {
        found = look(message);
        // Ends the reading; nobody sees it.
        ensure!(found.is_none(), "found");
        Ok(())
    });
    match found {
        Some(found) => Ok(Some(found)),
        None => outcome.map(|_count| None),
    }
}

/// Whether a client gets over this error by itself.
pub(crate) fn may_pass(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::NotLeaderForPartition
    )
}
