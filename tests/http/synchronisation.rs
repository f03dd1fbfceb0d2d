//! `committed` means on disk: every answer stands behind a completed synchronisation, counted in the real process by a
//! library that is loaded before the C library. Under `queued` the same requests need hardly any.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Server;
use super::transaction;

const REQUESTS: usize = 40;

fn counter(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/count_sync.c");
    let library = folder.join("count_sync.so");
    let status =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(status.success(), "the C compiler cannot build {}", source.display());
    library
}

/// How many synchronisations were complete before each request and when its answer was there.
fn counts(durability: &str) -> Vec<(u64, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let (library, counted) = (counter(folder.path()), folder.path().join("count"));
    std::fs::write(&counted, b"").unwrap();
    let preload = [("LD_PRELOAD", library.as_path()), ("COUNT_SYNC", counted.as_path())];
    let server = Server::start_with(folder.path(), &[&format!("store.durability = \"{durability}\"")], &preload);
    let mut client = server.client();
    let count = || std::fs::metadata(&counted).unwrap().len();
    let counts = (0..REQUESTS).map(|number| {
        let before = count();
        let body = transaction(&format!("sync-{number}")).to_string();
        let answer =
            client.request("POST", "/predict", &[("content-type", "application/json")], body.as_bytes()).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        (before, count())
    });
    counts.collect()
}

#[test]
fn every_committed_answer_stands_behind_a_synchronisation() {
    for (request, (before, after)) in counts("committed").into_iter().enumerate() {
        assert!(after > before, "request {request} was answered with nothing synchronised");
    }
    // The same measure tells the other durability apart: it is not the start or a checkpoint that was counted.
    let unsynchronised = counts("queued").into_iter().filter(|(before, after)| after == before).count();
    assert!(unsynchronised > REQUESTS / 2, "{unsynchronised} of {REQUESTS}");
}
