//! What the registry makes happen by itself: new versions are prepared, and what an alias names comes into force.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};

use super::change::{Action, Asked, BY_ALIAS, VersionId};
use super::ports::Look;
use super::{Models, ModelsError};
use crate::engine::ports::Scorer;

impl<S: Scorer> Models<S> {
    /// One round over the registry; call it every few seconds. It may take as long as the registry and a preparation do.
    pub async fn tick(&self) {
        self.warm_previous().await;
        self.look().await;
        if !self.follow_alias().await {
            let news = self.versions().take_unhandled();
            self.prepare_newest(&news).await;
        }
    }

    /// Puts in force what an alias names, once it names another version than the one it named last. Whether there is an alias.
    ///
    /// What it named last is what any instance recorded of it: a version that was rolled back since stays so, also where this
    /// instance has only just come by.
    async fn follow_alias(&self) -> bool {
        let Some(id) = self.shared.registry.wanted() else { return false };
        let before = self.shared.alias.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if before.as_ref() == Some(&id) {
            return true;
        }
        let late = self.late_alias().as_ref() == Some(&id);
        let moved = match self.within(self.shared.book.named_last()).await {
            Ok(last) => late || last.as_ref() != Some(&id),
            // Nobody can be asked. What this instance has seen move did move; of anything else it knows too little.
            Err(_) if before.is_some() => true,
            Err(_) => return true,
        };
        if moved && let Err(error) = self.come_by_alias(&id).await {
            tracing::error!(version = id.key(), %error, "the version that the registry's alias names does not come into force");
            if !matches!(error, ModelsError::Refused { .. }) {
                // It may be otherwise in a moment. A record that comes late is taken back, and says nothing of the alias.
                *self.late_alias() = Some(id);
                return true;
            }
        }
        *self.late_alias() = None;
        *self.shared.alias.lock().unwrap_or_else(PoisonError::into_inner) = Some(id);
        true
    }

    async fn come_by_alias(&self, id: &VersionId) -> Result<(), ModelsError> {
        let asked = Asked::by_itself(BY_ALIAS);
        let key = self.find(&id.key()).await?;
        if self.versions().id(&key).as_ref() != Some(id) {
            return Err(ModelsError::Refused { version: key, reason: "here it has other content".to_owned() });
        }
        let model = self.prepare(&key, false).await?;
        let late = self.late_alias().as_ref() == Some(id);
        let dealt_with = self.within(self.shared.book.named_last()).await.ok().flatten();
        if dealt_with.as_ref() == Some(id) && !late {
            // Another instance was faster, and what became of it there holds here.
            return Ok(());
        }
        let _one = self.shared.switching.lock().await;
        if self.versions().champion.as_ref() == Some(&key) {
            // That the alias names it is recorded all the same, so that another one is told from it.
            return self.record(Action::Activated, &asked, (Some(&key), Some(&key)), None).await;
        }
        self.put_in_force(&key, model, Action::Activated, &asked).await
    }

    fn late_alias(&self) -> MutexGuard<'_, Option<VersionId>> {
        self.shared.late_alias.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks into the registry.
    pub(super) async fn look(&self) {
        let registry = Arc::clone(&self.shared.registry);
        let looked = tokio::task::spawn_blocking(move || registry.look()).await;
        let looks = match looked.map_err(|error| error.to_string()).and_then(|looks| looks) {
            Ok(looks) => looks,
            Err(reason) => {
                tracing::warn!(reason, "the registry of models cannot be read; versions that are known stay");
                return;
            }
        };
        let mut broken = BTreeMap::new();
        let mut versions = self.versions();
        for look in looks {
            match look {
                Look::Whole(found) => {
                    let place = found.directory.display().to_string();
                    let key = found.id.key();
                    let digest = found.id.digest.clone();
                    if versions.enter(found) {
                        tracing::info!(version = key, "a version was found");
                        versions.note_unhandled(key);
                    } else if versions.id(&key).is_some_and(|known| known.digest != digest) {
                        broken.insert(
                            place,
                            format!("{key} was seen with other content before: publish it as another version"),
                        );
                    }
                }
                Look::Broken { place, reason } => drop(broken.insert(place, reason)),
            }
        }
        let faults = versions.note_broken(broken);
        drop(versions);
        for (place, reason) in faults {
            tracing::warn!(place, reason, "what lies in the registry is no version");
        }
    }

    /// Prepares the newest version that passes where that is one of those that came, and puts it in force where that is wanted and it
    /// is new to deciding.
    async fn prepare_newest(&self, news: &BTreeSet<String>) {
        loop {
            let key = {
                let versions = self.versions();
                versions.newest().filter(|key| news.contains(key) && versions.champion.as_ref() != Some(key))
            };
            let Some(key) = key else { return };
            let Err(error) = self.come_as_newest(&key).await else { return };
            tracing::warn!(%error, "the newest version does not come into force");
            if !self.versions().is_refused(&key) {
                return;
            }
        }
    }

    async fn come_as_newest(&self, key: &str) -> Result<(), ModelsError> {
        let model = self.prepare(key, false).await?;
        if !self.shared.options.newest || self.versions().has_decided(key) {
            return Ok(());
        }
        // Preparing took a while: another instance may have rolled it back by now.
        self.ask_again().await;
        let _one = self.shared.switching.lock().await;
        let is_still = {
            let versions = self.versions();
            // What all instances want and this one cannot have stays their wish.
            let others = self.wanted().filter(|wanted| wanted.at > self.wished()).map(|wanted| wanted.id.key());
            let follows = others.is_none_or(|wanted| versions.champion.as_deref() == Some(&wanted));
            follows && versions.champion.as_deref() != Some(key) && versions.newest().as_deref() == Some(key)
        };
        if is_still {
            self.put_in_force(key, model, Action::Activated, &Asked::by_itself("the newest version")).await?;
        }
        Ok(())
    }
}
