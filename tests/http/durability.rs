//! What was answered stays: through an orderly end under load, and through being killed at any moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::client::Client;
use super::server::Server;
use super::transaction;

/// Sends transactions from `connections` threads until told to stop or the server is gone; gathers each id that was
/// answered 200, with its score.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<Mutex<Vec<(String, serde_json::Value)>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server, connections: usize, round: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(Mutex::new(Vec::new()));
        let threads = (0..connections)
            .map(|thread| {
                let (stop, answered, address) = (Arc::clone(&stop), Arc::clone(&answered), server.address.clone());
                thread::spawn(move || {
                    let Ok(mut client) = Client::connect(&address) else { return };
                    for number in 0.. {
                        let id = format!("r{round}-{thread}-{number}");
                        let body = transaction(&id).to_string();
                        let headers = [("content-type", "application/json")];
                        match client.request("POST", "/predict", &headers, body.as_bytes()) {
                            Ok(answer) if answer.status == 200 => {
                                answered.lock().unwrap().push((id, answer.json()["score"].clone()));
                            }
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                            Err(_gone) => return,
                        }
                        if stop.load(Ordering::Relaxed) {
                            return;
                        }
                    }
                })
            })
            .collect();
        Self { stop, answered, threads }
    }

    fn count(&self) -> usize {
        self.answered.lock().unwrap().len()
    }

    fn end(self) -> Vec<(String, serde_json::Value)> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut *self.answered.lock().unwrap())
    }
}

fn assert_all_known(server: &Server, answered: &[(String, serde_json::Value)]) {
    let mut client = server.client();
    for (id, score) in answered {
        let found = client.get(&format!("/decisions/{id}"));
        assert_eq!(found.status, 200, "{id} was answered and is lost");
        assert_eq!(&found.json()["score"], score, "{id} was decided again");
    }
}

#[test]
fn sigterm_under_load_loses_nothing() {
    for (round, durability) in ["committed", "queued"].into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let setting = format!("store.durability = \"{durability}\"");
        let mut server = Server::start(folder.path(), &[&setting]);
        let load = Load::start(&server, 4, round);
        while load.count() < 300 {
            thread::sleep(Duration::from_millis(1));
        }
        server.signal("TERM");
        let status = server.wait();
        let answered = load.end();
        assert_eq!(status.code(), Some(0), "{durability}");
        let again = Server::start(folder.path(), &[&setting]);
        assert_all_known(&again, &answered);
    }
}

#[test]
fn killed_at_20_moments_no_committed_decision_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Pcg64Mcg::seed_from_u64(20);
    let mut answered = Vec::new();
    for round in 0..20 {
        let server = Server::start(folder.path(), &[]);
        assert_all_known(&server, &answered);
        let load = Load::start(&server, 3, round);
        thread::sleep(Duration::from_millis(random.random_range(1..150)));
        server.kill();
        answered.extend(load.end());
    }
    assert!(answered.len() > 20, "only {} decisions were answered between kills", answered.len());
    let server = Server::start(folder.path(), &[]);
    assert_all_known(&server, &answered);
}

#[test]
fn a_second_signal_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::start(folder.path(), &[]);
    // A request that never ends holds up the orderly end.
    let mut slow = server.client();
    slow.send(b"POST /predict HTTP/1.1\r\nhost: assay\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n")
        .unwrap();
    assert_eq!(server.client().get("/health/live").status, 200);
    server.signal("INT");
    // New connections are refused once the first signal is seen.
    while Client::connect(&server.address)
        .is_ok_and(|mut client| client.request("GET", "/health/live", &[], b"").is_ok())
    {}
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(130));
}
