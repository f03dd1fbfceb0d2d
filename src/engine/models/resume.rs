//! A start takes up where the last process was: the version that was in force, the one before it, and what ran beside it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::change::{Action, Asked, Change, VersionId, Wanted};
use super::{LOOK_BACK, Models, ModelsError, Watched};
use crate::base::clock::Millis;
use crate::engine::lineup::Lineup;
use crate::engine::ports::Scorer;

/// The pause between two questions for what all instances want.
const ASK_AGAIN: Duration = Duration::from_millis(500);

impl<S: Scorer> Models<S> {
    /// Puts in force what all instances want, else what was in force here last. If that fails, the one that was so before it,
    /// and so on; with no record, what the registry asks for, else the newest version. A warning says which one failed and why.
    ///
    /// # Errors
    /// `NotNow` where no version passed (the warnings say why each did not), or where nothing is known here and the others cannot
    /// be asked. `Unrecorded` when the record cannot be read. What was rolled back is not known then.
    pub async fn resume(&self) -> Result<(), ModelsError> {
        let changes = self.history(LOOK_BACK).await?;
        self.note_history(&changes);
        let wish = self.wish_at_start(&changes).await?;
        // What is recorded comes before what lies in a folder now under the same name.
        let recorded = changes.iter().rev().filter_map(|change| change.to.as_ref());
        for id in wish.iter().map(|wish| &wish.id).chain(recorded) {
            self.enter_copy(id).await;
        }
        self.look().await;
        self.find_news(&changes, wish.as_ref());
        let recorded = self.recorded(&changes);
        wish.iter().for_each(|wish| self.note_wanted(wish));
        let last = recorded.first().cloned();
        let wanted = wish.as_ref().filter(|wish| self.is_known(&wish.id)).map(|wish| wish.id.key());
        let named = self.shared.registry.wanted().map(|id| id.key());
        let mut failed = Vec::new();
        for key in wanted.iter().cloned().chain(recorded).chain(named).chain(self.newest_first()) {
            let is_wanted = wanted.as_ref() == Some(&key);
            if failed.contains(&key) || (self.versions().is_taken_back(&key) && !is_wanted) {
                continue;
            }
            let Ok(model) = self.prepare(&key, false).await else {
                failed.push(key);
                continue;
            };
            let _one = self.shared.switching.lock().await;
            if last.as_ref() == Some(&key) {
                // Nothing changes: it is in force again.
                self.continue_with(&key, model)?;
                self.resume_previous(&changes);
                self.watch_on(&changes, wish.as_ref());
            } else {
                let (action, why) = match (failed.as_slice(), &last) {
                    _ if is_wanted => (Action::Followed, "at the start, all instances want it".to_owned()),
                    ([], None) => (Action::Started, "the newest version, at the first start".to_owned()),
                    ([], Some(last)) => (Action::Started, format!("at the start, because {last} was rolled back")),
                    (failed, _) => {
                        (Action::Started, format!("at the start, because these did not pass: {}", failed.join(", ")))
                    }
                };
                self.put_in_force(&key, model, action, &Asked::by_itself(why)).await?;
                if let Some(wish) = wish.as_ref().filter(|_| is_wanted) {
                    self.watch_wish(wish);
                }
                match last.filter(|last| !failed.contains(last)) {
                    Some(last) if self.versions().is_taken_back(&last) => self.resume_previous(&changes),
                    last => self.remember(last),
                }
            }
            self.resume_beside(&changes).await;
            self.tidy(&changes).await;
            return Ok(());
        }
        Err(self.nothing_passed())
    }

    /// Puts the registry's one version in force, whatever was so before; nothing else is asked.
    ///
    /// # Errors
    /// `NotNow` where it did not pass.
    pub async fn resume_alone(&self) -> Result<(), ModelsError> {
        self.look().await;
        let Some(key) = self.newest_first().into_iter().next() else { return Err(self.nothing_passed()) };
        let model = self.prepare(&key, false).await?;
        let _one = self.shared.switching.lock().await;
        let before = self.history(LOOK_BACK).await.unwrap_or_default();
        let last =
            before.iter().rev().find(|change| change.action.moves_champion()).and_then(|change| change.to.clone());
        if last.is_some() && last == self.versions().id(&key) {
            return self.continue_with(&key, model);
        }
        self.put_in_force(&key, model, Action::Started, &Asked::by_itself("the version that the configuration names"))
            .await
    }

