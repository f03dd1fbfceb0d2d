//! What only a file can show: locks, versions, restarts, full disks.

use super::*;
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
