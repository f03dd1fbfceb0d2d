//! The auditor's session: a lock that one process holds, and rounds that are written by whoever holds it.
//!
//! In: rounds. Out: rows of `fraud_claim`, `fraud_dead_letters`, `fraud_letters_read`, all of a round in one transaction.
//!
//! Invariant: a round is written by the session that holds the lock. When the session is gone, so is the lock, and what its
//! process still had to write is not written.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_postgres::{Client, Statement};

use super::connection::Session;
use super::fault::PostgresError;
use super::statements::Names;
use crate::base::clock::Millis;
use crate::engine::completeness::{DeadLetter, Figures, Round};

/// Fallbacks that a round looks at.
const LOOK: i64 = 1_000;
/// Why: an auditor's machine that is gone without a word is missed by the server within so many seconds, not hours.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; SET tcp_keepalives_count = 3";

/// The prepared statements of the session that audits.
#[derive(Debug)]
pub(super) struct Auditing {
    lock: Statement,
    /// What the lock is named by.
    key: String,
    read: Statement,
    letters: Statement,
    next: Statement,
    settle: Statement,
    look: Statement,
    claim: Statement,
    leads: AtomicBool,
    /// The last fallback that was looked at.
    looked: Mutex<(i64, String)>,
}

impl Auditing {
    pub(super) async fn prepare(client: &Client, names: &Names) -> Result<Self, PostgresError> {
        client.batch_execute(KEEPALIVE).await?;
        let (letters, fallbacks) = (names.own("fraud_dead_letters"), names.own("fraud_fallbacks"));
        let (read, decisions) = (names.own("fraud_letters_read"), names.own("fraud_decisions"));
        let look = format!(
            "WITH due AS MATERIALIZED (
               SELECT record, transaction_id, occurred_ms FROM {fallbacks}
                WHERE undecided AND (occurred_ms, record) > ($1::bigint, $2::text COLLATE \"C\")
                ORDER BY occurred_ms, record LIMIT $3),
             decided AS (
               UPDATE {fallbacks} AS f SET undecided = false FROM due
                WHERE f.record = due.record
                  AND EXISTS (SELECT FROM {decisions} AS d WHERE d.transaction_id = due.transaction_id AND d.revision = 0))
             SELECT occurred_ms, record FROM due ORDER BY occurred_ms DESC, record DESC LIMIT 1"
        );
        Ok(Self {
            lock: client.prepare("SELECT pg_try_advisory_lock(hashtextextended($1, 0))").await?,
            key: format!("assay auditor of {}", names.schema),
            read: client.prepare(&format!("SELECT kafka_partition, next_offset FROM {read}")).await?,
            letters: client.prepare(&insertion(&letters)).await?,
            next: client
                .prepare(&format!(
                    "INSERT INTO {read} SELECT * FROM unnest($1::integer[], $2::bigint[])
                         ON CONFLICT (kafka_partition) DO UPDATE SET next_offset = excluded.next_offset"
                ))
                .await?,
            settle: client
                .prepare(&format!(
                    "UPDATE {letters} AS l SET state = 'settled'
                       FROM unnest($1::text[], $2::integer[], $3::bigint[]) AS s(topic, kafka_partition, next_offset)
                      WHERE l.state = 'retried' AND l.source_topic = s.topic COLLATE \"C\"
                        AND l.retried_partition = s.kafka_partition AND l.retried_offset < s.next_offset"
                ))
                .await?,
            look: client.prepare(&look).await?,
            claim: client.prepare(&claiming(names)).await?,
            leads: AtomicBool::new(false),
            looked: Mutex::new((i64::MIN, String::new())),
        })
    }
}

/// Keeps letters that are not known.
pub(super) fn insertion(letters: &str) -> String {
    format!(
        "INSERT INTO {letters} (source_topic, source_partition, source_offset, destination, letter_partition,
                                letter_offset, code, source_time, holds)
         SELECT i.topic, i.kafka_partition, i.kafka_offset, i.destination, i.letter_partition, i.letter_offset, i.code,
                timestamptz 'epoch' + i.at * interval '1 millisecond', i.holds
           FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::text[], $5::integer[], $6::bigint[], $7::text[],
                       $8::bigint[], $9::text[])
                AS i(topic, kafka_partition, kafka_offset, destination, letter_partition, letter_offset, code, at, holds)
             ON CONFLICT DO NOTHING"
    )
}

