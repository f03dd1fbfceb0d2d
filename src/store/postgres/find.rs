//! What is stored of transactions, by id: the newest revision, else the newest fallback.

use tokio_postgres::{Client, Statement};

use super::connection::Session;
use super::fault::PostgresError;
use super::rows::{decision_of, fallback_of};
use super::statements::{Names, finding};
use crate::engine::ports::Stored;

/// The prepared statements of the session that reads.
#[derive(Debug)]
pub(super) struct Finding {
    decision: Statement,
    fallback: Statement,
}

impl Finding {
    pub(super) async fn prepare(client: &Client, names: &Names) -> Result<Self, PostgresError> {
        let (decision, fallback) = finding(names);
        Ok(Self { decision: client.prepare(&decision).await?, fallback: client.prepare(&fallback).await? })
    }
}

/// As many answers as ids, in their order. Both questions are sent at once.
pub(super) async fn find_many(session: &Session<Finding>, ids: &[&str]) -> Result<Vec<Option<Stored>>, PostgresError> {
    let (client, prepared) = (&session.client, &session.prepared);
    let (decisions, fallbacks) = futures_util::future::try_join(
        client.query(&prepared.decision, &[&ids]),
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
