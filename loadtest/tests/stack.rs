//! `loadtest stack` against Kafka and PostgreSQL themselves, with the bare loop in assay's place.
//!
//! Both servers are started by the project's scripts, or named in the environment: servers/mod.rs says how.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod servers;

use std::process::Command;

use serde_json::Value;
use servers::{PROGRAM, Servers};

#[test]
fn the_harness_measures_a_stack_without_assay() {
    let servers = Servers::start();
    assert!(servers.prepare(4).contains("(4 new)"));
    // What is there stays; another number of partitions is a fault, not a silence.
    assert!(servers.prepare(4).contains("(0 new)"));
    let other = Command::new(PROGRAM).args(["stack", "prepare", "--role", ""]).args(servers.places()).output().unwrap();
    let told = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && told.contains("4 partitions, not 8"), "{told}");

    let sent = servers.stack("pay --count 200 --rate 1000", &[]);
    assert!(sent.contains("200 rows written, 200 events acknowledged"), "{sent}");

    // The bare loop works off what was sent and what a backlog adds.
    let mut bare = vec!["--".to_owned(), PROGRAM.to_owned(), "stack".to_owned(), "bare".to_owned()];
    bare.extend(servers.places());
    let own = std::process::id();
    let backlog = servers.figures(&format!("backlog --count 3000 --kafka-pid {own}"), &bare);
    assert_eq!(backlog["payments"], 3_000);
    assert_eq!(backlog["records"], 3_200, "every event became a record: {backlog}");
    let bytes = backlog["record_bytes"].as_f64().unwrap();
    assert!((1_000.0..1_100.0).contains(&bytes) && backlog["assay"].as_f64().unwrap() > 0.0, "{backlog}");
    assert!(backlog["rate"].as_f64().unwrap() > 10.0 && backlog["postgres"].is_null(), "{backlog}");

    let latency = servers.figures("latency --bare --count 500 --warmup 100 --rate 500 --partitions 4", &[]);
    assert_eq!(latency["bare"]["row"]["requests"], 500, "{latency}");
    assert_eq!((&latency["bare"]["missing"], &latency["assay"]), (&Value::from(0), &Value::Null));
    let p50 = latency["bare"]["row"]["p50"].as_u64().unwrap();
    assert!((50..10_000_000).contains(&p50), "{latency}");
    assert!(latency["commit"]["p50"].as_u64().unwrap() > 0, "{latency}");

    let lines = servers.stack("watch --every 200ms --duration 1s", &[]);
    assert!(lines.starts_with("rows 3800  completed 3800  flagged "), "{lines}");
}
