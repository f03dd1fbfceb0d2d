//! Kafka, PostgreSQL and a service of this test alone, and the command between them.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::PATIENCE;
use crate::payments::{Payment, all, is_missing};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ASSAY: &str = env!("CARGO_BIN_EXE_assay");
/// What a house gives its second role, and the index that serves the view's order.
const TABLES: &str = "CREATE TABLE payments (transaction_id text PRIMARY KEY, occurred_at timestamptz NOT NULL, customer_id text,
        terminal_id text, amount_minor bigint, currency text, fraud_score real, fraud_model_version text, fraud_flagged boolean,
        fraud_revision integer);
    CREATE INDEX ON payments (occurred_at);
    CREATE VIEW for_scoring AS SELECT transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency FROM payments;
    CREATE ROLE reader LOGIN;
    GRANT SELECT ON for_scoring TO reader";

/// Whether servers are the test's own; `what` is said where not.
pub(crate) fn are_own(what: &str) -> bool {
    let named = ["ASSAY_TEST_KAFKA", "ASSAY_TEST_POSTGRES_URL"].into_iter();
    let named = named.filter(|name| std::env::var_os(name).is_some_and(|place| !place.is_empty())).collect::<Vec<_>>();
    let Some(name) = named.first() else { return true };
    let line = format!("{what}: {name} names a server that is not the test's own");
    eprintln!("NOT RUN: {line}");
    if let Some(path) = std::env::var_os("ASSAY_UNDONE") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
    false
}

pub(crate) struct Stack {
    cache: PathBuf,
    ports: [u16; 3],
    folder: tempfile::TempDir,
    pub(crate) owner: Client,
}

impl Stack {
    pub(crate) fn start() -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let held = [free(), free(), free()];
        let ports = [0, 1, 2].map(|at: usize| held[at].local_addr().unwrap().port());
        drop(held);
        let cache = Path::new(ROOT).join(format!(".cache/test-rescore/{}", process::id()));
        std::fs::create_dir_all(&cache).unwrap();
        for (name, word) in [("kafka", "start"), ("postgres", "install"), ("postgres", "start")] {
            assert!(script(&cache, &ports, name, word), "{name} {word}");
        }
        let runtime = tokio::runtime::Handle::current();
        let owner = runtime.block_on(async {
            let url = format!("postgres://postgres@127.0.0.1:{}/postgres", ports[2]);
            let (owner, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            owner.batch_execute(TABLES).await.unwrap();
            owner
        });
        Self { cache, ports, folder: tempfile::tempdir().unwrap(), owner }
    }

