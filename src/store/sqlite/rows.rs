//! Rows of SQLite to values and back.

use compact_str::CompactString;
use rusqlite::Row;
use rusqlite::types::Type;

use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Currency};
use crate::decision::{Decision, DecisionKind, Source};
use crate::engine::ports::Stored;
use crate::store::quality_of;
use crate::transaction::{Channel, Transaction};

/// The columns of [`transaction_of`], in its order: 0 to 14.
pub(super) const TRANSACTION: &str = "transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency, \
    base_minor, rate, merchant_id, product_id, country, channel, card_id, device_id, extra";

/// The columns of [`decision_of`], in its order, after those of the transaction: 15 to 27.
pub(super) const DECISION: &str = "revision, score, flagged, degraded, models.name, models.version, models.sha256, \
    models.threshold, source, scored_at, took_micros, reasons, explanation";

/// A currency in column `index`.
pub(super) fn currency_of(index: usize, code: &str) -> rusqlite::Result<Currency> {
    Currency::parse(code).ok_or_else(|| unreadable(index, format!("{code:?} is no currency")))
}

/// A text of the column that does not say what it should.
fn unreadable(index: usize, message: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Text, message.into())
}

pub(super) fn transaction_of(row: &Row<'_>) -> rusqlite::Result<(Transaction, BaseAmount)> {
    let text = |index| -> rusqlite::Result<CompactString> { Ok(row.get_ref(index)?.as_str()?.into()) };
    let optional = |index| -> rusqlite::Result<Option<CompactString>> {
        Ok(row.get_ref(index)?.as_str_or_null()?.map(Into::into))
    };
    let extra = match row.get_ref(14)?.as_str_or_null()? {
        None => Vec::new(),
        Some(pairs) => serde_json::from_str(pairs).map_err(|error| unreadable(14, error.to_string()))?,
    };
    let transaction = Transaction {
        transaction_id: text(0)?,
        occurred_at: Millis(row.get(1)?),
        customer_id: text(2)?,
        terminal_id: text(3)?,
        amount_minor: row.get(4)?,
        currency: currency_of(5, row.get_ref(5)?.as_str()?)?,
        merchant_id: optional(8)?,
        product_id: optional(9)?,
        country: optional(10)?,
        channel: row.get_ref(11)?.as_str_or_null()?.and_then(Channel::parse),
        card_id: optional(12)?,
        device_id: optional(13)?,
        is_fraud: None,
        extra,
    };
    Ok((transaction, BaseAmount { minor: row.get(6)?, rate: quality_of(row.get(7)?) }))
}

/// The full decision of a row with both column lists; `None` while it has none.
pub(super) fn decision_of(row: &Row<'_>) -> rusqlite::Result<Option<Decision>> {
    let Some(revision) = row.get(15)? else { return Ok(None) };
    let source: String = row.get(23)?;
    let source = Source::parse(&source);
    let reasons: String = row.get(26)?;
    let explanation = row.get_ref(27)?.as_str_or_null()?.map(serde_json::from_str).transpose();
    Ok(Some(Decision {
        transaction_id: row.get(0)?,
        kind: DecisionKind::Full,
        revision: Some(revision),
        score: Some(single(row.get(16)?)),
        flagged: row.get(17)?,
        degraded: row.get(18)?,
        model: row.get(19)?,
        model_version: row.get(20)?,
        model_sha256: row.get(21)?,
        threshold: Some(single(row.get(22)?)),
        source: source.ok_or_else(|| unreadable(23, "no mouth of this name".to_owned()))?,
        scored_at: Millis(row.get(24)?),
        took_micros: u64::try_from(row.get::<_, i64>(25)?).unwrap_or(0),
        reasons: serde_json::from_str(&reasons).map_err(|error| unreadable(26, error.to_string()))?,
        explanation: explanation.map_err(|error| unreadable(27, error.to_string()))?,
    }))
}

pub(super) fn stored_of(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let (transaction, base) = transaction_of(row)?;
    Ok(Stored { transaction, base, decision: decision_of(row)? })
}

/// What was a 32-bit float when it was stored.
pub(super) fn single(stored: f64) -> f32 {
    stored as f32
}
