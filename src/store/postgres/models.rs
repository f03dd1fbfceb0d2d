//! The models of all instances: changes are written, the wanted version is read.
//!
//! Invariant: a change is one row however often it is written; of two wishes the newer stays, whichever comes first.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, Row};

use super::connection::{Session, Slot};
use super::fault::PostgresError;
use super::statements::quoted;
use super::{MIGRATIONS, PostgresStore, migrate};
use crate::base::clock::Millis;
use crate::engine::models::{Action, BY_ALIAS, Change, ITSELF, VersionId, Wanted};

/// The session that speaks of the models.
#[derive(Debug, Default)]
pub(super) struct Speaking(());

pub(super) type ModelSlot = Slot<Speaking>;

impl PostgresStore {
    /// Writes changes, then returns the wish that stands.
    ///
    /// # Errors
    /// See [`PostgresError`]: nothing of them is written.
    pub async fn record_changes(&self, changes: &[Change]) -> Result<Option<Wanted>, PostgresError> {
        self.speak(async |client, schema| exchange(client, schema, changes).await).await
    }

    /// The version that all instances want; `None` where nobody has wished for one.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn wanted_model(&self) -> Result<Option<VersionId>, PostgresError> {
        Ok(self.record_changes(&[]).await?.map(|wanted| wanted.id))
    }

    /// What an alias put in force last, by any instance.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn named_last(&self) -> Result<Option<VersionId>, PostgresError> {
        self.speak(async |client, schema| {
            let named = format!(
                "SELECT to_model, to_version, to_digest FROM {schema}.fraud_model_changes
                  WHERE action = 'activated' AND changed_by = $1 AND why = $2 ORDER BY changed_at DESC LIMIT 1"
            );
            let row = client.query_opt(&named, &[&ITSELF, &BY_ALIAS]).await?;
            row.map_or(Ok(None), |row| id_of(&row, 0))
        })
        .await
    }

    /// Asks something of the session of the models, which is made where there is none.
    async fn speak<T>(
        &self,
        ask: impl AsyncFnOnce(&Client, &str) -> Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        let mut slot = self.models.lock().await;
        let session = match slot.usable()? {
            Some(session) => session,
            None => {
                let made = Session::connect(&self.settings, async |client| {
                    migrate::migrate(client, &self.names, MIGRATIONS).await?;
                    self.settings.calm(client).await?;
                    // A wish that was taken outlives the server.
                    client.batch_execute("SET synchronous_commit = on").await?;
                    Ok(Speaking::default())
                });
                let made = Box::pin(made).await;
                slot.keep(made)?
            }
        };
        let schema = quoted(&self.names.schema);
        let done = self.bounded(ask(&session.client, &schema)).await;
        if done.as_ref().is_err_and(PostgresError::ends_session) {
            slot.forget(&session);
        }
        done
    }
}

/// Changes that are written together are written in one statement: all of them or none, in one question, and of their wishes the
/// newest.
async fn exchange(client: &Client, schema: &str, changes: &[Change]) -> Result<Option<Wanted>, PostgresError> {
    if !changes.is_empty() {
        let given = serde_json::to_value(changes).map_err(|error| PostgresError::Refused(error.to_string()))?;
        let words = |is: fn(Action) -> bool| -> Vec<&str> {
            Action::ALL.into_iter().filter(|action| is(*action)).map(Action::as_str).collect()
        };
        client.execute(&enter(schema), &[&given, &words(Action::is_wish), &words(Action::takes_back)]).await?;
    }
    let stands = format!(
        "SELECT model, model_version, digest, changed_at, changed_by, why, back_model, back_version, back_digest
           FROM {schema}.fraud_model_wanted"
    );
    let Some(row) = client.query_opt(&stands, &[]).await? else { return Ok(None) };
    // The last that is recorded of a version counts: rolled back, or asked for since.
    let gone = format!(
        "SELECT DISTINCT from_model, from_version, from_digest FROM {schema}.fraud_model_changes AS back
          WHERE action = 'rolled_back' AND NOT EXISTS (
                SELECT FROM {schema}.fraud_model_changes AS later
                 WHERE later.action IN ('activated', 'rolled_back') AND later.changed_at > back.changed_at
                   AND (later.to_model, later.to_version, later.to_digest)
                     = (back.from_model, back.from_version, back.from_digest))"
    );
    let gone = client.query(&gone, &[]).await?;
    let gone = gone.iter().filter_map(|row| id_of(row, 0).transpose()).collect::<Result<_, _>>()?;
    wanted_of(&row, gone).map(Some)
}

