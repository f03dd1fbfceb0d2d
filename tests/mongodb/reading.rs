//! Features read back as they were used.

use std::time::{Duration, Instant};

use assay::engine::delivery::Destination;
use assay::store::MongoStore;
use assay::store::mongodb::MongoError;

use crate::place::{Place, options, with_features};
use crate::records::{decided, fallen_back, revised};
use crate::server::{is_stand_in, undone};

/// Every kind of a finite number at its edges.
const EXTREMES: [(&str, f64); 17] = [
    ("zero", 0.0),
    ("one", 1.0),
    ("minus_one", -1.0),
    ("third", 1.0 / 3.0),
    ("sum", 0.1 + 0.2),
    ("largest", f64::MAX),
    ("lowest", f64::MIN),
    ("least", f64::MIN_POSITIVE),
    ("subnormal", 5e-324),
    ("minus_subnormal", -5e-324),
    ("epsilon", f64::EPSILON),
    ("pi", std::f64::consts::PI),
    ("two_53", 9_007_199_254_740_992.0),
    ("below_two_53", 9_007_199_254_740_991.0),
    ("two_63", 9_223_372_036_854_775_808.0),
    ("tiny", 2.225_073_858_507_201e-308),
    ("single", 0.100_000_001_490_116_12),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_finite_number_comes_back_bit_for_bit() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[with_features(decided("a", 0.5), &EXTREMES)]).await.unwrap();
    let read = store.features("a").await.unwrap().unwrap();
    let stored = place.document("a").await;
    let stored = stored.get_document("features").unwrap();
    assert_eq!(stored.keys().collect::<Vec<_>>(), EXTREMES.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, value) in EXTREMES {
        assert_eq!(stored.get_f64(name).unwrap().to_bits(), value.to_bits(), "{name}");
        assert_eq!(read[name].as_f64().unwrap().to_bits(), value.to_bits(), "{name}");
    }
    assert_eq!(read.as_object().unwrap().len(), EXTREMES.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_negative_zero_keeps_its_sign() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[with_features(decided("a", 0.5), &[("minus_zero", -0.0)])]).await.unwrap();
    let read = store.features("a").await.unwrap().unwrap()["minus_zero"].as_f64().unwrap();
    if is_stand_in() && read.to_bits() == 0 {
        return undone("the sign of a zero: FerretDB 1.24 on SQLite does not keep it");
    }
    assert_eq!(read.to_bits(), (-0.0_f64).to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_those_of_the_newest_revision() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[with_features(decided("a", 0.5), &[("x", 1.0)])]).await.unwrap();
    store.write(&[with_features(revised("a", 0.6, 1), &[("x", 2.0), ("y", 3.5)])]).await.unwrap();
    assert_eq!(store.features("a").await.unwrap().unwrap(), serde_json::json!({ "x": 2.0, "y": 3.5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_none() {
    let place = Place::new().await;
    let store = place.store();
    assert_eq!(store.features("nobody").await.unwrap(), None);
    let mut without = decided("without", 0.5);
    without.published.features = None;
    store.write(&[without, fallen_back("fallback")]).await.unwrap();
    assert_eq!(store.features("without").await.unwrap(), None);
    assert_eq!(store.features("fallback").await.unwrap(), None);
    assert_eq!(store.event("without").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_in_time_that_nobody_answers() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut options = options(&format!("mongodb://{nobody}/"), "assay");
    options.selection_timeout = Duration::from_millis(300);
    let store = MongoStore::new(options).unwrap();
    let begun = Instant::now();
    assert!(matches!(store.features("a").await.unwrap_err(), MongoError::Unavailable(_)));
    assert!(begun.elapsed() < Duration::from_secs(2));
}
