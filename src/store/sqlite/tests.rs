//! What only a file can show: locks, versions, restarts, full disks.

use super::*;
use crate::decision::{Decision, Explanation};
use crate::model::Method;
use crate::store::conformance::{put, record};

fn options(folder: &tempfile::TempDir) -> SqliteOptions {
    SqliteOptions::at(folder.path().join("assay.db"), Durability::Committed)
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&options(&folder)).unwrap();
    put(&log, Entry::Full(record("a", 1, 0.5))).await.unwrap();
    log.append(Entry::Full(record("b", 2, 0.5)), None).unwrap();
    // Dropping writes what waits.
    drop(log);
    let log = SqliteLog::open(&options(&folder)).unwrap();
    assert!(log.find("a").await.unwrap().is_some() && log.find("b").await.unwrap().is_some());
}

#[test]
fn a_file_has_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&options(&folder)).unwrap();
    let refused = SqliteLog::open(&options(&folder)).unwrap_err();
    assert!(refused.to_string().contains("held by another running instance"), "{refused}");
    drop(log);
    SqliteLog::open(&options(&folder)).unwrap();
}

#[test]
fn a_later_schema_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    drop(SqliteLog::open(&options(&folder)).unwrap());
    let connection = Connection::open(folder.path().join("assay.db")).unwrap();
    connection.execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = SqliteLog::open(&options(&folder)).unwrap_err().to_string();
    assert!(refused.contains("schema version 99") && refused.contains("assay.db"), "{refused}");
}

#[tokio::test]
async fn a_failing_disk_fails_those_who_wait_and_keeps_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&options(&folder)).unwrap();
    put(&log, Entry::Full(record("a", 1, 0.5))).await.unwrap();
    // Another connection takes a table away: every write fails until it is back.
    let other = Connection::open(folder.path().join("assay.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("ALTER TABLE features RENAME TO away").unwrap();
    log.append(Entry::Full(record("queued", 2, 0.5)), None).unwrap();
    assert!(matches!(put(&log, Entry::Full(record("waited", 3, 0.5))).await, Err(LogError::Failed(_))));
    assert!(log.health().unwrap_err().contains("cannot be written"));
    other.execute_batch("ALTER TABLE away RENAME TO features").unwrap();
    assert!(put(&log, Entry::Full(record("waited", 3, 0.5))).await.unwrap().first);
    log.health().unwrap();
    assert!(log.find("queued").await.unwrap().is_some());
}

#[tokio::test]
async fn a_full_queue_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let log = SqliteLog::open(&SqliteOptions { queue: 2, ..options(&folder) }).unwrap();
    let other = Connection::open(folder.path().join("assay.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for id in ["a", "b"] {
        log.append(Entry::Full(record(id, 1, 0.5)), None).unwrap();
    }
    assert!(!log.has_room());
    assert_eq!(log.append(Entry::Full(record("c", 1, 0.5)), None), Err(LogError::Full(2)));
    other.execute_batch("COMMIT").unwrap();
    log.flush().await.unwrap();
    assert!(log.has_room() && log.find("b").await.unwrap().is_some());
}

#[tokio::test]
async fn decisions_of_the_first_version_read_back_and_new_ones_join_them() {
    let folder = tempfile::tempdir().unwrap();
    let earlier = Connection::open(folder.path().join("assay.db")).unwrap();
    earlier.execute_batch(schema::MIGRATIONS[0]).unwrap();
    earlier
        .execute_batch(
            r#"PRAGMA user_version = 1;
            INSERT INTO models VALUES (1, 'fraud', '1', 'ab', 0.5);
            INSERT INTO transactions (transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency,
                base_minor, rate, revision, score, flagged, degraded, model_id, model_version, source, scored_at,
                took_micros, reasons)
            VALUES ('old', 1, 'c', 't', 100, 'EUR', 100, 0, 0, 0.75, 1, 0, 1, '1', 'predict', 2, 3,
                '[{"code":"amount","message":"m","value":1.0,"contribution":0.25}]');"#,
        )
        .unwrap();
    drop(earlier);
    let log = SqliteLog::open(&options(&folder)).unwrap();
    let old = log.find("old").await.unwrap().unwrap().decision.unwrap();
    assert_eq!((old.score, old.reasons[0].contribution, old.explanation), (Some(0.75), Some(0.25), None));
    let mut record = record("new", 2, 0.5);
    let explanation =
        Explanation { method: Method::TreeShap, baseline: -0.1, margin: 1.0 / 3.0, other: f64::MIN_POSITIVE };
    record.decision = Arc::new(Decision { explanation: Some(explanation), ..(*record.decision).clone() });
    put(&log, Entry::Full(record.clone())).await.unwrap();
    assert_eq!(log.find("new").await.unwrap().unwrap().decision.unwrap(), *record.decision);
}
