//! What the auditor reads by itself: new dead letters, what stands between a group's offset and the reader's beginning, and
//! whether anything stands behind what was read.
//!
//! In: ranges of offsets. Out: letters without what they say; frontiers. A range is read within a bound of time and number;
//! what is left is read in the next round.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};

use super::frontiers::{Frontiers, note, records, time_of};
use super::item::{Reading, Topic};
use super::kafka::{KafkaOptions, Telling, TopicNames};
use super::letters::Letter;
use super::offsets;
use super::protocol::completeness::{Frontier, Records};
use crate::base::clock::Millis;
use crate::engine::completeness::{DeadLetter, Holds};

const POLL: Duration = Duration::from_millis(50);
/// The longest that letters of a partition are read in one round.
const LETTERS_WAIT: Duration = Duration::from_secs(5);
/// The longest that a range before the reader's beginning is read; what takes longer is read again from where the group is.
const EARLIER_WAIT: Duration = Duration::from_secs(120);
/// The most letters of one round.
const LETTERS: usize = 5_000;
/// Texts of a letter's headers that are kept, bytes.
const TEXT: usize = 249;
/// The last moment that is kept: the end of the year 9999.
const LAST: i64 = 253_402_300_799_999;

/// Reads `from..to` of a partition, as far as time and `each` allow; the next offset.
fn range(
    consumer: &BaseConsumer<Telling>,
    (topic, partition): (&str, i32),
    (from, to): (i64, i64),
    (stop, longest): (&AtomicBool, Duration),
    mut each: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> Result<i64, KafkaError> {
    consumer.assign(&offsets::list([(topic, partition, from)])?)?;
    let (mut next, begun) = (from, Instant::now());
    while next < to && begun.elapsed() < longest && !stop.load(Ordering::Relaxed) {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) if message.partition() == partition => {
                if message.offset() >= to {
                    return Ok(to);
                }
                next = message.offset().saturating_add(1);
                if !each(&message) {
                    break;
                }
            }
            // The last offsets may be no messages.
            Some(Err(KafkaError::PartitionEOF(ended))) if ended == partition => return Ok(to),
            Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {}
            Some(Err(error)) => return Err(error),
        }
    }
    Ok(next)
}

/// New dead letters.
pub(super) struct Tail {
    pub(super) kafka: KafkaOptions,
    /// The destination that completes the rows.
    pub(super) destination: &'static str,
    pub(super) stop: Arc<AtomicBool>,
}

/// What was read of them.
#[derive(Debug, Default)]
pub(super) struct Letters {
    pub(super) letters: Vec<DeadLetter>,
    /// The next offsets, by partition.
    pub(super) next: Vec<(i32, i64)>,
    /// Whether all ends were reached.
    pub(super) is_whole: bool,
}

impl Tail {
    /// Reads from `next` up to the ends in `marks` (first and next offset, by partition).
    pub(super) fn read(&self, next: &BTreeMap<i32, i64>, marks: &[(i64, i64)]) -> Result<Letters, KafkaError> {
        let mut read = Letters { is_whole: true, ..Letters::default() };
        let mut consumer = None;
        for (partition, (begin, end)) in (0_i32..).zip(marks) {
            // Beyond the end: the topic was made anew.
            let known = next.get(&partition).filter(|known| **known <= *end).copied();
            let mut from = known.unwrap_or(*begin).max(*begin);
            if from < *end {
                let consumer: &BaseConsumer<Telling> = match &mut consumer {
                    Some(consumer) => consumer,
                    none => none.insert(self.kafka.reader(0, 1)?),
                };
                let letters = &mut read.letters;
                let place = (self.kafka.topics.rejected.as_str(), partition);
                from = range(consumer, place, (from, *end), (&self.stop, LETTERS_WAIT), |message| {
                    letters.push(kept(&Letter::of(message), &self.kafka.topics, self.destination));
                    letters.len() < LETTERS
                })?;
            }
            read.is_whole &= from >= *end;
            read.next.push((partition, from));
        }
        Ok(read)
    }
}

/// What is kept of a letter.
#[must_use]
pub(super) fn kept(letter: &Letter, topics: &TopicNames, destination: &str) -> DeadLetter {
    let text = |text: &str| text.chars().filter(|letter| *letter != '\0').take(TEXT).collect::<String>();
    let place = (letter.partition, letter.offset);
    let source = match (letter.source_partition.parse(), letter.source_offset.parse()) {
        (Ok(partition), Ok(offset)) if !letter.topic.is_empty() => (text(&letter.topic), partition, offset),
        // Somebody else's: it stands for itself.
        _ => (topics.rejected.clone(), letter.partition, letter.offset),
    };
    let of_rows = letter.destination.is_empty() || letter.destination == destination;
    let holds = match &source.0 {
        topic if *topic == topics.labels => Holds::Nothing,
        topic if *topic == topics.decisions && of_rows => Holds::Applied,
        topic if *topic == topics.decisions => Holds::Nothing,
        // Of a topic that is not known it may be a payment.
        _ => Holds::Decided,
    };
    let at = Millis(letter.at.0.clamp(0, LAST));
    DeadLetter { source, destination: text(&letter.destination), place, code: text(&letter.code), at, holds }
}

