//! What this instance owns of the topics, shared by the threads that merge, publish and commit.
//!
//! In: verdicts asked, places settled. Out: offsets to commit. A settled place that belongs to an ownership of before
//! changes nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::dead_letters::{DeadLetters, Origin};
use super::item::Topic;
use super::kafka::TopicNames;
use super::protocol::ownership::Ownership;
use crate::base::clock::{Clock as _, SystemClock};
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

/// A dead letter that was not taken.
#[derive(Debug)]
struct Unsent {
    topic: Topic,
    place: Place,
    original: Original,
    rejection: Rejection,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Owners {
    owned: Mutex<Owned>,
    /// Transactions that come again, and when.
    again: Mutex<VecDeque<(Instant, FollowedTransaction)>>,
    /// Letters that were not taken, and when they are sent again.
    unsent: Mutex<VecDeque<(Instant, Unsent)>>,
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
    pub(super) fn bury(self: &Arc<Self>, topic: Topic, place: Place, original: &Original, rejection: &Rejection) {
        let name = self.topics.of(topic);
        let origin = Origin { topic: name, partition: place.partition, offset: place.offset, now: SystemClock.now() };
        let unsent = Unsent { topic, place, original: original.clone(), rejection: rejection.clone() };
        let owners = Arc::clone(self);
        let told = Box::new(move |result: Result<(), rdkafka::error::KafkaError>| match result {
            Ok(()) => owners.buried(topic, place, &unsent.rejection),
            Err(error) => owners.keep(unsent, &error),
        });
        if let Err((error, _)) = self.dead_letters.bury(original, rejection, &origin, told) {
            self.keep(Unsent { topic, place, original: original.clone(), rejection: rejection.clone() }, &error);
        }
    }

    fn buried(&self, topic: Topic, place: Place, rejection: &Rejection) {
        if let Some(code) = ProblemCode::of(rejection.code.as_str()) {
            self.metrics.dead_letters.up(code);
        }
        self.settle(topic, place);
    }

    /// Keeps a letter to be sent again: its offset stays uncommitted meanwhile.
    fn keep(&self, unsent: Unsent, error: &rdkafka::error::KafkaError) {
        tracing::debug!(%error, "a dead letter was not taken; it is sent again");
        let mut letters = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push_back((Instant::now() + LETTER_PAUSE, unsent));
    }

    /// Sends the letters again whose pause is over.
    pub(super) fn bury_again(self: &Arc<Self>, now: Instant) {
        let due: Vec<Unsent> = {
            let mut letters = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
            let due = letters.iter().take_while(|(when, _)| *when <= now).count();
            letters.drain(..due).map(|(_, unsent)| unsent).collect()
        };
        for Unsent { topic, place, original, rejection } in due {
            self.bury(topic, place, &original, &rejection);
        }
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

    fn refused(&self, place: Place, original: &Original, rejection: Rejection) {
        self.0.bury(Topic::Transactions, place, original, &rejection);
    }

    fn again(&self, followed: FollowedTransaction) {
        let mut again = self.0.again.lock().unwrap_or_else(PoisonError::into_inner);
        again.push_back((Instant::now() + PAUSE, followed));
    }
}
