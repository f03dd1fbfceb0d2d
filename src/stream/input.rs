//! What the readers hand to the merge: a bounded channel for each topic, and one for what is read again.
//!
//! Why not one channel: the merge goes on only while every partition has a head or is at its end. Behind a backlog of
//! transactions a record of the decisions would be waited for although it is there.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded, never, select};

use super::by_topic::ByTopic;
use super::item::Topic;
use super::reader::Read;
use super::reread::Again;

/// Chunks between a reader and the merge.
const CHUNKS: usize = 16;

/// Where the merge takes from.
#[derive(Debug)]
pub(super) struct Input {
    topics: ByTopic<Receiver<Read>>,
    again: Receiver<Again>,
}

/// Where the readers put.
#[derive(Debug)]
pub(super) struct Outlets {
    pub(super) topics: ByTopic<Sender<Read>>,
    pub(super) again: Sender<Again>,
}

/// What is taken.
#[derive(Debug)]
pub(super) enum Taken {
    Read(Read),
    Again(Again),
}

/// The channels.
pub(super) fn channels() -> (Outlets, Input) {
    let ByTopic { transactions, labels, decisions } = ByTopic::of(|_| bounded(CHUNKS));
    let (again_outlet, again) = bounded(CHUNKS);
    let outlets = ByTopic { transactions: transactions.0, labels: labels.0, decisions: decisions.0 };
    let topics = ByTopic { transactions: transactions.1, labels: labels.1, decisions: decisions.1 };
    (Outlets { topics: outlets, again: again_outlet }, Input { topics, again })
}

impl Input {
    /// Waits for something from anywhere, from the transactions only while they are `wanted`.
    pub(super) fn wait(&self, wait: Duration, wanted: bool) -> Result<Taken, RecvTimeoutError> {
        let ByTopic { transactions, labels, decisions } = &self.topics;
        let nothing = never();
        let transactions = if wanted { transactions } else { &nothing };
        let read = |read: Result<Read, _>| read.map(Taken::Read).map_err(|_| RecvTimeoutError::Disconnected);
        select! {
            recv(decisions) -> taken => read(taken),
            recv(labels) -> taken => read(taken),
            recv(transactions) -> taken => read(taken),
            recv(self.again) -> taken => taken.map(Taken::Again).map_err(|_| RecvTimeoutError::Disconnected),
            default(wait) => Err(RecvTimeoutError::Timeout),
        }
    }

    /// What is there: decisions and labels before what is read again, transactions last and only while they are `wanted`.
    pub(super) fn ready(&self, wanted: bool) -> Result<Taken, TryRecvError> {
        let of = |topic: Topic| self.topics[topic].try_recv().map(Taken::Read);
        of(Topic::Decisions)
            .or_else(|_| of(Topic::Labels))
            .or_else(|_| self.again.try_recv().map(Taken::Again))
            .or_else(|_| if wanted { of(Topic::Transactions) } else { Err(TryRecvError::Empty) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::protocol::Moment;

    #[test]
    fn what_a_topic_is_behind_with_stands_before_nothing_of_another() {
        let (outlets, input) = channels();
        let end = |topic, partition| Read::Ends(topic, vec![partition], Moment::ZERO);
        for partition in 0..3 {
            outlets.topics.transactions.send(end(Topic::Transactions, partition)).unwrap();
        }
        outlets.topics.decisions.send(end(Topic::Decisions, 7)).unwrap();
        outlets.again.send(Again::End(Topic::Transactions, 1, 5)).unwrap();
        let next = |wanted| input.ready(wanted).ok();
        let of = |taken: Option<Taken>| match taken {
            Some(Taken::Read(Read::Ends(topic, partitions, _))) => Some((topic, partitions)),
            _ => None,
        };
        assert_eq!(of(next(true)), Some((Topic::Decisions, vec![7])));
        assert!(matches!(next(false), Some(Taken::Again(Again::End(Topic::Transactions, 1, 5)))));
        assert!(next(false).is_none());
        for partition in 0..2 {
            assert_eq!(of(next(true)), Some((Topic::Transactions, vec![partition])));
        }
        assert_eq!(of(input.wait(Duration::from_secs(5), true).ok()), Some((Topic::Transactions, vec![2])));
        outlets.topics.transactions.send(end(Topic::Transactions, 3)).unwrap();
        assert_eq!(input.wait(Duration::ZERO, false).err(), Some(RecvTimeoutError::Timeout));
        assert!(input.wait(Duration::ZERO, true).is_ok());
        drop(outlets);
        assert_eq!(input.wait(Duration::ZERO, true).err(), Some(RecvTimeoutError::Disconnected));
    }
}