/// What stands before the reader's beginning.
pub(super) struct Earlier {
    pub(super) kafka: KafkaOptions,
    pub(super) reading: Arc<Reading>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Earlier {
    /// Reads what lies between what was committed and the reader's beginnings, a partition at a time.
    pub(super) fn fill(&self, frontiers: &Frontiers, committed: &[i64], stored: &[i64]) -> Result<(), KafkaError> {
        let (transactions, decisions) = {
            let read = frontiers.read();
            let lacks = |(partition, (from, committed)): (i32, (i64, &i64))| {
                (*committed < from).then_some((partition, *committed, from))
            };
            let transactions = read.transactions.iter().map(Frontier::from).zip(committed);
            let decisions = read.decisions.iter().map(|records| records.full.from()).zip(stored);
            (
                (0_i32..).zip(transactions).filter_map(lacks).collect::<Vec<_>>(),
                (0_i32..).zip(decisions).filter_map(lacks).collect::<Vec<_>>(),
            )
        };
        for (partition, from, to) in transactions {
            let mut earlier = Frontier::new(from);
            let next = self.read(Topic::Transactions, (partition, from, to), |item| {
                earlier.note(item.offset, time_of(item));
            })?;
            earlier.pass(next);
            let mut read = frontiers.read();
            if let Some(frontier) = place(partition).and_then(|place| read.transactions.get_mut(place)) {
                frontier.precede(earlier);
            }
        }
        for (partition, from, to) in decisions {
            let mut earlier = records(from);
            let next = self.read(Topic::Decisions, (partition, from, to), |item| note(&mut earlier, item))?;
            let Records { mut full, mut fallbacks } = earlier;
            full.pass(next);
            fallbacks.pass(next);
            let mut read = frontiers.read();
            if let Some(records) = place(partition).and_then(|place| read.decisions.get_mut(place)) {
                records.full.precede(full);
                records.fallbacks.precede(fallbacks);
            }
        }
        Ok(())
    }

    /// Whether no message stands in a range.
    pub(super) fn is_void(&self, topic: Topic, (partition, from, to): (i32, i64, i64)) -> Result<bool, KafkaError> {
        let consumer = self.kafka.reader(self.reading.instance, 1)?;
        let mut is_void = true;
        let (place, bounds) = ((self.kafka.topics.of(topic), partition), (&*self.stop, LETTERS_WAIT));
        let next = range(&consumer, place, (from, to), bounds, |_| {
            is_void = false;
            false
        })?;
        Ok(is_void && next >= to)
    }

    fn read(
        &self,
        topic: Topic,
        (partition, from, to): (i32, i64, i64),
        mut each: impl FnMut(&super::item::Item),
    ) -> Result<i64, KafkaError> {
        let consumer = self.kafka.reader(self.reading.instance, 1)?;
        let mut before = Millis(0);
        let (name, bounds) = (self.kafka.topics.of(topic), (&*self.stop, EARLIER_WAIT));
        let next = range(&consumer, (name, partition), (from, to), bounds, |message| {
            let item = self.reading.item(topic, message, before);
            before = item.at;
            each(&item);
            true
        })?;
        tracing::info!(?topic, partition, from, to, next, "read what stands before the reader's beginning");
        Ok(next)
    }
}

fn place(partition: i32) -> Option<usize> {
    usize::try_from(partition).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> TopicNames {
        let [transactions, labels, decisions, rejected] = ["t", "l", "d", "r"].map(str::to_owned);
        TopicNames { transactions, labels, decisions, rejected }
    }

    fn letter(topic: &str, destination: &str) -> Letter {
        Letter {
            partition: 1,
            offset: 7,
            code: "not\0_json".into(),
            message: "says Erika".into(),
            topic: topic.into(),
            source_partition: "3".into(),
            source_offset: "44".into(),
            time: String::new(),
            at: Millis(5),
            destination: destination.into(),
            original: crate::engine::follow::Original::default(),
        }
    }

    #[test]
    fn a_letter_holds_what_its_source_is_missing_from() {
        let holds = |topic, destination| kept(&letter(topic, destination), &names(), "postgres").holds;
        assert_eq!([holds("t", ""), holds("another", "")], [Holds::Decided; 2]);
        assert_eq!([holds("d", "postgres"), holds("d", "")], [Holds::Applied; 2]);
        assert_eq!([holds("d", "mongodb"), holds("l", "")], [Holds::Nothing; 2]);
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_nothing_of_the_message() {
        let one = kept(&letter("t", ""), &names(), "postgres");
        assert_eq!((one.source, one.place, one.code.as_str()), (("t".into(), 3, 44), (1, 7), "not_json"));
        let mut foreign = Letter { source_offset: "x".into(), at: Millis(i64::MIN), ..letter("t", "") };
        let stands = kept(&foreign, &names(), "postgres");
        assert_eq!((stands.source, stands.holds, stands.at), (("r".into(), 1, 7), Holds::Decided, Millis(0)));
        foreign.at = Millis(i64::MAX);
        foreign.code = "x".repeat(9_000);
        let bounded = kept(&foreign, &names(), "postgres");
        assert_eq!((bounded.at, bounded.code.len()), (Millis(LAST), TEXT));
    }
}
