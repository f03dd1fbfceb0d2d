//! What the engine reads back.

use assay::engine::delivery::Destination;

use crate::place::Place;
use crate::records::{decided, fallen_back, revised};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_found_bit_for_bit() {
    let place = Place::new().await;
    let store = place.store();
    store.prepare().await.unwrap();
    let (plain, explained, fallback) =
        (decided("plain", 0.123_456_79), decided("explained", 0.9), fallen_back("fallback"));
    store.write(&[plain.clone(), explained.clone(), fallback.clone(), fallen_back("plain")]).await.unwrap();
    for sent in [plain, explained, fallback] {
        let found = store.find(&sent.published.transaction.transaction_id).await.unwrap().unwrap();
        assert_eq!(&found.transaction, &*sent.published.transaction);
        assert_eq!(found.base, sent.published.base);
        assert_eq!(found.decision.as_ref(), Some(&*sent.published.decision));
    }
    assert!(store.find("nobody").await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_decision_is_found_for_repetitions_and_any_revision_for_who_asks() {
    let place = Place::new().await;
    let store = place.store();
    store.prepare().await.unwrap();
    store.write(&[decided("a", 0.1), revised("a", 0.2, 1), revised("a", 0.3, 7), fallen_back("f")]).await.unwrap();
    let found = store.find_many(&["f", "nobody", "a", "a"]).await.unwrap();
    let scores: Vec<_> = found.iter().map(|one| one.as_ref().map(|one| one.decision.as_ref().unwrap().score)).collect();
    assert_eq!(scores, [Some(None), None, Some(Some(0.1)), Some(Some(0.1))]);
    assert!(store.find_many(&[]).await.unwrap().is_empty());
    for (revision, score) in [(None, Some(0.3)), (Some(7), Some(0.3)), (Some(1), Some(0.2)), (Some(0), Some(0.1))] {
        let found = store.decision("a", revision).await.unwrap().unwrap();
        assert_eq!((found.score, revision.is_none_or(|wanted| found.revision == Some(wanted))), (score, true));
    }
    assert!(store.decision("a", Some(2)).await.unwrap().is_none());
    assert!(store.decision("a", Some(u32::MAX)).await.unwrap().is_none());
    // A fallback is of no revision.
    assert_eq!(store.decision("f", None).await.unwrap().unwrap().score, None);
    assert!(
        store.decision("f", Some(0)).await.unwrap().is_none()
            && store.decision("nobody", None).await.unwrap().is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_does_not_wait_for_a_batch() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[decided("a", 0.1)]).await.unwrap();
    // A session that inserts the same key holds the batch up until the lock time-out.
    let other = place.session().await;
    let held =
        "BEGIN; INSERT INTO assay.fraud_decisions SELECT (jsonb_populate_record(d, '{\"transaction_id\": \"b\"}')).*
                FROM assay.fraud_decisions d";
    other.batch_execute(held).await.unwrap();
    let batch = [decided("b", 0.1)];
    let write = store.write(&batch);
    let find = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let begun = std::time::Instant::now();
        assert!(store.find("a").await.unwrap().is_some());
        begun.elapsed()
    };
    let (written, took) = tokio::join!(write, find);
    assert!(written.unwrap_err().to_string().contains("55P03"));
    assert!(took < std::time::Duration::from_millis(600), "{took:?}");
    other.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(store.write(&batch).await.unwrap().new, 1);
}