    pub(crate) fn kafka(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The rows of all payments.
    pub(crate) async fn fill(&self) {
        for payment in all() {
            let Payment { id, at, customer, terminal, amount, .. } = &payment;
            let row = format!(
                "INSERT INTO payments VALUES ('{id}', to_timestamp({at} / 1000.0), '{customer}', '{terminal}', {amount}, 'EUR')"
            );
            self.owner.batch_execute(&row).await.unwrap();
        }
    }

    pub(crate) async fn count(&self, query: &str) -> i64 {
        self.owner.query_one(query, &[]).await.unwrap().get(0)
    }

    /// Waits until so many rows are completed.
    pub(crate) async fn completed(&self, count: usize) {
        self.until("SELECT count(fraud_score) FROM payments", count).await;
    }

    /// Waits until so many rows show this revision.
    pub(crate) async fn revised(&self, revision: u32, count: usize) {
        self.until(&format!("SELECT count(*) FROM payments WHERE fraud_revision = {revision}"), count).await;
    }

    async fn until(&self, query: &str, count: usize) {
        let begun = Instant::now();
        while self.count(query).await < count as i64 {
            assert!(begun.elapsed() < PATIENCE, "{query}: {} of {count}", self.count(query).await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A package whose model is not what its manifest says.
    pub(crate) fn broken_model(&self) -> String {
        let folder = self.folder().join("broken");
        std::fs::create_dir_all(&folder).unwrap();
        for entry in std::fs::read_dir(Path::new(ROOT).join("models/fraud/1")).unwrap() {
            let from = entry.unwrap().path();
            if from.is_file() {
                std::fs::copy(&from, folder.join(from.file_name().unwrap())).unwrap();
            }
        }
        let model = folder.join("model.onnx");
        let mut bytes = std::fs::read(&model).unwrap();
        bytes.push(0);
        std::fs::write(model, bytes).unwrap();
        folder.display().to_string()
    }

    fn program(&self, words: &[&str]) -> process::Command {
        let mut command = process::Command::new(ASSAY);
        command.args(words).args(["--config", "config/stack.toml"]).current_dir(ROOT).env_remove("PGPASSWORD");
        for (key, value) in [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("SERVER__DEFAULT_DEADLINE", "10s"),
            ("KAFKA__BROKERS", &self.kafka()),
            ("KAFKA__PARTITIONS", "2"),
            ("POSTGRES__HOST", "127.0.0.1"),
            ("POSTGRES__PORT", &self.ports[2].to_string()),
            ("POSTGRES__DATABASE", "postgres"),
            ("POSTGRES__USER", "postgres"),
            ("POSTGRES__TABLE", "public.payments"),
            ("STREAM__SNAPSHOT_DIRECTORY", ""),
            ("HISTORY__CLOCK", "stream"),
            ("HISTORY__HASH_KEY_FILE", &self.folder().join("history.key").display().to_string()),
            ("ADMIN__LISTEN", "127.0.0.1:0"),
            ("MODELS__JOURNAL", &self.folder().join("models.journal").display().to_string()),
            ("MODELS__COPIES", &self.folder().join("models").display().to_string()),
            ("LOG__LEVEL", "warn"),
        ] {
            command.env(format!("ASSAY__{key}"), value);
        }
        command
    }

    pub(crate) fn serve(&self) -> Service {
        let mut child = self.program(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_default().to_owned();
        assert!(!address.is_empty(), "assay did not start: {line:?}");
        Service { child, address }
    }

    /// The command with these words; the view is the test's where they name no other.
    pub(crate) fn rescore(&self, words: &[String]) -> Command {
        let mut command = self.program(&["rescore"]);
        command.args(["--postgres-url", &format!("postgres://reader@127.0.0.1:{}/postgres", self.ports[2])]);
        if !words.iter().any(|word| word == "--view") {
            command.args(["--view", "for_scoring"]);
        }
        command.args(words).stdout(Stdio::null()).stderr(Stdio::piped());
        Command(command)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        for name in ["kafka", "postgres"] {
            script(&self.cache, &self.ports, name, "stop");
        }
        drop(std::fs::remove_dir_all(&self.cache));
    }
}

fn script(cache: &Path, ports: &[u16; 3], name: &str, word: &str) -> bool {
    let mut command = process::Command::new(Path::new(ROOT).join(format!("scripts/{name}.sh")));
    command
        .arg(word)
        .env("ASSAY_KAFKA_DATA", cache.join("kafka"))
        .env("ASSAY_POSTGRES_DATA", cache.join("postgres/data"));
    command.env("ASSAY_KAFKA_PORT", ports[0].to_string()).env("ASSAY_KAFKA_CONTROLLER_PORT", ports[1].to_string());
    command.env("ASSAY_POSTGRES_PORT", ports[2].to_string()).env_remove("ASSAY_POSTGRES_PASSWORD");
    command.stdout(Stdio::null()).status().unwrap().success()
}

/// A command to be run.
pub(crate) struct Command(process::Command);

impl Command {
    pub(crate) fn output(mut self) -> Output {
        self.0.output().unwrap()
    }

    /// Runs it to a good end; what it told.
    pub(crate) fn success(self) -> String {
        let output = tokio::task::block_in_place(|| self.output());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        told
    }

    pub(crate) fn spawn(mut self) -> Child {
        self.0.stderr(Stdio::inherit()).spawn().unwrap()
    }
}

/// The program that serves.
pub(crate) struct Service {
    child: Child,
    address: String,
}

impl Service {
    /// (status, body) of a request.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let length = body.len();
        let head = "host: assay\r\nconnection: close\r\ncontent-type: application/json";
        write!(stream, "{method} {path} HTTP/1.1\r\n{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    pub(crate) fn pay(&self, payment: &Payment) -> Value {
        let (status, answer) = self.ask("POST", "/predict", &payment.json().to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Pays all that are not missing, and gives every verdict.
    pub(crate) fn decide(&self) {
        for (number, payment) in all().iter().enumerate() {
            if !is_missing(number) {
                self.pay(payment);
            }
        }
        let labels: Vec<Value> = all().iter().filter_map(Payment::label).collect();
        let (status, answer) = self.ask("POST", "/labels", &Value::from(labels).to_string());
        assert_eq!(status, 200, "{answer}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status());
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(60) {
                drop(self.child.kill());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
