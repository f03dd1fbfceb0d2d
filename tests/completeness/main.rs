//! Completeness on the stack, with Kafka and PostgreSQL that the project's scripts start, and the program as processes.
//!
//! Payments are of days in the past under `history.clock = "stream"`: the stream's time makes the days go by.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod kafka;
#[path = "../postgres/place.rs"]
#[expect(dead_code, reason = "shared with the tests of the destination")]
mod place;
mod program;
#[path = "../postgres/server.rs"]
#[expect(dead_code, reason = "shared with the tests of the destination")]
mod server;
mod wish;

use std::time::{Duration, Instant};

use kafka::Kafka;
use place::Place;
use program::{Assay, Cli};
use serde_json::json;

/// Held by a test while it runs: there is one Kafka.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A payment of a customer whose messages all go to one partition.
fn payment(id: &str, at: &str) -> String {
    json!({
        "transaction_id": id, "occurred_at": at, "customer_id": "c4", "terminal_id": "t1", "amount_minor": 1_999,
        "currency": "EUR",
    })
    .to_string()
}

/// Waits until the command says so with this status; what it said.
fn until(cli: &Cli, words: &[&str], status: i32) -> String {
    let begun = Instant::now();
    loop {
        let (found, out) = cli.run(words);
        if found == status {
            return out;
        }
        assert!(begun.elapsed() < PATIENCE, "{words:?} still ends with {found}: {out}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_complete_when_every_payment_of_it_is_decided_or_dismissed() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let kafka = tokio::task::spawn_blocking(Kafka::start).await.unwrap();
    let place = Place::new().await;
    let first = tokio::task::block_in_place(|| Assay::start(&kafka, &place, folder.path(), &[]));
    let cli = first.cli(&kafka, &place);
    let day = |day: &'static str| ["completeness", "--day", day];
    let send = async |payload: &str| kafka.send(payload).await;

    // The day is decided as far as it has come, and complete when time is past it.
    for number in 0..20 {
        place.pay(&[&format!("p{number}")]).await;
        send(&payment(&format!("p{number}"), &format!("2026-01-10T12:{number:02}:00Z"))).await;
    }
    let told = tokio::task::block_in_place(|| {
        let begun = Instant::now();
        loop {
            let answer = first.get("/completeness?day=2026-01-10").1;
            assert_eq!(answer["complete"], false, "{answer}");
            if answer["watermark"] == "2026-01-10T12:19:00.000Z" {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{answer}");
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    assert_eq!((&told["undecided"], &told["open_letters"]), (&json!(0), &json!(0)), "{told}");
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_claim").await, 1);
    let (status, out) = tokio::task::block_in_place(|| cli.run(&day("2026-01-10")));
    assert_eq!(status, 3, "{out}");
    assert!(out.contains("2026-01-10 is not complete: decided up to 2026-01-10T12:19"), "{out}");
    place.pay(&["q0"]).await;
    send(&payment("q0", "2026-01-11T08:00:00Z")).await;
    let words = ["completeness", "--day", "2026-01-10", "--wait", "2m", "--applied"];
    let (status, out) = tokio::task::block_in_place(|| cli.run(&words));
    assert_eq!((status, out.contains("2026-01-10 is complete: applied up to")), (0, true), "{out}");
    let scored = "SELECT count(*) FROM shop.payments WHERE fraud_score IS NOT NULL AND id LIKE 'p%'";
    assert_eq!(place.count(scored).await, 20);

    // What nobody can read holds its day until it is dismissed; sent again it is refused again, and holds still.
    send("{\"transaction_id\": ").await;
    place.pay(&["r0"]).await;
    send(&payment("r0", "2026-01-12T08:00:00Z")).await;
    let held = tokio::task::block_in_place(|| {
        let begun = Instant::now();
        loop {
            let (_, out) = cli.run(&day("2026-01-11"));
            if out.contains("held by dead letter 0:0 (not_json, open) of transactions 0:21") {
                return out;
            }
            assert!(begun.elapsed() < PATIENCE, "{out}");
        }
    });
    assert!(held.contains("2026-01-11 is not complete"), "{held}");
    tokio::task::block_in_place(|| {
        let (status, out) = cli.run(&["dead-letters", "retry", "0:0", "--by", "somebody"]);
        assert_eq!(status, 0, "{out}");
        let again = until(&cli, &day("2026-01-11"), 3);
        let begun = Instant::now();
        let letters = loop {
            let (_, letters) = cli.run(&["dead-letters", "list"]);
            if letters.lines().count() == 2 && letters.contains("\tsettled\t") && letters.contains("\topen\t") {
                break letters;
            }
            assert!(begun.elapsed() < PATIENCE, "{again}{letters}");
        };
        assert_eq!(cli.run(&day("2026-01-11")).0, 3, "{letters}");
        let words = ["dead-letters", "dismiss", "0:1", "--reason", "a test's own", "--by", "somebody"];
        assert_eq!(cli.run(&words).0, 0);
        until(&cli, &day("2026-01-11"), 0);
        let (_, letters) = cli.run(&["dead-letters", "list"]);
        assert!(letters.contains("\tdismissed\t"), "{letters}");
    });

    // A letter whose message can be read now: sent again it is decided, and closed by that.
    place.pay(&["healed", "s0"]).await;
    kafka.letter("transactions", &payment("healed", "2026-01-12T09:00:00Z"), "2026-01-12T09:00:00.000Z").await;
    send(&payment("s0", "2026-01-13T08:00:00Z")).await;
    tokio::task::block_in_place(|| {
        let begun = Instant::now();
        while !cli.run(&day("2026-01-12")).1.contains("dead letter 0:2") {
            assert!(begun.elapsed() < PATIENCE, "the letter does not hold its day");
        }
        assert_eq!(cli.run(&["dead-letters", "retry", "0:2", "--by", "somebody"]).0, 0);
        until(&cli, &["completeness", "--day", "2026-01-12", "--applied"], 0);
    });
    assert!(place.scored("healed").await.is_some());

    // A decision whose row has not appeared holds the second figure alone.
    send(&payment("rowless", "2026-01-13T09:00:00Z")).await;
    place.pay(&["u0"]).await;
    send(&payment("u0", "2026-01-14T08:00:00Z")).await;
    let applied = ["completeness", "--day", "2026-01-13", "--applied"];
    tokio::task::block_in_place(|| {
        until(&cli, &day("2026-01-13"), 0);
        let begun = Instant::now();
        while !cli.run(&applied).1.contains("held by the row of rowless has not appeared") {
            assert!(begun.elapsed() < PATIENCE, "{}", cli.run(&applied).1);
        }
        assert_eq!(cli.run(&applied).0, 3);
    });
    place.pay(&["rowless"]).await;
    tokio::task::block_in_place(|| until(&cli, &applied, 0));

    // The auditor is killed: the other instance goes on.
    let second = tokio::task::block_in_place(|| Assay::start(&kafka, &place, folder.path(), &[]));
    let cli = second.cli(&kafka, &place);
    tokio::task::block_in_place(|| first.kill());
    // Behind the other partition's last message stands the marker of a transaction of Kafka's.
    place.pay(&["v0", "marked"]).await;
    kafka.send_marked(&payment("marked", "2026-01-14T09:00:00Z")).await;
    send(&payment("v0", "2026-01-15T08:00:00Z")).await;
    tokio::task::block_in_place(|| {
        until(&cli, &["completeness", "--day", "2026-01-14", "--applied", "--json"], 0);
        let metrics = second.text("/metrics");
        let open = metrics.lines().any(|line| line == "assay_completeness_open_letters 0");
        assert!(open && !metrics.contains("assay_completeness_claim_age_seconds -1"), "{metrics}");
    });

    // Who cannot say does not say 3.
    let role = &place.role;
    let cut = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'");
    place.execute(&format!("ALTER ROLE {role} NOLOGIN; {cut}")).await;
    tokio::task::block_in_place(|| {
        let begun = Instant::now();
        while second.get("/completeness").0 != 503 {
            assert!(begun.elapsed() < PATIENCE, "it still answers");
        }
        assert_eq!(cli.run(&day("2026-01-14")), (1, String::new()));
    });
    place.execute(&format!("ALTER ROLE {role} LOGIN")).await;
    tokio::task::block_in_place(|| until(&cli, &day("2026-01-14"), 0));
    assert_eq!(tokio::task::block_in_place(|| cli.run(&["completeness", "--day", "yesterday"])).0, 2);
}
