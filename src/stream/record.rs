//! The record of a decision on its topic: `schemas/kafka/decision.v1.proto`, written and read.
//!
//! In: a decision of the line, or the bytes of a record. Out: the bytes, or [`Published`]; for the reader that follows
//! the topic the [`Head`] alone, which leaves the transaction undecoded and skips reasons and features.
//! Invariant: what is written reads back as the same, every bit of every number; fields that a later version adds are
//! ignored.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

use super::wire;
use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Currency, RateQuality};
use crate::decision::{Column, Decision, DecisionKind, Explanation, Reason, Source};
use crate::engine::delivery::{Published, PublishedFeatures, RecordId};
use crate::engine::ports::Features;
use crate::model::Method;
use crate::transaction::{Channel, Transaction};

/// The header that names a record's schema, and its value.
pub const SCHEMA: (&str, &str) = ("assay-schema", "decision.v1");

/// Lists of names that a decoder remembers: models that take turns.
const REMEMBERED: usize = 16;
/// Bytes of a list of names at most: what a record claims beyond is not unpacked.
const MOST_NAMES: usize = 1 << 20;

/// Why bytes are no record.
#[derive(Debug, Error)]
pub enum RecordError {
    /// Not the schema's message.
    #[error("not a record of schemas/kafka/decision.v1.proto: {0}")]
    Malformed(#[from] prost::DecodeError),
    /// The names of the features are not packed as the schema says.
    #[error("the names of the record's features cannot be unpacked: {0}")]
    Names(#[source] std::io::Error),
    /// A field that the schema's readers need is absent, or says something no version knows.
    #[error("the record's field {0} is absent or unknown")]
    Field(&'static str),
}

/// What is recorded of a decision, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// Which record.
    pub id: RecordId,
    /// The payment.
    pub transaction: &'a Transaction,
    /// Its amount in the base currency.
    pub base: BaseAmount,
    /// What was decided.
    pub decision: &'a Decision,
    /// When the mouth, or the log of transactions, took it.
    pub received_at: Millis,
    /// The features; `None` in a fallback.
    pub features: Option<&'a Features>,
}

/// The packed list of feature names, kept for the next record of the same model.
#[derive(Debug, Default)]
pub struct Names(Mutex<Option<(Arc<[Column]>, Bytes)>>);

impl Names {
    fn of(&self, columns: &Arc<[Column]>) -> Bytes {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, bytes)) = &*kept
            && Arc::ptr_eq(known, columns)
        {
            return bytes.clone();
        }
        let bytes = wire::FeatureNames::pack(columns.iter().map(|column| column.name.as_str()));
        *kept = Some((Arc::clone(columns), bytes.clone()));
        bytes
    }
}

/// Writes a record.
#[must_use]
pub fn encode(recorded: &Recorded<'_>, names: &Names) -> Vec<u8> {
    let Recorded { id, transaction, base, decision, received_at, features } = *recorded;
    let reason = |reason: &Reason| wire::Reason {
        code: reason.code.clone(),
        message: reason.message.clone(),
        value: reason.value,
        contribution: reason.contribution,
    };
    let message = wire::Decision {
        instance: id.instance,
        sequence: id.sequence,
        kind: match decision.kind {
            DecisionKind::Full => wire::KIND_FULL,
            DecisionKind::Fallback => wire::KIND_FALLBACK,
        },
        revision: decision.revision,
        transaction_id: transaction.transaction_id.to_string(),
        occurred_at: transaction.occurred_at.0,
        score: decision.score,
        flagged: decision.flagged,
        degraded: decision.degraded,
        threshold: decision.threshold,
        model: decision.model.clone(),
        model_version: decision.model_version.clone(),
        model_sha256: decision.model_sha256.clone(),
        source: decision.source.as_str().to_owned(),
        scored_at: decision.scored_at.0,
        took_micros: decision.took_micros,
        base_minor: base.minor,
        rate: rate_number(base.rate),
        transaction: Some(payment(transaction)),
        reasons: decision.reasons.iter().map(reason).collect(),
        explanation: decision.explanation.map(|explanation| wire::Explanation {
            method: explanation.method.as_str().to_owned(),
            baseline: explanation.baseline,
            margin: explanation.margin,
            other: explanation.other,
        }),
        features: features.map(|features| {
            wire::Features { names: names.of(&features.columns), values: features.values.clone() }
                .encode_to_vec()
                .into()
        }),
        received_at: received_at.0,
    };
    message.encode_to_vec()
}

fn payment(transaction: &Transaction) -> wire::Transaction {
    let text = |text: &compact_str::CompactString| text.to_string();
    wire::Transaction {
        customer_id: text(&transaction.customer_id),
        terminal_id: text(&transaction.terminal_id),
        amount_minor: transaction.amount_minor,
        currency: transaction.currency.code().to_owned(),
        merchant_id: transaction.merchant_id.as_ref().map(text),
        product_id: transaction.product_id.as_ref().map(text),
        country: transaction.country.as_ref().map(text),
        channel: transaction.channel.map(|channel| channel.as_str().to_owned()),
        card_id: transaction.card_id.as_ref().map(text),
        device_id: transaction.device_id.as_ref().map(text),
        extra: transaction
            .extra
            .iter()
            .map(|(name, value)| wire::Extra { name: text(name), value: text(value) })
            .collect(),
    }
}

/// What the reader that follows the topic needs of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Which record.
    pub id: RecordId,
    /// Full or fallback.
    pub kind: DecisionKind,
    /// `None` in a fallback.
    pub revision: Option<u32>,
    /// The transaction's id.
    pub transaction_id: String,
    /// When it happened.
    pub occurred_at: Millis,
}

