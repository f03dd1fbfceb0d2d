//! Re-reading: what lies between the committed offset and the reader when this instance becomes the owner.
//!
//! In: ranges of a topic's partitions. Out: their messages, to the merge's thread. A consumer that lives as long as the
//! ranges last; when the ownership is over, what it still hands over is ignored there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::Sender;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;

use super::item::{Item, Reading, Topic};
use super::kafka::KafkaOptions;
use super::offsets;
use super::protocol::ownership::Reread;
use crate::base::clock::Millis;

/// Messages that are handed over together at most.
const CHUNK: usize = 256;
const POLL: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(200);

/// Messages of a range, or its end.
#[derive(Debug)]
pub(super) enum Again {
    Items(Topic, u64, Vec<Item>),
    End(Topic, u64, i32),
}

/// What a re-read needs.
pub(super) struct Rereading {
    pub(super) options: KafkaOptions,
    pub(super) reading: Arc<Reading>,
    pub(super) to: Sender<Again>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Rereading {
    /// Reads `ranges` of one epoch on a thread of their own. It tries until it has them or nobody listens.
    pub(super) fn start(self, topic: Topic, ranges: Vec<Reread>) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name("re-read".to_owned());
        thread.spawn(move || {
            let mut rest = ranges;
            while !rest.is_empty() && !self.stop.load(Ordering::Relaxed) {
                match self.read(topic, &mut rest) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::warn!(%error, "a re-read was cut off; it goes on");
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        })?;
        Ok(())
    }

    /// Reads on until every range is complete; false when nobody takes it any more. What is left of a range that was cut off
    /// stays in `ranges`.
    fn read(&self, topic: Topic, ranges: &mut Vec<Reread>) -> Result<bool, KafkaError> {
        let name = self.options.topics.of(topic);
        let consumer = self.options.reader(self.reading.instance, 1)?;
        consumer.assign(&offsets::list(ranges.iter().map(|range| (name, range.partition, range.from)))?)?;
        while !ranges.is_empty() && !self.stop.load(Ordering::Relaxed) {
            let mut items = Vec::new();
            let mut ended = Vec::new();
            let mut wait = POLL;
            while items.len() < CHUNK {
                let Some(polled) = consumer.poll(wait) else { break };
                wait = Duration::ZERO;
                let (partition, item) = match polled {
                    Ok(message) => (message.partition(), Some(self.reading.item(topic, &message, Millis(0)))),
                    // The last offsets of a range may be no messages.
                    Err(KafkaError::PartitionEOF(partition)) => (partition, None),
                    Err(error) => return Err(error),
                };
                let Some(range) = ranges.iter_mut().find(|range| range.partition == partition) else { continue };
                match item {
                    Some(item) if item.offset < range.to => {
                        range.from = item.offset + 1;
                        items.push(item);
                    }
                    _ => range.from = range.to,
                }
                if range.from >= range.to {
                    ended.push(partition);
                }
            }
            let epoch = ranges.first().map_or(0, |range| range.epoch);
            if !items.is_empty() && self.to.send(Again::Items(topic, epoch, items)).is_err() {
                return Ok(false);
            }
            for partition in ended {
                ranges.retain(|range| range.partition != partition);
                if self.to.send(Again::End(topic, epoch, partition)).is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
