//! Values to parameters and rows back to values.
//!
//! Floats survive: a score is a `real` of PostgreSQL, bit for bit; the numbers inside `jsonb` keep every digit they have.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::fault::PostgresError;
use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::{Decision, DecisionKind, Source};
use crate::engine::delivery::Delivered;
use crate::engine::ports::Stored;
use crate::store::{quality_number, quality_of};
use crate::transaction::Transaction;

/// A full decision of a batch, with what makes it one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Full<'b> {
    pub(super) delivered: &'b Delivered,
    pub(super) revision: i32,
    score: f32,
}

impl<'b> Full<'b> {
    /// `None` for a fallback.
    pub(super) fn of(delivered: &'b Delivered) -> Option<Self> {
        let decision = &delivered.published.decision;
        let revision = i32::try_from(decision.revision?).unwrap_or(i32::MAX);
        let full = decision.kind == DecisionKind::Full;
        full.then_some(Self { delivered, revision, score: decision.score? })
    }

    pub(super) fn id(&self) -> &'b str {
        &self.delivered.published.transaction.transaction_id
    }
}

/// The arrays of a statement.
#[derive(Default)]
pub(super) struct Arrays<'b>(Vec<Box<dyn ToSql + Sync + Send + 'b>>);

impl<'b> Arrays<'b> {
    pub(super) fn references(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.0.iter().map(|array| &**array as &(dyn ToSql + Sync)).collect()
    }

