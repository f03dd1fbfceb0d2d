//! What is complete, and what a person says of dead letters.
//!
//! In: nothing, or letters with a mark. Out: the row of the view `fraud_completeness`; states of letters. A session of its
//! own, made when it is first needed, which touches assay's own tables alone.

use tokio_postgres::{Client, Row, Statement};

use super::PostgresStore;
use super::auditing::{self, Auditing, insert, insertion};
use super::connection::{Session, Slot};
use super::fault::PostgresError;
use super::statements::Names;
use crate::base::clock::Millis;
use crate::engine::completeness::{Claims, Completeness, DeadLetter, Mark, Round};
use crate::engine::delivery::DestinationError;
use crate::engine::ports::{LogError, Reading};

/// The prepared statements of the session that watches.
#[derive(Debug)]
pub(super) struct Watching {
    view: Statement,
    letters: Statement,
    mark: Statement,
    states: Statement,
    fallbacks: Statement,
    rows: Statement,
    places: Statement,
}

impl Watching {
    async fn prepare(client: &Client, names: &Names) -> Result<Self, PostgresError> {
        // What a person says is not to be lost.
        client.batch_execute("SET synchronous_commit = on").await?;
        let letters = names.own("fraud_dead_letters");
        let millis = |column: &str| format!("floor(extract(epoch FROM {column}) * 1000)::bigint");
        let view = format!(
            "SELECT {}, {}, held_by, {}, applied_held_by, undecided, {}, waiting, {}, open_letters, {} FROM {}",
            millis("as_of"),
            millis("watermark"),
            millis("applied_watermark"),
            millis("oldest_undecided"),
            millis("oldest_waiting"),
            millis("oldest_open_letter"),
            names.own("fraud_completeness")
        );
        // What is settled or dismissed stays so; what holds nothing needs no auditor to be settled.
        let mark = format!(
            "UPDATE {letters} SET state = CASE WHEN $5::text = 'retried' AND holds = 'nothing' THEN 'settled' ELSE $5 END,
                    retried_partition = $6, retried_offset = $7, changed_at = now(), changed_by = $8, reason = $9
              WHERE source_topic = $1 AND source_partition = $2 AND source_offset = $3 AND destination = $4
                AND state IN ('open', 'retried')"
        );
        let states = format!(
            "SELECT letter_partition, letter_offset, state FROM {letters}
              WHERE (letter_partition, letter_offset) IN (SELECT * FROM unnest($1::integer[], $2::bigint[]))"
        );
        let fallbacks = format!(
            "UPDATE {} SET undecided = false, dismissed_at = now(), dismissed_by = $2, dismissed_reason = $3
              WHERE transaction_id = ANY ($1::text[] COLLATE \"C\") AND undecided",
            names.own("fraud_fallbacks")
        );
        let rows = format!(
            "INSERT INTO {} (transaction_id, dismissed_by, reason)
             SELECT transaction_id, $2, $3 FROM {}
              WHERE transaction_id = ANY ($1::text[] COLLATE \"C\") AND NOT applied AND revision = 0
             ON CONFLICT DO NOTHING",
            names.own("fraud_dismissed_rows"),
            names.own("fraud_decisions")
        );
        let places = format!(
            "UPDATE {letters} SET state = 'dismissed', changed_at = now(), changed_by = $3, reason = $4
              WHERE (letter_partition, letter_offset) IN (SELECT * FROM unnest($1::integer[], $2::bigint[]))
                AND state IN ('open', 'retried') RETURNING letter_partition, letter_offset"
        );
        Ok(Self {
            view: client.prepare(&view).await?,
            letters: client.prepare(&insertion(&letters)).await?,
            mark: client.prepare(&mark).await?,
            states: client.prepare(&states).await?,
            fallbacks: client.prepare(&fallbacks).await?,
            rows: client.prepare(&rows).await?,
            places: client.prepare(&places).await?,
        })
    }
}

impl PostgresStore {
    /// Marks a dead letter, also one that no auditor has seen yet; false where it was dismissed or settled before.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn mark(&self, letter: &DeadLetter, mark: &Mark, by: &str) -> Result<bool, PostgresError> {
        self.watching(async |session| {
            insert(&session.client, &session.prepared.letters, std::slice::from_ref(letter)).await?;
            let (state, partition, offset, reason) = match mark {
                Mark::Retried(partition, offset) => ("retried", Some(*partition), Some(*offset), None),
                Mark::Dismissed(reason) => ("dismissed", None, None, Some(reason.as_str())),
            };
            let ((topic, source, at), destination) = (&letter.source, &letter.destination);
            let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 9] =
                [topic, source, at, destination, &state, &partition, &offset, &by, &reason];
            Ok(session.client.execute(&session.prepared.mark, &parameters).await? > 0)
        })
        .await
    }