/// The parameters of [`insertion`].
pub(super) async fn insert(
    client: &Client,
    statement: &Statement,
    letters: &[DeadLetter],
) -> Result<(), PostgresError> {
    fn column<'l, T>(letters: &'l [DeadLetter], of: impl Fn(&'l DeadLetter) -> T) -> Vec<T> {
        letters.iter().map(of).collect()
    }
    client
        .execute(
            statement,
            &[
                &column(letters, |one| one.source.0.as_str()),
                &column(letters, |one| one.source.1),
                &column(letters, |one| one.source.2),
                &column(letters, |one| one.destination.as_str()),
                &column(letters, |one| one.place.0),
                &column(letters, |one| one.place.1),
                &column(letters, |one| one.code.as_str()),
                &column(letters, |one| one.at.0),
                &column(letters, |one| one.holds.as_str()),
            ],
        )
        .await?;
    Ok(())
}

fn claiming(names: &Names) -> String {
    let moment = |number: u32| format!("timestamptz 'epoch' + ${number}::bigint * interval '1 millisecond'");
    let columns = "as_of, watermark, held_by, stored, stored_held_by, undecided, oldest_undecided";
    format!(
        "INSERT INTO {} ({columns}) VALUES ({}, {}, $3, {}, $5, $6, {})
             ON CONFLICT (one) DO UPDATE SET ({columns}) =
                (excluded.as_of, excluded.watermark, excluded.held_by, excluded.stored, excluded.stored_held_by,
                 excluded.undecided, excluded.oldest_undecided)",
        names.own("fraud_claim"),
        moment(1),
        moment(2),
        moment(4),
        moment(7)
    )
}

/// Tries to take the lock, or finds that this session has it; then the next offsets of the dead letters.
pub(super) async fn lead(session: &Session<Auditing>) -> Result<Option<BTreeMap<i32, i64>>, PostgresError> {
    let (client, prepared) = (&session.client, &session.prepared);
    if !prepared.leads.load(Ordering::SeqCst) {
        let taken: bool = client.query_one(&prepared.lock, &[&prepared.key]).await?.try_get(0)?;
        if !taken {
            return Ok(None);
        }
        prepared.leads.store(true, Ordering::SeqCst);
    }
    let rows = client.query(&prepared.read, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, PostgresError>>().map(Some)
}

/// Writes a round, all of it or nothing.
pub(super) async fn write(session: &Session<Auditing>, round: &Round) -> Result<(), PostgresError> {
    if !session.prepared.leads.load(Ordering::SeqCst) {
        return Err(PostgresError::Interrupted("another process audits now".to_owned()));
    }
    session.client.batch_execute("BEGIN").await?;
    match statements(session, round).await {
        Ok(()) => Ok(session.client.batch_execute("COMMIT").await?),
        Err(error) => {
            session.client.batch_execute("ROLLBACK").await?;
            Err(error)
        }
    }
}

async fn statements(session: &Session<Auditing>, round: &Round) -> Result<(), PostgresError> {
    let (client, prepared) = (&session.client, &session.prepared);
    if !round.letters.is_empty() {
        insert(client, &prepared.letters, &round.letters).await?;
    }
    let (partitions, offsets): (Vec<i32>, Vec<i64>) = round.next.iter().copied().unzip();
    client.execute(&prepared.next, &[&partitions, &offsets]).await?;
    let Some(figures) = &round.figures else { return Ok(()) };
    let settled = round.settled.iter().flat_map(|(topic, offsets)| {
        (0_i32..).zip(offsets).map(move |(partition, offset)| (topic.as_str(), partition, *offset))
    });
    let (mut topics, mut partitions, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
    for (topic, partition, offset) in settled {
        topics.push(topic);
        partitions.push(partition);
        offsets.push(offset);
    }
    client.execute(&prepared.settle, &[&topics, &partitions, &offsets]).await?;
    look(session).await?;
    claim(session, figures).await
}

/// Clears the marks of fallbacks that have a full decision: some in each round, all in turn.
async fn look(session: &Session<Auditing>) -> Result<(), PostgresError> {
    let prepared = &session.prepared;
    let (at, record) = prepared.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let last = session.client.query_opt(&prepared.look, &[&at, &record, &LOOK]).await?;
    let last = last.map(|row| Ok::<_, PostgresError>((row.try_get(0)?, row.try_get(1)?))).transpose()?;
    let from_the_beginning = || (i64::MIN, String::new());
    *prepared.looked.lock().unwrap_or_else(PoisonError::into_inner) = last.unwrap_or_else(from_the_beginning);
    Ok(())
}

async fn claim(session: &Session<Auditing>, figures: &Figures) -> Result<(), PostgresError> {
    let Figures { as_of, watermark, held_by, stored, stored_held_by, undecided, oldest } = figures;
    let number = |at: &Option<Millis>| at.map(|at| at.0);
    let undecided = i64::try_from(*undecided).unwrap_or(i64::MAX);
    let (watermark, stored, oldest) = (number(watermark), number(stored), number(oldest));
    session
        .client
        .execute(
            &session.prepared.claim,
            &[&as_of.0, &watermark, held_by, &stored, stored_held_by, &undecided, &oldest],
        )
        .await?;
    Ok(())
}
