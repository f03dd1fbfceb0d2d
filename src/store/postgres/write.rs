//! A batch of delivered records into PostgreSQL.
//!
//! ```text
//! full decisions ─▶ waves, each id once ─▶ a statement for some 250: store, lock the rows that are free, write them
//!                                          └ fewer stored than sent: the rest are repeated or superseded, and audited
//! fallbacks      ─▶ one statement
//! all of it      ─▶ the progress of each partition: the one commit that waits for the disk
//! ```
//!
//! Invariant: a statement commits by itself (or with the COMMIT that was sent along, see [`Session::run`]), so a row's
//! lock lasts as long as the statement. Writing a batch again stores nothing anew.
//! Cancel safety: what was sent is done by the server or not at all; a batch that was cut off is written again, whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, join4, try_join_all};
use tokio_postgres::{Client, Statement};

use super::connection::Session;
use super::fault::PostgresError;
use super::rows::{Arrays, Full};
use super::statements::{Names, Target, Texts};
use crate::engine::delivery::{Delivered, Kept};

/// Records of one statement. It bounds how long a row is locked (some 5 ms); the next one is on its way meanwhile.
const STATEMENT_ROWS: usize = 250;

/// The prepared statements of the session that writes.
#[derive(Debug)]
pub(super) struct Writing {
    write: Statement,
    store: Statement,
    supersede: Statement,
    fallback: Statement,
    progress: Statement,
    pub(super) complete: Statement,
    pub(super) put_off: Statement,
    pub(super) oldest: Statement,
    pub(super) count: Statement,
    /// (taken together, taken alone), where `fraud_decisions` guards the revision.
    gate: Option<(Statement, Statement)>,
    /// What the gate's lock is named by.
    gate_key: String,
    /// The statements that touch the payments' table, with the number of their parameters.
    touching: [(String, usize); 2],
}

impl Writing {
    pub(super) async fn prepare(client: &Client, names: &Names, target: &Arc<Target>) -> Result<Self, PostgresError> {
        let texts = Texts::of(names, target);
        let all = [
            &texts.write,
            &texts.store,
            &texts.supersede,
            &texts.fallback,
            &texts.progress,
            &texts.complete,
            &texts.put_off,
            &texts.oldest,
            &texts.count,
        ];
        let prepared = try_join_all(all.map(|text| client.prepare(text))).await?;
        let Ok([write, store, supersede, fallback, progress, complete, put_off, oldest, count]) =
            <[Statement; 9]>::try_from(prepared)
        else {
            return Err(PostgresError::Unavailable("the statements could not be prepared".to_owned()));
        };
        let gate = match (&texts.share, &texts.exclude) {
            (Some(share), Some(exclude)) => Some((client.prepare(share).await?, client.prepare(exclude).await?)),
            _ => None,
        };
        let gate_key = format!("assay revisions of {}", names.schema);
        let touching = [(texts.write, write.params().len()), (texts.complete, complete.params().len())];
        Ok(Self {
            write,
            store,
            supersede,
            fallback,
            progress,
            complete,
            put_off,
            oldest,
            count,
            gate,
            gate_key,
            touching,
        })
    }
}

/// How one statement is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// With others of its kind.
    Shared,
    /// Alone: it writes a revision above the first.
    Alone,
}

impl Session<Writing> {
    /// Runs a statement that writes rows and answers two counts.
    ///
    /// Why the gate: where the row does not tell its revision, a first decision whose snapshot is older than a later
    /// revision's commit could overwrite it. So later revisions are written while no first decision is. All four messages are
    /// sent at once: the server waits for none of them.
    pub(super) async fn run(
        &self,
        statement: &Statement,
        arrays: &Arrays<'_>,
        gate: Gate,
    ) -> Result<(usize, usize), PostgresError> {
        let (client, prepared) = (&self.client, &self.prepared);
        let parameters = arrays.references();
        let row = match &prepared.gate {
            None => client.query_one(statement, &parameters).await?,
            Some((shared, alone)) => {
                let gate = if gate == Gate::Shared { shared } else { alone };
                let key: [&(dyn tokio_postgres::types::ToSql + Sync); 1] = [&prepared.gate_key];
                let (begun, passed, row, committed) = join4(
                    client.batch_execute("BEGIN"),
                    client.query(gate, &key),
                    client.query_one(statement, &parameters),
                    client.batch_execute("COMMIT"),
                )
                .await;
                begun?;
                passed?;
                let row = row?;
                committed?;
                row
            }
        };
        let count = |column| Ok::<_, PostgresError>(usize::try_from(row.try_get::<_, i64>(column)?).unwrap_or(0));
        Ok((count(0)?, count(1)?))
    }
}

impl Session<Writing> {
    /// The plan of each statement that touches the payments' table.
    pub(super) async fn plans(&self) -> Result<Vec<String>, PostgresError> {
        let mut plans = Vec::new();
        for (text, parameters) in &self.prepared.touching {
            let nulls = vec!["NULL"; *parameters].join(", ");
            self.client.batch_execute(&format!("PREPARE looked_at AS {text}")).await?;
            let plan = self.client.query(&format!("EXPLAIN EXECUTE looked_at({nulls})"), &[]).await;
            self.client.batch_execute("DEALLOCATE looked_at").await?;
            let lines: Vec<String> = plan?.iter().map(|row| row.get(0)).collect();
            plans.push(lines.join("\n"));
        }
        Ok(plans)
    }
}

