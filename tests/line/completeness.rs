//! Completeness of the embedded set-up: what is undecided holds it, in memory as on disk.

use super::*;

const ALLOWED: i64 = MINUTE;

/// The watermark, as milliseconds after START.
async fn watermark(house: &House) -> Option<i64> {
    let found = house.engine.completeness(ALLOWED).await.unwrap();
    assert_eq!(found.watermark, found.applied_watermark);
    found.watermark.map(|at| at.0 - START)
}

#[tokio::test]
async fn what_has_a_fallback_alone_holds_the_watermark_until_it_is_decided() {
    let house = house().await;
    assert_eq!(watermark(&house).await, None, "nothing has come");
    house.engine.decide(transaction("a", 10 * MINUTE, 700), soon()).await.unwrap();
    assert_eq!(watermark(&house).await, Some(9 * MINUTE));
    house.model.set(Scores::Never);
    house.engine.decide(transaction("b", 2 * MINUTE, 700), received(Duration::from_millis(60))).await.unwrap();
    let held = house.engine.completeness(ALLOWED).await.unwrap();
    assert_eq!((held.watermark, held.undecided), (Some(Millis(START + 2 * MINUTE - 1)), 1), "{held:?}");
    assert!(held.held_by.contains("without a full decision") && held.as_of.is_some(), "{held:?}");
    house.model.set(Scores::Amount);
    house.engine.decide(transaction("b", 2 * MINUTE, 700), soon()).await.unwrap();
    assert_eq!(watermark(&house).await, Some(9 * MINUTE));
    // A late one lowers it for as long as it is undecided, and a log that fails tells nothing.
    house.log.set_mood(Mood::Failing);
    let unknown = house.engine.completeness(ALLOWED).await;
    assert!(matches!(unknown, Err(EngineError::Unavailable { .. })), "{unknown:?}");
    drop(house.engine.decide(transaction("c", 3 * MINUTE, 700), received(Duration::from_millis(60))).await);
    house.log.set_mood(Mood::Silent);
    assert!(house.engine.completeness(ALLOWED).await.is_err(), "a log that is silent is not waited for");
}

#[tokio::test]
async fn what_is_being_scored_holds_it_before_any_log_knows_it() {
    let house = house().await;
    house.engine.decide(transaction("a", 10 * MINUTE, 700), soon()).await.unwrap();
    house.model.set(Scores::Never);
    let asked = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        house.engine.completeness(ALLOWED).await.unwrap()
    };
    let open = house.engine.decide(transaction("b", 2 * MINUTE, 700), received(Duration::from_millis(500)));
    let (answered, held) = tokio::join!(open, asked);
    assert_eq!((held.watermark, held.undecided), (Some(Millis(START + 2 * MINUTE - 1)), 1), "{held:?}");
    assert_eq!(held.oldest_undecided, None, "the log held it, not the memory");
    assert!(answered.unwrap().decision.revision.is_none());
}

#[tokio::test]
async fn what_waits_on_the_disk_alone_holds_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::at(folder.path().join("assay.db"), Durability::Committed);
    let open = || Arc::new(SqliteLog::open(&options).unwrap());
    {
        let engine = Engine::new(parts(open(), None)).unwrap();
        engine.rebuild().await.unwrap();
        engine.decide(transaction("early", MINUTE, 700), soon()).await.unwrap();
        engine.decide(transaction("newest", 9 * MINUTE, 700), soon()).await.unwrap();
        assert!(engine.shutdown(Duration::from_secs(5)).await);
    }
    // Another process, which has nothing of it in memory and no model yet.
    let mut waits = parts(open(), None);
    waits.limits.max_background = 0;
    let engine = Engine::new(waits).unwrap();
    engine.rebuild().await.unwrap();
    let held = engine.completeness(ALLOWED).await.unwrap();
    assert_eq!((held.watermark, held.undecided), (Some(Millis(START + MINUTE - 1)), 2), "{held:?}");
    assert_eq!(held.oldest_undecided, Some(Millis(START + MINUTE)));
    assert!(engine.shutdown(Duration::from_secs(5)).await);
}
