//! The writer: one thread, one connection, groups.
//!
//! ```text
//! queue ─▶ group (what waits, at most n) ─▶ BEGIN … COMMIT ─▶ an answer for each
//!             ▲                                  │ failed
//!             └── entries nobody waits for ◀─────┴──▶ an error for those somebody waits for
//! ```
//!
//! Invariant: an entry is answered once. After a failure the writer goes on: the next group is the next attempt.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::Shared;
use super::rows::{TRANSACTION, transaction_of};
use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::{Decision, ModelRef};
use crate::engine::Label;
use crate::engine::models::{Change, VersionId};
use crate::engine::ports::{Done, Entry, Filled, LogError, Record, Written};
use crate::store::quality_number;
use crate::transaction::{Channel, Transaction};

/// The pause before entries that nobody waits for are tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// What the thread is told.
pub(super) enum Message {
    Write(Entry, Option<Done>),
    /// Answered when everything before it was written or has failed.
    Flush(oneshot::Sender<Result<(), LogError>>),
    /// Flushes and ends the thread: always the last message.
    Close(oneshot::Sender<Result<(), LogError>>),
}

type Item = (Entry, Option<Done>);

pub(super) struct Writer {
    connection: Connection,
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
    most: usize,
    linger: Duration,
    /// Entries of a failed group that nobody waits for.
    kept: Vec<Item>,
    /// Numbers of the models that were written.
    models: Vec<(ModelRef, i64)>,
    /// Held for life.
    lock: File,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        receiver: Receiver<Message>,
        shared: Arc<Shared>,
        most: usize,
        linger: Duration,
        lock: File,
    ) -> Self {
        Self { connection, receiver, shared, most, linger, kept: Vec::new(), models: Vec::new(), lock }
    }

    /// Runs until it is closed.
    pub(super) fn run(mut self) {
        loop {
            let (group, last) = self.gather();
            let result = self.write(group);
            match last {
                Last::None => {}
                Last::Flush(sender) => drop(sender.send(result)),
                Last::Close(sender) => {
                    let lost = self.kept.len();
                    if lost > 0 {
                        tracing::error!(lost, "the log closes with entries that could not be written");
                    }
                    self.shared.set_trouble(Some("the log is closed".to_owned()));
                    // Whoever hears that it is closed may open the file.
                    let Self { connection, lock, .. } = self;
                    drop(connection);
                    drop(lock);
                    drop(sender.send(result));
                    return;
                }
            }
        }
    }

    /// What was kept, and what waits, up to a flush or close; blocks while there is nothing.
    fn gather(&mut self) -> (Vec<Item>, Last) {
        let mut group = std::mem::take(&mut self.kept);
        let first = if group.is_empty() {
            self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            self.receiver.recv_timeout(PAUSE)
        };
        let mut next = match first {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Message::Close(oneshot::channel().0)),
        };
        let mut until = Instant::now() + self.linger;
        while let Some(message) = next {
            match message {
                Message::Write(entry, done) => {
                    // A change of the models is waited for by whoever rolls one back: it lingers for nobody.
                    if matches!(entry, Entry::Changed(_)) {
                        until = Instant::now();
                    }
                    group.push((entry, done));
                }
                Message::Flush(sender) => return (group, Last::Flush(sender)),
                Message::Close(sender) => return (group, Last::Close(sender)),
            }
            next = if group.len() >= self.most {
                None
            } else {
                // What waits already is taken even when the time is over.
                let wait = until.saturating_duration_since(Instant::now());
                self.receiver.recv_timeout(wait).ok()
            };
        }
        (group, Last::None)
    }

    /// Writes a group and answers it.
    fn write(&mut self, group: Vec<Item>) -> Result<(), LogError> {
        if group.is_empty() {
            return Ok(());
        }
        match self.attempt(&group) {
            Ok(written) => {
                self.shared.set_trouble(None);
                group.into_iter().zip(written).for_each(|((_, done), written)| self.answer(done, Ok(written)));
                Ok(())
            }
            Err(error) if group.len() > 1 && is_of_the_entry(&error) => {
                // One of them cannot be written at all: each on its own.
                let mut result = Ok(());
                for item in group {
                    result = self.write(vec![item]).and(result);
                }
                result
            }
            Err(error) => {
                let own = is_of_the_entry(&error);
                let failed = LogError::Failed(error.to_string());
                if own {
                    tracing::error!(%error, "an entry cannot be written to the log");
                } else {
                    tracing::warn!(%error, entries = group.len(), "the log cannot be written; trying again");
                    self.shared.set_trouble(Some(format!("the log cannot be written: {error}")));
                }
                for (entry, done) in group {
                    if done.is_none() && !own {
                        self.kept.push((entry, done));
                    } else {
                        self.answer(done, Err(failed.clone()));
                    }
                }
                Err(failed)
            }
        }
    }

    fn answer(&self, done: Option<Done>, result: Result<Written, LogError>) {
        self.shared.depth.fetch_sub(1, Ordering::SeqCst);
        if let Some(done) = done {
            done(result);
        }
    }

    fn attempt(&mut self, group: &[Item]) -> rusqlite::Result<Vec<Written>> {
        let change = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let known = self.models.len();
        let models = &mut self.models;
        let written: rusqlite::Result<Vec<_>> = group.iter().map(|(entry, _)| put(&change, models, entry)).collect();
        let committed = written.and_then(|written| change.commit().map(|()| written));
        if committed.is_err() {
            // Their rows went with the group.
            self.models.truncate(known);
        }
        committed
    }
}

