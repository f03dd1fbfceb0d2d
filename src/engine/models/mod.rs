//! The lifecycle of model versions: found, held against the gates, put in force, watched, taken back.
//!
//! ```text
//! registry ─look─▶ discovered ─prepare (a thread that gives way)─▶ warm ─command─▶ recorded ─▶ one store ─▶ active
//!                                   └ a gate fails ▶ refused                                        └ watch ▶ rolled back
//! ```
//!
//! Invariants: a version comes into force only after every gate; a change is recorded before it takes effect, and one at a
//! time; what serves is one pointer, and nothing here runs on a thread that serves. A version that is refused, or a
//! registry, book or loader that fails, leaves the active version as it is.

mod beside;
mod change;
mod follow;
mod judge;
mod ports;
mod prepare;
mod record;
mod resume;
mod tick;
mod versions;
mod watch;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::timeout;

pub use change::{Action, Asked, BY_ALIAS, Change, ITSELF, VersionId, Wanted};
pub use ports::{Book, Comparisons, Found, Loader, LogBook, Look, Registry};
use versions::Versions;
pub use versions::{Stage, Version};
pub use watch::WatchOptions;

use super::Engine;
use super::challenge::ChallengerOptions;
use super::lineup::{Lineup, Prepared};
use super::ports::{LogError, Scorer};
use super::tally::Counts;
use crate::base::bench::Bench;
use crate::base::clock::{Clock, Millis};

/// Changes of the record that are looked back on.
const LOOK_BACK: usize = 10_000;

/// How versions are handled.
#[derive(Debug, Clone, Copy)]
pub struct ModelsOptions {
    /// Whether the newest version that passes comes into force by itself.
    pub newest: bool,
    /// The bound of the distribution gate, a population stability index; `None` switches the gate off.
    pub max_shift: Option<f64>,
    /// Recent payments that the distribution gate needs.
    pub least_traffic: usize,
    /// The watch over a version that came into force.
    pub watch: WatchOptions,
    /// Bounds of a challenger.
    pub challenger: ChallengerOptions,
    /// The longest that a record of a change may take.
    pub record_wait: Duration,
    /// The longest that a first start waits for what all instances want.
    pub first_wish: Duration,
}

