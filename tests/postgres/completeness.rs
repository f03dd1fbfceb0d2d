//! What is complete: the view, who audits, what a person says of dead letters.

use std::time::{Duration, Instant};

use assay::base::clock::Millis;
use assay::engine::completeness::{Claims, Completeness, DeadLetter, Figures, Holds, Mark, Round};
use assay::engine::delivery::Destination;
use assay::store::PostgresStore;

use crate::place::Place;
use crate::records::{decided, fallen_back, revised};

/// When every payment of these tests happened.
const HAPPENED: i64 = 1_700_000_000_123;
const LATER: i64 = HAPPENED + 3_600_000;

fn letter(offset: i64, at: i64, holds: Holds) -> DeadLetter {
    let (topic, destination) = match holds {
        Holds::Decided => ("transactions", ""),
        Holds::Applied => ("fraud.decisions", "postgres"),
        Holds::Nothing => ("labels", ""),
    };
    let source = (topic.to_owned(), 1, offset);
    DeadLetter {
        source,
        destination: destination.into(),
        place: (0, offset),
        code: "not_json".into(),
        at: Millis(at),
        holds,
    }
}

fn round(letters: Vec<DeadLetter>, watermark: Option<i64>) -> Round {
    let figures = Figures {
        as_of: Millis(LATER + 60_000),
        watermark: watermark.map(Millis),
        held_by: "the claim".into(),
        stored: watermark.map(Millis),
        stored_held_by: "the claim's rows".into(),
        undecided: 7,
        oldest: None,
    };
    Round { letters, next: vec![(0, 9)], settled: Vec::new(), figures: Some(figures) }
}

async fn shown(store: &PostgresStore) -> Completeness {
    store.complete().await.unwrap()
}

