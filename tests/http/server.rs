//! The real program as a child process, on a free port and a folder of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::client::Client;

/// How long a start or an end may take before the test says so.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server; killed when it goes out of scope.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

/// What a command that ended by itself said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) output: String,
    pub(crate) errors: String,
}

/// A configuration for `folder`: `more` are further lines `section.key = value`.
pub(crate) fn configuration(folder: &Path, more: &[&str]) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = root.join("models/fraud/1");
    assert!(model.join("model.onnx").is_file(), "there is no model in {}: run `make model`", model.display());
    let text = |path: PathBuf| format!("{:?}", path.display().to_string());
    let mut lines = vec![
        "server.listen = \"127.0.0.1:0\"".to_owned(),
        "log.level = \"warn\"".to_owned(),
        "model.workers = 1".to_owned(),
        "server.default_deadline = \"10s\"".to_owned(),
        format!("model.directory = {}", text(model)),
        format!("store.path = {}", text(folder.join("assay.sqlite"))),
        format!("history.hash_key_file = {}", text(folder.join("history.key"))),
    ];
    for line in more {
        let key = line.split(" = ").next().unwrap();
        lines.retain(|earlier| !earlier.starts_with(key));
        lines.push((*line).to_owned());
    }
    let file = folder.join("assay.toml");
    std::fs::write(&file, lines.join("\n")).unwrap();
    file
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ASSAY__") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command that ends by itself.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    let output = command(arguments).output().unwrap();
    Ended {
        status: output.status,
        output: String::from_utf8(output.stdout).unwrap(),
        errors: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Server {
    /// Starts on `folder` and waits until it says where it listens.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        Self::start_with(folder, more, &[])
    }

    /// The same with further environment variables.
    pub(crate) fn start_with(folder: &Path, more: &[&str], environment: &[(&str, &Path)]) -> Self {
        let file = configuration(folder, more);
        let mut child = command(&["serve", "--config", file.to_str().unwrap()])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let mut errors = String::new();
            child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
            panic!("the server did not start: {line:?}\n{errors}");
        };
        Self { address: address.to_owned(), child }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address).unwrap()
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child is this process and has not ended.
    pub(crate) fn is_running(&mut self, process: u32) -> bool {
        self.process() == process && self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by name to this child alone.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.process().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "the server did not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it in order; what it said on standard error.
    pub(crate) fn stop(mut self) -> String {
        self.signal("TERM");
        assert!(self.wait().success());
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }

    /// SIGKILL, as when the power goes.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _killed = self.child.kill();
        let _ended = self.child.wait();
    }
}
