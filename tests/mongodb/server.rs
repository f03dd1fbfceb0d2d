//! The server of this test run, and servers that a test may stop.

use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Names a server elsewhere.
const ELSEWHERE: &str = "ASSAY_TEST_MONGODB_URL";
/// Names a program that starts and stops servers of another kind, by the words and variables of `scripts/ferretdb.sh`.
const SCRIPT: &str = "ASSAY_TEST_MONGODB_SCRIPT";

fn named(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|name| !name.is_empty())
}

/// The url of the server elsewhere, where one is named.
pub(crate) fn elsewhere() -> Option<String> {
    named(ELSEWHERE)
}

/// Whether the server is the stand-in that the project installs, whose gaps are known and said.
pub(crate) fn is_stand_in() -> bool {
    elsewhere().is_none() && named(SCRIPT).is_none()
}

/// Says that a test, or a part of one, did not run, and why.
pub(crate) fn undone(line: &str) {
    eprintln!("NOT RUN: {line}");
    if let Some(path) = std::env::var_os("ASSAY_UNDONE") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

/// Whether servers are this run's own, so that a test may stop them; `what` is said where not.
pub(crate) fn are_own(what: &str) -> bool {
    let own = elsewhere().is_none() || named(SCRIPT).is_some();
    if !own {
        undone(&format!("{what}: {ELSEWHERE} names a server that is not the test's own, and {SCRIPT} no program"));
    }
    own
}

/// A server with a data folder of its own; both go when the last test lets it go.
#[derive(Debug)]
pub(crate) struct Server {
    data: PathBuf,
    port: u16,
    url: String,
}

static STARTED: AtomicU32 = AtomicU32::new(0);
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// A new one, started.
    pub(crate) fn start() -> Self {
        let number = STARTED.fetch_add(1, Ordering::SeqCst);
        let folder = format!(".cache/test-mongodb/{}-{number}/data", std::process::id());
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { data, port, url: String::new() };
        server.told("install");
        server.url = server.told("url").trim().to_owned();
        server.up();
        server
    }

    /// The one that tests share.
    pub(crate) fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn up(&self) {
        self.told("start");
    }

    pub(crate) fn down(&self) {
        self.told("stop");
    }

    /// Ends it with no warning.
    pub(crate) fn kill(&self) {
        self.told("kill");
    }

    /// What the program answers to a word that must succeed.
    fn told(&self, word: &str) -> String {
        let output = self.script(word);
        assert!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn script(&self, word: &str) -> Output {
        let program = named(SCRIPT).unwrap_or_else(|| "scripts/ferretdb.sh".to_owned());
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(program))
            .arg(word)
            .env("ASSAY_FERRETDB_DATA", &self.data)
            .env("ASSAY_FERRETDB_PORT", self.port.to_string())
            .output()
            .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.script("stop"));
        if let Some(folder) = self.data.parent() {
            drop(std::fs::remove_dir_all(folder));
        }
    }
}
