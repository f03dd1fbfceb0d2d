//! `loadtest stack` against Kafka and PostgreSQL themselves, with the bare loop in assay's place.
//!
//! Both servers are started by the project's scripts, on free ports and data folders of their own, and go when the test ends.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");

struct Servers {
    root: PathBuf,
    folder: PathBuf,
    kafka: u16,
    controller: u16,
    postgres: u16,
}

impl Servers {
    fn start() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let folder = root.join(format!(".cache/test-stack/{}", std::process::id()));
        // Held together, so that no two are the same.
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [kafka, controller, postgres] = listeners.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(listeners);
        let servers = Self { root, folder, kafka, controller, postgres };
        for name in ["kafka", "postgres"] {
            let output = servers.script(name, "start");
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        }
        servers
    }

    fn script(&self, name: &str, word: &str) -> Output {
        Command::new(self.root.join(format!("scripts/{name}.sh")))
            .arg(word)
            .env("ASSAY_KAFKA_DATA", self.folder.join("kafka"))
            .env("ASSAY_KAFKA_PORT", self.kafka.to_string())
            .env("ASSAY_KAFKA_CONTROLLER_PORT", self.controller.to_string())
            .env("ASSAY_POSTGRES_DATA", self.folder.join("postgres/data"))
            .env("ASSAY_POSTGRES_PORT", self.postgres.to_string())
            .env_remove("ASSAY_POSTGRES_PASSWORD")
            .output()
            .unwrap()
    }

    fn places(&self) -> [String; 4] {
        let kafka = format!("127.0.0.1:{}", self.kafka);
        let postgres = format!("postgres://postgres@127.0.0.1:{}/payments", self.postgres);
        ["--kafka".to_owned(), kafka, "--postgres".to_owned(), postgres]
    }

    /// Runs `loadtest stack` with these words; what it printed.
    fn stack(&self, words: &str, rest: &[String]) -> String {
        let (word, options) = words.split_once(' ').unwrap_or((words, ""));
        let mut command = Command::new(PROGRAM);
        command.args(["stack", word]).args(self.places()).args(options.split_whitespace()).args(rest);
        let output = command.output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words}: {out}{error}");
        out.into_owned()
    }

    /// The same of a command whose last line is JSON.
    fn figures(&self, words: &str, rest: &[String]) -> Value {
        let out = self.stack(&format!("{words} --json"), rest);
        serde_json::from_str(out.lines().last().unwrap()).unwrap_or_else(|error| panic!("{words}: {out}: {error}"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for name in ["kafka", "postgres"] {
            drop(self.script(name, "stop"));
        }
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

#[test]
fn the_harness_measures_a_stack_without_assay() {
    let servers = Servers::start();
    assert!(servers.stack("prepare --partitions 4", &[]).contains("(4 new)"));
    // What is there stays; another number of partitions is a fault, not a silence.
    assert!(servers.stack("prepare --partitions 4", &[]).contains("(0 new)"));
    let other = Command::new(PROGRAM).args(["stack", "prepare"]).args(servers.places()).output().unwrap();
    assert!(!other.status.success() && String::from_utf8_lossy(&other.stderr).contains("4 partitions, not 8"));

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
