//! What this instance owns of the topics, shared by the threads that merge, publish and commit.
//!
//! In: verdicts asked, places settled. Out: offsets to commit. A settled place that belongs to an ownership of before
//! changes nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;

use super::dead_letters::{DeadLetters, Origin, Why};
use super::item::Topic;
use super::kafka::TopicNames;
use super::protocol::ownership::Ownership;
use super::publisher::Spot;
use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::engine::follow::{FollowedTransaction, Original, Place, Settlement};
use crate::ops::metrics::{Metrics, ProblemCode};
use crate::transaction::Rejection;

/// The pause before a dead letter that was not taken is sent again.
const LETTER_PAUSE: Duration = Duration::from_millis(500);
/// The pause before a transaction that had no decision comes again.
const PAUSE: Duration = Duration::from_millis(5);

/// Ownership of the transactions' and of the labels' partitions.
#[derive(Debug, Default)]
pub(super) struct Owned {
    pub(super) transactions: Ownership,
    pub(super) labels: Ownership,
}

impl Owned {
    /// That of a topic; the decisions belong to nobody.
    pub(super) fn of(&mut self, topic: Topic) -> Option<&mut Ownership> {
        match topic {
            Topic::Transactions => Some(&mut self.transactions),
            Topic::Labels => Some(&mut self.labels),
            Topic::Decisions => None,
        }
    }
}

/// A message that is refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) topic: Topic,
    pub(super) place: Place,
    pub(super) original: Arc<Original>,
    pub(super) rejection: Rejection,
    /// When it happened or, where that is not known, was taken.
    pub(super) at: Millis,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Owners {
    owned: Mutex<Owned>,
    /// Transactions that come again, and when.
    again: Mutex<VecDeque<(Instant, FollowedTransaction)>>,
    /// Letters that were not taken, and when they are sent again.
    unsent: Mutex<VecDeque<(Instant, Refused)>>,
    dead_letters: DeadLetters,
    topics: TopicNames,
    metrics: Arc<Metrics>,
}

impl Owners {
    pub(super) fn new(dead_letters: DeadLetters, topics: TopicNames, metrics: Arc<Metrics>) -> Self {
        Self {
            owned: Mutex::default(),
            again: Mutex::default(),
            unsent: Mutex::default(),
            dead_letters,
            topics,
            metrics,
        }
    }

    pub(super) fn owned(&self) -> MutexGuard<'_, Owned> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Transactions whose pause is over, at most `most`.
    pub(super) fn due(&self, now: Instant, most: usize) -> Vec<FollowedTransaction> {
        let mut again = self.again.lock().unwrap_or_else(PoisonError::into_inner);
        let due = again.iter().take(most).take_while(|(when, _)| *when <= now).count();
        again.drain(..due).map(|(_, followed)| followed).collect()
    }

    /// Sends a refused message to the dead letters, and settles its place when that is acknowledged.
    pub(super) fn bury(self: &Arc<Self>, letter: &Refused) {
        let Refused { topic, place: Place { partition, offset, .. }, original, rejection, at } = letter;
        let (topic, now) = (self.topics.of(*topic), SystemClock.now());
        let origin = Origin { topic, partition: *partition, offset: *offset, destination: "", at: *at, now };
        let (code, message) = (rejection.code.as_str(), rejection.to_string());
        let (owners, letter) = (Arc::clone(self), letter.clone());
        let told = Box::new(move |result: Result<Spot, KafkaError>| match result {
            Ok(_) => owners.buried(&letter),
            Err(error) => owners.keep(letter, &error),
        });
        if let Err((error, Some(told))) =
            self.dead_letters.bury(original, Why { code, message: &message }, &origin, told)
        {
            told(Err(error));
        }
    }

    fn buried(&self, letter: &Refused) {
        if let Some(code) = ProblemCode::of(letter.rejection.code.as_str()) {
            self.metrics.dead_letters.up(code);
        }
        self.settle(letter.topic, letter.place);
    }

    /// Keeps a letter to be sent again: its offset stays uncommitted meanwhile.
    fn keep(&self, letter: Refused, error: &KafkaError) {
        tracing::debug!(%error, "a dead letter was not taken; it is sent again");
        let mut letters = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push_back((Instant::now() + LETTER_PAUSE, letter));
    }

    /// Sends the letters again whose pause is over.
    pub(super) fn bury_again(self: &Arc<Self>, now: Instant) {
        let due: Vec<Refused> = {
            let mut letters = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
            let due = letters.iter().take_while(|(when, _)| *when <= now).count();
            letters.drain(..due).map(|(_, letter)| letter).collect()
        };
        due.iter().for_each(|letter| self.bury(letter));
    }

    pub(super) fn settle(&self, topic: Topic, place: Place) {
        if let Some(ownership) = self.owned().of(topic) {
            ownership.done(place.partition, place.offset, place.epoch);
        }
    }
}

/// What the engine tells, for shared owners.
#[derive(Debug, Clone)]
pub(super) struct Settling(pub(super) Arc<Owners>);

impl Settlement for Settling {
    fn decided(&self, place: Place) {
        self.0.settle(Topic::Transactions, place);
    }

    fn refused(&self, place: Place, original: Arc<Original>, rejection: Rejection, at: Millis) {
        self.0.bury(&Refused { topic: Topic::Transactions, place, original, rejection, at });
    }

    fn again(&self, followed: FollowedTransaction) {
        let mut again = self.0.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.push_back((Instant::now() + PAUSE, followed));
    }
}
