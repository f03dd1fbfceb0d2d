//! Versions out of a real MLflow server: registered, named by an alias, downloaded, put in force; and what is known stays while it
//! is away. `scripts/mlflow.sh` starts one.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PATIENCE: Duration = Duration::from_secs(60);

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// MLflow of this test alone.
struct Mlflow {
    folder: PathBuf,
    port: u16,
}

impl Mlflow {
    fn start() -> Self {
        let folder = Path::new(ROOT).join(format!(".cache/test-mlflow/{}", std::process::id()));
        let mlflow = Self { folder, port: free_port() };
        mlflow.script("install");
        mlflow.script("start");
        mlflow
    }

    fn script(&self, word: &str) {
        let done = Command::new(Path::new(ROOT).join("scripts/mlflow.sh"))
            .arg(word)
            .env("ASSAY_MLFLOW_DATA", &self.folder)
            .env("ASSAY_MLFLOW_PORT", self.port.to_string())
            .stdout(Stdio::null())
            .status();
        assert!(done.unwrap().success(), "scripts/mlflow.sh {word}");
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}/api/2.0/{path}", self.url());
        let text = body.map(Value::to_string).unwrap_or_default();
        let agent = ureq::agent();
        let answer = match method {
            "GET" => agent.get(&url).call(),
            _ => agent.post(&url).header("content-type", "application/json").send(text),
        };
        serde_json::from_str(&answer.unwrap().body_mut().read_to_string().unwrap()).unwrap()
    }

    /// Logs a package as a run's artifacts and registers it; MLflow's number of the version.
    fn register(&self, package: &Path) -> String {
        let run = self.ask("POST", "mlflow/runs/create", Some(&json!({"experiment_id": "0", "start_time": 1})));
        let place = run["run"]["info"]["artifact_uri"].as_str().unwrap().to_owned();
        let path = place.strip_prefix("mlflow-artifacts:/").unwrap();
        for file in fs::read_dir(package).unwrap().flatten().filter(|file| file.path().is_file()) {
            let name = file.file_name().into_string().unwrap();
            let url = format!("{}/api/2.0/mlflow-artifacts/artifacts/{path}/package/{name}", self.url());
            ureq::put(&url).send(&fs::read(file.path()).unwrap()).unwrap();
        }
        let made =
            json!({"name": "fraud", "source": format!("{place}/package"), "run_id": run["run"]["info"]["run_id"]});
        let version = self.ask("POST", "mlflow/model-versions/create", Some(&made));
        version["model_version"]["version"].as_str().unwrap().to_owned()
    }

    fn name_champion(&self, version: &str) {
        let alias = json!({"name": "fraud", "alias": "champion", "version": version});
        self.ask("POST", "mlflow/registered-models/alias", Some(&alias));
    }
}

impl Drop for Mlflow {
    fn drop(&mut self) {
        self.script("stop");
        drop(fs::remove_dir_all(&self.folder));
    }
}

struct Assay {
    child: Child,
    address: String,
    admin: String,
}

impl Assay {
    fn start(folder: &Path, mlflow: &Mlflow) -> Self {
        let admin = format!("127.0.0.1:{}", free_port());
        let path = |name: &str| folder.join(name).display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("serve").current_dir(ROOT).stdout(Stdio::piped()).stderr(Stdio::inherit());
        for (key, value) in [
            ("SERVER__LISTEN", "127.0.0.1:0"),
            ("ADMIN__LISTEN", &admin),
            ("MODEL__DIRECTORY", ""),
            ("MODELS__COPIES", &path("copies")),
            ("MODELS__LOOK_EVERY", "100ms"),
            ("MODELS__LATENCY_BUDGET", "10s"),
            ("MLFLOW__URL", &mlflow.url()),
            ("STORE__PATH", &path("assay.sqlite")),
            ("HISTORY__HASH_KEY_FILE", &path("key")),
            ("LOG__LEVEL", "warn"),
        ] {
            command.env(format!("ASSAY__{key}"), value);
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").unwrap_or_default().to_owned();
        assert!(!address.is_empty(), "assay did not start: {line:?}");
        Self { child, address, admin }
    }

    fn active(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET /model HTTP/1.1\r\nhost: assay\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        body["model_version"].as_str().unwrap().to_owned()
    }

    /// Waits until a version is in force.
    fn wait_for(&self, version: &str) {
        let begun = Instant::now();
        while self.active() != version {
            assert!(begun.elapsed() < PATIENCE, "{} is active, not {version}", self.active());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn models(&self, words: &[&str]) -> bool {
        let url = format!("http://{}", self.admin);
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("models").args(words).args(["--url", &url, "--by", "test", "--why", "a test"]);
        command.stdout(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Assay {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The shipped package as another version.
fn package(folder: &Path, version: &str) -> PathBuf {
    let to = folder.join(version);
    fs::create_dir_all(&to).unwrap();
    for file in
        fs::read_dir(Path::new(ROOT).join("models/fraud/1")).unwrap().flatten().filter(|file| file.path().is_file())
    {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let manifest = to.join("manifest.toml");
    let text =
        fs::read_to_string(&manifest).unwrap().replacen("version = \"1\"", &format!("version = \"{version}\""), 1);
    fs::write(manifest, text).unwrap();
    to
}

#[test]
fn a_version_comes_into_force_when_the_alias_is_moved_and_stays_while_mlflow_is_away() {
    if std::env::var_os("ASSAY_LONG").is_none() {
        // MLflow and what it needs are 700 MB.
        undone("versions out of a real MLflow server: only in the long form, ASSAY_LONG=1");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mlflow = Mlflow::start();
    mlflow.ask("POST", "mlflow/registered-models/create", Some(&json!({"name": "fraud"})));
    let first = mlflow.register(&package(folder.path(), "1"));
    mlflow.name_champion(&first);
    let assay = Assay::start(folder.path(), &mlflow);
    assert_eq!(assay.active(), "1");

    let second = mlflow.register(&package(folder.path(), "2"));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(assay.active(), "1", "it is registered, and the alias names the other");
    mlflow.name_champion(&second);
    assay.wait_for("2");

    // Rolled back by a person it stays so, until the alias moves again.
    assert!(assay.models(&["rollback"]));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(assay.active(), "1");
    mlflow.name_champion(&first);
    std::thread::sleep(Duration::from_millis(500));
    mlflow.name_champion(&second);
    assay.wait_for("2");

    mlflow.script("stop");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(assay.active(), "2");
    drop(assay);
    // A start without MLflow takes what was in force, from the instance's own copy.
    let assay = Assay::start(folder.path(), &mlflow);
    assert_eq!(assay.active(), "2");
    mlflow.script("start");
    mlflow.name_champion(&first);
    assay.wait_for("1");
}

/// Says what was left undone, also where the output of a passing test is not shown.
fn undone(line: &str) {
    eprintln!("NOT RUN: {line}");
    if let Some(file) = std::env::var_os("ASSAY_UNDONE") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}
