//! Rows that appear later, rows that somebody holds, rows that their table refuses.

use std::time::{Duration, Instant};

use assay::engine::delivery::{Delivered, Destination, Kept, Waiting};
use assay::store::postgres::{Fourth, PostgresStore};

use crate::place::Place;
use crate::records::{decided, revised};

/// Looks after what waits as a service does, until nothing waits: how long it took.
async fn until_done(store: &PostgresStore) -> Duration {
    let begun = Instant::now();
    while store.look_after().await.unwrap() != Waiting::default() {
        assert!(begun.elapsed() < Duration::from_secs(20), "still waiting");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    begun.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_appears_is_completed_within_a_second() {
    for fourth in [Fourth::Revision("revision".into()), Fourth::None] {
        let place = Place::fourth(fourth).await;
        let store = place.store();
        let kept = store.write(&[decided("a", 0.4), decided("b", 0.2)]).await.unwrap();
        assert_eq!(kept, Kept { new: 2, ..Kept::default() });
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        let waiting = store.look_after().await.unwrap();
        assert_eq!(waiting.count, 2);
        assert!(waiting.oldest >= Duration::from_secs(1) && waiting.oldest < Duration::from_secs(9), "{waiting:?}");
        place.pay(&["a", "b"]).await;
        let took = until_done(&store).await;
        assert!(took <= Duration::from_secs(1), "{took:?}");
        assert_eq!(place.scored("a").await.unwrap(), (0.4, "2026.1".into(), true));
        assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions WHERE applied AND tries > 0").await, 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_revisions_that_wait_the_higher_one_lands() {
    for fourth in [Fourth::Revision("revision".into()), Fourth::None] {
        let place = Place::fourth(fourth).await;
        let store = place.store();
        store.write(&[revised("a", 0.9, 1)]).await.unwrap();
        store.write(&[decided("a", 0.1)]).await.unwrap();
        place.pay(&["a"]).await;
        until_done(&store).await;
        assert_eq!(place.scored("a").await.unwrap().0, 0.9);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_holds_is_left_alone_and_completed_later() {
    let place = Place::new().await;
    place.pay(&["held", "free"]).await;
    let store = place.store();
    store.prepare().await.unwrap();
    let other = place.session().await;
    other.batch_execute("BEGIN; UPDATE shop.payments SET note = 'mine' WHERE id = 'held'").await.unwrap();
    let begun = Instant::now();
    let kept = store.write(&[decided("free", 0.2), decided("held", 0.4)]).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}: assay waited for a row", begun.elapsed());
    assert_eq!(kept, Kept { new: 2, applied: 1, ..Kept::default() });
    assert_eq!(store.look_after().await.unwrap().count, 1);
    // Nor does the other session wait: not for the row it holds, nor for another one.
    other.batch_execute("SET lock_timeout = '200ms'; UPDATE shop.payments SET note = 'mine too'").await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    let took = until_done(&store).await;
    assert!(took <= Duration::from_secs(1), "{took:?}");
    assert_eq!(place.scored("held").await.unwrap().0, 0.4);
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE note = 'mine too'").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_a_statement_for_a_row_that_assay_writes() {
    let place = Place::new().await;
    place.execute("INSERT INTO shop.payments (id, note) SELECT 'tx-' || g, '' FROM generate_series(0, 999) g").await;
    let store = place.store();
    store.prepare().await.unwrap();
    let other = place.session().await;
    let pipeline = tokio::spawn(async move {
        let (mut longest, mut updates) = (Duration::ZERO, 0_u32);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(2) {
            let id = format!("tx-{}", (updates * 37) % 1_000);
            let started = Instant::now();
            let sql = "UPDATE shop.payments SET note = note || 'x' WHERE id = $1";
            assert_eq!(other.execute(sql, &[&id]).await.unwrap(), 1);
            longest = longest.max(started.elapsed());
            updates += 1;
        }
        longest
    });
    let mut longest_write = Duration::ZERO;
    for revision in 0..20 {
        let batch: Vec<Delivered> = (0..1_000).map(|at| revised(&format!("tx-{at}"), 0.5, revision)).collect();
        let started = Instant::now();
        store.write(&batch).await.unwrap();
        longest_write = longest_write.max(started.elapsed());
    }
    let longest = pipeline.await.unwrap();
    println!("longest update of the pipeline {longest:?}, longest batch of 1,000 {longest_write:?}");
    assert!(longest < Duration::from_millis(900), "an update of the pipeline took {longest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_instances_share_what_waits() {
    let place = Place::new().await;
    let stores: Vec<PostgresStore> = (0..3).map(|_| place.store()).collect();
    let batch: Vec<Delivered> = (0..2_000).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    for part in batch.chunks(500) {
        assert_eq!(stores[0].write(part).await.unwrap().applied, 0);
    }
    assert_eq!(stores[1].look_after().await.unwrap().count, 2_000);
    place.execute("INSERT INTO shop.payments (id) SELECT 'tx-' || g FROM generate_series(0, 1999) g").await;
    tokio::join!(until_done(&stores[0]), until_done(&stores[1]), until_done(&stores[2]));
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score = 0.5").await, 2_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_grow_with_age() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[decided("young", 0.5), decided("older", 0.5), decided("oldest", 0.5)]).await.unwrap();
    for (id, age) in [("older", "80 seconds"), ("oldest", "10 days")] {
        place
            .execute(&format!(
                "UPDATE assay.fraud_decisions SET created_at = now() - interval '{age}' WHERE transaction_id = '{id}'"
            ))
            .await;
    }
    tokio::time::sleep(Duration::from_millis(250)).await;
    let waiting = store.look_after().await.unwrap();
    assert!(waiting.count == 3 && waiting.oldest > Duration::from_secs(863_999), "{waiting:?}");
    for (id, least, most) in [("young", 0, 500), ("older", 8_000, 13_000), ("oldest", 590_000, 600_001)] {
        let sql = format!(
            "SELECT (extract(epoch FROM next_try - now()) * 1000)::bigint + 300, tries FROM assay.fraud_decisions
              WHERE transaction_id = '{id}'"
        );
        let row = place.one(&sql).await;
        let (pause, tries) = (row.get::<_, i64>(0), row.get::<_, i32>(1));
        assert!(pause >= least && pause <= most + 300 && tries == 1, "{id}: {pause} ms, {tries} tries");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_its_table_refuses_holds_nobody_up() {
    let tables = "CREATE SCHEMA shop; CREATE TABLE shop.payments (id varchar(64) PRIMARY KEY, fraud_score real,
        model_version text, is_flagged boolean, revision integer, CHECK (id <> 'bad' OR fraud_score IS NULL))";
    let place = Place::with(tables, Fourth::Revision("revision".into())).await;
    place.pay(&["a", "bad", "c"]).await;
    let store = place.store();
    let kept = store.write(&[decided("a", 0.5), decided("bad", 0.5), decided("c", 0.5)]).await.unwrap();
    assert_eq!(kept, Kept { new: 3, ..Kept::default() });
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        store.look_after().await.unwrap();
    }
    assert_eq!(store.look_after().await.unwrap().count, 1);
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score = 0.5").await, 2);
    assert_eq!(store.write(&[decided("later", 0.5)]).await.unwrap().new, 1);
}
