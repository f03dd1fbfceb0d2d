//! Who wins, what the row shows, and what is written again.

use std::sync::Arc;

use assay::engine::delivery::{Delivered, Destination, Kept, Waiting};
use assay::store::postgres::Fourth;

use crate::place::Place;
use crate::records::{decided, fallen_back, revised};

const NEW_AND_APPLIED: Kept = Kept { new: 1, repeated: 0, superseded: 0, applied: 1, refused: Vec::new() };

#[tokio::test(flavor = "multi_thread")]
async fn the_first_record_stays() {
    let place = Place::new().await;
    let store = place.store();
    place.pay(&["a"]).await;
    let (first, second) = (decided("a", 0.123_456_79), decided("a", 0.9));
    assert_eq!(store.write(std::slice::from_ref(&first)).await.unwrap(), NEW_AND_APPLIED);
    let superseded = Kept { superseded: 1, ..Kept::default() };
    assert_eq!(store.write(std::slice::from_ref(&second)).await.unwrap(), superseded);
    let repeated = Kept { repeated: 2, ..Kept::default() };
    assert_eq!(store.write(&[first, second]).await.unwrap(), repeated);
    assert_eq!(place.scored("a").await, Some((0.123_456_79, "2026.1".into(), false)));
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions WHERE applied AND next_try IS NULL").await, 1);
    let lost = place.one("SELECT (decision->>'score')::real, revision FROM assay.fraud_superseded").await;
    assert_eq!((lost.get::<_, f32>(0), lost.get::<_, i32>(1)), (0.9, 0));
    assert_eq!(place.count("SELECT revision::bigint FROM shop.payments").await, 0);
    // What is not assay's business is as it was.
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE amount = 1 AND note IS NULL").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_batch_may_hold_an_id_several_times() {
    let place = Place::new().await;
    let store = place.store();
    place.pay(&["a", "b"]).await;
    let first = decided("a", 0.2);
    let batch =
        [first.clone(), decided("b", 0.7), decided("a", 0.9), first.clone(), revised("a", 0.4, 1), decided("a", 0.8)];
    let kept = store.write(&batch).await.unwrap();
    assert_eq!(kept, Kept { new: 3, repeated: 1, superseded: 2, applied: 3, ..Kept::default() });
    assert_eq!(place.scored("a").await.unwrap().0, 0.4);
    let kept = store.write(&batch).await.unwrap();
    assert_eq!(kept, Kept { repeated: 6, ..Kept::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_revision_replaces_and_a_late_lower_one_does_not() {
    for fourth in [Fourth::Revision("revision".into()), Fourth::Time("decided_at".into()), Fourth::None] {
        let place = Place::fourth(fourth.clone()).await;
        let store = place.store();
        place.pay(&["a", "b"]).await;
        store.write(&[decided("a", 0.2)]).await.unwrap();
        assert_eq!(store.write(&[revised("a", 0.6, 2)]).await.unwrap(), NEW_AND_APPLIED, "{fourth:?}");
        assert_eq!(place.scored("a").await.unwrap().0, 0.6, "{fourth:?}");
        // The late one is kept, waits for nothing, and the row stays.
        assert_eq!(store.write(&[revised("a", 0.9, 1)]).await.unwrap(), NEW_AND_APPLIED, "{fourth:?}");
        assert_eq!(place.scored("a").await.unwrap().0, 0.6, "{fourth:?}");
        assert_eq!(store.look_after().await.unwrap(), Waiting::default(), "{fourth:?}");
        assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions").await, 3, "{fourth:?}");
        let sql = match fourth {
            Fourth::Time(_) => {
                "SELECT (extract(epoch FROM decided_at) * 1000)::bigint FROM shop.payments WHERE id = 'a'"
            }
            Fourth::Revision(_) => "SELECT 1700000001775 + revision::bigint FROM shop.payments WHERE id = 'a'",
            Fourth::None => {
                "SELECT 1700000001777 + num_nonnulls(revision, decided_at)::bigint FROM shop.payments WHERE id = 'a'"
            }
        };
        assert_eq!(place.count(sql).await, 1_700_000_001_777);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_revisions_end_with_the_highest() {
    for fourth in [Fourth::None, Fourth::Revision("revision".into())] {
        let place = Place::fourth(fourth).await;
        let (one, other) = (place.store(), place.store());
        one.prepare().await.unwrap();
        let ids: Vec<String> = (0..40).map(|number| format!("r{number}")).collect();
        place.pay(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
        for id in &ids {
            let (low, high) = ([decided(id, 0.1)], [revised(id, 0.9, 1)]);
            let (low, high) = tokio::join!(one.write(&low), other.write(&high));
            assert_eq!((low.unwrap().new, high.unwrap().new), (1, 1));
        }
        for _ in 0..3 {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            one.look_after().await.unwrap();
        }
        assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score <> 0.9::real").await, 0);
        assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions WHERE NOT applied").await, 0);
    }
}

/// A first decision whose statement began before a later revision was there, and ends after it.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_decision_does_not_overwrite_a_later_revision() {
    for fourth in [Fourth::None, Fourth::Time("decided_at".into()), Fourth::Revision("revision".into())] {
        let place = Place::fourth(fourth.clone()).await;
        place.pay(&["a", "b"]).await;
        let (slow, quick) = (place.store(), place.store());
        slow.prepare().await.unwrap();
        quick.prepare().await.unwrap();
        slow.write(&[decided("seed", 0.1)]).await.unwrap();
        // Somebody's unfinished insertion of `a` holds the slow one up before it comes to `b`.
        let other = place.session().await;
        let held = "BEGIN; INSERT INTO assay.fraud_decisions
            SELECT (jsonb_populate_record(d, '{\"transaction_id\": \"a\"}')).* FROM assay.fraud_decisions d";
        other.batch_execute(held).await.unwrap();
        let (low, high) = ([decided("a", 0.1), decided("b", 0.1)], [revised("b", 0.9, 1)]);
        let release = async {
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
            other.batch_execute("ROLLBACK").await.unwrap();
        };
        let later = async {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            quick.write(&high).await.unwrap();
        };
        let (written, ..) = tokio::join!(slow.write(&low), later, release);
        written.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        slow.look_after().await.unwrap();
        assert_eq!(place.scored("b").await.unwrap().0, 0.9, "{fourth:?}");
        assert_eq!(place.scored("a").await.unwrap().0, 0.1, "{fourth:?}");
    }
}

/// The row changes between the statement's snapshot and its lock: both changes are there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changes_under_the_statement_keeps_both_changes() {
    for fourth in [Fourth::None, Fourth::Revision("revision".into())] {
        let place = Place::fourth(fourth.clone()).await;
        place.pay(&["a", "b"]).await;
        let store = place.store();
        store.write(&[decided("seed", 0.1)]).await.unwrap();
        let other = place.session().await;
        let held = "BEGIN; INSERT INTO assay.fraud_decisions
            SELECT (jsonb_populate_record(d, '{\"transaction_id\": \"a\"}')).* FROM assay.fraud_decisions d";
        other.batch_execute(held).await.unwrap();
        let batch = [decided("a", 0.1), decided("b", 0.7)];
        let meanwhile = async {
            tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            place.execute("UPDATE shop.payments SET note = 'theirs' WHERE id = 'b'").await;
            other.batch_execute("ROLLBACK").await.unwrap();
        };
        let (written, ()) = tokio::join!(store.write(&batch), meanwhile);
        let written = written.unwrap();
        assert_eq!((written.new, written.applied), (2, 2), "{fourth:?}");
        let both =
            "SELECT count(*) FROM shop.payments WHERE note = 'theirs' AND fraud_score = 0.7::real AND is_flagged";
        assert_eq!(place.count(both).await, 1, "{fourth:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fallback_never_reaches_the_row() {
    let place = Place::new().await;
    let store = place.store();
    place.pay(&["a"]).await;
    let fallback = fallen_back("a");
    let kept = store.write(std::slice::from_ref(&fallback)).await.unwrap();
    assert_eq!(kept, Kept { new: 1, ..Kept::default() });
    assert_eq!(store.write(&[fallback]).await.unwrap(), Kept { repeated: 1, ..Kept::default() });
    assert_eq!(place.scored("a").await, None);
    assert_eq!(
        place.count("SELECT num_nonnulls(model_version, is_flagged, revision)::bigint FROM shop.payments").await,
        0
    );
    assert_eq!(
        store.write(&[decided("a", 0.4), fallen_back("a")]).await.unwrap(),
        Kept { new: 2, applied: 1, ..Kept::default() }
    );
    assert_eq!(place.scored("a").await.unwrap().0, 0.4);
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_fallbacks").await, 2);
    assert_eq!(store.look_after().await.unwrap(), Waiting::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_one_and_of_a_thousand_and_again_after_a_crash() {
    let place = Place::new().await;
    place.execute("INSERT INTO shop.payments (id) SELECT 'tx-' || g FROM generate_series(0, 999) g").await;
    let store = place.store();
    let batch: Vec<Delivered> = (0..1_000).map(|at| decided(&format!("tx-{at}"), at as f32 / 1_000.0)).collect();
    assert_eq!(store.write(&batch[..1]).await.unwrap(), NEW_AND_APPLIED);
    // A process that ended between its write and the commit of its offsets: another one writes the same batch.
    drop(store);
    let store = place.store();
    assert_eq!(store.write(&batch).await.unwrap(), Kept { new: 999, repeated: 1, applied: 999, ..Kept::default() });
    assert_eq!(store.write(&batch).await.unwrap(), Kept { repeated: 1_000, ..Kept::default() });
    let wrong =
        "SELECT count(*) FROM shop.payments WHERE fraud_score IS DISTINCT FROM (substr(id, 4)::real / 1000)::real
                    OR is_flagged IS DISTINCT FROM fraud_score >= 0.3::real OR revision <> 0";
    assert_eq!(place.count(wrong).await, 0);
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions").await, 1_000);
    let furthest = batch.iter().map(|delivered| delivered.offset).max().unwrap();
    assert_eq!(place.count("SELECT max(kafka_offset) FROM assay.fraud_progress").await, furthest);
    assert_eq!(store.write(&[]).await.unwrap(), Kept::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_was_cut_off_is_written_again_whole() {
    let place = Place::new().await;
    place.execute("INSERT INTO shop.payments (id) SELECT 'tx-' || g FROM generate_series(0, 499) g").await;
    let store = place.store();
    store.prepare().await.unwrap();
    let batch: Vec<Delivered> = (0..500).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    for micros in [0, 300, 1_000, 3_000, 6_000, 10_000, 20_000] {
        let limit = std::time::Duration::from_micros(micros);
        drop(tokio::time::timeout(limit, store.write(&batch)).await);
        // Nothing half: a decision is there with its row, or neither is.
        let halves = "SELECT count(*) FROM shop.payments p FULL JOIN assay.fraud_decisions d ON d.transaction_id = p.id
                       WHERE (p.fraud_score IS NULL) <> (d.transaction_id IS NULL)";
        assert_eq!(place.count(halves).await, 0);
    }
    let kept = store.write(&batch).await.unwrap();
    assert_eq!(kept.new + kept.repeated, 500);
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score = 0.5").await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_allowed_character() {
    let tables = "CREATE SCHEMA shop; CREATE TABLE shop.payments (id text COLLATE \"und-x-icu\" PRIMARY KEY,
        fraud_score numeric(12,10), model_version varchar(20), is_flagged boolean, revision bigint NOT NULL DEFAULT 0)";
    let place = Place::with(tables, Fourth::Revision("revision".into())).await;
    let letters: Vec<char> = ('!'..='~').filter(|c| c.is_ascii_alphanumeric() || "._:-".contains(*c)).collect();
    assert_eq!(letters.len(), 66);
    let mut ids: Vec<String> = letters.iter().map(char::to_string).collect();
    ids.extend(letters.iter().map(|letter| format!("{letter}-{}", letter.to_string().repeat(62))));
    place.pay(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let store = place.store();
    let batch: Vec<Delivered> = ids.iter().map(|id| decided(id, 0.1)).collect();
    let kept = store.write(&batch).await.unwrap();
    assert_eq!((kept.new, kept.applied), (132, 132));
    // A numeric column has the score's own digits, not those of its widening.
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score = 0.1").await, 132);
    for (id, found) in
        ids.iter().zip(store.find_many(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap())
    {
        assert_eq!(found.unwrap().transaction.transaction_id.as_str(), id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_change_at_the_same_time_lose_nothing() {
    let place = Place::new().await;
    place.execute("INSERT INTO shop.payments (id, note) SELECT 'tx-' || g, '0' FROM generate_series(0, 199) g").await;
    let store = Arc::new(place.store());
    store.prepare().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..4 {
        let session = place.session().await;
        others.push(tokio::spawn(async move {
            for at in 0..400 {
                let id = format!("tx-{}", (at * 7) % 200);
                let sql = "UPDATE shop.payments SET note = (note::int + 1)::text WHERE id = $1";
                assert_eq!(session.execute(sql, &[&id]).await.unwrap(), 1);
            }
        }));
    }
    let mut batches = Vec::new();
    for start in (0..200).step_by(20) {
        let batch: Vec<Delivered> = (start..start + 20).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
        batches.push(store.write(&batch).await.unwrap());
    }
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(batches.iter().map(|kept| kept.new).sum::<usize>(), 200);
    for _ in 0..4 {
        tokio::time::sleep(std::time::Duration::from_millis(250)).await;
        store.look_after().await.unwrap();
    }
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score = 0.5").await, 200);
    assert_eq!(place.count("SELECT sum(note::int)::bigint FROM shop.payments").await, 1_600);
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions WHERE NOT applied").await, 0);
}
