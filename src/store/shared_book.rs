//! The book of the stack: the instance's own journal first, then PostgreSQL, where all instances meet.
//!
//! ```text
//! change ─▶ journal (on the disk: it may take effect) ─made─▶ PostgreSQL, as soon as it answers ─▶ the wish that stands
//! ```
//!
//! Invariant: what is in the journal comes to PostgreSQL, however long that is away.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::postgres::PostgresError;
use super::{Journal, PostgresStore};
use crate::engine::models::{Book, Change, VersionId, Wanted};
use crate::engine::ports::{LogError, Reading};

/// Changes that are written together.
const TOGETHER: usize = 1_000;
/// Changes of the journal that a start writes again: PostgreSQL knows most of them, and one row is one row.
const AGAIN: usize = 10_000;

/// See the module.
#[derive(Debug)]
pub struct SharedBook {
    journal: Journal,
    sender: Arc<Sender>,
}

/// What brings changes to PostgreSQL.
#[derive(Debug)]
struct Sender {
    postgres: Arc<PostgresStore>,
    /// What PostgreSQL has not confirmed, oldest first.
    unsent: Mutex<VecDeque<Change>>,
    /// Held while they are sent: one at a time.
    sending: tokio::sync::Mutex<()>,
}

impl SharedBook {
    /// Over a journal; what it holds of before is sent again.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn new(journal: Journal, postgres: Arc<PostgresStore>) -> Result<Self, LogError> {
        let unsent = journal.changes(AGAIN).await?.into();
        let sender = Sender { postgres, unsent: Mutex::new(unsent), sending: tokio::sync::Mutex::default() };
        Ok(Self { journal, sender: Arc::new(sender) })
    }
}

impl Sender {
    fn unsent(&self) -> MutexGuard<'_, VecDeque<Change>> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self) -> Result<Option<Wanted>, LogError> {
        let _one = self.sending.lock().await;
        let mut most = TOGETHER;
        loop {
            let some: Vec<Change> = self.unsent().iter().take(most).cloned().collect();
            let done = match self.postgres.record_changes(&some).await {
                Ok(wanted) => {
                    let mut unsent = self.unsent();
                    unsent.drain(..some.len());
                    unsent.is_empty().then_some(wanted)
                }
                // One that PostgreSQL never takes must not hold up the others: it stays in the journal.
                Err(PostgresError::Refused(reason)) if most == 1 => {
                    tracing::error!(reason, "a change of the models is refused by PostgreSQL, and passed over");
                    self.unsent().pop_front();
                    None
                }
                Err(PostgresError::Refused(_)) if !some.is_empty() => {
                    most = 1;
                    None
                }
                Err(error) => return Err(LogError::Failed(error.to_string())),
            };
            if let Some(wanted) = done {
                return Ok(wanted);
            }
        }
    }
}

impl Book for SharedBook {
    fn record(&self, change: Change) -> Reading<'_, ()> {
        Box::pin(async move { self.journal.record(change).await })
    }

    fn share(&self, changes: Vec<Change>) {
        self.sender.unsent().extend(changes);
        // Others need not wait until somebody asks here.
        let sender = Arc::clone(&self.sender);
        tokio::spawn(async move { drop(sender.send().await) });
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>> {
        self.journal.changes(most)
    }

    fn named_last(&self) -> Reading<'_, Option<VersionId>> {
        Box::pin(async move {
            // Its own changes first: the newest of all may be one of them.
            self.sender.send().await?;
            self.sender.postgres.named_last().await.map_err(|error| LogError::Failed(error.to_string()))
        })
    }

    fn meet(&self) -> Reading<'_, Option<Wanted>> {
        Box::pin(self.sender.send())
    }
}
