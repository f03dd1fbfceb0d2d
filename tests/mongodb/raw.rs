//! Raw events: encrypted, opened by their key alone.

use assay::base::clock::Millis;
use assay::base::seal::{NONCE_BYTES, SealError, Sealed, Seals};
use assay::engine::delivery::Destination;
use assay::store::mongodb::MongoError;
use assay::store::{MongoOptions, MongoStore, RawOptions};
use mongodb::bson::Document;

use crate::place::{Place, key, ring, with_payment};
use crate::records::{decided, fallen_back, revised};

fn sealed(document: &Document) -> Sealed {
    let bytes = |name: &str| document.get_binary_generic(name).unwrap().clone();
    let nonce = <[u8; NONCE_BYTES]>::try_from(bytes("nonce")).unwrap();
    Sealed { key: document.get_str("key").unwrap().into(), nonce, text: bytes("text") }
}

fn with_keys(place: &Place, keys: &[String]) -> MongoStore {
    let raw = RawOptions { collection: "raw".to_owned(), seals: Seals::new(ring(keys)) };
    MongoStore::new(MongoOptions { raw: Some(raw), ..place.options.clone() }).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_read_back_by_its_key_with_all_its_fields() {
    let place = Place::new().await.with_raw(&[key("r1", 7)]);
    let store = place.store();
    let one = with_payment(decided("a", 0.5), |payment| {
        payment.card_id = Some("card-1".into());
        payment.is_fraud = Some(true);
    });
    store.write(std::slice::from_ref(&one)).await.unwrap();
    let read = store.event("a").await.unwrap().unwrap();
    let mut expected = (*one.published.transaction).clone();
    // A label is no part of the event.
    expected.is_fraud = None;
    assert_eq!(read, expected);
    assert_eq!(read.extra.len(), 1);
    assert_eq!(store.event("nobody").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_another_key_nor_another_place_opens_it() {
    let place = Place::new().await.with_raw(&[key("r1", 7)]);
    place.store().write(&[decided("a", 0.5), decided("b", 0.5)]).await.unwrap();
    let unknown = with_keys(&place, &[key("r2", 9)]).event("a").await.unwrap_err();
    assert!(matches!(&unknown, MongoError::Faults(_)) && unknown.to_string().contains("no key r1"), "{unknown}");
    let wrong = with_keys(&place, &[key("r1", 9)]).event("a").await.unwrap_err();
    assert!(matches!(&wrong, MongoError::Faults(_)) && wrong.to_string().contains("does not open"), "{wrong}");
    let seals = Seals::new(ring(&[key("r1", 7)]));
    let text = sealed(&place.raw("a").await);
    assert!(seals.open("a", &text).is_ok());
    assert_eq!(seals.open("b", &text), Err(SealError::Broken("r1".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_their_source_and_day_and_are_sealed_each_by_a_nonce_of_its_own() {
    let place = Place::new().await.with_raw(&[key("r1", 7)]);
    let mut batch: Vec<_> = (0..300).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    batch[0].published.received_at = Millis(1_700_006_399_999);
    batch[1].published.received_at = Millis(1_700_006_400_000);
    place.store().write(&batch).await.unwrap();
    let (last, next) = (place.raw("tx-0").await, place.raw("tx-1").await);
    assert_eq!((last.get_str("day").unwrap(), next.get_str("day").unwrap()), ("2023-11-14", "2023-11-15"));
    assert_eq!(last.get_str("source").unwrap(), "background");
    let mut nonces = Vec::new();
    for at in 0..300 {
        nonces.push(sealed(&place.raw(&format!("tx-{at}")).await).nonce);
    }
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_kept_once() {
    let place = Place::new().await.with_raw(&[key("r1", 7)]);
    let store = place.store();
    let one = decided("a", 0.5);
    store.write(std::slice::from_ref(&one)).await.unwrap();
    let before = place.bytes("raw").await;
    store.write(std::slice::from_ref(&one)).await.unwrap();
    store.write(&[revised("a", 0.7, 1), decided("a", 0.1), fallen_back("c")]).await.unwrap();
    assert_eq!(place.bytes("raw").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_the_key_both_are_opened() {
    let place = Place::new().await;
    let (old, new) = (key("old", 7), key("new", 8));
    with_keys(&place, std::slice::from_ref(&old)).write(&[decided("a", 0.5)]).await.unwrap();
    let both = with_keys(&place, &[new.clone(), old]);
    both.write(&[decided("b", 0.5)]).await.unwrap();
    assert!(both.event("a").await.unwrap().is_some() && both.event("b").await.unwrap().is_some());
    let alone = with_keys(&place, &[new]);
    assert!(alone.event("a").await.is_err() && alone.event("b").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_not_asked_for_no_event_is_kept() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[decided("a", 0.5)]).await.unwrap();
    assert_eq!(place.database.list_collection_names().await.unwrap(), ["decisions"]);
    assert_eq!(store.event("a").await.unwrap(), None);
}