    fn push<T: ToSql + Sync + Send + 'b>(&mut self, values: impl Iterator<Item = T>) {
        self.0.push(Box::new(values.collect::<Vec<T>>()));
    }

    /// For [`write`](super::statements::Texts::write), in its order.
    pub(super) fn of_full(full: &[Full<'b>]) -> Result<Self, PostgresError> {
        let mut arrays = Self::default();
        let records = || full.iter().map(|one| one.delivered);
        let decisions = || full.iter().map(|one| &*one.delivered.published.decision);
        arrays.push(full.iter().map(Full::id));
        arrays.push(full.iter().map(|one| one.revision));
        arrays.push(records().map(|one| one.published.record.to_string()));
        arrays.push(full.iter().map(|one| one.score));
        arrays.push(decisions().map(|one| one.flagged));
        arrays.push(decisions().map(|one| one.threshold));
        arrays.push(decisions().map(|one| one.model.as_str()));
        arrays.push(decisions().map(|one| one.model_version.as_str()));
        arrays.push(decisions().map(|one| one.model_sha256.as_str()));
        arrays.push(decisions().map(|one| one.degraded));
        arrays.try_push(decisions().map(|one| source_text(one.source)))?;
        arrays.push(records().map(|one| one.published.transaction.occurred_at.0));
        arrays.push(decisions().map(|one| one.scored_at.0));
        arrays.push(decisions().map(|one| i64::try_from(one.took_micros).unwrap_or(i64::MAX)));
        arrays.try_push(
            decisions().map(|one| if one.reasons.is_empty() { Ok(None) } else { json(&one.reasons).map(Some) }),
        )?;
        arrays.try_push(decisions().map(|one| one.explanation.as_ref().map(json).transpose()))?;
        arrays.try_push(records().map(|one| transaction_text(&one.published.transaction)))?;
        arrays.push(records().map(|one| one.published.base.minor));
        arrays.push(records().map(|one| quality_small(one.published.base)));
        arrays.place(records());
        Ok(arrays)
    }

    /// For [`supersede`](super::statements::Texts::supersede).
    pub(super) fn of_losers(full: &[Full<'b>]) -> Result<Self, PostgresError> {
        let mut arrays = Self::default();
        let records = || full.iter().map(|one| one.delivered);
        arrays.push(full.iter().map(Full::id));
        arrays.push(full.iter().map(|one| one.revision));
        arrays.push(records().map(|one| one.published.record.to_string()));
        arrays.push(records().map(|one| one.published.decision.scored_at.0));
        arrays.try_push(records().map(|one| json(&*one.published.decision)))?;
        arrays.place(records());
        Ok(arrays)
    }

    /// For [`fallback`](super::statements::Texts::fallback).
    pub(super) fn of_fallbacks(fallbacks: &[&'b Delivered]) -> Result<Self, PostgresError> {
        let mut arrays = Self::default();
        let records = || fallbacks.iter().copied();
        arrays.push(records().map(|one| one.published.transaction.transaction_id.as_str()));
        arrays.push(records().map(|one| one.published.record.to_string()));
        arrays.push(records().map(|one| one.published.decision.scored_at.0));
        arrays.try_push(records().map(|one| json(&*one.published.decision)))?;
        arrays.try_push(records().map(|one| transaction_text(&one.published.transaction)))?;
        arrays.push(records().map(|one| one.published.base.minor));
        arrays.push(records().map(|one| quality_small(one.published.base)));
        arrays.place(records());
        Ok(arrays)
    }

    /// For [`complete`](super::statements::Texts::complete): how many.
    pub(super) fn of_limit(limit: i64) -> Self {
        Self(vec![Box::new(limit)])
    }

    fn place(&mut self, records: impl Iterator<Item = &'b Delivered> + Clone) {
        self.push(records.clone().map(|one| one.partition));
        self.push(records.map(|one| one.offset));
    }

    fn try_push<T: ToSql + Sync + Send + 'b>(
        &mut self,
        values: impl Iterator<Item = Result<T, PostgresError>>,
    ) -> Result<(), PostgresError> {
        self.0.push(Box::new(values.collect::<Result<Vec<T>, _>>()?));
        Ok(())
    }
}

fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<String, PostgresError> {
    serde_json::to_string(value)
        .map_err(|error| PostgresError::Refused(format!("a record cannot be written as JSON: {error}")))
}

fn quality_small(base: BaseAmount) -> i16 {
    i16::try_from(quality_number(base.rate)).unwrap_or(i16::MAX)
}

fn source_text(source: Source) -> Result<String, PostgresError> {
    Ok(json(&source)?.trim_matches('"').to_owned())
}

/// The payment without the label that a file may have brought.
fn transaction_text(transaction: &Transaction) -> Result<String, PostgresError> {
    let plain = match transaction.is_fraud {
        None => Cow::Borrowed(transaction),
        Some(_) => Cow::Owned(Transaction { is_fraud: None, ..transaction.clone() }),
    };
    json(&*plain)
}

fn unreadable(what: &str, error: impl std::fmt::Display) -> PostgresError {
    PostgresError::Refused(format!("the stored {what} cannot be read: {error}"))
}

/// (place, 1 and up; what is stored) of a row of the statement that finds decisions.
pub(super) fn decision_of(row: &Row) -> Result<(i64, Stored), PostgresError> {
    let (place, transaction, base) = payment_of(row)?;
    let source: &str = row.try_get(12)?;
    let source: StrDeserializer<'_, serde::de::value::Error> = source.into_deserializer();
    let reasons: Option<&str> = row.try_get(15)?;
    let explanation: Option<&str> = row.try_get(16)?;
    let parsed = |text: &str| serde_json::from_str(text).map_err(|error| unreadable("reasons", error));
    let decision = Decision {
        transaction_id: transaction.transaction_id.to_string(),
        kind: DecisionKind::Full,
        revision: u32::try_from(row.try_get::<_, i32>(4)?).ok(),
        score: Some(row.try_get(5)?),
        flagged: row.try_get(6)?,
        threshold: row.try_get(7)?,
        model: row.try_get(8)?,
        model_version: row.try_get(9)?,
        model_sha256: row.try_get(10)?,
        degraded: row.try_get(11)?,
        source: Source::deserialize(source).map_err(|error| unreadable("source", error))?,
        scored_at: Millis(row.try_get(13)?),
        took_micros: u64::try_from(row.try_get::<_, i64>(14)?).unwrap_or(0),
        reasons: reasons.map(parsed).transpose()?.unwrap_or_default(),
        explanation: explanation
            .map(serde_json::from_str)
            .transpose()
            .map_err(|error| unreadable("explanation", error))?,
    };
    Ok((place, Stored { transaction, base, decision: Some(decision) }))
}

/// The same of a row of the statement that finds fallbacks.
pub(super) fn fallback_of(row: &Row) -> Result<(i64, Stored), PostgresError> {
    let (place, transaction, base) = payment_of(row)?;
    let decision = serde_json::from_str(row.try_get(4)?).map_err(|error| unreadable("fallback", error))?;
    Ok((place, Stored { transaction, base, decision: Some(decision) }))
}

fn payment_of(row: &Row) -> Result<(i64, Transaction, BaseAmount), PostgresError> {
    let transaction = serde_json::from_str(row.try_get(1)?).map_err(|error| unreadable("transaction", error))?;
    let base = BaseAmount { minor: row.try_get(2)?, rate: quality_of(row.try_get::<_, i16>(3)?.into()) };
    Ok((row.try_get(0)?, transaction, base))
}
