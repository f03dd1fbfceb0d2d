//! Waiting until rows are completed, without being a load to PostgreSQL.

use std::time::{Duration, Instant};

use super::table::Table;

/// The newest rows are asked about until they are completed; only then are all of them.
const NEWEST: usize = 200;
const CHUNK: usize = 10_000;
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until the rows of these payments are completed, in the order given; gives up when none was for `silence`.
/// How many are not.
pub(crate) async fn wait(table: &Table, ids: &[String], silence: Duration) -> anyhow::Result<u64> {
    let newest = ids.get(ids.len().saturating_sub(NEWEST)..).unwrap_or_default();
    let mut missing = wait_for(table, newest, silence).await?;
    if missing > 0 {
        // Those before may still be on their way, or the newest may be what is lost: every chunk is asked once more.
        missing = 0;
    }
    for chunk in ids.chunks(CHUNK) {
        missing += wait_for(table, chunk, if missing == 0 { silence } else { Duration::ZERO }).await?;
    }
    Ok(missing)
}

async fn wait_for(table: &Table, ids: &[String], silence: Duration) -> anyhow::Result<u64> {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let completed = table.completed_of(ids).await?;
        let missing = (ids.len() as u64).saturating_sub(completed);
        if completed > last {
            (last, since) = (completed, Instant::now());
        }
        if missing == 0 || since.elapsed() >= silence {
            return Ok(missing);
        }
        tokio::time::sleep(PAUSE).await;
    }
}