enum Last {
    None,
    Flush(oneshot::Sender<Result<(), LogError>>),
    Close(oneshot::Sender<Result<(), LogError>>),
}

/// Whether the entry is at fault, so that another attempt fails too.
fn is_of_the_entry(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::ConstraintViolation
                | ErrorCode::TypeMismatch
                | ErrorCode::TooBig
                | ErrorCode::ParameterOutOfRange
        ),
        _ => true,
    }
}

fn put(connection: &Connection, models: &mut Vec<(ModelRef, i64)>, entry: &Entry) -> rusqlite::Result<Written> {
    let first = match entry {
        Entry::Full(record) => put_full(connection, models, record)?,
        Entry::Fallback { transaction, base, decision, .. } => put_fallback(connection, transaction, *base, decision)?,
        Entry::Fill(copy) => return put_fill(connection, copy),
        Entry::Label(label) => return put_label(connection, label),
        Entry::Changed(change) => put_change(connection, change)?,
    };
    Ok(Written { first, ..Written::default() })
}

fn put_full(connection: &Connection, models: &mut Vec<(ModelRef, i64)>, record: &Record) -> rusqlite::Result<bool> {
    const SQL: &str = "INSERT INTO transactions (transaction_id, occurred_at, customer_id, terminal_id, amount_minor,
            currency, base_minor, rate, merchant_id, product_id, country, channel, card_id, device_id, extra, revision,
            score, flagged, degraded, model_id, model_version, source, scored_at, took_micros, reasons, explanation)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22,
            ?23, ?24, ?25, ?26)
        ON CONFLICT (transaction_id) DO UPDATE SET revision = excluded.revision, score = excluded.score,
            flagged = excluded.flagged, degraded = excluded.degraded, model_id = excluded.model_id,
            model_version = excluded.model_version, source = excluded.source, scored_at = excluded.scored_at,
            took_micros = excluded.took_micros, reasons = excluded.reasons, explanation = excluded.explanation
        WHERE revision IS NULL";
    let Record { transaction, base, decision, model, features, .. } = record;
    let model_id = number_of(connection, models, model)?;
    let changed = connection.prepare_cached(SQL)?.execute(params![
        transaction.transaction_id.as_str(),
        transaction.occurred_at.0,
        transaction.customer_id.as_str(),
        transaction.terminal_id.as_str(),
        transaction.amount_minor,
        transaction.currency.code(),
        base.minor,
        quality_number(base.rate),
        transaction.merchant_id.as_deref(),
        transaction.product_id.as_deref(),
        transaction.country.as_deref(),
        transaction.channel.map(Channel::as_str),
        transaction.card_id.as_deref(),
        transaction.device_id.as_deref(),
        extra(transaction)?,
        decision.revision,
        decision.score.map(f64::from),
        decision.flagged,
        decision.degraded,
        model_id,
        decision.model_version,
        decision.source.as_str(),
        decision.scored_at.0,
        i64::try_from(decision.took_micros).unwrap_or(i64::MAX),
        json(&decision.reasons)?,
        decision.explanation.as_ref().map(json).transpose()?,
    ])?;
    if changed > 0 {
        let sql =
            "INSERT INTO features SELECT number, ?2 FROM transactions WHERE transaction_id = ?1 ON CONFLICT DO NOTHING";
        connection
            .prepare_cached(sql)?
            .execute(params![transaction.transaction_id.as_str(), json(features.as_ref())?])?;
    }
    Ok(changed > 0)
}

fn put_fallback(
    connection: &Connection,
    transaction: &Transaction,
    base: BaseAmount,
    decision: &Decision,
) -> rusqlite::Result<bool> {
    const SQL: &str = "INSERT INTO transactions (transaction_id, occurred_at, customer_id, terminal_id, amount_minor,
            currency, base_minor, rate, merchant_id, product_id, country, channel, card_id, device_id, extra)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING";
    connection.prepare_cached(SQL)?.execute(params![
        transaction.transaction_id.as_str(),
        transaction.occurred_at.0,
        transaction.customer_id.as_str(),
        transaction.terminal_id.as_str(),
        transaction.amount_minor,
        transaction.currency.code(),
        base.minor,
        quality_number(base.rate),
        transaction.merchant_id.as_deref(),
        transaction.product_id.as_deref(),
        transaction.country.as_deref(),
        transaction.channel.map(Channel::as_str),
        transaction.card_id.as_deref(),
        transaction.device_id.as_deref(),
        extra(transaction)?,
    ])?;
    let audit = "INSERT INTO fallbacks (transaction_id, answered_at, decision) VALUES (?1, ?2, ?3)";
    let (id, at) = (transaction.transaction_id.as_str(), decision.scored_at.0);
    connection.prepare_cached(audit)?.execute(params![id, at, json(decision)?])?;
    Ok(true)
}

