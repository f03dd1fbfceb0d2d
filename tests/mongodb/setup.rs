//! Options, rights, indexes and the time to live.

use std::time::{Duration, Instant};

use assay::base::clock::{Clock as _, SystemClock};
use assay::base::secret::Secret;
use assay::engine::delivery::{Destination, DestinationError};
use assay::store::mongodb::{Expiry, MongoError};
use assay::store::{MongoOptions, MongoStore};
use futures_util::TryStreamExt;
use mongodb::IndexModel;
use mongodb::bson::Document;

use crate::place::{Place, impersonated, key, options};
use crate::records::decided;
use crate::server::undone;

async fn indexes(place: &Place, collection: &str) -> Vec<IndexModel> {
    place.database.collection::<Document>(collection).list_indexes().await.unwrap().try_collect().await.unwrap()
}

fn names(indexes: &[IndexModel]) -> Vec<String> {
    let mut names: Vec<_> =
        indexes.iter().map(|index| index.keys.keys().cloned().collect::<Vec<_>>().join(",")).collect();
    names.sort();
    names
}

fn lives(indexes: &[IndexModel]) -> Vec<Duration> {
    indexes.iter().filter_map(|index| index.options.as_ref()?.expire_after).collect()
}

const READS: [&str; 5] = ["_id", "pseudonyms.card_id", "pseudonyms.customer_id", "pseudonyms.device_id", "scored_at"];

#[tokio::test(flavor = "multi_thread")]
async fn indexes_are_made_once_also_side_by_side() {
    let place = Place::new().await.with_raw(&[key("r1", 7)]);
    let stores: Vec<MongoStore> = (0..6).map(|_| place.store()).collect();
    for made in futures_util::future::join_all(stores.iter().map(MongoStore::prepare)).await {
        made.unwrap();
    }
    place.store().prepare().await.unwrap();
    assert_eq!(names(&indexes(&place, "decisions").await), READS);
    assert_eq!(names(&indexes(&place, "raw").await), ["_id", "scored_at", "source,day"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_batch_makes_them_where_nobody_did() {
    let place = Place::new().await;
    place.store().write(&[decided("a", 0.5)]).await.unwrap();
    assert_eq!(names(&indexes(&place, "decisions").await), READS);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_expire_by_an_index_where_the_server_has_it_and_it_is_said_where_not() {
    let mut place = Place::new().await.with_raw(&[key("r1", 7)]);
    let expiry = place.store().prepare().await.unwrap();
    if expiry == Expiry::Unsupported {
        assert!(lives(&indexes(&place, "decisions").await).is_empty());
        return undone("documents that expire by an index: this server lists none (FerretDB 1.24 has none)");
    }
    assert_eq!(expiry, Expiry::Index);
    assert_eq!(lives(&indexes(&place, "decisions").await), [place.options.ttl]);
    assert_eq!(lives(&indexes(&place, "raw").await), [place.options.ttl]);
    // Another time to live changes the index that is there.
    place.options.ttl = Duration::from_secs(3_600);
    assert_eq!(place.store().prepare().await.unwrap(), Expiry::Index);
    assert_eq!(lives(&indexes(&place, "decisions").await), [place.options.ttl]);
    place.options.ttl = Duration::ZERO;
    assert_eq!(place.store().prepare().await.unwrap(), Expiry::Never);
    assert!(lives(&indexes(&place, "decisions").await).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_its_time_to_live_goes_and_the_others_stay() {
    let mut place = Place::new().await.with_raw(&[key("r1", 7)]);
    place.options.ttl = Duration::from_secs(86_400);
    let store = place.store();
    if store.prepare().await.unwrap() == Expiry::Unsupported {
        return undone("documents that expire: this server has no index for it (FerretDB 1.24 has none)");
    }
    let mut new = decided("new", 0.5);
    let mut decision = (*new.published.decision).clone();
    decision.scored_at = SystemClock.now();
    new.published.decision = decision.into();
    store.write(&[decided("old", 0.5), new]).await.unwrap();
    // Servers look once a minute.
    let begun = Instant::now();
    while place.count().await > 1 || place.bytes("raw").await.len() > 1 {
        assert!(begun.elapsed() < Duration::from_secs(240), "nothing expired");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(place.find("new").await.is_some() && store.event("new").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_to_live_documents_stay() {
    let mut place = Place::new().await;
    place.options.ttl = Duration::ZERO;
    assert_eq!(place.store().prepare().await.unwrap(), Expiry::Never);
    assert_eq!(place.store().prepare().await.unwrap(), Expiry::Never);
    let indexes = indexes(&place, "decisions").await;
    assert_eq!((names(&indexes), lives(&indexes)), (READS.map(str::to_owned).to_vec(), Vec::new()));
}

#[tokio::test]
async fn options_are_refused_all_at_once_and_tell_no_secret() {
    let wrong = MongoOptions {
        url: Secret::new("postgres://u:hunter2@127.0.0.1/".to_owned()),
        database: "a.b".to_owned(),
        collection: "a$b".to_owned(),
        ttl: Duration::from_millis(1_500),
        connect_timeout: Duration::ZERO,
        operation_timeout: Duration::from_secs(6_000),
        ..options("", "")
    };
    let MongoError::Faults(told) = MongoStore::new(wrong.clone()).unwrap_err() else { unreachable!() };
    for words in [
        "the url must be like",
        "the database \"a.b\"",
        "the collection \"a$b\"",
        "whole seconds",
        "connect time-out",
        "operation time-out",
    ] {
        assert!(told.iter().any(|fault| fault.contains(words)), "{words:?} is not in {told:#?}");
    }
    assert_eq!(told.len(), 6, "{told:#?}");
    assert!(!format!("{wrong:?} {told:?}").contains("hunter2"));
}

#[tokio::test]
async fn a_url_that_cannot_be_used_is_refused_without_a_word_of_it() {
    for url in [
        "",
        "hunter2",
        "mongodb://",
        "mongodb://u:hunter2@",
        "mongodb://u:hunter2@host:port/",
        "mongodb://u:hun/ter2@host/",
        "mongodb://u:hunter2@host/?tls=perhaps",
        "mongodb+srv://u:hunter2@cluster.example/",
    ] {
        let MongoError::Faults(told) = MongoStore::new(options(url, "assay")).unwrap_err() else { unreachable!() };
        assert_eq!(told.len(), 1, "{url}: {told:?}");
        assert!(told[0].contains("mongodb://user:password@host") && !told[0].contains("hun"), "{told:?}");
    }
    MongoStore::new(options("mongodb://u:hunter2@one:1,two:2,three:3/?replicaSet=rs&tls=true", "assay")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_needs_a_person_and_is_not_told() {
    let mut place = Place::new().await;
    let wrong = Secret::new(impersonated(place.options.url.expose(), "nobody:hunter2"));
    let right = std::mem::replace(&mut place.options.url, wrong);
    let store = place.store();
    let prepared = store.prepare().await;
    place.options.url = right;
    match prepared {
        Ok(_) => undone("a wrong password: this server asks for none (FerretDB 1.24 on SQLite)"),
        Err(error) => {
            assert!(matches!(error, MongoError::Faults(_)), "{error:?}");
            let error = store.write(&[decided("a", 0.5)]).await.unwrap_err();
            assert!(matches!(error, DestinationError::Misconfigured { destination: "mongodb", .. }), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
