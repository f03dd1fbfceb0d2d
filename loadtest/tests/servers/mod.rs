//! Servers for tests: Kafka and PostgreSQL by the project's scripts, on free ports and data folders of their own, gone when
//! the test ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");

pub(crate) struct Servers {
    pub(crate) root: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) kafka: u16,
    controller: u16,
    pub(crate) postgres: u16,
}

impl Servers {
    pub(crate) fn start() -> Self {
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

    pub(crate) fn script(&self, name: &str, word: &str) -> Output {
        let mut command = Command::new(self.root.join(format!("scripts/{name}.sh")));
        self.at_home(command.arg(word)).output().unwrap()
    }

    /// In the project's folder, where its scripts find these servers.
    fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .current_dir(&self.root)
            .env("ASSAY_KAFKA_DATA", self.folder.join("kafka"))
            .env("ASSAY_KAFKA_PORT", self.kafka.to_string())
            .env("ASSAY_KAFKA_CONTROLLER_PORT", self.controller.to_string())
            .env("ASSAY_POSTGRES_DATA", self.folder.join("postgres/data"))
            .env("ASSAY_POSTGRES_PORT", self.postgres.to_string())
            .env_remove("ASSAY_POSTGRES_PASSWORD")
    }

    pub(crate) fn places(&self) -> [String; 4] {
        let kafka = format!("127.0.0.1:{}", self.kafka);
        let postgres = format!("postgres://postgres@127.0.0.1:{}/payments", self.postgres);
        ["--kafka".to_owned(), kafka, "--postgres".to_owned(), postgres]
    }

    /// Runs `loadtest stack` with these words; what it printed.
    pub(crate) fn stack(&self, words: &str, rest: &[String]) -> String {
        let (word, options) = words.split_once(' ').unwrap_or((words, ""));
        let mut command = Command::new(PROGRAM);
        command.args(["stack", word]).args(self.places()).args(options.split_whitespace()).args(rest);
        let output = self.at_home(&mut command).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words}: {out}{error}");
        out.into_owned()
    }

    /// The same of a command whose last line is JSON.
    pub(crate) fn figures(&self, words: &str, rest: &[String]) -> Value {
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