/// Writes the batch; when it returns, all of it is on disk. `limit` bounds every single statement.
pub(super) async fn write(
    session: &Session<Writing>,
    batch: &[Delivered],
    limit: Duration,
) -> Result<Kept, PostgresError> {
    let (mut waves, mut fallbacks, mut kept) = (Vec::new(), Vec::new(), Kept::default());
    sort(batch, &mut waves, &mut fallbacks, &mut kept);
    for wave in &mut waves {
        // In key order, so that two writers of the same ids never wait for each other in a circle.
        wave.sort_unstable_by_key(Full::id);
        write_wave(session, wave, limit, &mut kept).await?;
    }
    if !fallbacks.is_empty() {
        let arrays = Arrays::of_fallbacks(&fallbacks)?;
        let parameters = arrays.references();
        let fresh = within(limit, async { Ok(session.client.execute(&session.prepared.fallback, &parameters).await?) });
        let fresh = usize::try_from(fresh.await?).unwrap_or(0);
        kept.new += fresh;
        kept.repeated += fallbacks.len() - fresh;
    }
    let mut ends: HashMap<i32, i64> = HashMap::new();
    for delivered in batch {
        let end = ends.entry(delivered.partition).or_insert(delivered.offset);
        *end = delivered.offset.max(*end);
    }
    let mut ends: Vec<_> = ends.into_iter().collect();
    ends.sort_unstable();
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = ends.into_iter().unzip();
    within(limit, async { Ok(session.client.execute(&session.prepared.progress, &[&partitions, &offsets]).await?) })
        .await?;
    Ok(kept)
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, PostgresError>>) -> Result<T, PostgresError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        Err(PostgresError::Unavailable(format!("no answer within {limit:?}; the connection is given up")))
    })
}

/// Parts a batch: the n-th record of an id goes to wave n, so that a statement has each id once and their order holds. A
/// record that stands twice in the batch is counted as repeated here.
fn sort<'b>(
    batch: &'b [Delivered],
    waves: &mut Vec<Vec<Full<'b>>>,
    fallbacks: &mut Vec<&'b Delivered>,
    kept: &mut Kept,
) {
    let mut seen: HashMap<&str, Vec<&Delivered>> = HashMap::with_capacity(batch.len());
    for delivered in batch {
        let Some(full) = Full::of(delivered) else {
            fallbacks.push(delivered);
            continue;
        };
        let earlier = seen.entry(full.id()).or_default();
        if earlier.iter().any(|one| one.published.record == delivered.published.record) {
            kept.repeated += 1;
            continue;
        }
        if waves.len() <= earlier.len() {
            waves.push(Vec::new());
        }
        if let Some(wave) = waves.get_mut(earlier.len()) {
            wave.push(full);
        }
        earlier.push(delivered);
    }
}

/// Writes records of different ids. Their statements are sent one behind the other, without a wait between them.
async fn write_wave(
    session: &Session<Writing>,
    wave: &[Full<'_>],
    limit: Duration,
    kept: &mut Kept,
) -> Result<(), PostgresError> {
    let parts = wave.len().div_ceil(STATEMENT_ROWS);
    let limit = limit * u32::try_from(parts).unwrap_or(u32::MAX);
    let written = join_all(wave.chunks(STATEMENT_ROWS).map(|part| write_part(session, part)));
    let written = within(limit, async { Ok(written.await) }).await?;
    for (part, written) in wave.chunks(STATEMENT_ROWS).zip(written) {
        within(limit, settle(session, part, written, kept)).await?;
    }
    Ok(())
}

async fn write_part(session: &Session<Writing>, part: &[Full<'_>]) -> Result<(usize, usize), PostgresError> {
    session.run(&session.prepared.write, &Arrays::of_full(part)?, gate_of(part)).await
}

fn gate_of(part: &[Full<'_>]) -> Gate {
    if part.iter().any(|full| full.revision > 0) { Gate::Alone } else { Gate::Shared }
}

/// Counts what became of a statement's records, and audits those that lost.
async fn settle(
    session: &Session<Writing>,
    part: &[Full<'_>],
    written: Result<(usize, usize), PostgresError>,
    kept: &mut Kept,
) -> Result<(), PostgresError> {
    let prepared = &session.prepared;
    let written = match written {
        // Why: a rule of the row's owner (a check, a trigger, a length) refuses one of the rows. Nobody behind it
        // shall wait for a person: all are stored, and `look_after` tries them one by one.
        Err(PostgresError::Refused(reason)) => {
            tracing::warn!(reason, records = part.len(), "the rows of a batch are refused; its decisions wait");
            session.run(&prepared.store, &Arrays::of_full(part)?, gate_of(part)).await
        }
        other => other,
    };
    let (fresh, applied) = written?;
    kept.new += fresh;
    kept.applied += applied;
    if fresh < part.len() {
        let arrays = Arrays::of_losers(part)?;
        let superseded = session.client.execute(&prepared.supersede, &arrays.references()).await?;
        let superseded = usize::try_from(superseded).unwrap_or(0);
        kept.superseded += superseded;
        kept.repeated += part.len().saturating_sub(fresh + superseded);
    }
    Ok(())
}
