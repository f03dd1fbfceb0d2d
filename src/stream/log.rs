//! The engine's log on the stack: records are appended to the topic of decisions, and looked up in the stores that
//! destinations fill.
//!
//! In: entries of the engine. Out: their acknowledgement by all in-sync replicas. Whether a record is the first of its
//! id is not known then: the reader that follows the topic says so.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use tokio::runtime::Handle;

use super::kafka::TopicNames;
use super::label;
use super::publisher::{Acknowledged, Outgoing, Publisher, header};
use super::record::{Names, Recorded, SCHEMA, encode};
use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::Decision;
use crate::engine::Label;
use crate::engine::completeness::Completeness;
use crate::engine::models::Change;
use crate::engine::ports::{Done, Entry, Log, LogError, Lookup, Reading, Sink, Stored, Written};
use crate::transaction::Transaction;

/// How long a label waits for the store's answer about its transaction.
const LABEL_WAIT: Duration = Duration::from_secs(2);
/// How long the end waits for acknowledgements.
const CLOSE_WAIT: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct KafkaLog {
    publisher: Arc<Publisher>,
    topics: TopicNames,
    store: Arc<dyn Lookup>,
    runtime: Handle,
    names: Names,
}

impl KafkaLog {
    pub(super) fn new(publisher: Arc<Publisher>, topics: TopicNames, store: Arc<dyn Lookup>, runtime: Handle) -> Self {
        Self { publisher, topics, store, runtime, names: Names::default() }
    }

    fn publish(&self, recorded: &Recorded<'_>, done: Option<Done>) -> Result<(), LogError> {
        let payload = encode(recorded, &self.names);
        let headers = header(OwnedHeaders::new_with_capacity(1), SCHEMA.0, SCHEMA.1);
        let key = Some(recorded.transaction.transaction_id.as_bytes());
        let outgoing = Outgoing { topic: &self.topics.decisions, key, payload: &payload, headers };
        self.publisher
            .publish(outgoing, acknowledged(done, Written { first: true, ..Written::default() }))
            .map_err(refused)
    }

    /// Publishes a label with what the store knows of its transaction.
    fn label(&self, label: Label, done: Option<Done>) {
        let (publisher, store, topic) =
            (Arc::clone(&self.publisher), Arc::clone(&self.store), self.topics.labels.clone());
        self.runtime.spawn(async move {
            let found = tokio::time::timeout(LABEL_WAIT, store.find(&label.transaction_id)).await;
            let found = match found.unwrap_or(Err(LogError::Late(LABEL_WAIT))) {
                Ok(found) => found.map(|stored| (stored.transaction, stored.base)),
                Err(error) => {
                    if let Some(done) = done {
                        done(Err(error));
                    }
                    return;
                }
            };
            let payload = label::write(&label, found.as_ref().map(|(transaction, _)| transaction));
            let key =
                found.as_ref().map_or(&*label.transaction_id, |(transaction, _)| &*transaction.customer_id).to_owned();
            let headers = OwnedHeaders::new_with_capacity(0);
            let outgoing = Outgoing { topic: &topic, key: Some(key.as_bytes()), payload: &payload, headers };
            let written = Written { first: true, transaction: found.map(Box::new), filled: None };
            if let Err((error, Some(told))) = publisher.publish(outgoing, acknowledged(done, written)) {
                told(Err(error));
            }
        });
    }
}

/// Tells the engine what became of an entry.
fn acknowledged(done: Option<Done>, written: Written) -> Acknowledged {
    Box::new(move |result| {
        if let Some(done) = done {
            done(result.map(|_spot| written).map_err(|error| LogError::Failed(error.to_string())));
        }
    })
}

/// The engine tells its caller itself; whoever was to be told is not.
fn refused((error, _untold): (KafkaError, Option<Acknowledged>)) -> LogError {
    match error {
        KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) => LogError::Full(0),
        other => LogError::Failed(other.to_string()),
    }
}

impl Log for KafkaLog {
    fn append(&self, entry: Entry, done: Option<Done>) -> Result<(), LogError> {
        match entry {
            Entry::Full(record) => {
                let (transaction, decision, features) =
                    (&*record.transaction, &*record.decision, Some(&*record.features));
                let (id, base, received_at) = (record.id, record.base, record.received_at);
                self.publish(&Recorded { id, transaction, base, decision, received_at, features }, done)
            }
            Entry::Fallback { id, transaction, base, decision } => {
                let (transaction, decision) = (&*transaction, &*decision);
                let received_at = decision.scored_at;
                self.publish(&Recorded { id, transaction, base, decision, received_at, features: None }, done)
            }
            Entry::Label(label) => {
                if !self.has_room() {
                    return Err(LogError::Full(self.depth()));
                }
                self.label(label, done);
                Ok(())
            }
            // A copy's fields reach history by its own topic; changes of the models have a book of their own.
            Entry::Fill(_) | Entry::Changed(_) => {
                if let Some(done) = done {
                    done(Ok(Written::default()));
                }
                Ok(())
            }
        }
    }

    fn has_room(&self) -> bool {
        self.publisher.has_room()
    }

    fn find<'a>(&'a self, transaction_id: &'a str) -> Reading<'a, Option<Stored>> {
        self.store.find(transaction_id)
    }

    fn decision<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>> {
        self.store.decision(transaction_id, revision)
    }

    fn features<'a>(
        &'a self,
        transaction_id: &'a str,
        revision: Option<u32>,
    ) -> Reading<'a, Option<serde_json::Value>> {
        self.store.features(transaction_id, revision)
    }

    fn undecided(&self, _limit: usize) -> Reading<'_, Vec<(Transaction, BaseAmount)>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn completeness(&self, _upto: Millis) -> Reading<'_, Completeness> {
        self.store.completeness()
    }

    /// At once: what was appended is not looked up before a destination has written it, however long one waits here.
    fn flush(&self) -> Reading<'_, ()> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn close(&self) -> Reading<'_, ()> {
        let publisher = Arc::clone(&self.publisher);
        let flushing = tokio::task::spawn_blocking(move || publisher.flush(CLOSE_WAIT));
        Box::pin(async move {
            let flushed = flushing.await.map_err(|error| LogError::Failed(error.to_string()))?;
            flushed.map_err(|error| LogError::Failed(error.to_string()))
        })
    }

    fn changes(&self, _most: usize) -> Reading<'_, Vec<Change>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn newest(&self) -> Result<Option<Millis>, LogError> {
        Ok(None)
    }

    fn replay(&self, _since: Millis, _sink: &mut dyn Sink) -> Result<(), LogError> {
        Ok(())
    }

    fn health(&self) -> Result<(), String> {
        self.publisher.health()
    }

    fn depth(&self) -> usize {
        self.publisher.waiting()
    }
}