/// Reads the head of a record.
///
/// # Errors
/// See [`RecordError`].
pub fn head(bytes: &[u8]) -> Result<Head, RecordError> {
    let head = wire::Head::decode(bytes)?;
    Ok(Head {
        id: RecordId { instance: head.instance, sequence: head.sequence },
        kind: kind_of(head.kind)?,
        revision: head.revision,
        transaction_id: head.transaction_id,
        occurred_at: Millis(head.occurred_at),
    })
}

/// Reads whole records; remembers the lists of feature names it has met, packed and unpacked.
#[derive(Debug, Default)]
pub struct Decoder {
    names: Vec<(Bytes, Arc<[String]>)>,
}

impl Decoder {
    /// Reads a record.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(&mut self, bytes: Bytes) -> Result<Published, RecordError> {
        let (mut published, features) = without_features(bytes)?;
        published.features = features.map(|features| self.features(features)).transpose()?;
        Ok(published)
    }

    fn features(&mut self, bytes: Bytes) -> Result<PublishedFeatures, RecordError> {
        let features = wire::Features::decode(bytes)?;
        if let Some((_, names)) = self.names.iter().find(|(packed, _)| *packed == features.names) {
            return Ok(PublishedFeatures { names: Arc::clone(names), values: features.values });
        }
        let unpacked = zstd::bulk::decompress(&features.names, MOST_NAMES).map_err(RecordError::Names)?;
        let names: Arc<[String]> = wire::FeatureNames::decode(&*unpacked)?.name.into();
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        // A copy of its own: the record's bytes need not live as long as the name list.
        self.names.push((Bytes::copy_from_slice(&features.names), Arc::clone(&names)));
        Ok(PublishedFeatures { names, values: features.values })
    }
}

/// Reads a record and leaves its features as their bytes.
///
/// # Errors
/// See [`RecordError`].
pub fn without_features(bytes: Bytes) -> Result<(Published, Option<Bytes>), RecordError> {
    let message = wire::Decision::decode(bytes)?;
    let wire::Decision { kind, rate, transaction, reasons, explanation, features, .. } = message;
    let base = BaseAmount { minor: message.base_minor, rate: rate_of(rate)? };
    let transaction = transaction.ok_or(RecordError::Field("transaction"))?;
    let reason = |reason: wire::Reason| Reason {
        code: reason.code,
        message: reason.message,
        value: reason.value,
        contribution: reason.contribution,
    };
    let decision = Decision {
        transaction_id: message.transaction_id.clone(),
        kind: kind_of(kind)?,
        revision: message.revision,
        score: message.score,
        flagged: message.flagged,
        threshold: message.threshold,
        model: message.model,
        model_version: message.model_version,
        model_sha256: message.model_sha256,
        reasons: reasons.into_iter().map(reason).collect(),
        explanation: explanation.map(explanation_of).transpose()?,
        degraded: message.degraded,
        source: Source::parse(&message.source).ok_or(RecordError::Field("source"))?,
        scored_at: Millis(message.scored_at),
        took_micros: message.took_micros,
    };
    let published = Published {
        record: RecordId { instance: message.instance, sequence: message.sequence },
        received_at: Millis(message.received_at),
        transaction: Arc::new(transaction_of(message.transaction_id, message.occurred_at, transaction)?),
        base,
        decision: Arc::new(decision),
        features: None,
    };
    Ok((published, features))
}

fn transaction_of(
    transaction_id: String,
    occurred_at: i64,
    payment: wire::Transaction,
) -> Result<Transaction, RecordError> {
    let channel = match payment.channel {
        None => None,
        Some(word) => Some(Channel::parse(&word).ok_or(RecordError::Field("transaction.channel"))?),
    };
    Ok(Transaction {
        transaction_id: transaction_id.into(),
        occurred_at: Millis(occurred_at),
        customer_id: payment.customer_id.into(),
        terminal_id: payment.terminal_id.into(),
        amount_minor: payment.amount_minor,
        currency: Currency::parse(&payment.currency).ok_or(RecordError::Field("transaction.currency"))?,
        merchant_id: payment.merchant_id.map(Into::into),
        product_id: payment.product_id.map(Into::into),
        country: payment.country.map(Into::into),
        channel,
        card_id: payment.card_id.map(Into::into),
        device_id: payment.device_id.map(Into::into),
        is_fraud: None,
        extra: payment.extra.into_iter().map(|extra| (extra.name.into(), extra.value.into())).collect(),
    })
}

fn explanation_of(explanation: wire::Explanation) -> Result<Explanation, RecordError> {
    let method = Method::parse(&explanation.method).ok_or(RecordError::Field("explanation.method"))?;
    let wire::Explanation { baseline, margin, other, .. } = explanation;
    Ok(Explanation { method, baseline, margin, other })
}

const fn kind_of(number: i32) -> Result<DecisionKind, RecordError> {
    match number {
        wire::KIND_FULL => Ok(DecisionKind::Full),
        wire::KIND_FALLBACK => Ok(DecisionKind::Fallback),
        _ => Err(RecordError::Field("kind")),
    }
}

const RATES: [(RateQuality, i32); 3] = [
    (RateQuality::Fresh, wire::RATE_FRESH),
    (RateQuality::Stale, wire::RATE_STALE),
    (RateQuality::Missing, wire::RATE_MISSING),
];

fn rate_number(rate: RateQuality) -> i32 {
    RATES.iter().find(|(known, _)| *known == rate).map_or(wire::RATE_MISSING, |(_, number)| *number)
}

fn rate_of(number: i32) -> Result<RateQuality, RecordError> {
    let found = RATES.iter().find(|(_, known)| *known == number);
    found.map(|(rate, _)| *rate).ok_or(RecordError::Field("rate"))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
