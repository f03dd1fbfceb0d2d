//! The destination `postgres`: decisions kept in assay's own schema, and the payment's row completed by key.
//!
//! In: batches of delivered records. Out: their rows in `fraud_decisions`, and score, version, flag and revision (or time) in
//! a table that belongs to someone else. One connection writes and looks after what waits, another one reads; completeness has
//! two more, one that audits and one that watches.
//!
//! Invariants:
//! - Of a (transaction id, revision) the first record stays, and the row is written from what is stored.
//! - The row's lock is taken only where it is free, and given back by the commit of the same statement: nobody waits for
//!   assay longer than that, and no lock is held across a flush to disk. (Where the row does not tell its revision, the
//!   commit is a message of its own, sent with the statement; a network cut between the two costs a second.)
//! - `write` returns after a commit that waited for the disk; everything of the batch was committed before that one.
//!
//! It does not know Kafka: partition and offset are numbers that it keeps.

mod auditing;
mod check;
mod completeness;
mod connection;
mod fault;
mod find;
mod migrate;
mod models;
mod options;
mod reference;
pub mod rescore;
mod rows;
mod statements;
mod waiting;
mod write;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OnceCell};

pub use fault::PostgresError;
pub use migrate::{MIGRATIONS, Migration};
pub use options::{Fourth, PostgresOptions, RowTable, Tls};
pub use reference::PostgresTables;

use self::auditing::Auditing;
use self::completeness::Watching;
use self::connection::{Session, Settings, Slot};
use self::find::Finding;
use self::statements::{Names, Target};
use self::write::Writing;
use crate::decision::Decision;
use crate::engine::delivery::{Delivered, Destination, DestinationError, Kept, Waiting};
use crate::engine::ports::Stored;

/// Its name: of the destination, in metrics and in errors.
pub const NAME: &str = "postgres";

/// How much longer than a statement may take this process waits for the answer.
const SLACK: Duration = Duration::from_secs(2);

/// Decisions in PostgreSQL. Connects when first needed; a broken connection is made anew by the next call.
#[derive(Debug)]
pub struct PostgresStore {
    settings: Settings,
    names: Names,
    /// What the check found of the payments' table; empty again when an error says that it has changed.
    target: Mutex<OnceCell<Arc<Target>>>,
    writer: Mutex<Slot<Writing>>,
    finder: Mutex<Slot<Finding>>,
    watcher: Mutex<Slot<Watching>>,
    auditor: Mutex<Slot<Auditing>>,
    waiting: Mutex<waiting::Tally>,
    models: Mutex<models::ModelSlot>,
}

impl PostgresStore {
    /// The store of these options. Connects to nothing yet.
    ///
    /// # Errors
    /// [`PostgresError::Faults`]: every fault of the options.
    pub fn new(options: &PostgresOptions) -> Result<Self, PostgresError> {
        let (settings, settled) = match Settings::of(options) {
            Ok(settings) => (Some(settings), Vec::new()),
            Err(faults) => (None, faults),
        };
        let mut faults = settled;
        let names = Names::of(options).map_err(|wrong| faults.extend(wrong)).ok();
        match (settings, names) {
            (Some(settings), Some(names)) => Ok(Self {
                settings,
                names,
                target: Mutex::default(),
                writer: Mutex::default(),
                finder: Mutex::default(),
                watcher: Mutex::default(),
                auditor: Mutex::default(),
                waiting: Mutex::default(),
                models: Mutex::default(),
            }),
            _ => Err(PostgresError::Faults(faults)),
        }
    }

    /// Brings assay's own schema up to date and checks the payments' table. The first `write` does it too where nobody
    /// did; a service calls it at its start, so that faults are told before anything is read.
    ///
    /// # Errors
    /// [`PostgresError::Faults`] with every fault found; [`PostgresError::Unavailable`] where the server is away.
    pub async fn prepare(&self) -> Result<(), PostgresError> {
        let mut slot = self.writer.lock().await;
        self.writing(&mut slot).await.map(drop)
    }

