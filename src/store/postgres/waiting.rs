//! What waits for its row: tried again, young ones several times a second, older ones by growing pauses.
//!
//! Invariant: bounded work a call. Several instances do it side by side: a decision that one of them tries is skipped by the
//! others.

use std::time::Duration;

use tokio::time::Instant;

use super::connection::Session;
use super::fault::PostgresError;
use super::rows::Arrays;
use super::write::{Gate, Writing};
use crate::engine::delivery::Waiting;

/// Decisions that one statement tries.
const ROUND: i64 = 500;
/// No further round begins after this; a call is at most one statement longer.
const LONGEST: Duration = Duration::from_millis(200);
/// Up to here the waiting are counted at every call, above it as often as `RECOUNT` says.
const FEW: u64 = 10_000;
const RECOUNT: Duration = Duration::from_secs(10);

/// The last count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counted: Option<(Instant, u64)>,
}

/// Tries what is due, and says what waits.
pub(super) async fn look_after(session: &Session<Writing>, tally: &mut Tally) -> Result<Waiting, PostgresError> {
    let begun = Instant::now();
    let mut done = 0;
    loop {
        let (tried, completed) = round(session).await?;
        done += completed;
        if tried < ROUND.unsigned_abs() as usize || begun.elapsed() > LONGEST {
            break;
        }
    }
    let prepared = &session.prepared;
    let oldest: Option<i64> = session.client.query_one(&prepared.oldest, &[]).await?.try_get(0)?;
    let Some(oldest) = oldest else {
        tally.counted = None;
        return Ok(Waiting::default());
    };
    let count = match tally.counted {
        Some((when, count)) if count > FEW && when.elapsed() < RECOUNT => {
            let left = count.saturating_sub(done as u64).max(1);
            tally.counted = Some((when, left));
            left
        }
        _ => {
            let count: i64 = session.client.query_one(&prepared.count, &[]).await?.try_get(0)?;
            let count = u64::try_from(count).unwrap_or(0);
            tally.counted = Some((Instant::now(), count));
            count
        }
    };
    Ok(Waiting { count, oldest: Duration::from_millis(u64::try_from(oldest).unwrap_or(0)) })
}

/// One statement's worth: (tried, completed).
async fn round(session: &Session<Writing>) -> Result<(usize, usize), PostgresError> {
    let complete = &session.prepared.complete;
    match session.run(complete, &Arrays::of_limit(ROUND), Gate::Shared).await {
        Err(PostgresError::Refused(_)) => one_by_one(session).await,
        other => other,
    }
}

/// The same for a round in which a rule of the row's owner refuses a row: each by itself, and that one is put off.
async fn one_by_one(session: &Session<Writing>) -> Result<(usize, usize), PostgresError> {
    let (mut tried, mut completed) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < LONGEST {
        match session.run(&session.prepared.complete, &Arrays::of_limit(1), Gate::Shared).await {
            Ok((0, _)) => break,
            Ok((one, done)) => {
                tried += one;
                completed += done;
            }
            Err(PostgresError::Refused(reason)) => {
                tracing::error!(reason, "a row is refused by its table; its decision waits for a person");
                session.client.execute(&session.prepared.put_off, &[]).await?;
                tried += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok((tried, completed))
}
