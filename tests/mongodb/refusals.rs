//! Records that can never be kept are handed back, and delay no other.

use assay::engine::delivery::{Delivered, Destination, Kept, REFUSED, TOO_LARGE};

use crate::place::{Place, with_features};
use crate::records::decided;
use crate::server::{is_stand_in, undone};

/// A decision whose document is larger than MongoDB allows.
fn oversized(id: &str) -> Delivered {
    let mut one = decided(id, 0.9);
    let mut decision = (*one.published.decision).clone();
    decision.reasons[0].message = "x".repeat(17 << 20);
    one.published.decision = decision.into();
    one
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_too_large_is_handed_back_and_the_others_are_kept() {
    let place = Place::new().await;
    let store = place.store();
    let mut batch: Vec<_> = (0..20).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    batch.insert(7, oversized("large-1"));
    batch.push(oversized("large-2"));
    for again in [false, true] {
        let kept = store.write(&batch).await.unwrap();
        let (new, repeated) = if again { (0, 20) } else { (20, 0) };
        assert_eq!((kept.new, kept.repeated), (new, repeated));
        let refused: Vec<_> = kept.refused.iter().map(|refused| (refused.index, refused.code)).collect();
        assert_eq!(refused, [(7, TOO_LARGE), (21, TOO_LARGE)]);
        assert!(kept.refused[0].message.contains("may have 16777216"), "{}", kept.refused[0].message);
    }
    assert_eq!(place.count().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_document_is_handed_back_and_the_others_are_kept() {
    let place = Place::new().await;
    let wrong = with_features(decided("wrong", 0.5), &[("a\0b", 1.0)]);
    let kept = place.store().write(&[decided("a", 0.5), wrong, decided("b", 0.5)]).await.unwrap();
    assert_eq!((kept.new, kept.refused.len()), (2, 1));
    assert_eq!((kept.refused[0].index, kept.refused[0].code), (1, REFUSED));
    assert_eq!(place.count().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_nothing_else_is_handed_back_whole() {
    let place = Place::new().await;
    let store = place.store();
    let kept = store.write(&[oversized("a"), oversized("b")]).await.unwrap();
    assert_eq!(kept, Kept { refused: kept.refused.clone(), ..Kept::default() });
    assert_eq!((kept.refused.len(), place.count().await), (2, 0));
    assert_eq!(store.write(&[decided("c", 0.5)]).await.unwrap().new, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_server_refuses_for_itself_is_found_in_each_part_of_a_batch() {
    let place = Place::new().await;
    let store = place.store();
    // A rule of the collection's owner; the stand-in has none and refuses a name that MongoDB takes.
    let rule = mongodb::bson::doc! { "create": "decisions", "validator": { "score": { "$lt": 0.9 } } };
    let has_rules = place.database.run_command(rule).await.is_ok();
    if !has_rules && !is_stand_in() {
        return undone("a document that the server refuses for itself: this server takes no rules of a collection");
    }
    let wrong = |id: &str| match has_rules {
        true => decided(id, 0.95),
        false => with_features(decided(id, 0.5), &[("$a", 1.0)]),
    };
    let mut batch: Vec<_> = (0..2_500).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    let places = [123, 999, 1_000, 2_499];
    for at in places {
        batch[at] = wrong(&format!("refused-{at}"));
    }
    let kept = store.write(&batch).await.unwrap();
    let refused: Vec<_> = kept.refused.iter().map(|refused| (refused.index, refused.code)).collect();
    assert_eq!((kept.new, refused), (2_496, places.map(|at| (at, REFUSED)).to_vec()));
}