/// Enters $1, changes as JSON: those that are unknown, and the newest of the actions $2 as the wish, unless a newer one stands. An
/// action of $3 takes the version before back.
fn enter(schema: &str) -> String {
    format!(
        "WITH given AS (
             SELECT one->>'id' AS change_id,
                    timestamptz 'epoch' + (one->>'at')::bigint * interval '1 millisecond' AS changed_at,
                    one->>'action' AS action, one->>'by' AS changed_by, one->>'why' AS why,
                    one#>>'{{from,name}}' AS from_model, one#>>'{{from,version}}' AS from_version,
                    one#>>'{{from,digest}}' AS from_digest, one#>>'{{to,name}}' AS to_model,
                    one#>>'{{to,version}}' AS to_version, one#>>'{{to,digest}}' AS to_digest,
                    (one->>'basis_points')::integer AS basis_points, one->'checks' AS gates
               FROM jsonb_array_elements($1::jsonb) AS one),
         entered AS (
             INSERT INTO {schema}.fraud_model_changes (change_id, changed_at, action, changed_by, why, from_model, from_version,
                    from_digest, to_model, to_version, to_digest, basis_points, gates)
             SELECT change_id, changed_at, action, changed_by, why, from_model, from_version, from_digest, to_model, to_version,
                    to_digest, basis_points, gates
               FROM given ORDER BY change_id
             ON CONFLICT (change_id) DO NOTHING)
         INSERT INTO {schema}.fraud_model_wanted AS known (model, model_version, digest, changed_at, changed_by, why, back_model,
                back_version, back_digest)
         SELECT to_model, to_version, to_digest, changed_at, changed_by, why, CASE WHEN back THEN from_model END,
                CASE WHEN back THEN from_version END, CASE WHEN back THEN from_digest END
           FROM (SELECT *, action = ANY($3::text[]) AS back FROM given
                  WHERE action = ANY($2::text[]) AND to_model IS NOT NULL ORDER BY changed_at DESC LIMIT 1) AS wish
         ON CONFLICT (one) DO UPDATE SET model = excluded.model, model_version = excluded.model_version,
                digest = excluded.digest, changed_at = excluded.changed_at, changed_by = excluded.changed_by, why = excluded.why,
                back_model = excluded.back_model, back_version = excluded.back_version, back_digest = excluded.back_digest
         WHERE known.changed_at < excluded.changed_at"
    )
}

/// The version of three columns, the first of them at `place`; `None` where they are null.
fn id_of(row: &Row, place: usize) -> Result<Option<VersionId>, PostgresError> {
    let (name, version, digest) = (row.try_get(place)?, row.try_get(place + 1)?, row.try_get(place + 2)?);
    let whole: (Option<String>, Option<String>, Option<String>) = (name, version, digest);
    let (Some(name), Some(version), Some(digest)) = whole else { return Ok(None) };
    Ok(Some(VersionId { name, version, digest }))
}

fn wanted_of(row: &Row, gone: Vec<VersionId>) -> Result<Wanted, PostgresError> {
    let at: SystemTime = row.try_get(3)?;
    let millis = at.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis());
    Ok(Wanted {
        id: VersionId { name: row.try_get(0)?, version: row.try_get(1)?, digest: row.try_get(2)? },
        at: Millis(i64::try_from(millis).unwrap_or(i64::MAX)),
        by: row.try_get(4)?,
        why: row.try_get(5)?,
        taken_back: id_of(row, 6)?,
        gone,
    })
}
