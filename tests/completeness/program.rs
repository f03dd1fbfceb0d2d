//! The program by the shipped configuration of the stack, and its commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kafka::Kafka;
use crate::place::Place;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What every process of the test is told, by the environment.
fn settings(kafka: &Kafka, place: &Place) -> Vec<(String, String)> {
    let options = &place.options;
    let password = options.password.as_ref().map(|password| password.expose().to_owned()).unwrap_or_default();
    [
        ("KAFKA__BROKERS", kafka.address()),
        ("KAFKA__PARTITIONS", "2".to_owned()),
        ("KAFKA__SESSION_TIMEOUT", "6s".to_owned()),
        ("POSTGRES__HOST", options.host.clone()),
        ("POSTGRES__PORT", options.port.to_string()),
        ("POSTGRES__DATABASE", options.database.clone()),
        ("POSTGRES__USER", options.user.clone()),
        ("POSTGRES__PASSWORD", password),
        ("POSTGRES__TABLE", options.rows.table.clone()),
        ("POSTGRES__KEY_COLUMN", options.rows.key.clone()),
        ("POSTGRES__SCORE_COLUMN", options.rows.score.clone()),
        ("POSTGRES__VERSION_COLUMN", options.rows.version.clone()),
        ("POSTGRES__FLAG_COLUMN", options.rows.flag.clone()),
        ("POSTGRES__REVISION_COLUMN", "revision".to_owned()),
        ("POSTGRES__STATEMENT_TIMEOUT", "20s".to_owned()),
        ("STREAM__SNAPSHOT_DIRECTORY", String::new()),
        ("HISTORY__CLOCK", "stream".to_owned()),
        ("COMPLETENESS__ALLOW_LATE", "0ms".to_owned()),
        ("COMPLETENESS__EVERY", "100ms".to_owned()),
        ("LOG__LEVEL", "warn".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (format!("ASSAY__{key}"), value))
    .collect()
}

pub(crate) struct Assay {
    child: Child,
    address: String,
    admin: String,
}

impl Assay {
    /// `more` are further variables of its environment.
    pub(crate) fn start(kafka: &Kafka, place: &Place, folder: &Path, more: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.args(["serve", "--config", "config/stack.toml"]).current_dir(ROOT).envs(settings(kafka, place));
        command.env("ASSAY__SERVER__LISTEN", "127.0.0.1:0");
        let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for (key, value) in [
            ("HISTORY__HASH_KEY_FILE", folder.join("history.key").display().to_string()),
            ("MODELS__JOURNAL", folder.join(format!("models-{}.journal", admin.port())).display().to_string()),
            ("MODELS__COPIES", folder.join("models").display().to_string()),
            ("ADMIN__LISTEN", admin.to_string()),
        ] {
            command.env(format!("ASSAY__{key}"), value);
        }
        command.envs(more.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_default().to_owned();
        assert!(!address.is_empty(), "assay did not start: {line:?}");
        Self { child, address, admin: format!("http://{admin}") }
    }

    /// `assay models` on this instance: (exit status, what it said).
    pub(crate) fn models(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("models").args(words).args(["--url", &self.admin]).current_dir(ROOT);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// Commands that ask this instance.
    pub(crate) fn cli(&self, kafka: &Kafka, place: &Place) -> Cli {
        Cli { settings: settings(kafka, place), listen: self.address.clone() }
    }

    /// The body of an answer, as it is.
    pub(crate) fn text(&self, path: &str) -> String {
        self.ask(path).split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// (status, body) of an answer.
    pub(crate) fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.ask(path);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), serde_json::from_str(body).unwrap_or(Value::Null))
    }

    fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: assay\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Without a warning.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Assay {
    fn drop(&mut self) {
        // One that was killed has no process any more.
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        drop(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status());
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if begun.elapsed() > Duration::from_secs(30) {
                drop(self.child.kill());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub(crate) struct Cli {
    settings: Vec<(String, String)>,
    listen: String,
}

impl Cli {
    /// (exit status, standard output) of a command.
    pub(crate) fn run(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.args(words).args(["--config", "config/stack.toml"]).current_dir(ROOT).envs(self.settings.clone());
        let output = command.env("ASSAY__SERVER__LISTEN", &self.listen).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }
}
