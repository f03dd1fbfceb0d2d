//! A delivered record as documents: the decision with its features, and the raw event.
//!
//! Invariant: no personal identifier is part of either. Those of the schema's personal fields are pseudonyms; the raw event
//! is encrypted. Floats keep every bit; times are BSON dates, milliseconds of UTC.

use std::borrow::Cow;

use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, RawDocumentBuf, serialize_to_raw_document_buf};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::base::clock::Millis;
use crate::base::pseudonym::Pseudonyms;
use crate::base::seal::{NONCE_BYTES, Seals};
use crate::decision::{Decision, DecisionKind, Explanation, Reason};
use crate::engine::delivery::{Delivered, PublishedFeatures, REFUSED, TOO_LARGE};
use crate::transaction::Transaction;

/// Bytes of a document at most: MongoDB's limit.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// Why a record is no document: the code and the sentence of its dead letter.
pub(super) type Unfit = (&'static str, String);

/// A full decision of a batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full<'b> {
    pub(super) delivered: &'b Delivered,
    /// Its place in the batch.
    pub(super) index: usize,
    pub(super) revision: u32,
}

impl<'b> Full<'b> {
    /// `None` for a fallback.
    pub(super) fn of(index: usize, delivered: &'b Delivered) -> Option<Self> {
        let decision = &delivered.published.decision;
        let full = decision.kind == DecisionKind::Full;
        full.then_some(Self { delivered, index, revision: decision.revision? })
    }

    pub(super) fn id(&self) -> &'b str {
        &self.delivered.published.transaction.transaction_id
    }

    /// The record's id as documents name it.
    pub(super) fn record(&self) -> String {
        self.delivered.published.record.to_string()
    }

    /// Its document of the decisions' collection.
    pub(super) fn document(&self, pseudonyms: &Pseudonyms, personal: &[String]) -> Result<RawDocumentBuf, Unfit> {
        let published = &self.delivered.published;
        let (decision, transaction) = (&*published.decision, &*published.transaction);
        written(&Stored {
            id: self.id(),
            record: self.record(),
            revision: i64::from(self.revision),
            occurred_at: date(transaction.occurred_at),
            received_at: date(published.received_at),
            scored_at: date(decision.scored_at),
            score: decision.score.map(f64::from),
            flagged: decision.flagged,
            threshold: decision.threshold.map(f64::from),
            degraded: decision.degraded,
            source: decision.source.as_str(),
            model: Model::of(decision),
            reasons: &decision.reasons,
            explanation: decision.explanation.as_ref(),
            pseudonyms: Entities { pseudonyms, personal, transaction },
            features: published.features.as_ref().map(Features),
        })
    }

    /// Its document of the raw events' collection.
    pub(super) fn raw(&self, seals: &Seals, nonce: [u8; NONCE_BYTES]) -> Result<RawDocumentBuf, Unfit> {
        let published = &self.delivered.published;
        let transaction = &*published.transaction;
        // A label that a file may have brought is no part of the event.
        let plain = match transaction.is_fraud {
            None => Cow::Borrowed(transaction),
            Some(_) => Cow::Owned(Transaction { is_fraud: None, ..transaction.clone() }),
        };
        let unfit = |error: &dyn std::fmt::Display| (REFUSED, format!("the event cannot be sealed: {error}"));
        let text = serde_json::to_vec(&*plain).map_err(|error| unfit(&error))?;
        let sealed = seals.seal(nonce, self.id(), &text).map_err(|error| unfit(&error))?;
        let day = published.received_at.to_rfc3339();
        written(&Raw {
            id: self.id(),
            record: self.record(),
            source: published.decision.source.as_str(),
            day: day.get(..10).unwrap_or_default(),
            received_at: date(published.received_at),
            scored_at: date(published.decision.scored_at),
            key: &sealed.key,
            nonce: binary(sealed.nonce.to_vec()),
            text: binary(sealed.text),
        })
    }
}

fn written(document: &impl Serialize) -> Result<RawDocumentBuf, Unfit> {
    let document = serialize_to_raw_document_buf(document)
        .map_err(|error| (REFUSED, format!("the record is no document of MongoDB: {error}")))?;
    let bytes = document.as_bytes().len();
    if bytes > MOST_BYTES {
        return Err((TOO_LARGE, format!("the document has {bytes} bytes and may have {MOST_BYTES}")));
    }
    Ok(document)
}

fn date(moment: Millis) -> DateTime {
    DateTime::from_millis(moment.0)
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

/// The document of a decision.
#[derive(serde::Serialize)]
struct Stored<'a> {
    #[serde(rename = "_id")]
    id: &'a str,
    record: String,
    revision: i64,
    occurred_at: DateTime,
    received_at: DateTime,
    scored_at: DateTime,
    score: Option<f64>,
    flagged: bool,
    threshold: Option<f64>,
    degraded: bool,
    source: &'static str,
    model: Model<'a>,
    reasons: &'a [Reason],
    #[serde(skip_serializing_if = "Option::is_none")]
    explanation: Option<&'a Explanation>,
    pseudonyms: Entities<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    features: Option<Features<'a>>,
}

#[derive(serde::Serialize)]
struct Model<'a> {
    name: &'a str,
    version: &'a str,
    sha256: &'a str,
}

impl<'a> Model<'a> {
    fn of(decision: &'a Decision) -> Self {
        Self { name: &decision.model, version: &decision.model_version, sha256: &decision.model_sha256 }
    }
}

/// `{"key": name of the key, field: pseudonym, …}` of the personal fields that are there.
struct Entities<'a> {
    pseudonyms: &'a Pseudonyms,
    personal: &'a [String],
    transaction: &'a Transaction,
}

impl Serialize for Entities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut document = serializer.serialize_map(None)?;
        document.serialize_entry("key", &**self.pseudonyms.key())?;
        for field in self.personal {
            if let Some(identifier) = self.transaction.entity(field) {
                document.serialize_entry(field, &self.pseudonyms.of(field, identifier).value)?;
            }
        }
        document.end()
    }
}

/// `{name: value, …}`, in the model's order.
struct Features<'a>(&'a PublishedFeatures);

impl Serialize for Features<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let PublishedFeatures { names, values } = self.0;
        let mut document = serializer.serialize_map(Some(values.len()))?;
        for (name, value) in names.iter().zip(values) {
            document.serialize_entry(name, value)?;
        }
        document.end()
    }
}

/// The document of a raw event.
#[derive(serde::Serialize)]
struct Raw<'a> {
    #[serde(rename = "_id")]
    id: &'a str,
    record: String,
    source: &'static str,
    /// The UTC day it was received.
    day: &'a str,
    received_at: DateTime,
    scored_at: DateTime,
    key: &'a str,
    nonce: Binary,
    text: Binary,
}
