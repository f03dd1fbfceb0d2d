//! Reads: a small pool of read-only connections, and the queries.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compact_str::CompactString;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::rows::{DECISION, TRANSACTION, currency_of, single, stored_of, transaction_of};
use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Currency};
use crate::decision::ModelRef;
use crate::engine::Label;
use crate::engine::completeness::Completeness;
use crate::engine::models::{Action, Change, VersionId};
use crate::engine::ports::{LogError, Replayed, ReplayedOutcome, Sink, Stored, event_label};
use crate::store::quality_of;
use crate::transaction::Transaction;

/// Read-only connections, opened as they are needed.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, most: usize) -> Self {
        Self { path, idle: Mutex::new(Vec::new()), permits: Arc::new(Semaphore::new(most)) }
    }

    /// Reads on a thread that may block. Cancel safety: the permit goes with the work.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, LogError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| LogError::Closed)?;
        let readers = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let result = readers.read_here(read);
            drop(permit);
            result
        });
        reading.await.unwrap_or(Err(LogError::Closed))
    }

    /// Reads on this thread.
    pub(super) fn read_here<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, LogError> {
        let failed = |error: rusqlite::Error| LogError::Failed(error.to_string());
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => self.open().map_err(failed)?,
        };
        let result = read(&connection).map_err(failed)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(result)
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(Duration::from_secs(1))?;
        Ok(connection)
    }
}

pub(super) fn find(connection: &Connection, transaction_id: &str) -> rusqlite::Result<Option<Stored>> {
    let sql = format!(
        "SELECT {TRANSACTION}, {DECISION} FROM transactions LEFT JOIN models USING (model_id) WHERE transaction_id = ?1"
    );
    let found = connection.prepare_cached(&sql)?.query_row([transaction_id], stored_of).optional()?;
    let Some(mut stored) = found else { return Ok(None) };
    if stored.decision.is_none() {
        let sql = "SELECT decision FROM fallbacks WHERE transaction_id = ?1 ORDER BY fallback_id DESC LIMIT 1";
        let text: Option<String> = connection.query_row(sql, [transaction_id], |row| row.get(0)).optional()?;
        stored.decision = text.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
    }
    Ok(Some(stored))
}

pub(super) fn features(
    connection: &Connection,
    transaction_id: &str,
    revision: Option<u32>,
) -> rusqlite::Result<Option<Value>> {
    let sql = "SELECT document FROM features JOIN transactions USING (number)
               WHERE transaction_id = ?1 AND revision = coalesce(?2, revision)";
    let text: Option<String> =
        connection.prepare_cached(sql)?.query_row(params![transaction_id, revision], |row| row.get(0)).optional()?;
    text.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error))
}

pub(super) fn undecided(connection: &Connection, limit: usize) -> rusqlite::Result<Vec<(Transaction, BaseAmount)>> {
    let sql = format!("SELECT {TRANSACTION} FROM transactions WHERE revision IS NULL ORDER BY occurred_at LIMIT ?1");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection.prepare_cached(&sql)?.query_map([limit], transaction_of)?.collect()
}

/// What waits for its decision is in an index of its own: few, whatever the log holds.
pub(super) fn completeness(connection: &Connection, upto: Millis) -> rusqlite::Result<Completeness> {
    let sql =
        "SELECT count(*), min(occurred_at) FROM transactions INDEXED BY transactions_undecided WHERE revision IS NULL";
    let (count, oldest): (i64, Option<i64>) =
        connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(Completeness::of_log(upto, count.unsigned_abs(), oldest.map(Millis)))
}

/// The newest changes, oldest first.
pub(super) fn changes(connection: &Connection, most: usize) -> rusqlite::Result<Vec<Change>> {
    let sql = "SELECT changed_at, action, changed_by, why, from_model, from_version, from_digest, to_model, to_version,
            to_digest, basis_points, gates, change FROM model_changes ORDER BY change_id DESC LIMIT ?1";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut changes: Vec<Change> =
        connection.prepare_cached(sql)?.query_map([most], change_of)?.collect::<rusqlite::Result<_>>()?;
    changes.reverse();
    Ok(changes)
}

fn change_of(row: &Row<'_>) -> rusqlite::Result<Change> {
    let id = |first: usize| -> rusqlite::Result<Option<VersionId>> {
        let name: Option<String> = row.get(first)?;
        let Some(name) = name else { return Ok(None) };
        Ok(Some(VersionId { name, version: row.get(first + 1)?, digest: row.get(first + 2)? }))
    };
    let (action, gates): (String, String) = (row.get(1)?, row.get(11)?);
    let unknown = || rusqlite::Error::InvalidColumnType(1, action.clone(), rusqlite::types::Type::Text);
    Ok(Change {
        id: row.get(12)?,
        at: Millis(row.get(0)?),
        action: Action::parse(&action).ok_or_else(unknown)?,
        by: row.get(2)?,
        why: row.get(3)?,
        from: id(4)?,
        to: id(7)?,
        basis_points: row.get(10)?,
        checks: serde_json::from_str(&gates).map_err(unreadable)?,
    })
}

pub(super) fn newest(connection: &Connection) -> rusqlite::Result<Option<Millis>> {
    let newest: Option<i64> =
        connection.query_row("SELECT max(occurred_at) FROM transactions", [], |row| row.get(0))?;
    Ok(newest.map(Millis))
}