/// Why a command is not carried out. What was in force stays.
#[derive(Debug, Error)]
pub enum ModelsError {
    /// No such version.
    #[error("no version {0} is known: `assay models list` names those that are")]
    Unknown(String),
    /// It did not pass a gate.
    #[error("{version} is refused: {reason}")]
    Refused {
        /// Which.
        version: String,
        /// What the gate said.
        reason: String,
    },
    /// It makes no sense as things stand.
    #[error("{0}")]
    NotNow(String),
    /// The change could not be recorded, so it was not made.
    #[error("the change was not made, because it could not be recorded: {0}")]
    Unrecorded(LogError),
    /// The system gave no thread.
    #[error("a thread cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// See the module. Cheap to clone.
#[derive(Debug)]
pub struct Models<S> {
    shared: Arc<Shared<S>>,
}

impl<S> Clone for Models<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

/// What the lifecycle is made of.
#[derive(Debug)]
pub struct ModelsParts<S> {
    /// Whose models they are.
    pub engine: Engine<S>,
    /// Where versions come from.
    pub registry: Arc<dyn Registry>,
    /// What makes a model of a package.
    pub loader: Arc<dyn Loader<S>>,
    /// Where changes are recorded.
    pub book: Arc<dyn Book>,
    /// Where the comparison is kept.
    pub comparisons: Arc<dyn Comparisons>,
    /// How.
    pub options: ModelsOptions,
}

struct Shared<S> {
    engine: Engine<S>,
    registry: Arc<dyn Registry>,
    loader: Arc<dyn Loader<S>>,
    book: Arc<dyn Book>,
    comparisons: Arc<dyn Comparisons>,
    clock: Arc<dyn Clock>,
    options: ModelsOptions,
    versions: Mutex<Versions<S>>,
    /// Held from the record of a change until it is in force.
    switching: tokio::sync::Mutex<()>,
    /// Held while a version is prepared: one at a time.
    preparing: tokio::sync::Mutex<()>,
    watched: Mutex<Option<Watched<S>>>,
    /// What the registry asked for, once that is dealt with.
    alias: Mutex<Option<VersionId>>,
    /// The wish that cannot be met, and when that was tried last.
    unmet: Mutex<Option<(Wanted, Instant)>>,
    /// What all instances want, as far as this one knows.
    wanted: Mutex<Option<Wanted>>,
    /// What the alias names, while the record of that was late.
    late_alias: Mutex<Option<VersionId>>,
    /// The newest change that is known, of any instance: a wish of now is newer, whatever the clock says.
    newest: Mutex<Millis>,
    /// The newest wish of this instance.
    wished: Mutex<Millis>,
    /// Whether other instances could be met when that was tried last.
    alone: AtomicBool,
    /// Models that are no longer needed, until nobody holds them.
    leaving: Mutex<Vec<Arc<S>>>,
    /// That there are more of them.
    left: Notify,
    /// Prepares versions, drops models, keeps comparisons.
    bench: Bench,
    /// When the comparison was kept last.
    kept_at: Mutex<Instant>,
}

impl<S> std::fmt::Debug for Shared<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Models").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The version that came into force last, and what was known then.
#[derive(Debug)]
struct Watched<S> {
    key: String,
    prepared: Prepared<S>,
    since: Instant,
    /// What the version before had done.
    before: Option<Counts>,
    /// Whether it decides for the first time.
    is_new: bool,
}

impl<S: Scorer> Models<S> {
    /// Nothing is looked for yet: [`Models::resume`] does so.
    #[must_use]
    pub fn new(parts: ModelsParts<S>) -> Self {
        let ModelsParts { engine, registry, loader, book, comparisons, options } = parts;
        let clock = Arc::clone(&engine.core.clock);
        let shared = Shared {
            engine,
            registry,
            loader,
            book,
            comparisons,
            clock,
            options,
            versions: Mutex::default(),
            switching: tokio::sync::Mutex::default(),
            preparing: tokio::sync::Mutex::default(),
            watched: Mutex::default(),
            alias: Mutex::default(),
            unmet: Mutex::default(),
            wanted: Mutex::default(),
            late_alias: Mutex::default(),
            newest: Mutex::default(),
            wished: Mutex::new(Millis(i64::MIN)),
            alone: AtomicBool::new(false),
            leaving: Mutex::default(),
            left: Notify::new(),
            bench: Bench::default(),
            kept_at: Mutex::new(Instant::now()),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Every version that is known, by name and version.
    #[must_use]
    pub fn list(&self) -> Vec<Version> {
        self.versions().list()
    }

    /// What lies in the registry and is no version: its place and what is wrong.
    #[must_use]
    pub fn broken(&self) -> Vec<(String, String)> {
        self.versions().broken().iter().map(|(place, reason)| (place.clone(), reason.clone())).collect()
    }

    /// One version: `name/version`, or `version` where that is unmistakable.
    ///
    /// # Errors
    /// `Unknown`.
    pub fn show(&self, key: &str) -> Result<Version, ModelsError> {
        let versions = self.versions();
        let known = versions.resolve(key).and_then(|key| versions.show(&key));
        known.ok_or_else(|| ModelsError::Unknown(key.to_owned()))
    }

    /// Holds a version against the gates anew. One that passes is kept loaded where it is in force or the newest.
    ///
    /// # Errors
    /// `Unknown` or `Refused`.
    pub async fn verify(&self, key: &str) -> Result<Version, ModelsError> {
        let key = self.find(key).await?;
        self.prepare(&key, true).await?;
        self.show(&key)
    }

    /// Puts a version in force; one that is in force already stays. It is prepared first where it is not warm.
    ///
    /// # Errors
    /// See [`ModelsError`].
    pub async fn activate(&self, key: &str, asked: &Asked) -> Result<Version, ModelsError> {
        let key = self.find(key).await?;
        let model = self.prepare(&key, false).await?;
        let _one = self.shared.switching.lock().await;
        if self.versions().champion.as_ref() == Some(&key) {
            if self.is_unwanted(&key) {
                // Here it decides already; that it is to decide everywhere is news.
                self.record(Action::Activated, asked, (Some(&key), Some(&key)), None).await?;
                self.versions().bring_back(&key);
            }
            return self.show(&key);
        }
        self.put_in_force(&key, model, Action::Activated, asked).await?;
        self.show(&key)
    }

    /// Brings back the version before, which is warm. The one that goes comes back only when a person asks for it.
    ///
    /// # Errors
    /// `NotNow` when none is kept, `Unrecorded`.
    pub async fn rollback(&self, asked: &Asked) -> Result<Version, ModelsError> {
        self.roll_back(asked, None).await
    }

    /// Likewise, unless another version than `expected` decides by now.
    async fn roll_back(&self, asked: &Asked, expected: Option<&str>) -> Result<Version, ModelsError> {
        let none = || ModelsError::NotNow("no version before is kept: activate one by name".into());
        let before = self.versions().previous.clone().ok_or_else(none)?;
        let model = self.of_before(&before).await?;
        let _one = self.shared.switching.lock().await;
        let (key, deciding) = {
            let versions = self.versions();
            (versions.previous.clone().filter(|key| *key == before), versions.champion.clone())
        };
        let key = key.ok_or_else(none)?;
        if expected.is_some() && deciding.as_deref() != expected {
            return Err(ModelsError::NotNow("another version decides by now".into()));
        }
        self.put_in_force(&key, model, Action::RolledBack, asked).await?;
        self.show(&key)
    }

    /// The newest changes, oldest first, at most `most`.
    ///
    /// # Errors
    /// `Unrecorded` when they cannot be read.
    pub async fn history(&self, most: usize) -> Result<Vec<Change>, ModelsError> {
        self.within(self.shared.book.changes(most)).await
    }

    /// The change that put in force what was active at a moment; `None` where none was, as far as the record goes back.
    ///
    /// # Errors
    /// `Unrecorded` when the record cannot be read.
    pub async fn active_at(&self, at: Millis) -> Result<Option<Change>, ModelsError> {
        let changes = self.history(LOOK_BACK).await?;
        Ok(changes.into_iter().rev().find(|change| change.action.moves_champion() && change.at <= at))
    }

    /// Records a change of the champion, makes it, and begins to watch. Under `switching`.
    async fn put_in_force(&self, key: &str, model: Arc<S>, action: Action, asked: &Asked) -> Result<(), ModelsError> {
        let engine = &self.shared.engine;
        let prepared = self.plan(key, Arc::clone(&model))?;
        let (from, is_new) = {
            let versions = self.versions();
            (versions.champion.clone(), !versions.has_decided(key))
        };
        let lineup = engine.lineup();
        let (shadow, canary) = {
            let versions = self.versions();
            (versions.shadow.clone(), versions.canary.clone())
        };
        // A challenger goes on against the new champion, from 0.
        let challenger = match (&lineup.challenger, shadow.filter(|(shadow, _)| shadow != key)) {
            (Some(running), Some(_)) => Some(running.against(engine, &prepared, self.shared.options.challenger)?),
            _ => None,
        };
        self.record(action, asked, (from.as_deref(), Some(key)), None).await?;
        let before = lineup.champion.as_ref().map(Prepared::counts);
        let canary = lineup.canary.filter(|_| canary.is_some_and(|(canary, _)| canary != key));
        engine.line_up(Lineup { champion: Some(prepared.clone()), canary, challenger });
        let take_back = action.takes_back().then(|| asked.why.clone());
        self.versions().decides(key, model, take_back);
        // Of a version that came back there is none to go back to.
        let watched = Watched { key: key.to_owned(), prepared, since: Instant::now(), before, is_new };
        *self.watched() = (action != Action::RolledBack).then_some(watched);
        self.let_go(None);
        tracing::info!(
            version = key,
            from = from.as_deref().unwrap_or("none"),
            action = action.as_str(),
            "a model came into force"
        );
        Ok(())
    }

    fn watched(&self) -> MutexGuard<'_, Option<Watched<S>>> {
        self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self, key: &str, model: Arc<S>) -> Result<Prepared<S>, ModelsError> {
        let refused = |error: crate::features::CatalogueError| ModelsError::Refused {
            version: key.to_owned(),
            reason: error.to_string(),
        };
        self.shared.engine.prepare(model).map_err(refused)
    }

    async fn within<T>(&self, answer: impl Future<Output = Result<T, LogError>>) -> Result<T, ModelsError> {
        let wait = self.shared.options.record_wait;
        timeout(wait, answer).await.unwrap_or(Err(LogError::Late(wait))).map_err(ModelsError::Unrecorded)
    }

    /// The key of a version; what is not known is looked for in the registry once.
    async fn find(&self, key: &str) -> Result<String, ModelsError> {
        if let Some(known) = self.versions().resolve(key) {
            return Ok(known);
        }
        self.look().await;
        let versions = self.versions();
        if let Some(known) = versions.resolve(key) {
            return Ok(known);
        }
        // A package that is not whole has no version to be named by but the folder it lies in.
        let version = key.rsplit('/').next().unwrap_or(key);
        let named = versions.broken().iter().find(|(place, _)| place.rsplit('/').next() == Some(version));
        Err(match named {
            Some((_, reason)) => ModelsError::Refused { version: key.to_owned(), reason: reason.clone() },
            None => ModelsError::Unknown(key.to_owned()),
        })
    }

    fn versions(&self) -> MutexGuard<'_, Versions<S>> {
        // Every change of it is one statement's work: a panic elsewhere leaves it usable.
        self.shared.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
