//! What the lifecycle needs of others: where versions come from, what loads one, and where changes are recorded.

use std::collections::HashSet;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::change::{Change, VersionId, Wanted};
use crate::base::clock::Millis;
use crate::engine::comparison::Kept;
use crate::engine::ports::{Done, Entry, Log, LogError, Reading};
use crate::model::{Checks, ModelError};

/// Changes that are looked through for what an alias named last.
const NAMED: usize = 10_000;

/// A version that is there whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Which.
    pub id: VersionId,
    /// When its package was made, by its manifest.
    pub created: Millis,
    /// This instance's own copy of the package: nobody changes it.
    pub directory: PathBuf,
}

/// What lies in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// A version.
    Whole(Found),
    /// What is none: not whole, not readable, or changed after it was seen.
    Broken {
        /// Where it lies.
        place: String,
        /// What is wrong, in a sentence.
        reason: String,
    },
}

impl Look {
    /// The version, if it is one.
    #[must_use]
    pub fn whole(self) -> Option<Found> {
        if let Self::Whole(found) = self { Some(found) } else { None }
    }
}

/// Where versions come from.
pub trait Registry: Send + Sync + Debug {
    /// Everything that is there now. Blocking: disk or network.
    ///
    /// # Errors
    /// One sentence, when nothing can be said of it; what was seen before stays.
    fn look(&self) -> Result<Vec<Look>, String>;

    /// The version that the registry itself asks for, as of the last look: what an alias names. `None` where it asks for none.
    fn wanted(&self) -> Option<VersionId> {
        None
    }

    /// A version that was seen earlier, from this instance's own copies. Blocking.
    fn recall(&self, id: &VersionId) -> Option<Found>;

    /// Removes what this instance copied and nobody needs: every digest but `kept`, unless it is new. Blocking.
    fn tidy(&self, _kept: &HashSet<String>) {}
}

/// What makes a model of a package.
pub trait Loader<S>: Send + Sync + Debug {
    /// Reads, loads and warms the package and holds it against the gates that need no traffic: `checks` says how. Blocking,
    /// on a thread that gives way.
    ///
    /// # Errors
    /// What the gate that failed says.
    fn load(&self, directory: &Path, checks: &mut Checks) -> Result<S, ModelError>;
}

/// The log as the book: the embedded set-up's, which is the instance's own.
#[derive(Debug)]
pub struct LogBook(pub Arc<dyn Log>);

impl Book for LogBook {
    fn record(&self, change: Change) -> Reading<'_, ()> {
        Box::pin(async move {
            let (sender, receiver) = oneshot::channel();
            let done: Done = Box::new(move |result| drop(sender.send(result)));
            self.0.append(Entry::Changed(Box::new(change)), Some(done))?;
            receiver.await.unwrap_or(Err(LogError::Closed)).map(drop)
        })
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>> {
        self.0.changes(most)
    }
}

/// Where a comparison outlives its process.
pub trait Comparisons: Send + Sync + Debug {
    /// Keeps it in the place of the one before. Blocking.
    ///
    /// # Errors
    /// The system's; what was kept before is whole.
    fn keep(&self, kept: &Kept) -> io::Result<()>;

    /// What was kept last, if anything. Blocking.
    ///
    /// # Errors
    /// The system's, or that it cannot be read.
    fn kept(&self) -> io::Result<Option<Kept>>;
}

/// Where changes are recorded.
pub trait Book: Send + Sync + Debug {
    /// Returns once the change survives a crash of this process. Other instances do not see it yet.
    fn record(&self, change: Change) -> Reading<'_, ()>;

    /// What was recorded and made, or recorded and taken back, is to be seen by all instances, as soon as they can be met. What a
    /// process recorded and did not share before it ended the next one shares.
    fn share(&self, _changes: Vec<Change>) {}

    /// The newest changes, oldest first, at most `most`.
    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>>;

    /// What an alias put in force last, of all instances that can be asked.
    fn named_last(&self) -> Reading<'_, Option<VersionId>> {
        Box::pin(async {
            let changes = self.changes(NAMED).await?;
            Ok(changes.into_iter().rev().find(|change| change.is_by_alias()).and_then(|change| change.to))
        })
    }

    /// Brings what is recorded here to where all instances see it, and returns the version that they want. `None` where an
    /// instance is alone, or nobody has wished for anything.
    fn meet(&self) -> Reading<'_, Option<Wanted>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