    /// The states of letters by their places; those that no auditor has seen yet are left out.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn states(&self, places: &[(i32, i64)]) -> Result<Vec<((i32, i64), String)>, PostgresError> {
        let (partitions, offsets): (Vec<i32>, Vec<i64>) = places.iter().copied().unzip();
        self.watching(async |session| {
            let rows = session.client.query(&session.prepared.states, &[&partitions, &offsets]).await?;
            rows.iter().map(|row| Ok(((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?))).collect()
        })
        .await
    }

    /// Dismisses the letters at these places that are known and open; which those were. Kafka may have them no longer.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn dismiss(
        &self,
        places: &[(i32, i64)],
        by: &str,
        reason: &str,
    ) -> Result<Vec<(i32, i64)>, PostgresError> {
        let (partitions, offsets): (Vec<i32>, Vec<i64>) = places.iter().copied().unzip();
        self.watching(async |session| {
            let rows = session.client.query(&session.prepared.places, &[&partitions, &offsets, &by, &reason]).await?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
        })
        .await
    }

    /// Says of transactions that were only ever answered by a fallback that they need no decision; how many answers that
    /// were.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn dismiss_fallbacks(&self, ids: &[String], by: &str, reason: &str) -> Result<u64, PostgresError> {
        self.watching(async |session| {
            Ok(session.client.execute(&session.prepared.fallbacks, &[&ids, &by, &reason]).await?)
        })
        .await
    }

    /// Says of payments whose decisions wait for their rows that those will not come; of how many that is new.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn dismiss_rows(&self, ids: &[String], by: &str, reason: &str) -> Result<u64, PostgresError> {
        self.watching(async |session| Ok(session.client.execute(&session.prepared.rows, &[&ids, &by, &reason]).await?))
            .await
    }

    /// The row of the view.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn complete(&self) -> Result<Completeness, PostgresError> {
        self.watching(async |session| completeness_of(&session.client.query_one(&session.prepared.view, &[]).await?))
            .await
    }

    async fn watching<T>(
        &self,
        work: impl AsyncFnOnce(&Session<Watching>) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let session = {
            let mut slot = self.watcher.lock().await;
            match slot.usable()? {
                Some(session) => session,
                None => {
                    let made = Session::connect(&self.settings, async |client| {
                        self.settings.calm(client).await?;
                        Watching::prepare(client, &self.names).await
                    });
                    let made = Box::pin(made).await;
                    slot.keep(made)?
                }
            }
        };
        let answer = self.bounded(Box::pin(work(&session))).await;
        if answer.as_ref().is_err_and(PostgresError::ends_session) {
            self.watcher.lock().await.forget(&session);
        }
        answer
    }

    /// The session that audits; its lock goes with it.
    async fn auditing(&self, slot: &mut Slot<Auditing>) -> Result<std::sync::Arc<Session<Auditing>>, PostgresError> {
        if let Some(session) = slot.usable()? {
            return Ok(session);
        }
        let made = Session::connect(&self.settings, async |client| {
            self.settings.calm(client).await?;
            Auditing::prepare(client, &self.names).await
        });
        let made = Box::pin(made).await;
        slot.keep(made)
    }
}

fn completeness_of(row: &Row) -> Result<Completeness, PostgresError> {
    let at = |column: usize| Ok::<_, PostgresError>(row.try_get::<_, Option<i64>>(column)?.map(Millis));
    let count = |column: usize| Ok::<_, PostgresError>(u64::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0));
    Ok(Completeness {
        as_of: at(0)?,
        watermark: at(1)?,
        held_by: row.try_get(2)?,
        applied_watermark: at(3)?,
        applied_held_by: row.try_get(4)?,
        undecided: count(5)?,
        oldest_undecided: at(6)?,
        waiting: count(7)?,
        oldest_waiting: at(8)?,
        open_letters: count(9)?,
        oldest_open_letter: at(10)?,
    })
}

impl Claims for PostgresStore {
    async fn lead(&self) -> Result<Option<std::collections::BTreeMap<i32, i64>>, DestinationError> {
        let mut slot = self.auditor.lock().await;
        let session = self.auditing(&mut slot).await?;
        let found = self.bounded(auditing::lead(&session)).await;
        if found.as_ref().is_err_and(PostgresError::ends_session) {
            slot.forget(&session);
        }
        Ok(found?)
    }

    async fn keep(&self, round: &Round) -> Result<(), DestinationError> {
        let mut slot = self.auditor.lock().await;
        let session = self.auditing(&mut slot).await?;
        let written = self.bounded(Box::pin(auditing::write(&session, round))).await;
        if written.as_ref().is_err_and(PostgresError::ends_session) {
            slot.forget(&session);
        }
        Ok(written?)
    }

    fn completeness(&self) -> Reading<'_, Completeness> {
        Box::pin(async move { self.complete().await.map_err(|error| LogError::Failed(error.to_string())) })
    }
}