/// (watermark, applied watermark), as milliseconds before `LATER`.
fn behind(shown: &Completeness) -> (Option<i64>, Option<i64>) {
    let behind = |at: Option<Millis>| at.map(|at| LATER - at.0);
    (behind(shown.watermark), behind(shown.applied_watermark))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earliest_of_all_that_holds_is_told() {
    let place = Place::new().await;
    let store = place.store();
    store.prepare().await.unwrap();
    let nobody = shown(&store).await;
    assert_eq!((nobody.watermark, nobody.held_by.as_str()), (None, "no auditor has looked yet"));
    assert!(store.lead().await.unwrap().unwrap().is_empty());

    store.keep(&round(vec![letter(3, HAPPENED, Holds::Nothing)], Some(LATER))).await.unwrap();
    let free = shown(&store).await;
    assert_eq!(behind(&free), (Some(0), Some(0)), "{free:?}");
    assert_eq!((free.undecided, free.open_letters, free.held_by.as_str()), (7, 0, "the claim"));
    assert_eq!(store.lead().await.unwrap().unwrap().into_iter().collect::<Vec<_>>(), [(0, 9)]);

    // A decision that waits holds its own figure; one that a later revision waits for holds none.
    place.pay(&["late"]).await;
    assert_eq!(Destination::write(&store, &[decided("late", 0.5), revised("never", 0.5, 1)]).await.unwrap().applied, 1);
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(0)));
    Destination::write(&store, &[decided("waits", 0.5)]).await.unwrap();
    let waiting = shown(&store).await;
    assert_eq!(behind(&waiting), (Some(0), Some(3_600_001)), "{waiting:?}");
    assert_eq!(
        (waiting.waiting, waiting.oldest_waiting, waiting.applied_held_by.as_str()),
        (1, Some(Millis(HAPPENED)), "the row of waits has not appeared")
    );
    // Somebody says that it will not come; what was never there, or is completed, cannot be dismissed.
    let dismissed = async |id: &str| store.dismiss_rows(&[id.to_owned()], "somebody", "a test").await.unwrap();
    Destination::write(&store, &[decided("lost", 0.5)]).await.unwrap();
    assert_eq!([dismissed("waits").await, dismissed("late").await, dismissed("nobody").await], [1, 0, 0]);
    let shown_now = shown(&store).await;
    assert_eq!((shown_now.waiting, shown_now.applied_held_by.as_str()), (1, "the row of lost has not appeared"));
    assert_eq!([dismissed("lost").await, dismissed("lost").await], [1, 0]);
    let passed = shown(&store).await;
    assert_eq!((behind(&passed), passed.waiting, passed.oldest_waiting), ((Some(0), Some(0)), 0, None));
    place.execute("DELETE FROM assay.fraud_dismissed_rows WHERE transaction_id = 'waits'").await;
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(3_600_001)));
    place.pay(&["waits", "lost"]).await;
    let begun = Instant::now();
    while behind(&shown(&store).await).1 != Some(0) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the row does not release it");
        store.look_after().await.unwrap();
    }

    // Who has a fallback alone holds both, until there is a full decision.
    Destination::write(&store, &[fallen_back("answered")]).await.unwrap();
    let answered = shown(&store).await;
    assert_eq!(behind(&answered), (Some(3_600_001), Some(3_600_001)), "{answered:?}");
    assert_eq!((answered.undecided, answered.held_by.as_str()), (8, "transaction answered has a fallback alone"));
    place.pay(&["answered"]).await;
    Destination::write(&store, &[decided("answered", 0.5)]).await.unwrap();
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(0)));
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_fallbacks WHERE undecided").await, 1);
    store.keep(&round(Vec::new(), Some(LATER))).await.unwrap();
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_fallbacks WHERE undecided").await, 0);
    Destination::write(&store, &[fallen_back("alone")]).await.unwrap();
    assert_eq!(store.dismiss_fallbacks(&["alone".into()], "somebody", "a test").await.unwrap(), 1);
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(0)));

    // What is not known stays so, whatever else is there.
    store.keep(&round(vec![letter(4, HAPPENED, Holds::Decided)], None)).await.unwrap();
    assert_eq!(behind(&shown(&store).await), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_holds_until_it_is_dismissed_or_what_was_sent_again_has_its_end() {
    let place = Place::new().await;
    let store = place.store();
    store.prepare().await.unwrap();
    store.lead().await.unwrap().unwrap();
    let [first, second, refused] = [
        letter(1, LATER - 10, Holds::Decided),
        letter(2, LATER - 20, Holds::Decided),
        letter(3, LATER - 5, Holds::Applied),
    ];
    store.keep(&round(vec![first.clone(), second.clone(), refused.clone()], Some(LATER))).await.unwrap();
    let held = shown(&store).await;
    assert_eq!((behind(&held), held.open_letters), ((Some(21), Some(21)), 3));
    assert_eq!(held.held_by, "dead letter 0:2 (not_json, open) of transactions 1:2");
    assert_eq!(held.oldest_open_letter, Some(second.at));

    assert!(store.mark(&second, &Mark::Retried(0, 40), "somebody").await.unwrap());
    let settled = |offset: i64| Round {
        settled: vec![("transactions".into(), vec![offset, 0]), ("fraud.decisions".into(), vec![99])],
        ..round(Vec::new(), Some(LATER))
    };
    store.keep(&settled(40)).await.unwrap();
    assert_eq!(behind(&shown(&store).await).0, Some(21), "offset 40 has no end yet");
    store.keep(&settled(41)).await.unwrap();
    assert_eq!(behind(&shown(&store).await), (Some(11), Some(11)));
    // The same letter read again changes nothing.
    store.keep(&round(vec![second.clone()], Some(LATER))).await.unwrap();
    assert_eq!(behind(&shown(&store).await).0, Some(11));
    assert!(!store.mark(&second, &Mark::Dismissed("late".into()), "somebody").await.unwrap());

    assert_eq!(store.dismiss(&[(0, 1), (7, 7)], "somebody", "a test").await.unwrap(), [(0, 1)]);
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(6)));
    assert!(store.mark(&refused, &Mark::Dismissed("its row is gone".into()), "somebody").await.unwrap());
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(0)));
    let who = "SELECT string_agg(state || ' ' || coalesce(changed_by, '') || ' ' || coalesce(reason, ''), ',' ORDER BY letter_offset)
                 FROM assay.fraud_dead_letters";
    let who: String = place.one(who).await.get(0);
    assert_eq!(who, "dismissed somebody a test,settled somebody ,dismissed somebody its row is gone");

    // One that no auditor has seen yet.
    let unseen = letter(8, LATER - 30, Holds::Decided);
    assert!(store.mark(&unseen, &Mark::Dismissed("known".into()), "somebody").await.unwrap());
    store.keep(&round(vec![unseen.clone()], Some(LATER))).await.unwrap();
    assert_eq!(behind(&shown(&store).await), (Some(0), Some(0)));
    let states = store.states(&[unseen.place, (5, 5)]).await.unwrap();
    assert_eq!(states, [((0, 8), "dismissed".to_owned())]);
    // What holds nothing is settled by itself.
    assert!(store.mark(&letter(9, 0, Holds::Nothing), &Mark::Retried(0, 1), "somebody").await.unwrap());
    assert_eq!(store.states(&[(0, 9)]).await.unwrap(), [((0, 9), "settled".to_owned())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_audits_and_the_next_takes_over_when_its_session_is_gone() {
    let place = Place::new().await;
    let [one, other] = [place.store(), place.store()];
    one.prepare().await.unwrap();
    assert!(one.lead().await.unwrap().is_some());
    assert!(other.lead().await.unwrap().is_none() && other.lead().await.unwrap().is_none());
    other.keep(&round(Vec::new(), Some(LATER))).await.unwrap_err();
    one.keep(&round(Vec::new(), Some(LATER - 5))).await.unwrap();
    // Cut off by the server, as a network does.
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert!(place.count(cut).await >= 1);
    let begun = Instant::now();
    while other.lead().await.unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody takes over");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The first does not know yet: what it still has to write is not written.
    one.keep(&round(Vec::new(), Some(LATER - 9))).await.unwrap_err();
    other.keep(&round(Vec::new(), Some(LATER))).await.unwrap();
    assert_eq!(behind(&shown(&one).await), (Some(0), Some(0)));
}

/// No line of the plan reads a table of many rows but by an index.
#[tokio::test(flavor = "multi_thread")]
async fn the_view_reads_the_ends_of_indexes_and_never_the_payments() {
    let place = Place::new().await;
    let store = place.store();
    store.prepare().await.unwrap();
    store.lead().await.unwrap().unwrap();
    let letters = (0..200).map(|offset| letter(offset, LATER - offset, Holds::Decided)).collect();
    store.keep(&round(letters, Some(LATER))).await.unwrap();
    place.pay(&["a"]).await;
    Destination::write(&store, &[decided("a", 0.5), fallen_back("a"), decided("b", 0.5), fallen_back("c")])
        .await
        .unwrap();
    let columns = "record, scored_at, decision, transaction, base_minor, rate, kafka_partition, kafka_offset";
    place
        .execute(&format!(
            "INSERT INTO assay.fraud_decisions SELECT (d).* FROM (
               SELECT jsonb_populate_record(d, jsonb_build_object('transaction_id', 'x' || g, 'record', 'x' || g)) AS d
                 FROM assay.fraud_decisions AS d, generate_series(1, 20000) AS g WHERE d.transaction_id = 'a' OFFSET 0) AS many;
             INSERT INTO assay.fraud_fallbacks (transaction_id, undecided, {columns})
               SELECT 'x' || g, g > 19000, 'x' || g, scored_at, decision, transaction, base_minor, rate, 0, 0
                 FROM assay.fraud_fallbacks, generate_series(1, 20000) AS g WHERE transaction_id = 'a';
             INSERT INTO assay.fraud_dead_letters (source_topic, source_partition, source_offset, destination,
                 letter_partition, letter_offset, code, source_time, holds, state)
               SELECT 'transactions', 0, g, '', 0, g, 'not_json', now(), 'decided', 'dismissed'
                 FROM generate_series(1, 20000) AS g;
             ANALYZE assay.fraud_decisions; ANALYZE assay.fraud_fallbacks; ANALYZE assay.fraud_dead_letters"
        ))
        .await;
    // As an analyst asks, by nobody's settings but the server's.
    let session = place.session().await;
    let plan = session.query("EXPLAIN SELECT * FROM assay.fraud_completeness", &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    println!("{plan}");
    for table in ["fraud_decisions", "fraud_fallbacks", "fraud_dead_letters"] {
        assert!(plan.contains(table), "{plan}");
        assert!(!plan.contains(&format!("Seq Scan on {table}")), "{plan}");
    }
    assert!(!plan.contains("Hash") && !plan.contains("payments"), "{plan}");
    let begun = Instant::now();
    for _ in 0..20 {
        shown(&store).await;
    }
    println!("a reading takes {:?}", begun.elapsed() / 20);
    let found = shown(&store).await;
    assert_eq!((found.waiting, found.open_letters), (1, 200));
    assert_eq!(found.held_by, "transaction c has a fallback alone");
    // Rounds clear the marks, some in each.
    let begun = Instant::now();
    while place.count("SELECT count(*) FROM assay.fraud_fallbacks WHERE undecided").await > 1 {
        assert!(begun.elapsed() < Duration::from_secs(30), "marks stay");
        store.keep(&round(Vec::new(), Some(LATER))).await.unwrap();
    }
}
