//! assay on the stack, from outside: instances that are killed, servers that go away, races, poison. What the harness
//! judges is what Kafka and PostgreSQL hold at the end, never what assay says of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod servers;

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use servers::{PROGRAM, Servers};

/// One test at a time: each takes the whole machine.
static ALONE: Mutex<()> = Mutex::new(());

/// Whether the tests take their long form.
fn is_long() -> bool {
    std::env::var_os("ASSAY_LONG").is_some()
}

/// The program under test lies beside the harness.
fn assay() -> String {
    Path::new(PROGRAM).with_file_name("assay").to_string_lossy().into_owned()
}

/// How instances are started: replays of payments of any time, a folder each, the group's shortest patience.
fn instances(servers: &Servers, number: usize, port: u16) -> Vec<String> {
    let root = servers.root.display();
    let folder = servers.folder.join("instances");
    let mut words = vec![
        "--assay".to_owned(),
        assay(),
        "--arguments".to_owned(),
        format!("serve --config {root}/config/stack.toml"),
        "--instances".to_owned(),
        number.to_string(),
        "--port".to_owned(),
        port.to_string(),
        "--folder".to_owned(),
        folder.display().to_string(),
    ];
    for pair in [
        format!("ASSAY__KAFKA__BROKERS=127.0.0.1:{}", servers.kafka),
        format!("ASSAY__POSTGRES__PORT={}", servers.postgres),
        "ASSAY__POSTGRES__USER=postgres".to_owned(),
        "ASSAY__KAFKA__SESSION_TIMEOUT=6s".to_owned(),
        "ASSAY__KAFKA__PARTITIONS=4".to_owned(),
        "ASSAY__STREAM__SETTLE=200ms".to_owned(),
        "ASSAY__STREAM__PATIENCE=10s".to_owned(),
        "ASSAY__STREAM__SNAPSHOT_DIRECTORY={folder}/snapshots".to_owned(),
        "ASSAY__STREAM__SNAPSHOT_EVERY=5s".to_owned(),
        "ASSAY__HISTORY__CLOCK=stream".to_owned(),
        "ASSAY__HISTORY__HASH_KEY_FILE={folder}/history.key".to_owned(),
        format!("ASSAY__MODEL__DIRECTORY={root}/models/fraud/1"),
    ] {
        words.extend(["--env".to_owned(), pair]);
    }
    words
}

/// Writes a file with a command of assay.
fn assay_writes(words: &[&str], file: &Path) -> String {
    let option = if words.first() == Some(&"simulate") { "--out" } else { "--output" };
    let output = Command::new(assay()).args(words).arg(option).arg(file).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    file.display().to_string()
}

#[test]
fn every_payment_is_decided_once_whoever_is_killed_and_its_features_are_those_of_the_file() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = Servers::start();
    servers.stack("prepare --partitions 4", &[]);
    let (customers, days) = if is_long() { ("2000", "30") } else { ("300", "12") };
    let words = ["simulate", "--customers", customers, "--terminals", "150", "--days", days, "--seed", "11"];
    let payments = assay_writes(&words, &servers.folder.join("payments.parquet"));
    let model = servers.root.join("models/fraud/1").display().to_string();
    let features = assay_writes(&["features", "--input", &payments], &servers.folder.join("features.parquet"));
    let scores =
        assay_writes(&["score", "--input", &payments, "--model", &model], &servers.folder.join("scores.parquet"));
    let mut rest = instances(&servers, 3, 18_180);
    for (key, value) in [("--input", &payments), ("--features", &features), ("--scores", &scores)] {
        rest.extend([key.to_owned(), value.clone()]);
    }
    let kills = if is_long() { "--kill-after 20s --kill-before 30s" } else { "--kill-after 5s --kill-before 8s" };
    let outcome = servers.figures(&format!("parity --rate 400 {kills} --away 500ms"), &rest);
    assert!(outcome["disturbances"].as_array().unwrap().len() >= 2, "{outcome}");
}

#[test]
fn servers_that_go_away_lose_nothing_and_double_nothing() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let servers = Servers::start();
    servers.stack("prepare --partitions 4", &[]);
    let rest = instances(&servers, 2, 18_190);
    let outcome = servers.figures("faults --count 6000 --rate 300 --away 4s --there 4s", &rest);
    assert!(outcome["disturbances"].as_array().unwrap().len() >= 2, "{outcome}");
}
