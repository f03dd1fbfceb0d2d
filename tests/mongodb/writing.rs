//! First writes, the same again, and every size and value.

use assay::base::clock::Millis;
use assay::engine::delivery::{Destination, Kept};
use mongodb::bson::{Bson, DateTime};

use crate::place::{Place, standing, with_features, with_payment};
use crate::records::{decided, fallen_back};

const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-";

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_a_document_with_all_it_rests_on() {
    let place = Place::new().await;
    let one = decided("tx-1", 0.75);
    assert_eq!(place.store().write(std::slice::from_ref(&one)).await.unwrap(), Kept { new: 1, ..Kept::default() });
    let document = place.document("tx-1").await;
    let names: Vec<&str> = document.keys().map(String::as_str).collect();
    let expected = [
        "_id",
        "record",
        "revision",
        "occurred_at",
        "received_at",
        "scored_at",
        "score",
        "flagged",
        "threshold",
        "degraded",
        "source",
        "model",
        "reasons",
        "explanation",
        "pseudonyms",
        "features",
    ];
    assert_eq!(names, expected);
    let decision = &one.published.decision;
    assert_eq!(document.get_str("record").unwrap(), one.published.record.to_string());
    assert_eq!(document.get_i64("revision").unwrap(), 0);
    assert_eq!(*document.get_datetime("occurred_at").unwrap(), DateTime::from_millis(1_700_000_000_123));
    assert_eq!(*document.get_datetime("scored_at").unwrap(), DateTime::from_millis(1_700_000_001_777));
    assert_eq!(document.get_f64("score").unwrap(), 0.75);
    assert_eq!(document.get_f64("threshold").unwrap().to_bits(), f64::from(0.3_f32).to_bits());
    assert!(document.get_bool("flagged").unwrap() && document.get_bool("degraded").unwrap());
    let model = document.get_document("model").unwrap();
    assert_eq!((model.get_str("name").unwrap(), model.get_str("version").unwrap()), ("fraud", "2026.1"));
    assert_eq!(model.get_str("sha256").unwrap(), "ab".repeat(32));
    let reasons = document.get_array("reasons").unwrap();
    assert_eq!(reasons.len(), decision.reasons.len());
    for (stored, reason) in reasons.iter().zip(&decision.reasons) {
        let stored = stored.as_document().unwrap();
        assert_eq!(
            (stored.get_str("code").unwrap(), stored.get_str("message").unwrap()),
            (&*reason.code, &*reason.message)
        );
        let number = |name: &str| stored.get(name).and_then(Bson::as_f64).map(f64::to_bits);
        assert_eq!(number("value"), reason.value.map(f64::to_bits));
        assert_eq!(number("contribution"), reason.contribution.map(f64::to_bits));
    }
    let explanation = document.get_document("explanation").unwrap();
    assert_eq!(explanation.get_f64("margin").unwrap(), -0.1);
    let pseudonyms = document.get_document("pseudonyms").unwrap();
    assert_eq!(pseudonyms.keys().collect::<Vec<_>>(), ["key", "customer_id"]);
    let features = document.get_document("features").unwrap();
    assert_eq!(features.get_f64("amount").unwrap(), 12.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_batch_again_changes_nothing() {
    let place = Place::new().await;
    let store = place.store();
    let batch: Vec<_> = (0..50).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    assert_eq!(store.write(&batch).await.unwrap(), Kept { new: 50, ..Kept::default() });
    let before = place.bytes("decisions").await;
    for store in [store, place.store()] {
        assert_eq!(store.write(&batch).await.unwrap(), Kept { repeated: 50, ..Kept::default() });
    }
    assert_eq!(place.bytes("decisions").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_of_a_batch_that_is_there_already_is_told_from_the_other_half() {
    let place = Place::new().await;
    let store = place.store();
    let batch: Vec<_> = (0..40).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    let half: Vec<_> = batch.iter().step_by(2).cloned().collect();
    store.write(&half).await.unwrap();
    assert_eq!(store.write(&batch).await.unwrap(), Kept { new: 20, repeated: 20, ..Kept::default() });
    assert_eq!(place.count().await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_record_several_times_in_a_batch() {
    let place = Place::new().await;
    let (a, b) = (decided("a", 0.5), decided("b", 0.6));
    let batch = [a.clone(), b.clone(), a.clone(), a.clone(), b.clone()];
    assert_eq!(place.store().write(&batch).await.unwrap(), Kept { new: 2, repeated: 3, ..Kept::default() });
    assert_eq!((place.stands("a").await, place.stands("b").await), (standing(&a), standing(&b)));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_records_of_one_id_the_first_stays() {
    let place = Place::new().await;
    let store = place.store();
    let (first, second, third) = (decided("a", 0.5), decided("a", 0.9), decided("a", 0.1));
    let kept = store.write(&[first.clone(), second.clone()]).await.unwrap();
    assert_eq!(kept, Kept { new: 1, superseded: 1, ..Kept::default() });
    assert_eq!(store.write(&[third]).await.unwrap(), Kept { superseded: 1, ..Kept::default() });
    assert_eq!(place.stands("a").await, standing(&first));
    assert_eq!(place.document("a").await.get_f64("score").unwrap(), 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_one_a_thousand_and_five_thousand() {
    let place = Place::new().await;
    let store = place.store();
    for size in [1, 1_000, 5_000] {
        let batch: Vec<_> = (0..size).map(|at| decided(&format!("tx-{size}-{at}"), 0.2)).collect();
        assert_eq!(store.write(&batch).await.unwrap(), Kept { new: size, ..Kept::default() });
        assert_eq!(store.write(&batch).await.unwrap(), Kept { repeated: size, ..Kept::default() });
    }
    assert_eq!(place.count().await, 6_001);
    assert_eq!(store.write(&[]).await.unwrap(), Kept::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_of_every_character_and_length() {
    let place = Place::new().await;
    let mut ids: Vec<String> = ALPHABET.chars().map(String::from).collect();
    ids.extend((2..=64).map(|length| ALPHABET.chars().cycle().take(length).collect()));
    ids.extend(
        ["a.b", "a_b", "a:b", "a-b", "A-B", "..", "--", "__", "0", "00", "1e3", "null", "true", "-1"]
            .map(str::to_owned),
    );
    ids.sort();
    ids.dedup();
    let batch: Vec<_> = ids.iter().map(|id| decided(id, 0.5)).collect();
    let store = place.store();
    assert_eq!(store.write(&batch).await.unwrap(), Kept { new: ids.len(), ..Kept::default() });
    assert_eq!(store.write(&batch).await.unwrap(), Kept { repeated: ids.len(), ..Kept::default() });
    for (id, one) in ids.iter().zip(&batch) {
        assert_eq!(place.stands(id).await, standing(one), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_differ_in_case_alone_are_two() {
    let place = Place::new().await;
    let kept = place.store().write(&[decided("tx-a", 0.5), decided("tx-A", 0.6), decided("TX-A", 0.7)]).await.unwrap();
    assert_eq!((kept.new, place.count().await), (3, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_keep_every_bit() {
    let place = Place::new().await;
    let scores = [0.0, f32::MIN_POSITIVE, f32::from_bits(1), 0.1, 0.3, 1.0 / 3.0, f32::from_bits(0x3f7f_ffff), 1.0];
    let batch: Vec<_> = scores.iter().enumerate().map(|(at, score)| decided(&format!("tx-{at}"), *score)).collect();
    place.store().write(&batch).await.unwrap();
    for (at, score) in scores.iter().enumerate() {
        let stored = place.document(&format!("tx-{at}")).await.get_f64("score").unwrap();
        assert_eq!(stored.to_bits(), f64::from(*score).to_bits(), "{score}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_fields_that_are_absent() {
    let place = Place::new().await;
    let mut bare = with_payment(decided("bare", 0.1), |payment| {
        (payment.merchant_id, payment.country, payment.channel) = (None, None, None);
        payment.extra.clear();
    });
    bare.published.features = None;
    let full = with_payment(decided("full", 0.1), |payment| {
        (payment.card_id, payment.device_id) = (Some("card-1".into()), Some("device-1".into()));
    });
    assert_eq!(place.store().write(&[bare, full]).await.unwrap().new, 2);
    let document = place.document("bare").await;
    assert!(!document.contains_key("explanation") && !document.contains_key("features"));
    assert!(document.get_array("reasons").unwrap().is_empty());
    let names = |document: &mongodb::bson::Document| {
        document.get_document("pseudonyms").unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&document), ["key", "customer_id"]);
    assert_eq!(names(&place.document("full").await), ["key", "customer_id", "card_id", "device_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fallbacks_are_not_written() {
    let place = Place::new().await;
    let store = place.store();
    let batch = [fallen_back("a"), decided("b", 0.5), fallen_back("b"), fallen_back("c")];
    assert_eq!(store.write(&batch).await.unwrap(), Kept { new: 1, ..Kept::default() });
    assert_eq!(store.write(&[fallen_back("d")]).await.unwrap(), Kept::default());
    assert_eq!(place.count().await, 1);
    // The full decision that follows is the first.
    assert_eq!(store.write(&[decided("a", 0.5)]).await.unwrap().new, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_dates_to_the_millisecond() {
    let place = Place::new().await;
    let moments = [-62_135_596_800_000, -1, 0, 1, 1_700_000_000_999, 253_402_300_799_999];
    let at = |moment: i64| {
        with_payment(decided(&format!("tx{moment}"), 0.5), |payment| payment.occurred_at = Millis(moment))
    };
    place.store().write(&moments.map(at)).await.unwrap();
    for moment in moments {
        let document = place.document(&format!("tx{moment}")).await;
        assert_eq!(document.get_datetime("occurred_at").unwrap().timestamp_millis(), moment);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_with_every_feature_of_a_large_model() {
    let place = Place::new().await;
    let names: Vec<String> = (0..2_000).map(|at| format!("feature_{at}")).collect();
    let values: Vec<(&str, f64)> = names.iter().enumerate().map(|(at, name)| (&**name, at as f64 / 7.0)).collect();
    let store = place.store();
    store.write(&[with_features(decided("wide", 0.5), &values)]).await.unwrap();
    let stored = store.features("wide").await.unwrap().unwrap();
    assert_eq!(stored.as_object().unwrap().len(), 2_000);
    for (name, value) in values {
        assert_eq!(stored[name].as_f64().unwrap().to_bits(), value.to_bits());
    }
}
