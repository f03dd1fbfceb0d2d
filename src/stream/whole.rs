//! A topic from its beginning to the end that it has now, partition after partition. A Kafka that falls silent ends it.

use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode;

use super::kafka::{KafkaOptions, StreamError};
use super::offsets;

const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(200);

/// A message, and whether it is the first one that its partition holds while earlier ones are gone.
pub(super) struct Kept<'m> {
    pub(super) message: &'m BorrowedMessage<'m>,
    pub(super) is_first_of_the_rest: bool,
}

/// Gives every message to `each`, until that says no. Blocking.
pub(super) fn read(
    options: &KafkaOptions,
    topic: &str,
    mut each: impl FnMut(Kept<'_>) -> bool,
) -> Result<(), StreamError> {
    let unread = || StreamError::kafka(format!("{topic} cannot be read"));
    let consumer = options.reader(0, 1).map_err(unread())?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).map_err(unread())?;
    let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    for partition in (0_i32..).take(partitions) {
        let (begin, end) = consumer.fetch_watermarks(topic, partition, PATIENCE).map_err(unread())?;
        if begin >= end {
            continue;
        }
        let list = offsets::list([(topic, partition, begin)]);
        list.and_then(|list| consumer.assign(&list)).map_err(unread())?;
        let mut heard = Instant::now();
        loop {
            let polled = consumer.poll(POLL);
            if polled.is_some() {
                heard = Instant::now();
            }
            match polled {
                None if heard.elapsed() < PATIENCE => {}
                None => return Err(unread()(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))),
                Some(Ok(message)) if message.partition() == partition => {
                    let offset = message.offset();
                    let is_first_of_the_rest = begin > 0 && offset == begin;
                    if offset < end && !each(Kept { message: &message, is_first_of_the_rest }) {
                        return Ok(());
                    }
                    if offset + 1 >= end {
                        break;
                    }
                }
                // What of the partition before is still on its way.
                Some(Ok(_)) => {}
                Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => break,
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => return Err(unread()(error)),
            }
        }
    }
    Ok(())
}
