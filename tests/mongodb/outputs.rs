//! A full run on the stack, and everything that it puts out read through for the personal identifiers that went in: answers and
//! errors over HTTP, logs, metrics, documents, what commands print. PostgreSQL and the topics are inside the boundary and are not
//! looked at.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

use crate::place::{Place, key};
use crate::server::{Server, are_own};
use crate::stack::Kafka;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(60);
/// Stands in every identifier of a person, and nowhere else.
const WORD: &str = "zorro";
const TABLES: &str = "CREATE TABLE payments (transaction_id text PRIMARY KEY, occurred_at timestamptz NOT NULL, customer_id text,
        terminal_id text, amount_minor bigint, currency text, card_id text, device_id text, fraud_score real,
        fraud_model_version text, fraud_flagged boolean, fraud_revision integer);
    CREATE INDEX ON payments (occurred_at);
    CREATE VIEW for_scoring AS SELECT transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency, card_id, device_id
        FROM payments;
    CREATE ROLE reader LOGIN;
    GRANT SELECT ON for_scoring TO reader";

/// PostgreSQL of this test alone.
struct Postgres {
    folder: PathBuf,
    port: u16,
}

impl Postgres {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let postgres =
            Self { folder: Path::new(ROOT).join(format!(".cache/test-mongodb/{}-postgres", std::process::id())), port };
        std::fs::create_dir_all(&postgres.folder).unwrap();
        postgres.told("install");
        postgres.told("start");
        postgres
    }

    fn told(&self, word: &str) {
        let mut command = Command::new(Path::new(ROOT).join("scripts/postgres.sh"));
        command.arg(word).env("ASSAY_POSTGRES_DATA", self.folder.join("data")).env_remove("ASSAY_POSTGRES_PASSWORD");
        let output = command.env("ASSAY_POSTGRES_PORT", self.port.to_string()).output().unwrap();
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    async fn execute(&self, sql: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url("postgres"), NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute(sql).await.unwrap();
        drop(client);
        connection.await.unwrap().unwrap();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.told("stop");
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Somebody's payment.
fn payment(id: &str, at: u128) -> Value {
    json!({
        "transaction_id": id, "occurred_at": at, "customer_id": format!("{WORD}-customer"), "terminal_id": "t1",
        "amount_minor": 1_999, "currency": "EUR", "card_id": format!("{WORD}-card"), "device_id": format!("{WORD}-device"),
    })
}

fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

/// The servers, and what was put out until now.
struct Run<'r> {
    kafka: &'r Kafka,
    postgres: &'r Postgres,
    place: &'r Place,
    folder: &'r Path,
    address: String,
    outputs: Vec<(String, Vec<u8>)>,
}

impl Run<'_> {
    fn program(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.args(words).args(["--config", "config/stack.toml"]).current_dir(ROOT).env_remove("PGPASSWORD");
        for (name, value) in [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__DEFAULT_DEADLINE", "10s"),
            ("KAFKA__BROKERS", &self.kafka.address()),
            ("KAFKA__PARTITIONS", "2"),
            ("POSTGRES__HOST", "127.0.0.1"),
            ("POSTGRES__PORT", &self.postgres.port.to_string()),
            ("POSTGRES__DATABASE", "postgres"),
            ("POSTGRES__USER", "postgres"),
            ("POSTGRES__TABLE", "public.payments"),
            ("STREAM__SNAPSHOT_DIRECTORY", ""),
            ("HISTORY__HASH_KEY_FILE", &self.folder.join("history.key").display().to_string()),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("MODELS__JOURNAL", &self.folder.join("models.journal").display().to_string()),
            ("MODELS__COPIES", &self.folder.join("models").display().to_string()),
            ("MONGODB__URL", self.place.options.url.expose()),
            ("MONGODB__DATABASE", &self.place.options.database),
            ("MONGODB__PSEUDONYM_KEYS", &key("p1", 1)),
            ("MONGODB__RAW_COLLECTION", "raw"),
            ("MONGODB__RAW_KEYS", &key("r1", 7)),
            ("MONGODB__SELECTION_TIMEOUT", "300ms"),
            ("LOG__LEVEL", "trace"),
        ] {
            command.env(format!("ASSAY__{name}"), value);
        }
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts the program that serves; both of its outputs go to files.
    fn serve(&mut self) -> Child {
        let [out, err] = ["out", "err"].map(|name| File::create(self.log(name)).unwrap());
        let child = self.program(&["serve"]).stdout(out).stderr(err).spawn().unwrap();
        let begun = Instant::now();
        while self.address.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "{}", std::fs::read_to_string(self.log("err")).unwrap());
            std::thread::sleep(Duration::from_millis(50));
            let text = std::fs::read_to_string(self.log("out")).unwrap();
            self.address = text.trim().strip_prefix("listening on http://").unwrap_or_default().to_owned();
        }
        child
    }

    /// Sends a request, keeps the whole answer; its status.
    fn ask(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let length = body.len();
        let head = "host: assay\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        self.outputs.push((format!("{method} {path}: {}", String::from_utf8_lossy(&answer)), answer));
        status
    }

    fn pay(&mut self, id: &str) {
        assert_eq!(self.ask("POST", "/predict", &payment(id, now()).to_string()), 200, "{id}");
    }

    /// Runs a command, keeps what it prints.
    fn command(&mut self, words: &[&str]) -> Output {
        let output = self.program(words).stdin(Stdio::null()).output().unwrap();
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            self.outputs.push((format!("{words:?} {name}: {}", String::from_utf8_lossy(bytes)), bytes.clone()));
        }
        output
    }

    /// Requests that are refused, each with a person's identifiers.
    fn bad_requests(&mut self) {
        let base = payment("bad", now());
        let with = |field: &str, value: Value| {
            let mut changed = base.clone();
            changed[field] = value;
            changed.to_string()
        };
        let long = format!("{WORD}-{}", "x".repeat(500));
        let bad = [
            with("customer_id", json!(long)),
            with("customer_id", json!(format!("{WORD} with a space and \u{1F47B}"))),
            with("customer_id", json!([WORD])),
            with("card_id", json!({ WORD: 1 })),
            with("device_id", json!("")),
            with("amount_minor", json!(-5)),
            with("currency", json!("nothing")),
            with("occurred_at", json!("yesterday")),
            with("occurred_at", json!(now() + 900_000_000)),
            format!("{{\"customer_id\": \"{WORD}-half"),
            format!("\"{WORD}\""),
        ];
        for body in &bad {
            let status = self.ask("POST", "/predict", body);
            assert!((400..500).contains(&status), "{status}: {body}");
        }
        assert_eq!(
            self.ask("POST", "/predict", &with("transaction_id", json!("tx-1"))),
            409,
            "other content under an id"
        );
        self.ask("POST", "/predict/batch", &format!("[{}, {}]", bad[0], with("transaction_id", json!("of-a-batch"))));
        self.ask(
            "POST",
            "/labels",
            &json!({"transaction_id": "tx-1", "is_fraud": true, "source": "review"}).to_string(),
        );
        self.ask("GET", "/decisions/unknown", "");
    }

    /// Messages that are no payments, and one that is in conflict: they become dead letters.
    async fn bad_messages(&self) {
        let producer: FutureProducer = self.kafka.config().create().unwrap();
        let mut other = payment("tx-2", now());
        other["amount_minor"] = json!(7);
        let mut negative = payment("negative", now());
        negative["amount_minor"] = json!(-7);
        for payload in [format!("{{\"customer_id\": \"{WORD}"), other.to_string(), negative.to_string()] {
            let customer = format!("{WORD}-customer");
            let record = FutureRecord::to("transactions").key(&customer).payload(&payload);
            assert!(producer.send(record, Duration::from_secs(10)).await.is_ok());
        }
    }

    /// Waits until an answer or the metrics say so.
    fn until(&mut self, path: &str, said: &str) {
        let begun = Instant::now();
        loop {
            self.ask("GET", path, "");
            let (text, _) = self.outputs.last().unwrap();
            if text.contains(said) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} does not say {said}: {text}");
            self.outputs.pop();
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_full_run_puts_out_names_anybody() {
    if !are_own("every output of a full run") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let start = || (Kafka::start_as("outputs"), Server::start(), Postgres::start());
    let (kafka, server, postgres) = tokio::task::spawn_blocking(start).await.unwrap();
    let place = Place::on(&server).await;
    postgres.execute(TABLES).await;
    let row = |id: &str| {
        format!(
            "INSERT INTO payments VALUES ('{id}', now() - interval '20 minutes', '{WORD}-customer', 't1', 1999, 'EUR', '{WORD}-card', '{WORD}-device');"
        )
    };
    let rows: String = (0..20).map(|at| row(&format!("tx-{at}"))).chain([row("never-sent")]).collect();
    postgres.execute(&rows).await;
    let (folder, address, outputs) = (folder.path(), String::new(), Vec::new());
    let mut run = Run { kafka: &kafka, postgres: &postgres, place: &place, folder, address, outputs };

    let mut child = tokio::task::block_in_place(|| run.serve());
    for at in 0..10 {
        run.pay(&format!("tx-{at}"));
    }
    run.bad_requests();
    run.bad_messages().await;
    run.until("/metrics", "assay_dead_letters_total{code=\"");
    run.until("/decisions/tx-1?features=true&explain=true", "customer_tx_count_1d");
    // Both destinations away, one after the other, while payments come.
    tokio::task::block_in_place(|| server.down());
    run.pay("tx-10");
    run.until("/metrics", "assay_delivery_failures_total{destination=\"mongodb\"}");
    assert_eq!(run.ask("GET", "/decisions/tx-10?features=true", ""), 503);
    tokio::task::block_in_place(|| server.up());
    tokio::task::block_in_place(|| postgres.told("stop"));
    run.pay("tx-11");
    run.until("/metrics", "assay_delivery_failures_total{destination=\"postgres\"}");
    run.ask("GET", "/completeness", "");
    tokio::task::block_in_place(|| postgres.told("start"));
    run.until("/decisions/tx-11?features=true", "customer_tx_count_1d");

    run.command(&["dead-letters", "list"]);
    let url = format!("http://{}", run.address);
    run.command(&["completeness", "--day", "2026-01-31", "--url", &url]);
    let (reader, rejected) = (postgres.url("reader"), run.log("rejected.ndjson").display().to_string());
    postgres.execute(&row("without-amount").replace("1999", "-1999")).await;
    let view = ["--postgres-url", &reader, "--view", "for_scoring", "--whole-view"];
    let missing = ["rescore", "--missing", "--rejected", &rejected];
    let rescored = run.command(&[&missing[..], &view[..]].concat());
    assert!(rescored.status.success(), "{}", String::from_utf8_lossy(&rescored.stderr));
    run.until("/decisions/never-sent", "rescore");

    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert!(tokio::task::block_in_place(|| child.wait()).unwrap().success());
    let Run { mut outputs, .. } = run;
    for name in ["out", "err", "rejected.ndjson"] {
        let bytes = std::fs::read(folder.join(name)).unwrap();
        outputs.push((format!("{name}: {}", String::from_utf8_lossy(&bytes)), bytes));
    }
    let said = |name: &str, words: &[&str]| {
        let (text, _) = outputs.iter().find(|(text, _)| text.starts_with(name)).unwrap();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    said("err", &["DEBUG", "WARN", "mongodb", "postgres"]);
    said("[\"dead-letters\", \"list\"] stdout", &["not_json", "conflict"]);
    said("rejected.ndjson", &["amount_negative"]);
    for collection in place.database.list_collection_names().await.unwrap() {
        let all = place.bytes(&collection).await;
        assert!(collection != "decisions" || all.len() >= 12, "{}", all.len());
        outputs.extend(all.into_iter().map(|bytes| (format!("a document of {collection}"), bytes)));
    }
    assert!(outputs.len() > 60);
    for (what, bytes) in &outputs {
        let naming = |line: &&[u8]| line.to_ascii_lowercase().windows(WORD.len()).any(|part| part == WORD.as_bytes());
        let line = bytes.split(|byte| *byte == b'\n').find(naming).map(String::from_utf8_lossy);
        assert!(line.is_none(), "{}: {line:?}", what.lines().next().unwrap_or_default());
    }
}
