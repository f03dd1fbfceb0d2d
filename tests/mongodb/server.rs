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

/// The url of the server elsewhere, where one is named.
pub(crate) fn elsewhere() -> Option<String> {
    std::env::var(ELSEWHERE).ok().filter(|url| !url.is_empty())
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
    if elsewhere().is_some() {
        undone(&format!("{what}: {ELSEWHERE} names a server that is not the test's own"));
    }
    elsewhere().is_none()
}

/// A FerretDB with a data folder of its own; both go when the last test lets it go.
#[derive(Debug)]
pub(crate) struct Server {
    data: PathBuf,
    port: u16,
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
        let server = Self { data, port };
        let installed = server.script("install");
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
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

    pub(crate) fn url(&self) -> String {
        format!("mongodb://127.0.0.1:{}/", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Its process.
    pub(crate) fn pid(&self) -> String {
        let noted = std::fs::read_to_string(format!("{}.pid", self.data.display())).unwrap();
        noted.split_whitespace().next().unwrap().to_owned()
    }

    pub(crate) fn up(&self) {
        let output = self.script("start");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn down(&self) {
        let output = self.script("stop");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(crate) fn is_up(&self) -> bool {
        self.script("status").status.success()
    }

    fn script(&self, word: &str) -> Output {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/ferretdb.sh"))
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