/// Transactions in the order in which they were written: a scan without a sort, from the first row of the span on.
pub(super) fn replay(connection: &Connection, since: Millis, sink: &mut dyn Sink) -> rusqlite::Result<()> {
    let models = models(connection)?;
    let first = "SELECT min(number) FROM transactions WHERE occurred_at >= ?1";
    let first: Option<i64> = connection.query_row(first, [since.0], |row| row.get(0))?;
    if let Some(first) = first {
        // `+` keeps the index by time out of it.
        let sql = "SELECT transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency, base_minor,
                          rate, merchant_id, product_id, country, card_id, device_id, revision, score, flagged, degraded,
                          model_id
                   FROM transactions WHERE number >= ?1 AND +occurred_at >= ?2 ORDER BY number";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params![first, since.0])?;
        let mut reused = None;
        while let Some(row) = rows.next()? {
            let transaction = reuse(&mut reused, row)?;
            let base = BaseAmount { minor: row.get(6)?, rate: quality_of(row.get(7)?) };
            sink.transaction(&Replayed { transaction, base, outcome: outcome_of(row, &models)? });
        }
    }
    labels(connection, since, sink)
}

/// The row's transaction in the memory of the one before.
fn reuse<'a>(reused: &'a mut Option<Transaction>, row: &Row<'_>) -> rusqlite::Result<&'a Transaction> {
    fn text(place: &mut CompactString, row: &Row<'_>, index: usize) -> rusqlite::Result<()> {
        place.clear();
        place.push_str(row.get_ref(index)?.as_str()?);
        Ok(())
    }
    fn optional(place: &mut Option<CompactString>, row: &Row<'_>, index: usize) -> rusqlite::Result<()> {
        match row.get_ref(index)?.as_str_or_null()? {
            None => *place = None,
            Some(found) => {
                let place = place.get_or_insert_default();
                place.clear();
                place.push_str(found);
            }
        }
        Ok(())
    }
    let code = row.get_ref(5)?.as_str()?;
    let currency = match reused.as_ref().map(|earlier: &Transaction| earlier.currency) {
        Some(same) if same.code() == code => same,
        _ => currency_of(5, code)?,
    };
    let transaction = reused.get_or_insert_with(|| blank(currency));
    transaction.currency = currency;
    text(&mut transaction.transaction_id, row, 0)?;
    transaction.occurred_at = Millis(row.get(1)?);
    text(&mut transaction.customer_id, row, 2)?;
    text(&mut transaction.terminal_id, row, 3)?;
    transaction.amount_minor = row.get(4)?;
    optional(&mut transaction.merchant_id, row, 8)?;
    optional(&mut transaction.product_id, row, 9)?;
    optional(&mut transaction.country, row, 10)?;
    optional(&mut transaction.card_id, row, 11)?;
    optional(&mut transaction.device_id, row, 12)?;
    Ok(transaction)
}

fn blank(currency: Currency) -> Transaction {
    let none = CompactString::default();
    Transaction {
        transaction_id: none.clone(),
        occurred_at: Millis(0),
        customer_id: none.clone(),
        terminal_id: none,
        amount_minor: 0,
        currency,
        merchant_id: None,
        product_id: None,
        country: None,
        channel: None,
        card_id: None,
        device_id: None,
        is_fraud: None,
        extra: Vec::new(),
    }
}

fn outcome_of(row: &Row<'_>, models: &HashMap<i64, Arc<ModelRef>>) -> rusqlite::Result<Option<ReplayedOutcome>> {
    if row.get_ref(13)?.as_i64_or_null()?.is_none() {
        return Ok(None);
    }
    let Some(model) = models.get(&row.get(17)?) else { return Ok(None) };
    Ok(Some(ReplayedOutcome {
        score: single(row.get(14)?),
        flagged: row.get(15)?,
        degraded: row.get(16)?,
        model: Arc::clone(model),
    }))
}

fn models(connection: &Connection) -> rusqlite::Result<HashMap<i64, Arc<ModelRef>>> {
    let sql = "SELECT model_id, name, version, sha256, threshold FROM models";
    let model = |row: &Row<'_>| {
        let threshold = single(row.get(4)?);
        let model = ModelRef { name: row.get(1)?, version: row.get(2)?, sha256: row.get(3)?, threshold };
        Ok((row.get(0)?, Arc::new(model)))
    };
    connection.prepare(sql)?.query_map([], model)?.collect()
}

fn labels(connection: &Connection, since: Millis, sink: &mut dyn Sink) -> rusqlite::Result<()> {
    let label = |row: &Row<'_>, first: usize| -> rusqlite::Result<Label> {
        Ok(Label {
            transaction_id: row.get(first)?,
            labelled_at: Millis(row.get(first + 1)?),
            is_fraud: row.get(first + 2)?,
            source: row.get(first + 3)?,
        })
    };
    let sql = format!(
        "SELECT {TRANSACTION}, labels.transaction_id, labelled_at, is_fraud, labels.source
         FROM labels JOIN transactions USING (transaction_id) WHERE occurred_at >= ?1"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([since.0])?;
    while let Some(row) = rows.next()? {
        let (transaction, base) = transaction_of(row)?;
        sink.label(&event_label(&transaction, base, &label(row, 15)?));
    }
    let sql = "SELECT transaction_id, labelled_at, is_fraud, source FROM labels
               WHERE labelled_at >= ?1
                 AND NOT EXISTS (SELECT 1 FROM transactions WHERE transactions.transaction_id = labels.transaction_id)";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([since.0])?;
    while let Some(row) = rows.next()? {
        sink.waiting(label(row, 0)?);
    }
    Ok(())
}
