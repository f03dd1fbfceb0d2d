//! The models of all instances: changes are written, the wanted version is read.
//!
//! Invariant: a change is one row however often it is written; of two wishes the newer stays, whichever comes first.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row};

use super::connection::{Session, Slot};
use super::fault::PostgresError;
use super::statements::quoted;
use super::{MIGRATIONS, PostgresStore, migrate};
use crate::base::clock::Millis;
use crate::engine::models::{BY_ALIAS, Change, ITSELF, VersionId, Wanted};

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

async fn exchange(client: &Client, schema: &str, changes: &[Change]) -> Result<Option<Wanted>, PostgresError> {
    let enter = format!(
        "INSERT INTO {schema}.fraud_model_changes (change_id, changed_at, action, changed_by, why, from_model, from_version,
             from_digest, to_model, to_version, to_digest, basis_points, gates)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (change_id) DO NOTHING"
    );
    let wish = format!(
        "INSERT INTO {schema}.fraud_model_wanted AS known (model, model_version, digest, changed_at, changed_by, why, back_model, back_version, back_digest)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (one) DO UPDATE SET model = excluded.model, model_version = excluded.model_version,
             digest = excluded.digest, changed_at = excluded.changed_at, changed_by = excluded.changed_by, why = excluded.why,
             back_model = excluded.back_model, back_version = excluded.back_version, back_digest = excluded.back_digest
         WHERE known.changed_at < excluded.changed_at"
    );
    for change in changes {
        let (from, to) = (parts(change.from.as_ref()), parts(change.to.as_ref()));
        let at = moment(change.at);
        let (action, share) = (change.action.as_str(), change.basis_points.map(i32::from));
        let gates = serde_json::to_value(&change.checks).unwrap_or_default();
        client
            .execute(
                &enter,
                &[
                    &change.id,
                    &at,
                    &action,
                    &change.by,
                    &change.why,
                    &from.0,
                    &from.1,
                    &from.2,
                    &to.0,
                    &to.1,
                    &to.2,
                    &share,
                    &gates,
                ],
            )
            .await?;
        if let (true, (Some(name), Some(version), Some(digest))) = (change.action.is_wish(), to) {
            let back = if change.action.takes_back() { from } else { (None, None, None) };
            let values: [&(dyn ToSql + Sync); 9] =
                [&name, &version, &digest, &at, &change.by, &change.why, &back.0, &back.1, &back.2];
            client.execute(&wish, &values).await?;
        }
    }
    let stands = format!(
        "SELECT model, model_version, digest, changed_at, changed_by, why, back_model, back_version, back_digest
           FROM {schema}.fraud_model_wanted"
    );
    client.query_opt(&stands, &[]).await?.as_ref().map(wanted_of).transpose()
}

type Parts<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>);

fn parts(id: Option<&VersionId>) -> Parts<'_> {
    id.map_or((None, None, None), |id| (Some(&id.name), Some(&id.version), Some(&id.digest)))
}

fn moment(at: Millis) -> SystemTime {
    let span = Duration::from_millis(at.0.unsigned_abs());
    if at.0 < 0 { UNIX_EPOCH - span } else { UNIX_EPOCH + span }
}

/// The version of three columns, the first of them at `place`; `None` where they are null.
fn id_of(row: &Row, place: usize) -> Result<Option<VersionId>, PostgresError> {
    let (name, version, digest) = (row.try_get(place)?, row.try_get(place + 1)?, row.try_get(place + 2)?);
    let whole: (Option<String>, Option<String>, Option<String>) = (name, version, digest);
    let (Some(name), Some(version), Some(digest)) = whole else { return Ok(None) };
    Ok(Some(VersionId { name, version, digest }))
}

fn wanted_of(row: &Row) -> Result<Wanted, PostgresError> {
    let at: SystemTime = row.try_get(3)?;
    let millis = at.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_millis());
    Ok(Wanted {
        id: VersionId { name: row.try_get(0)?, version: row.try_get(1)?, digest: row.try_get(2)? },
        at: Millis(i64::try_from(millis).unwrap_or(i64::MAX)),
        by: row.try_get(4)?,
        why: row.try_get(5)?,
        taken_back: id_of(row, 6)?,
    })
}
