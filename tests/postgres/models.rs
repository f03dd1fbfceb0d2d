//! The models of all instances: changes once each, the newest wish, and what was journalled while nobody could be met.

use std::sync::Arc;

use assay::base::clock::Millis;
use assay::engine::models::{Action, Book, Change, VersionId};
use assay::model::Checks;
use assay::store::{Journal, SharedBook};

use crate::place::Place;
use crate::server::Server;

const START: i64 = 1_700_000_000_000;

fn version(name: &str) -> VersionId {
    VersionId { name: "fraud".into(), version: name.into(), digest: name.repeat(64) }
}

fn change(number: i64, action: Action, to: &str) -> Change {
    Change {
        id: format!("1-{number}"),
        at: Millis(START + number),
        action,
        by: "ann".into(),
        why: "it's \"better\"".into(),
        from: None,
        to: Some(version(to)),
        basis_points: (action == Action::Canaried).then_some(250),
        checks: Checks::default(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_one_row_and_the_newest_wish_stands() {
    let place = Place::new().await;
    let store = place.store();
    assert_eq!(store.record_changes(&[]).await.unwrap(), None);
    let all = [
        change(1, Action::Started, "9"),
        change(2, Action::Activated, "2"),
        change(3, Action::Canaried, "3"),
        change(5, Action::RolledBack, "1"),
        change(4, Action::Activated, "4"),
        change(6, Action::Followed, "5"),
    ];
    for _ in 0..2 {
        let wanted = store.record_changes(&all).await.unwrap().unwrap();
        assert_eq!((wanted.id, wanted.at, wanted.by.as_str()), (version("1"), Millis(START + 5), "ann"));
    }
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_model_changes").await, 6);
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_model_changes WHERE basis_points = 250").await, 1);
    // What was active at a moment is one query.
    let at = |millis: i64| {
        format!(
            "SELECT model_version::bigint FROM assay.active_models WHERE active_from <= to_timestamp({0} / 1000.0)
               AND (active_until > to_timestamp({0} / 1000.0) OR active_until IS NULL)",
            START + millis
        )
    };
    for (moment, wanted) in [(2, 2), (3, 2), (4, 4), (5, 1), (1_000, 1)] {
        assert_eq!(place.count(&at(moment)).await, wanted, "{moment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wish_says_which_versions_were_rolled_back_and_not_asked_for_since() {
    let place = Place::new().await;
    let store = place.store();
    let back = |number, from: &str, to| Change { from: Some(version(from)), ..change(number, Action::RolledBack, to) };
    let of_another = |number, from: &str, to| Change { action: Action::FollowedBack, ..back(number, from, to) };
    let gone = async |changes: &[Change]| {
        let wanted = store.record_changes(changes).await.unwrap().unwrap();
        let mut gone: Vec<String> = wanted.gone.into_iter().map(|id| id.version).collect();
        gone.sort();
        (wanted.id.version, gone.concat(), wanted.taken_back.map(|id| id.version))
    };
    let taken = |version: &str| Some(version.to_owned());
    assert_eq!(gone(&[change(1, Action::Activated, "1")]).await, ("1".into(), String::new(), None));
    assert_eq!(gone(&[back(2, "3", "1"), of_another(3, "3", "1")]).await, ("1".into(), "3".into(), taken("3")));
    // The wish has no room for more than one, the rows have.
    let two = [back(4, "5", "1"), change(5, Action::Activated, "4")];
    assert_eq!(gone(&two).await, ("4".into(), "35".into(), None));
    assert_eq!(gone(&[change(6, Action::Activated, "3")]).await, ("3".into(), "5".into(), None));
    assert_eq!(gone(&[back(7, "3", "4")]).await, ("4".into(), "35".into(), taken("3")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_journal_is_shared_within_what_a_start_waits() {
    let place = Place::new().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.journal");
    let journal = Journal::open(&path).unwrap();
    for number in 0..3_000 {
        journal.record(change(number, Action::Activated, if number == 2_999 { "7" } else { "1" })).await.unwrap();
    }
    drop(journal);
    let book = SharedBook::new(Journal::open(&path).unwrap(), Arc::new(place.store())).await.unwrap();
    let met = tokio::time::timeout(std::time::Duration::from_secs(2), book.meet()).await;
    let wanted = met.expect("within what a start waits").unwrap().unwrap();
    assert_eq!(wanted.id, version("7"));
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_model_changes").await, 3_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_journalled_while_the_server_was_away_comes_later_and_once() {
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap();
    let mut place = Place::on(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.journal");
    let store = Arc::new(place.store());
    let book = SharedBook::new(Journal::open(&path).unwrap(), Arc::clone(&store)).await.unwrap();
    let first = change(1, Action::Activated, "1");
    book.record(first.clone()).await.unwrap();
    assert_eq!(book.meet().await.unwrap(), None, "nobody sees it before it is made");
    book.share(vec![first]);
    assert_eq!(book.meet().await.unwrap().unwrap().id, version("1"));
    tokio::task::block_in_place(|| server.down());
    for (number, to) in [(2, "2"), (3, "3")] {
        book.record(change(number, Action::Activated, to)).await.unwrap();
        book.share(vec![change(number, Action::Activated, to)]);
        assert!(book.meet().await.is_err());
    }
    drop(book);
    // Another process takes the journal up.
    let again = SharedBook::new(Journal::open(&path).unwrap(), store).await.unwrap();
    assert_eq!(again.changes(9).await.unwrap().len(), 3);
    tokio::task::block_in_place(|| server.up());
    let wanted = loop {
        if let Ok(wanted) = again.meet().await {
            break wanted.unwrap();
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(wanted.id, version("3"));
    place.owner = place.session().await;
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_model_changes").await, 3);
}
