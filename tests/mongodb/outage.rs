//! The server away and back, connections cut, and answers that never come.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use assay::base::secret::Secret;
use assay::engine::delivery::{Delivered, Destination, DestinationError, Kept};
use assay::store::MongoStore;
use assay::store::mongodb::MongoError;

use crate::place::{Place, moved, options};
use crate::proxy;
use crate::records::decided;
use crate::server::{Server, are_own};

fn is_unavailable(error: &DestinationError) -> bool {
    matches!(error, DestinationError::Unavailable { destination: "mongodb", .. })
}

/// Writes until it is kept, as delivery does.
async fn deliver(store: &MongoStore, batch: &[Delivered], within: Duration) -> Kept {
    let begun = Instant::now();
    loop {
        match store.write(batch).await {
            Ok(kept) => return kept,
            Err(error) => assert!(is_unavailable(&error) && begun.elapsed() < within, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A place that is reached through a proxy, with short time-outs.
async fn behind_a_proxy(server: &Server) -> (Place, std::sync::Arc<proxy::Manners>, MongoStore) {
    let mut place = Place::on(server).await;
    // Indexes may take longer to make than the time-outs below allow.
    place.store().prepare().await.unwrap();
    let (address, manners) = proxy::before(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
    place.options.url = Secret::new(moved(server.url(), &address.to_string()));
    place.options.selection_timeout = Duration::from_millis(500);
    place.options.operation_timeout = Duration::from_secs(1);
    let store = place.store();
    (place, manners, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_and_comes_back() {
    if !are_own("a server that stops and comes back") {
        return;
    }
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let mut place = Place::on(&server).await;
    place.options.selection_timeout = Duration::from_millis(500);
    let store = place.store();
    store.write(&[decided("a", 0.4)]).await.unwrap();
    assert!(store.features("a").await.unwrap().is_some());
    tokio::task::block_in_place(|| server.down());
    let batch = [decided("b", 0.4)];
    for _ in 0..3 {
        let begun = Instant::now();
        assert!(is_unavailable(&store.write(&batch).await.unwrap_err()));
        assert!(matches!(store.features("a").await.unwrap_err(), MongoError::Unavailable(_)));
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
    tokio::task::block_in_place(|| server.up());
    assert_eq!(deliver(&store, &batch, Duration::from_secs(10)).await.new, 1);
    assert!(store.features("a").await.unwrap().is_some() && store.features("b").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_server_that_is_killed() {
    if !are_own("a server that is killed") {
        return;
    }
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let place = Place::on(&server).await;
    let store = place.store();
    let batch: Vec<_> = (0..500).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    store.write(&batch).await.unwrap();
    tokio::task::block_in_place(|| server.kill());
    tokio::task::block_in_place(|| server.up());
    assert_eq!(deliver(&store, &batch, Duration::from_secs(20)).await.repeated, 500);
    assert_eq!(place.count().await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_away_at_the_start_is_prepared_by_the_first_batch() {
    if !are_own("a server that is away at the start") {
        return;
    }
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    tokio::task::block_in_place(|| server.down());
    let mut place = Place::on(&server).await;
    place.options.selection_timeout = Duration::from_millis(300);
    let store = place.store();
    assert!(matches!(store.prepare().await.unwrap_err(), MongoError::Unavailable(_)));
    tokio::task::block_in_place(|| server.up());
    assert_eq!(deliver(&store, &[decided("a", 0.5)], Duration::from_secs(10)).await.new, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_made_anew() {
    if !are_own("connections that are cut") {
        return;
    }
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let (place, manners, store) = behind_a_proxy(&server).await;
    let mut kept = 0;
    for at in 0..10 {
        let batch = [decided(&format!("tx-{at}"), 0.4)];
        if at % 2 == 1 {
            manners.cut.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(60)).await;
            manners.cut.store(false, Ordering::SeqCst);
        }
        let done = deliver(&store, &batch, Duration::from_secs(10)).await;
        kept += done.new + done.repeated;
    }
    assert_eq!((kept, place.count().await), (10, 10));
    assert!(manners.came.load(Ordering::SeqCst) > 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_answer_is_lost_is_recognised_when_it_comes_again() {
    if !are_own("an answer that is lost") {
        return;
    }
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let (place, manners, store) = behind_a_proxy(&server).await;
    store.write(&[decided("before", 0.5)]).await.unwrap();
    let batch: Vec<_> = (0..100).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    manners.silent.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let error = store.write(&batch).await.unwrap_err();
    assert!(is_unavailable(&error) && begun.elapsed() < Duration::from_secs(3), "{error}");
    manners.silent.store(false, Ordering::SeqCst);
    // The server has it all; nobody was told.
    assert_eq!(place.count().await, 101);
    let kept = deliver(&store, &batch, Duration::from_secs(15)).await;
    assert_eq!(kept, Kept { repeated: 100, ..Kept::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = options(&format!("mongodb://{}/", silent.local_addr().unwrap()), "assay");
    options.connect_timeout = Duration::from_millis(300);
    options.selection_timeout = Duration::from_millis(400);
    options.operation_timeout = Duration::from_secs(1);
    let store = MongoStore::new(options).unwrap();
    for _ in 0..2 {
        let begun = Instant::now();
        let error = store.write(&[decided("a", 0.4)]).await.unwrap_err();
        assert!(is_unavailable(&error) && begun.elapsed() < Duration::from_secs(2), "{error}");
        let begun = Instant::now();
        assert!(matches!(store.features("a").await.unwrap_err(), MongoError::Unavailable(_)));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_nobody_has_is_given_up() {
    let mut options = options("mongodb://nowhere.invalid:27017/", "assay");
    options.selection_timeout = Duration::from_millis(400);
    let store = MongoStore::new(options).unwrap();
    let begun = Instant::now();
    assert!(is_unavailable(&store.write(&[decided("a", 0.4)]).await.unwrap_err()));
    assert!(begun.elapsed() < Duration::from_secs(5));
}
