//! The topics, checked or made before anything is read: partitions, replicas, retention, clean-up.
//!
//! In: the names and what they must be. Out: how many partitions each has, or every fault in one sentence each. What may
//! be a choice and not a fault (retention shorter than the longest window) goes to the log.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::Consumer as _;
use rdkafka::error::RDKafkaErrorCode;

use super::by_topic::ByTopic;
use super::kafka::{KafkaOptions, StreamError, Telling};

/// How long a question about topics may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the topics must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicRules {
    /// Whether a topic that is not there is made.
    pub create: bool,
    /// Partitions of a topic that is made; and what the decisions must have.
    pub partitions: i32,
    /// Replicas of a topic that is made; fewer than that is a fault.
    pub replicas: i32,
    /// How long a record of a topic that is made is kept.
    pub retention: Duration,
    /// A shorter retention is a fault: what comes late, or stays away, would be lost.
    pub least_retention: Duration,
    /// A shorter retention is told: the windows look back further.
    pub longest_window: Duration,
}

/// What Kafka says of a topic.
struct Found {
    partitions: usize,
    replicas: usize,
    retention: Option<i64>,
    compacted: bool,
}

/// Checks the topics, and makes those that are missing where that is allowed; how many partitions each has.
///
/// # Errors
/// Every fault, or that Kafka cannot be reached.
pub(super) async fn check(options: &KafkaOptions, rules: &TopicRules) -> Result<ByTopic<usize>, StreamError> {
    let admin: AdminClient<Telling> =
        options.client().create_with_context(Telling).map_err(StreamError::kafka("Kafka's client cannot be made"))?;
    let names = &options.topics;
    let all = [&names.transactions, &names.labels, &names.decisions, &names.rejected];
    let mut faults = Vec::new();
    let mut counts = [0; 4];
    for (name, count) in all.into_iter().zip(&mut counts) {
        let found = match find(options, &admin, name).await? {
            Some(found) => Some(found),
            None if rules.create => {
                make(&admin, name, rules).await?;
                settled(options, &admin, name).await?
            }
            None => None,
        };
        match found {
            Some(found) => {
                judge(name, &found, rules, &mut faults);
                *count = found.partitions;
            }
            None => faults.push(format!("{name} is not there: make it, or set kafka.create_topics")),
        }
    }
    let [transactions, labels, decisions, _] = counts;
    let partitions = ByTopic { transactions, labels, decisions };
    if partitions.decisions > 0 && partitions.decisions != usize::try_from(rules.partitions).unwrap_or(0) {
        faults.push(format!(
            "{} has {} partitions and kafka.partitions says {}: with another number an id's records would lie in two partitions, \
             and which was first could not be told; drain it and make a new topic",
            names.decisions, partitions.decisions, rules.partitions
        ));
    }
    if faults.is_empty() { Ok(partitions) } else { Err(StreamError::Topics { faults }) }
}

fn judge(name: &str, found: &Found, rules: &TopicRules, faults: &mut Vec<String>) {
    if found.compacted {
        faults.push(format!("{name} has cleanup.policy=compact: records would vanish; set it to delete"));
    }
    if found.replicas < usize::try_from(rules.replicas).unwrap_or(0) {
        faults.push(format!(
            "{name} has {} replicas and kafka.replicas says {}: a broker that is lost would take decisions with it",
            found.replicas, rules.replicas
        ));
    }
    let Some(retention) = found.retention.filter(|retention| *retention >= 0) else { return };
    let retention = Duration::from_millis(retention.unsigned_abs());
    if retention < rules.least_retention {
        faults.push(format!(
            "{name} keeps records for {retention:?}, less than history.lateness ({:?}): raise retention.ms",
            rules.least_retention
        ));
    } else if retention < rules.longest_window {
        let needed = rules.longest_window;
        tracing::warn!(topic = name, ?retention, ?needed, "the topic does not reach back as far as the windows do");
    }
}

async fn find(options: &KafkaOptions, admin: &AdminClient<Telling>, name: &str) -> Result<Option<Found>, StreamError> {
    let (asked, topic) = (options.clone(), name.to_owned());
    let what = format!("Kafka at {} does not answer about {name}", options.brokers);
    let unanswered = StreamError::kafka(what.clone());
    let reading = tokio::task::spawn_blocking(move || {
        let consumer = asked.asking(None)?;
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).map_err(unanswered)?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        let found = found.filter(|found| found.error().is_none() && !found.partitions().is_empty());
        Ok::<_, StreamError>(found.map(|found| {
            let replicas = found.partitions().iter().map(|partition| partition.replicas().len()).min();
            (found.partitions().len(), replicas.unwrap_or(0))
        }))
    });
    let found = reading.await.map_err(|error| StreamError::Thread(std::io::Error::other(error)))?;
    let Some((partitions, replicas)) = found? else { return Ok(None) };
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(name)], &options).await;
    let described = described.map_err(StreamError::kafka(what))?;
    // A role may see a topic and not its settings: then only what can be seen is judged.
    let settings: Option<&ConfigResource> = described.first().and_then(|one| one.as_ref().ok());
    let setting = |key: &str| settings.and_then(|settings| settings.get(key)).and_then(|entry| entry.value.clone());
    let retention = setting("retention.ms").and_then(|value| value.parse().ok());
    let compacted = setting("cleanup.policy").is_some_and(|policy| policy.contains("compact"));
    Ok(Some(Found { partitions, replicas, retention, compacted }))
}

async fn make(admin: &AdminClient<Telling>, name: &str, rules: &TopicRules) -> Result<(), StreamError> {
    let retention = rules.retention.as_millis().to_string();
    let topic = NewTopic::new(name, rules.partitions, TopicReplication::Fixed(rules.replicas))
        .set("retention.ms", &retention)
        .set("cleanup.policy", "delete");
    let options = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
    let made = admin.create_topics([&topic], &options).await;
    let made = made.map_err(StreamError::kafka(format!("the topic {name} cannot be made")))?;
    match made.into_iter().next() {
        // Another instance was first.
        None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {
            tracing::info!(topic = name, partitions = rules.partitions, replicas = rules.replicas, "made a topic");
            Ok(())
        }
        Some(Err((_, code))) => Err(StreamError::Topics { faults: vec![format!("{name} cannot be made: {code}")] }),
    }
}

/// What was just made, once Kafka knows of it.
async fn settled(
    options: &KafkaOptions,
    admin: &AdminClient<Telling>,
    name: &str,
) -> Result<Option<Found>, StreamError> {
    for _ in 0..50 {
        if let Some(found) = find(options, admin, name).await? {
            return Ok(Some(found));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(None)
}