    /// What is stored of a transaction: its first decision, else its newest fallback. Waits for no batch.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn find(&self, transaction_id: &str) -> Result<Option<Stored>, PostgresError> {
        Ok(self.find_many(&[transaction_id]).await?.into_iter().next().flatten())
    }

    /// As [`find`](Self::find), for several: as many answers, in the same order.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn find_many(&self, transaction_ids: &[&str]) -> Result<Vec<Option<Stored>>, PostgresError> {
        let session = self.finding().await?;
        let answer = self.bounded(find::find_many(&session, transaction_ids)).await;
        self.found(&session, answer).await
    }

    /// The decision of a transaction: of this revision, or of the newest, else its newest fallback. Waits for no batch.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn decision(
        &self,
        transaction_id: &str,
        revision: Option<u32>,
    ) -> Result<Option<Decision>, PostgresError> {
        let session = self.finding().await?;
        let answer = self.bounded(find::decision(&session, transaction_id, revision)).await;
        self.found(&session, answer).await
    }

    /// The session that reads, connected and prepared where it was not.
    async fn finding(&self) -> Result<Arc<Session<Finding>>, PostgresError> {
        let mut slot = self.finder.lock().await;
        if let Some(session) = slot.usable()? {
            return Ok(session);
        }
        let made = Session::connect(&self.settings, async |client| {
            self.settings.calm(client).await?;
            Finding::prepare(client, &self.names).await
        });
        let made = Box::pin(made).await;
        slot.keep(made)
    }

    /// An answer of the session that reads, which goes when it is of no further use.
    async fn found<T>(
        &self,
        session: &Arc<Session<Finding>>,
        answer: Result<T, PostgresError>,
    ) -> Result<T, PostgresError> {
        if answer.as_ref().is_err_and(PostgresError::ends_session) {
            self.finder.lock().await.forget(session);
        }
        answer
    }

    /// The server's plans of the statements that touch the payments' table, as the writing session has them.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn plans(&self) -> Result<Vec<String>, PostgresError> {
        let mut slot = self.writer.lock().await;
        let session = self.writing(&mut slot).await?;
        self.bounded(session.plans()).await
    }

    /// The session that writes, connected, migrated, checked and prepared where it was not.
    async fn writing(&self, slot: &mut Slot<Writing>) -> Result<Arc<Session<Writing>>, PostgresError> {
        if let Some(session) = slot.usable()? {
            return Ok(session);
        }
        let known = self.target.lock().await;
        let made = Session::connect(&self.settings, async |client| {
            let target = known.get_or_try_init(|| self.examine(client)).await?;
            self.settings.calm(client).await?;
            Writing::prepare(client, &self.names, target).await
        });
        let made = Box::pin(made).await;
        slot.keep(made)
    }

    async fn examine(&self, client: &mut tokio_postgres::Client) -> Result<Arc<Target>, PostgresError> {
        migrate::migrate(client, &self.names, MIGRATIONS).await?;
        check::check(client, &self.names).await.map(Arc::new)
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, PostgresError>>) -> Result<T, PostgresError> {
        let limit = self.settings.statement_timeout + SLACK;
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Err(PostgresError::Unavailable(format!("no answer within {limit:?}; the connection is given up")))
        })
    }

    /// After an error on the writing session: whether it goes on, and whether the check's findings still hold.
    async fn judge(&self, slot: &mut Slot<Writing>, session: &Arc<Session<Writing>>, error: &PostgresError) {
        if error.ends_session() {
            slot.forget(session);
        }
        if error.is_fault() {
            self.target.lock().await.take();
        }
    }
}

impl Destination for PostgresStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, batch: &[Delivered]) -> Result<Kept, DestinationError> {
        let mut slot = self.writer.lock().await;
        let session = self.writing(&mut slot).await?;
        let kept = Box::pin(write::write(&session, batch, self.settings.statement_timeout + SLACK)).await;
        if let Err(error) = &kept {
            self.judge(&mut slot, &session, error).await;
        }
        Ok(kept?)
    }

    async fn look_after(&self) -> Result<Waiting, DestinationError> {
        let mut slot = self.writer.lock().await;
        let session = self.writing(&mut slot).await?;
        let mut tally = self.waiting.lock().await;
        let looked = Box::pin(self.bounded(waiting::look_after(&session, &mut tally))).await;
        if let Err(error) = &looked {
            self.judge(&mut slot, &session, error).await;
        }
        Ok(looked?)
    }
}
