//! What a rescore needs of assay's own schema, in a session of its own: the lock that there is one at a time, how far it is,
//! and what is decided of each payment.
//!
//! Invariant: the lock is the session's. Whoever has lost the session gets an error from every call here, and so makes nothing
//! more; the server gives the lock to the next one.

use std::time::Duration;

use tokio::time::Instant;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connection::Session;
use super::fault::PostgresError;
use super::statements::Names;
use super::{PostgresStore, SLACK};
use crate::engine::delivery::RecordId;
use crate::engine::rescore::{Decided, Position, Tally, Wanted};

/// How long the lock is tried for: the server takes a moment to see that whoever held it was killed.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Unfinished runs that are looked at.
const MOST_UNFINISHED: u32 = 100;

/// A run as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRun {
    /// Names its records.
    pub run: u64,
    /// Of what was asked for.
    pub fingerprint: String,
    /// The same for a person.
    pub arguments: String,
    /// Name, version and SHA-256 of the model.
    pub model: [String; 3],
    /// Which payments.
    pub wanted: Wanted,
    /// The last payment that is done.
    pub position: Option<Position>,
    /// What became of the payments until then.
    pub tally: Tally,
}

/// The session of a rescore, which holds the lock.
#[derive(Debug)]
pub struct RescoreSession {
    session: Session<Prepared>,
    limit: Duration,
}

#[derive(Debug)]
struct Prepared {
    decided: Statement,
    save: Statement,
    unfinished: Statement,
    begin: Statement,
    end: Statement,
}

impl Prepared {
    async fn of(client: &Client, names: &Names) -> Result<Self, PostgresError> {
        let (decisions, rescores) = (names.own("fraud_decisions"), names.own("fraud_rescores"));
        let decided = format!(
            "SELECT i.place, d.revision, d.record, d.transaction::text
               FROM unnest($1::text[]) WITH ORDINALITY AS i(transaction_id, place)
               JOIN LATERAL (SELECT * FROM {decisions} AS one WHERE one.transaction_id = i.transaction_id COLLATE \"C\"
                              ORDER BY one.revision DESC LIMIT 1) AS d ON true"
        );
        let save = format!(
            "UPDATE {rescores} SET position = $2::text::jsonb, tally = $3::text::jsonb, saved_at = now() WHERE run = $1"
        );
        let unfinished = format!(
            "SELECT run, fingerprint, arguments, model, model_version, model_sha256, wanted::text, position::text, tally::text
               FROM {rescores} WHERE state = 'running' ORDER BY started_at DESC LIMIT {MOST_UNFINISHED}"
        );
        let begin = format!(
            "INSERT INTO {rescores} (run, fingerprint, arguments, model, model_version, model_sha256, wanted, tally, state)
             VALUES ($1, $2, $3, $4, $5, $6, $7::text::jsonb, $8::text::jsonb, 'running')"
        );
        let end =
            format!("UPDATE {rescores} SET state = 'done', tally = $2::text::jsonb, ended_at = now() WHERE run = $1");
        Ok(Self {
            decided: client.prepare(&decided).await?,
            save: client.prepare(&save).await?,
            unfinished: client.prepare(&unfinished).await?,
            begin: client.prepare(&begin).await?,
            end: client.prepare(&end).await?,
        })
    }
}

impl PostgresStore {
    /// A session for a rescore; `None` while another one is at work on this schema.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn rescoring(&self) -> Result<Option<RescoreSession>, PostgresError> {
        let made = Session::connect(&self.settings, async |client| {
            self.settings.calm(client).await?;
            // Why on: what was said to be saved is. A run that is quiet for long is not idle.
            client.batch_execute("SET synchronous_commit = on; SET idle_session_timeout = 0").await?;
            Prepared::of(client, &self.names).await
        });
        let rescoring =
            RescoreSession { session: Box::pin(made).await?, limit: self.settings.statement_timeout + SLACK };
        let key = format!("assay rescore of {}", self.names.schema);
        let begun = Instant::now();
        loop {
            let asked = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))";
            let held =
                rescoring.within(async { Ok(rescoring.session.client.query_one(asked, &[&key]).await?) }).await?;
            if held.get::<_, bool>(0) {
                return Ok(Some(rescoring));
            }
            if begun.elapsed() > LOCK_WAIT {
                return Ok(None);
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }
}

