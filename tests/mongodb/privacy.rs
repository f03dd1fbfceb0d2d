//! What leaves the boundary names nobody.

use assay::base::pseudonym::Pseudonyms;
use assay::engine::delivery::{Delivered, Destination};
use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};

use crate::place::{Place, key, ring, with_payment};
use crate::records::{decided, revised};

/// Somebody's payment, with all that names a person.
fn of(id: &str, customer: &str) -> Delivered {
    with_payment(decided(id, 0.9), |payment| {
        payment.customer_id = customer.into();
        payment.card_id = Some(format!("card-of-{customer}").into());
        payment.device_id = Some(format!("device-of-{customer}").into());
    })
}

async fn found(place: &Place, field: &str, pseudonyms: &[String]) -> Vec<String> {
    let asked = doc! { format!("pseudonyms.{field}"): { "$in": pseudonyms } };
    let found = place.database.collection::<Document>("decisions").find(asked).await.unwrap();
    let found: Vec<Document> = found.try_collect().await.unwrap();
    let mut ids: Vec<String> = found.iter().map(|document| document.get_str("_id").unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn no_document_of_any_collection_holds_a_personal_identifier() {
    let place = Place::new().await.with_raw(&[key("r1", 7)]);
    let store = place.store();
    let batch: Vec<_> = (0..30).map(|at| of(&format!("tx-{at}"), &format!("Erika.Mustermann-{at}"))).collect();
    store.write(&batch).await.unwrap();
    let mut revised = revised("tx-0", 0.8, 1);
    revised.published.transaction = batch[0].published.transaction.clone();
    store.write(&[revised]).await.unwrap();
    let mut documents = 0;
    for collection in place.database.list_collection_names().await.unwrap() {
        for bytes in place.bytes(&collection).await {
            documents += 1;
            for word in ["Erika", "Mustermann", "card-of", "device-of"] {
                assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word} in {collection}");
            }
        }
    }
    assert_eq!(documents, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_key_finds_somebodys_decisions() {
    let place = Place::new().await;
    let store = place.store();
    store.write(&[of("a", "one"), of("b", "two"), of("c", "one")]).await.unwrap();
    let pseudonyms = &place.options.pseudonyms;
    for (field, identifier) in [("customer_id", "one"), ("card_id", "card-of-one"), ("device_id", "device-of-one")] {
        assert_eq!(found(&place, field, &[pseudonyms.of(field, identifier).value]).await, ["a", "c"]);
    }
    let other = Pseudonyms::new(ring(&[key("p1", 99)]));
    assert!(found(&place, "customer_id", &[other.of("customer_id", "one").value]).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_change_of_the_key_a_reader_with_both_finds_old_and_new() {
    let place = Place::new().await;
    let (old, new) = (key("2026-05", 1), key("2026-11", 2));
    place.store_by(std::slice::from_ref(&old)).write(&[of("before", "one"), of("other", "two")]).await.unwrap();
    let overlap = [new.clone(), old.clone()];
    place.store_by(&overlap).write(&[of("after", "one")]).await.unwrap();
    let keys = |document: &Document| document.get_document("pseudonyms").unwrap().get_str("key").unwrap().to_owned();
    assert_eq!(keys(&place.document("before").await), "2026-05");
    assert_eq!(keys(&place.document("after").await), "2026-11");
    let values = |keys: &[String]| -> Vec<String> {
        let all = Pseudonyms::new(ring(keys)).all_of("customer_id", "one");
        all.into_iter().map(|pseudonym| pseudonym.value).collect()
    };
    assert_eq!(found(&place, "customer_id", &values(&overlap)).await, ["after", "before"]);
    assert_eq!(found(&place, "customer_id", &values(&[new])).await, ["after"]);
    assert_eq!(found(&place, "customer_id", &values(&[old])).await, ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_key_changes_no_document_that_is_written_again() {
    let place = Place::new().await;
    let (old, new) = (key("old", 1), key("new", 2));
    let batch = [of("a", "one"), of("b", "two")];
    place.store_by(std::slice::from_ref(&old)).write(&batch).await.unwrap();
    let before = place.bytes("decisions").await;
    assert_eq!(place.store_by(&[new, old]).write(&batch).await.unwrap().repeated, 2);
    assert_eq!(place.bytes("decisions").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_prints_neither_key_nor_url() {
    let mut place = Place::new().await.with_raw(&[key("r1", 7)]);
    let wrong = assay::base::secret::Secret::new("mongodb://u:hunter2@127.0.0.1:9/".to_owned());
    let right = std::mem::replace(&mut place.options.url, wrong);
    place.options.selection_timeout = std::time::Duration::from_millis(50);
    let store = place.store();
    let error = store.write(&[of("a", "somebody")]).await.unwrap_err();
    let shown = format!("{:?} {store:?} {error:?} {error}", place.options);
    for word in ["hunter2", "01020304", "0708090a", "[1, 2, 3", "card-of", "somebody"] {
        assert!(!shown.contains(word), "{word}: {shown}");
    }
    place.options.url = right;
}