fn put_fill(connection: &Connection, copy: &Transaction) -> rusqlite::Result<Written> {
    let find = format!("SELECT {TRANSACTION} FROM transactions WHERE transaction_id = ?1");
    let id = copy.transaction_id.as_str();
    let found = connection.prepare_cached(&find)?.query_row([id], transaction_of).optional()?;
    let Some((before, base)) = found else { return Ok(Written::default()) };
    let mut filled = before.clone();
    filled.fill_absent_from(&Transaction { is_fraud: None, ..copy.clone() });
    if filled == before {
        return Ok(Written::default());
    }
    let update = "UPDATE transactions SET merchant_id = ?2, product_id = ?3, country = ?4, channel = ?5, card_id = ?6,
            device_id = ?7, extra = ?8 WHERE transaction_id = ?1";
    connection.prepare_cached(update)?.execute(params![
        id,
        filled.merchant_id.as_deref(),
        filled.product_id.as_deref(),
        filled.country.as_deref(),
        filled.channel.map(Channel::as_str),
        filled.card_id.as_deref(),
        filled.device_id.as_deref(),
        extra(&filled)?,
    ])?;
    let labels = labels_of(connection, id)?;
    Ok(Written {
        first: true,
        filled: Some(Box::new(Filled { before, after: filled, base, labels })),
        ..Written::default()
    })
}

fn labels_of(connection: &Connection, transaction_id: &str) -> rusqlite::Result<Vec<Label>> {
    let sql = "SELECT labelled_at, is_fraud, source FROM labels WHERE transaction_id = ?1";
    let label = |row: &Row<'_>| {
        let (labelled_at, is_fraud, source) = (Millis(row.get(0)?), row.get(1)?, row.get(2)?);
        Ok(Label { transaction_id: transaction_id.to_owned(), is_fraud, labelled_at, source })
    };
    connection.prepare_cached(sql)?.query_map([transaction_id], label)?.collect()
}

fn extra(transaction: &Transaction) -> rusqlite::Result<Option<String>> {
    if transaction.extra.is_empty() { Ok(None) } else { json(&transaction.extra).map(Some) }
}

fn put_label(connection: &Connection, label: &Label) -> rusqlite::Result<Written> {
    let sql = "INSERT INTO labels (transaction_id, labelled_at, is_fraud, source) VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT DO NOTHING";
    let values = params![label.transaction_id, label.labelled_at.0, label.is_fraud, label.source];
    let first = connection.prepare_cached(sql)?.execute(values)? > 0;
    let sql = format!("SELECT {TRANSACTION} FROM transactions WHERE transaction_id = ?1");
    let found = connection.prepare_cached(&sql)?.query_row([&label.transaction_id], transaction_of).optional()?;
    Ok(Written { first, transaction: found.map(Box::new), filled: None })
}

fn put_change(connection: &Connection, change: &Change) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO model_changes (changed_at, action, changed_by, why, from_model, from_version, from_digest,
            to_model, to_version, to_digest, basis_points, gates, change)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
    let parts = |id: &Option<VersionId>| {
        let id = id.clone();
        id.map_or((None, None, None), |id| (Some(id.name), Some(id.version), Some(id.digest)))
    };
    let (from, to) = (parts(&change.from), parts(&change.to));
    connection.prepare_cached(sql)?.execute(params![
        change.at.0,
        change.action.as_str(),
        change.by,
        change.why,
        from.0,
        from.1,
        from.2,
        to.0,
        to.1,
        to.2,
        change.basis_points,
        json(&change.checks)?,
        change.id,
    ])?;
    Ok(true)
}

/// The number of a model in the log; it is entered when it is new.
fn number_of(connection: &Connection, models: &mut Vec<(ModelRef, i64)>, model: &ModelRef) -> rusqlite::Result<i64> {
    if let Some((_, number)) = models.iter().find(|(known, _)| known == model) {
        return Ok(*number);
    }
    let values = params![model.name, model.version, model.sha256, f64::from(model.threshold)];
    let enter = "INSERT INTO models (name, version, sha256, threshold) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    connection.execute(enter, values)?;
    let find = "SELECT model_id FROM models WHERE name = ?1 AND version = ?2 AND sha256 = ?3 AND threshold = ?4";
    let number = connection.query_row(find, values, |row| row.get(0))?;
    models.push((model.clone(), number));
    Ok(number)
}

fn json<T: serde::Serialize>(value: &T) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}
