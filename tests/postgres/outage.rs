//! The server away and back, connections cut, and answers that never come.

use std::time::{Duration, Instant};

use assay::engine::delivery::{Destination, DestinationError};
use assay::store::postgres::PostgresError;

use crate::place::Place;
use crate::records::decided;
use crate::server::Server;

fn is_unavailable(error: &DestinationError) -> bool {
    matches!(error, DestinationError::Unavailable { destination: "postgres", .. })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_and_comes_back() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let mut place = Place::on(&server).await;
    place.pay(&["a", "b"]).await;
    let store = place.store();
    store.write(&[decided("a", 0.4)]).await.unwrap();
    assert!(store.find("a").await.unwrap().is_some());
    tokio::task::block_in_place(|| server.down());
    for _ in 0..3 {
        let begun = Instant::now();
        assert!(is_unavailable(&store.write(&[decided("b", 0.4)]).await.unwrap_err()));
        assert!(is_unavailable(&store.look_after().await.unwrap_err()));
        assert!(matches!(store.find("a").await.unwrap_err(), PostgresError::Unavailable(_)));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
    tokio::task::block_in_place(|| server.up());
    let batch = [decided("b", 0.4)];
    let begun = Instant::now();
    while let Err(error) = store.write(&batch).await {
        assert!(is_unavailable(&error) && begun.elapsed() < Duration::from_secs(10), "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    while store.find("a").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    place.owner = place.session().await;
    assert!(place.scored("a").await.is_some() && place.scored("b").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_a_server_that_is_killed() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let mut place = Place::on(&server).await;
    place.execute("INSERT INTO shop.payments (id) SELECT 'tx-' || g FROM generate_series(0, 499) g").await;
    let store = place.store();
    let batch: Vec<_> = (0..500).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
    store.write(&batch).await.unwrap();
    let pid = std::fs::read_to_string(server.data().join("postmaster.pid")).unwrap();
    let pid = pid.lines().next().unwrap().to_owned();
    // SIGQUIT: all processes of the server end at once and write nothing more.
    assert!(std::process::Command::new("kill").args(["-QUIT", &pid]).status().unwrap().success());
    let begun = Instant::now();
    while server.is_up() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the server does not end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::task::block_in_place(|| server.up());
    place.owner = place.session().await;
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions").await, 500);
    assert_eq!(place.count("SELECT count(*) FROM shop.payments WHERE fraud_score = 0.5").await, 500);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_cut_are_made_anew() {
    let place = Place::new().await;
    let store = place.store();
    let mut kept = 0;
    for at in 0..20 {
        let batch = [decided(&format!("tx-{at}"), 0.4)];
        let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{}'", place.role);
        if at % 2 == 0 {
            place.execute(&cut).await;
        }
        let begun = Instant::now();
        loop {
            match store.write(&batch).await {
                Ok(done) => break kept += done.new + done.repeated,
                Err(error) => assert!(is_unavailable(&error) && begun.elapsed() < Duration::from_secs(5), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(kept, 20);
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions").await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_is_given_up() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = Place::new().await;
    let mut options = place.options.clone();
    options.port = silent.local_addr().unwrap().port();
    options.connect_timeout = Duration::from_millis(300);
    let store = assay::store::PostgresStore::new(&options).unwrap();
    let begun = Instant::now();
    let error = store.write(&[decided("a", 0.4)]).await.unwrap_err();
    assert!(is_unavailable(&error) && begun.elapsed() < Duration::from_secs(2), "{error}");
    // The next attempt is not made before its time: the answer is there at once.
    let begun = Instant::now();
    assert!(is_unavailable(&store.write(&[decided("a", 0.4)]).await.unwrap_err()));
    assert!(begun.elapsed() < Duration::from_millis(60));
}
