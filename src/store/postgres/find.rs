//! What is stored of transactions, by id: the first decision, or that of a revision, else the newest fallback.

use tokio_postgres::{Client, Statement};

use super::connection::Session;
use super::fault::PostgresError;
use super::rows::{decision_of, fallback_of};
use super::statements::{Names, finding};
use crate::decision::Decision;
use crate::engine::ports::Stored;

/// The prepared statements of the session that reads.
#[derive(Debug)]
pub(super) struct Finding {
    first: Statement,
    revision: Statement,
    fallback: Statement,
}

impl Finding {
    pub(super) async fn prepare(client: &Client, names: &Names) -> Result<Self, PostgresError> {
        let (first, revision, fallback) = finding(names);
        Ok(Self {
            first: client.prepare(&first).await?,
            revision: client.prepare(&revision).await?,
            fallback: client.prepare(&fallback).await?,
        })
    }
}

/// As many answers as ids, in their order. Both questions are sent at once.
pub(super) async fn find_many(session: &Session<Finding>, ids: &[&str]) -> Result<Vec<Option<Stored>>, PostgresError> {
    let (client, prepared) = (&session.client, &session.prepared);
    let (decisions, fallbacks) = futures_util::future::try_join(
        client.query(&prepared.first, &[&ids]),
        client.query(&prepared.fallback, &[&ids]),
    )
    .await?;
    let mut found: Vec<Option<Stored>> = ids.iter().map(|_| None).collect();
    let rows = decisions.iter().map(decision_of).chain(fallbacks.iter().map(fallback_of));
    for row in rows {
        let (place, stored) = row?;
        let index = usize::try_from(place - 1).unwrap_or(usize::MAX);
        if let Some(slot) = found.get_mut(index)
            && slot.is_none()
        {
            *slot = Some(stored);
        }
    }
    Ok(found)
}

/// The decision of this revision, or the newest one: then a fallback where there is no other.
pub(super) async fn decision(
    session: &Session<Finding>,
    id: &str,
    revision: Option<u32>,
) -> Result<Option<Decision>, PostgresError> {
    let (client, prepared) = (&session.client, &session.prepared);
    // A number that the column cannot hold is that of no decision.
    let Ok(wanted) = revision.map(i32::try_from).transpose() else { return Ok(None) };
    if let Some(row) = client.query_opt(&prepared.revision, &[&id, &wanted]).await? {
        return Ok(decision_of(&row)?.1.decision);
    }
    if wanted.is_some() {
        return Ok(None);
    }
    let fallback = client.query_opt(&prepared.fallback, &[&[id].as_slice()]).await?;
    Ok(fallback.as_ref().map(fallback_of).transpose()?.and_then(|(_, stored)| stored.decision))
}
