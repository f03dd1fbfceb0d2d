//! The server of this test run, and servers that a test may stop.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A server with a data folder of its own; both go when the last test lets it go.
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
        let folder = format!(".cache/test-postgres/{}-{number}/data", std::process::id());
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
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
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
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/postgres.sh"))
            .arg(word)
            .env("ASSAY_POSTGRES_DATA", &self.data)
            .env("ASSAY_POSTGRES_PORT", self.port.to_string())
            .env_remove("ASSAY_POSTGRES_PASSWORD")
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