impl RescoreSession {
    /// Runs that have not ended, the newest first, at most so many.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn unfinished(&self) -> Result<Vec<StoredRun>, PostgresError> {
        let Session { client, prepared, .. } = &self.session;
        let found = self.within(async { Ok(client.query(&prepared.unfinished, &[]).await?) }).await?;
        found.iter().map(stored_of).collect()
    }

    /// Notes that a run begins.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn begin(&self, run: &StoredRun) -> Result<(), PostgresError> {
        let Session { client, prepared, .. } = &self.session;
        let [model, version, sha256] = &run.model;
        let (wanted, tally) = (json(&run.wanted)?, json(&run.tally)?);
        let name = name_of(run.run);
        self.within(async {
            let parameters: [&(dyn ToSql + Sync); 8] =
                [&name, &run.fingerprint, &run.arguments, model, version, sha256, &wanted, &tally];
            Ok(client.execute(&prepared.begin, &parameters).await.map(drop)?)
        })
        .await
    }

    /// Saves how far a run is.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn save(&self, run: u64, position: &Position, tally: &Tally) -> Result<(), PostgresError> {
        let Session { client, prepared, .. } = &self.session;
        let (name, position, tally) = (name_of(run), json(position)?, json(tally)?);
        self.within(async { Ok(client.execute(&prepared.save, &[&name, &position, &tally]).await.map(drop)?) }).await
    }

    /// Notes that a run is through.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn end(&self, run: u64, tally: &Tally) -> Result<(), PostgresError> {
        let Session { client, prepared, .. } = &self.session;
        let (name, tally) = (name_of(run), json(tally)?);
        self.within(async { Ok(client.execute(&prepared.end, &[&name, &tally]).await.map(drop)?) }).await
    }

    /// The newest full decision of each of these ids, in their order.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn decided(&self, ids: &[&str]) -> Result<Vec<Option<Decided>>, PostgresError> {
        let Session { client, prepared, .. } = &self.session;
        let rows = self.within(async { Ok(client.query(&prepared.decided, &[&ids]).await?) }).await?;
        let mut found: Vec<Option<Decided>> = ids.iter().map(|_| None).collect();
        for row in rows {
            let place = usize::try_from(row.try_get::<_, i64>(0)? - 1).unwrap_or(usize::MAX);
            let record: &str = row.try_get(2)?;
            let decided = Decided {
                revision: u32::try_from(row.try_get::<_, i32>(1)?).map_err(unreadable)?,
                record: RecordId::parse(record).ok_or_else(|| unreadable("a record has no name"))?,
                transaction: serde_json::from_str(row.try_get(3)?).map_err(unreadable)?,
            };
            if let Some(slot) = found.get_mut(place) {
                *slot = Some(decided);
            }
        }
        Ok(found)
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, PostgresError>>) -> Result<T, PostgresError> {
        let late = |_elapsed| Err(PostgresError::Unavailable(format!("no answer within {:?}", self.limit)));
        tokio::time::timeout(self.limit, work).await.unwrap_or_else(late)
    }
}

fn stored_of(row: &Row) -> Result<StoredRun, PostgresError> {
    let (run, position): (&str, Option<&str>) = (row.try_get(0)?, row.try_get(7)?);
    Ok(StoredRun {
        run: u64::from_str_radix(run, 16).map_err(unreadable)?,
        fingerprint: row.try_get(1)?,
        arguments: row.try_get(2)?,
        model: [row.try_get(3)?, row.try_get(4)?, row.try_get(5)?],
        wanted: serde_json::from_str(row.try_get(6)?).map_err(unreadable)?,
        position: position.map(serde_json::from_str).transpose().map_err(unreadable)?,
        tally: serde_json::from_str(row.try_get(8)?).map_err(unreadable)?,
    })
}

fn name_of(run: u64) -> String {
    format!("{run:016x}")
}

fn json(value: &impl serde::Serialize) -> Result<String, PostgresError> {
    serde_json::to_string(value).map_err(unreadable)
}

fn unreadable(error: impl std::fmt::Display) -> PostgresError {
    PostgresError::Refused(format!("what is stored of rescores or decisions cannot be read: {error}"))
}
