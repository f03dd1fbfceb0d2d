//! Messages of the topics to what is merged: read, checked, and put under their time.
//!
//! In: a message with its place. Out: an [`Item`]; a message that cannot be read becomes a poison item, which keeps the
//! original bytes and stands at the time of the one before it, so that it holds up nobody.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compact_str::CompactString;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use super::dead_letters::SOURCE_TIME;
use super::label::{self, Verdict};
use super::protocol::merge::{Kind, Timed};
use super::record;
use crate::base::clock::Millis;
use crate::base::money::Rates;
use crate::engine::follow::{Followed, FollowedDecision, Original};
use crate::engine::{Label, TimeSource};
use crate::ops::metrics;
use crate::transaction::{Connector, Limits, Rejection, Transaction, read_json};

/// The topics that are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    Transactions,
    Labels,
    Decisions,
}

impl Topic {
    pub(super) const ALL: [Self; 3] = [Self::Transactions, Self::Labels, Self::Decisions];
}

/// What a message becomes.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) at: Millis,
    pub(super) id: CompactString,
    pub(super) topic: Topic,
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// When Kafka took it, wall time.
    pub(super) taken_at: Millis,
    pub(super) what: What,
}

#[derive(Debug)]
pub(super) enum What {
    Transaction(Arc<Transaction>, Arc<Original>),
    /// A label or a record.
    Fact(Box<Followed>),
    Poison(Box<Poison>),
}

/// A message that is refused, as it was.
#[derive(Debug)]
pub(super) struct Poison {
    pub(super) original: Arc<Original>,
    pub(super) rejection: Rejection,
    /// When it counts as having happened.
    pub(super) at: Millis,
}

/// The message as its sender wrote it.
pub(super) fn original(message: &BorrowedMessage<'_>) -> Original {
    let headers = message.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Original {
        key: message.key().map(<[u8]>::to_vec),
        payload: message.payload().unwrap_or_default().to_vec(),
        headers: headers.unwrap_or_default(),
    }
}

impl Timed for Item {
    fn at(&self) -> Millis {
        self.at
    }

    fn kind(&self) -> Kind {
        match self.topic {
            Topic::Transactions => Kind::Transaction,
            Topic::Labels => Kind::Label,
            Topic::Decisions => Kind::Decision,
        }
    }

    fn id(&self) -> &str {
        &self.id
    }
}

/// What reading needs.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) connector: Connector,
    pub(super) canonical: Connector,
    pub(super) limits: Limits,
    pub(super) rates: Arc<Rates>,
    /// Names the records of this process.
    pub(super) instance: u64,
    /// How often an end that lasts is told again; `None`: once.
    pub(super) ends_every: Option<Duration>,
    pub(super) clock: TimeSource,
    /// How far ahead of the moment when Kafka took it a transaction may be, milliseconds.
    pub(super) max_ahead: i64,
}

impl Reading {
    /// Reads a message of `topic`; `before` is the time of the one before it in its partition.
    pub(super) fn item(&self, topic: Topic, message: &BorrowedMessage<'_>, before: Millis) -> Item {
        let taken_at = Millis(message.timestamp().to_millis().unwrap_or(before.0));
        let payload = message.payload().unwrap_or_default();
        let read = match topic {
            Topic::Transactions => self.transaction(message, taken_at),
            Topic::Labels => self.label(payload),
            Topic::Decisions => self.decision(payload),
        };
        let (at, id, what) = read.unwrap_or_else(|rejection| {
            let (original, at) = (original(message), self.taken_first(message, taken_at, before));
            let poison = Poison { original: Arc::new(original), rejection, at };
            (before, CompactString::default(), What::Poison(Box::new(poison)))
        });
        Item { at, id, topic, partition: message.partition(), offset: message.offset(), taken_at, what }
    }

    /// When a message counts as having happened that cannot be read: when Kafka took it or, where it was sent again, what the
    /// letter of before says. In a replay Kafka's times say nothing: then it is the time of the message before it.
    fn taken_first(&self, message: &BorrowedMessage<'_>, taken_at: Millis, before: Millis) -> Millis {
        let replayed = self.clock == TimeSource::Stream && before > Millis(0);
        let at = if replayed { before } else { taken_at };
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let told = headers
            .filter(|header| header.key == SOURCE_TIME)
            .filter_map(|header| std::str::from_utf8(header.value?).ok().and_then(Millis::parse_rfc3339));
        told.fold(at, Millis::min)
    }

    fn transaction(
        &self,
        message: &BorrowedMessage<'_>,
        taken_at: Millis,
    ) -> Result<(Millis, CompactString, What), Rejection> {
        let payload = message.payload().unwrap_or_default();
        let transaction = read_json(payload, &self.connector, &self.limits)?.transaction;
        // Compared with when Kafka took it, so that a later reading judges the same.
        let latest = Millis(taken_at.0.saturating_add(self.max_ahead));
        if self.clock == TimeSource::Wall && transaction.occurred_at > latest {
            return Err(Rejection::too_far_ahead(transaction.occurred_at, taken_at, self.max_ahead));
        }
        let (at, id) = (transaction.occurred_at, transaction.transaction_id.clone());
        Ok((at, id, What::Transaction(Arc::new(transaction), Arc::new(original(message)))))
    }

    fn label(&self, payload: &[u8]) -> Result<(Millis, CompactString, What), Rejection> {
        Ok(match label::read(payload, &self.canonical, &self.limits, &self.rates)? {
            Verdict::Whole(label) => {
                (label.labelled_at, label.transaction_id.as_str().into(), fact(Followed::Label(label)))
            }
            Verdict::Loose(label) => {
                let Label { labelled_at, transaction_id, .. } = &label;
                (*labelled_at, transaction_id.as_str().into(), fact(Followed::LooseLabel(label)))
            }
        })
    }

    /// A record of the decisions. One made here needs no more than its head.
    fn decision(&self, payload: &[u8]) -> Result<(Millis, CompactString, What), Rejection> {
        let unreadable = |error: record::RecordError| Rejection::not_json(&error.to_string());
        let head = record::head(payload).map_err(unreadable)?;
        let published = if head.id.instance == self.instance {
            None
        } else {
            let (published, _features) =
                record::without_features(Bytes::copy_from_slice(payload)).map_err(unreadable)?;
            Some(Box::new(published))
        };
        let id = CompactString::from(head.transaction_id);
        let followed = FollowedDecision {
            record: head.id,
            kind: head.kind,
            revision: head.revision,
            transaction_id: id.clone(),
            published,
        };
        Ok((head.occurred_at, id, fact(Followed::Decision(followed))))
    }
}

fn fact(followed: Followed) -> What {
    What::Fact(Box::new(followed))
}

impl From<Topic> for metrics::Topic {
    fn from(topic: Topic) -> Self {
        match topic {
            Topic::Transactions => Self::Transactions,
            Topic::Labels => Self::Labels,
            Topic::Decisions => Self::Decisions,
        }
    }
}
