//! The log in one SQLite file: transactions with their decision, features as documents, labels, fallbacks, models.
//!
//! One thread writes; it groups what has queued into one SQLite transaction and answers each entry after the group's
//! commit, so under `synchronous = FULL` an answer means: on disk. Reads go over connections of their own. The file is
//! held by a lock file beside it for as long as the log lives.
//!
//! Invariant: entries are written in the order of `append`. What is stored wins over what comes later.

mod reader;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rusqlite::Connection;
use thiserror::Error;
use tokio::sync::oneshot;

use self::reader::Readers;
use self::writer::{Message, Writer};
use crate::base::clock::Millis;
use crate::base::money::BaseAmount;
use crate::decision::Decision;
use crate::engine::Durability;
use crate::engine::completeness::Completeness;
use crate::engine::models::Change;
use crate::engine::ports::{Done, Entry, Log, LogError, Reading, Sink, Stored};
use crate::store::of_revision;
use crate::transaction::Transaction;

/// How the log is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The database file; its folder exists.
    pub path: PathBuf,
    /// `Committed` synchronises fully with the disk at every group, `Queued` at checkpoints.
    pub durability: Durability,
    /// The most entries that wait.
    pub queue: usize,
    /// The most entries of a group.
    pub group: usize,
    /// Read connections.
    pub readers: usize,
}

impl SqliteOptions {
    /// Defaults for a file.
    #[must_use]
    pub const fn at(path: PathBuf, durability: Durability) -> Self {
        Self { path, durability, queue: 65_536, group: 4096, readers: 4 }
    }
}

/// Why a file cannot be opened.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another instance has it.
    #[error("{file} is held by another running instance; stop that one or name another file")]
    Held {
        /// The database file.
        file: String,
    },
    /// It was written by a later program.
    #[error("{file} has schema version {found}, this program knows up to {known}; use the program that wrote it")]
    Version {
        /// The database file.
        file: String,
        /// Its version.
        found: usize,
        /// The newest this program knows.
        known: usize,
    },
    /// A file beside it cannot be made or locked.
    #[error("{file} cannot be opened: {source}")]
    File {
        /// Which.
        file: String,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refuses it.
    #[error("the database cannot be opened: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// What the log and its writer share.
#[derive(Debug, Default)]
struct Shared {
    /// Entries that wait, those a failing writer keeps included.
    depth: AtomicUsize,
    /// Why the last group was not written.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The log.
#[derive(Debug)]
pub struct SqliteLog {
    /// Gone once the log is closed: what was sent before is before the close.
    sender: Mutex<Option<mpsc::Sender<Message>>>,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    queue: usize,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl SqliteLog {
    /// Opens or makes the file, brings its schema up to date and starts the writer. Blocking.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        let file = options.path.display().to_string();
        let lock = lock(&file)?;
        let mut connection = Connection::open(&options.path)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let synchronous = if options.durability == Durability::Committed { "FULL" } else { "NORMAL" };
        connection.execute_batch(&format!(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA temp_store = MEMORY;
             PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000;"
        ))?;
        schema::migrate(&mut connection, &file)?;
        connection.set_prepared_statement_cache_capacity(32);
        let (sender, receiver) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let linger =
            if options.durability == Durability::Committed { Duration::ZERO } else { Duration::from_millis(25) };
        let writer = Writer::new(connection, receiver, Arc::clone(&shared), options.group.max(1), linger, lock);
        let thread = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| StoreError::File { file, source })?;
        let readers = Arc::new(Readers::new(options.path.clone(), options.readers.max(1)));
        Ok(Self { sender: Mutex::new(Some(sender)), shared, readers, queue: options.queue, thread: Some(thread) })
    }

    fn send(&self, message: Message) -> Result<(), LogError> {
        let mut sender = self.sender.lock().unwrap_or_else(PoisonError::into_inner);
        let last = matches!(message, Message::Close(_));
        sender.as_ref().ok_or(LogError::Closed)?.send(message).map_err(|_| LogError::Closed)?;
        if last {
            *sender = None;
        }
        Ok(())
    }

    async fn ask(&self, message: fn(oneshot::Sender<Result<(), LogError>>) -> Message) -> Result<(), LogError> {
        let (sender, receiver) = oneshot::channel();
        self.send(message(sender))?;
        receiver.await.unwrap_or(Err(LogError::Closed))
    }
}

/// Dropping the log writes what waits and lets the file go.
impl Drop for SqliteLog {
    fn drop(&mut self) {
        let (sender, _) = oneshot::channel();
        drop(self.send(Message::Close(sender)));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn lock(file: &str) -> Result<File, StoreError> {
    let beside = format!("{file}.lock");
    let failed = |source| StoreError::File { file: beside.clone(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(&beside).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Held { file: file.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::File { file: beside, source }),
    }
}

impl Log for SqliteLog {
    fn append(&self, entry: Entry, done: Option<Done>) -> Result<(), LogError> {
        if self.shared.depth.fetch_add(1, Ordering::SeqCst) >= self.queue {
            self.shared.depth.fetch_sub(1, Ordering::SeqCst);
            return Err(LogError::Full(self.queue));
        }
        self.send(Message::Write(entry, done)).inspect_err(|_| {
            self.shared.depth.fetch_sub(1, Ordering::SeqCst);
        })
    }

    fn has_room(&self) -> bool {
        self.depth() < self.queue
    }

    fn find<'a>(&'a self, transaction_id: &'a str) -> Reading<'a, Option<Stored>> {
        let id = transaction_id.to_owned();
        Box::pin(self.readers.read(move |connection| reader::find(connection, &id)))
    }

    fn decision<'a>(&'a self, transaction_id: &'a str, revision: Option<u32>) -> Reading<'a, Option<Decision>> {
        let id = transaction_id.to_owned();
        let found = move |connection: &Connection| Ok(of_revision(reader::find(connection, &id)?, revision));
        Box::pin(self.readers.read(found))
    }

    fn features<'a>(
        &'a self,
        transaction_id: &'a str,
        revision: Option<u32>,
    ) -> Reading<'a, Option<serde_json::Value>> {
        let id = transaction_id.to_owned();
        Box::pin(self.readers.read(move |connection| reader::features(connection, &id, revision)))
    }

    fn undecided(&self, limit: usize) -> Reading<'_, Vec<(Transaction, BaseAmount)>> {
        Box::pin(self.readers.read(move |connection| reader::undecided(connection, limit)))
    }

    fn completeness(&self, upto: Millis) -> Reading<'_, Completeness> {
        Box::pin(self.readers.read(move |connection| reader::completeness(connection, upto)))
    }

    fn flush(&self) -> Reading<'_, ()> {
        Box::pin(self.ask(Message::Flush))
    }

    fn close(&self) -> Reading<'_, ()> {
        Box::pin(self.ask(Message::Close))
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>> {
        Box::pin(self.readers.read(move |connection| reader::changes(connection, most)))
    }

    fn newest(&self) -> Result<Option<Millis>, LogError> {
        self.readers.read_here(reader::newest)
    }

    fn replay(&self, since: Millis, sink: &mut dyn Sink) -> Result<(), LogError> {
        self.readers.read_here(|connection| reader::replay(connection, since, sink))
    }

    fn health(&self) -> Result<(), String> {
        self.shared.trouble().map_or(Ok(()), Err)
    }

    fn depth(&self) -> usize {
        self.shared.depth.load(Ordering::SeqCst)
    }
}