    /// What all instances want. One that has decided before goes on with that where nobody can be asked; one that has not waits: it
    /// would not know what was rolled back.
    async fn wish_at_start(&self, changes: &[Change]) -> Result<Option<Wanted>, ModelsError> {
        if changes.iter().any(|change| change.action.moves_champion()) {
            return Ok(self.within(self.shared.book.meet()).await.ok().flatten());
        }
        let asking = async {
            loop {
                match self.shared.book.meet().await {
                    Ok(wish) => return wish,
                    Err(error) => tracing::warn!(%error, "the first start waits for what all instances want"),
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        let wait = self.shared.options.first_wish;
        timeout(wait, asking).await.map_err(|_| {
            let what = "this is a first start, and what all instances want could not be asked within";
            ModelsError::NotNow(format!("{what} {wait:?}: a version that was rolled back might come back"))
        })
    }

    fn nothing_passed(&self) -> ModelsError {
        let refused = self.list().into_iter().filter_map(|version| version.reason);
        let reasons: Vec<String> = self.broken().into_iter().map(|(_, reason)| reason).chain(refused).collect();
        let reasons = if reasons.is_empty() { "there is none".to_owned() } else { reasons.join("; ") };
        ModelsError::NotNow(format!("no version can be put in force: {reasons}"))
    }

    fn continue_with(&self, key: &str, model: Arc<S>) -> Result<(), ModelsError> {
        let champion = Some(self.plan(key, Arc::clone(&model))?);
        let lineup = self.shared.engine.lineup();
        self.shared.engine.line_up(Lineup { champion, ..lineup });
        self.versions().decides(key, model, None);
        Ok(())
    }

    /// The versions that were in force, newest first, each once; those that were rolled back since are marked.
    fn recorded(&self, changes: &[Change]) -> Vec<String> {
        let moves: Vec<&Change> = changes.iter().rev().filter(|change| change.action.moves_champion()).collect();
        let mut decided = HashSet::new();
        for change in &moves {
            // The last word on a version counts: brought back, or taken back.
            if let Some(to) = &change.to {
                decided.insert(to.key());
            }
            if let Some(from) = change.from.as_ref().filter(|_| change.action.takes_back())
                && decided.insert(from.key())
            {
                self.versions().take_back(&from.key());
            }
        }
        let mut seen = HashSet::new();
        let known = moves.iter().filter_map(|change| change.to.as_ref()).filter(|id| self.is_known(id));
        let keys: Vec<String> = known.map(VersionId::key).filter(|key| seen.insert(key.clone())).collect();
        keys.iter().for_each(|key| self.versions().note_decided(key));
        keys
    }

    /// Of what lies in the registry at a start, only what was made after the last decision on a version is news: whoever
    /// decided knew of the rest.
    fn find_news(&self, changes: &[Change], wanted: Option<&Wanted>) {
        let moves = changes.iter().filter(|change| change.action.moves_champion()).map(|change| change.at);
        let decided = moves.chain(wanted.map(|wanted| wanted.at)).max().unwrap_or_default();
        let mut versions = self.versions();
        for key in versions.take_unhandled() {
            if versions.found(&key).is_some_and(|found| found.created > decided) {
                versions.note_unhandled(key);
            }
        }
    }

    fn note_history(&self, changes: &[Change]) {
        for change in changes {
            self.note_time(change.at);
            if change.action.is_wish() {
                self.note_wish(change.at);
            }
        }
    }

    fn is_known(&self, id: &VersionId) -> bool {
        self.versions().id(&id.key()).as_ref() == Some(id)
    }

    /// Enters a version that was seen earlier, from this instance's own copies.
    pub(super) async fn enter_copy(&self, id: &VersionId) {
        if self.versions().id(&id.key()).is_some() {
            return;
        }
        let (registry, asked) = (Arc::clone(&self.shared.registry), id.clone());
        let copy = tokio::task::spawn_blocking(move || registry.recall(&asked)).await;
        if let Ok(Some(found)) = copy {
            self.versions().enter(found);
        }
    }

    /// Remembers which version the one in force came after, so that a rollback knows it; it is loaded as soon as there is time.
    /// Versions that went are passed over.
    fn resume_previous(&self, changes: &[Change]) {
        // A record that names one version twice moved nothing.
        let moves = changes.iter().rev().filter(|change| change.action.moves_champion() && change.from != change.to);
        for change in moves {
            let Some(from) = &change.from else { return };
            let key = from.key();
            let goes_on = {
                let versions = self.versions();
                versions.champion.as_ref() != Some(&key) && versions.is_taken_back(&key)
            };
            if !goes_on {
                self.remember(Some(key).filter(|_| self.is_known(from)));
                return;
            }
        }
    }

    /// Watches a version on that came into force a moment before this process.
    fn watch_on(&self, changes: &[Change], wish: Option<&Wanted>) {
        let Some(last) = changes.iter().rev().find(|change| change.action.moves_champion()) else { return };
        let (Some(since), Some(prepared)) = (self.instant_of(last.at), self.shared.engine.lineup().champion) else {
            return;
        };
        let Some(to) = last.to.as_ref().filter(|_| last.action != Action::RolledBack) else { return };
        *self.watched() = Some(Watched { key: to.key(), prepared, since, before: None, is_new: false });
        match wish.filter(|wish| wish.id == *to) {
            // It came by a wish: that is when everybody's watch began.
            Some(wish) if !last.action.is_wish() => self.watch_wish(wish),
            None if last.action.takes_back() => *self.watched() = None,
            _ => {}
        }
    }

    /// What came into force at the wish of all instances is watched from that moment on: whoever comes later has the rest of the
    /// time, and does not take back from all of them what the others watched to the end.
    /// What came back is not watched.
    pub(super) fn watch_wish(&self, wish: &Wanted) {
        let since = self.instant_of(wish.at).filter(|_| wish.taken_back.is_none());
        let mut watched = self.watched();
        *watched = watched.take().zip(since).map(|(watched, since)| Watched { since, ..watched });
    }

    /// A moment by the clock; now where it is still to come, `None` where it is further back than anybody counts.
    fn instant_of(&self, at: Millis) -> Option<Instant> {
        // A wish may be of a moment later than the clock's.
        let ago = self.shared.clock.now().0.saturating_sub(at.0).max(0).unsigned_abs();
        Instant::now().checked_sub(Duration::from_millis(ago))
    }

    fn remember(&self, before: Option<String>) {
        let mut versions = self.versions();
        let fits = |key: &String| versions.champion.as_ref() != Some(key) && !versions.is_taken_back(key);
        if let Some(key) = before.filter(fits) {
            versions.previous = Some(key);
        }
    }

    /// Loads the version before, where a start left it cold.
    pub(super) async fn warm_previous(&self) {
        let cold = {
            let versions = self.versions();
            versions.previous.clone().filter(|key| versions.warm(key).is_none() && !versions.is_refused(key))
        };
        if let Some(key) = cold
            && let Err(error) = self.prepare(&key, false).await
        {
            tracing::warn!(%error, "the version before cannot be kept loaded: a rollback has none");
        }
    }

    /// Removes copies that neither the record nor the registry names any more.
    async fn tidy(&self, changes: &[Change]) {
        let recorded =
            changes.iter().flat_map(|change| change.to.iter().chain(&change.from)).map(|id| id.digest.clone());
        let kept: HashSet<String> = recorded.chain(self.list().into_iter().map(|version| version.id.digest)).collect();
        let registry = Arc::clone(&self.shared.registry);
        if let Err(reason) = self.shared.bench.run(move || registry.tidy(&kept)).await {
            tracing::warn!(reason, "old copies of versions stay");
        }
    }

    fn newest_first(&self) -> Vec<String> {
        let mut versions = self.list();
        versions.sort_by(|one, other| (&other.created, other.id.key()).cmp(&(&one.created, one.id.key())));
        versions.into_iter().map(|version| version.id.key()).collect()
    }
}
