//! One wish for all instances: what was recorded here is brought where all see it, and what they want comes into force here.
//!
//! In: the wish that stands. Out: its version in force, unless this instance did something newer that the others have not seen
//! yet, or the version does not pass its gates here: then the log says so, and it is tried again now and then.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::change::{Action, Asked, Wanted};
use super::{Models, ModelsError};
use crate::engine::ports::Scorer;

/// How often a wish is tried again that cannot be met.
const TRY_AGAIN: Duration = Duration::from_secs(60);

impl<S: Scorer> Models<S> {
    /// One round; call it every half second or so. What is away is told once and tried again.
    pub async fn follow(&self) {
        let shared = &self.shared;
        let wanted = match shared.book.meet().await {
            Ok(wanted) => {
                if shared.alone.swap(false, Ordering::Relaxed) {
                    tracing::info!("changes of the models are shared with all instances again");
                }
                wanted
            }
            Err(error) => {
                if !shared.alone.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "changes of the models are journalled here alone; they are shared later");
                }
                return;
            }
        };
        let Some(wanted) = wanted else { return };
        self.note_wanted(&wanted);
        if self.stands(&wanted) || !self.is_due(&wanted) {
            return;
        }
        let met = self.meet(&wanted).await;
        let unmet = match met {
            Ok(()) => None,
            Err(error) => {
                let version = wanted.id.key();
                tracing::error!(version, %error, "the version that all instances want does not come into force here");
                let for_long = matches!(error, ModelsError::Refused { .. } | ModelsError::Unknown(_));
                for_long.then(|| (wanted, Instant::now()))
            }
        };
        *shared.unmet.lock().unwrap_or_else(PoisonError::into_inner) = unmet;
    }

    /// What a wish says, whether or not anything is to be done for it: how late it is, and which versions were rolled back. The one
    /// that decides here may be among them: it goes as soon as the wish is met, and no way leads back to it.
    pub(super) fn note_wanted(&self, wanted: &Wanted) {
        self.note_time(wanted.at);
        *self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some(wanted.clone());
        if self.wished() > wanted.at {
            // Somebody asked for something here that the others have not seen yet.
            return;
        }
        let mut versions = self.versions();
        versions.take_back_only(&wanted.gone);
        let key = wanted.id.key();
        if versions.champion.as_ref() == Some(&key) {
            versions.bring_back(&key);
        }
    }

    /// Asks what all instances want by now, after something that took long; what cannot be asked stays unknown.
    pub(super) async fn ask_again(&self) -> Option<Wanted> {
        let wanted = self.within(self.shared.book.meet()).await.ok().flatten()?;
        self.note_wanted(&wanted);
        Some(wanted)
    }

    /// Whether all instances want another version than this one, as far as this one knows.
    pub(super) fn is_unwanted(&self, key: &str) -> bool {
        self.wanted().is_some_and(|wanted| wanted.id.key() != key)
    }

    /// What all instances want, as far as this one knows.
    pub(super) fn wanted(&self) -> Option<Wanted> {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it is in force, or this instance did something newer.
    fn stands(&self, wanted: &Wanted) -> bool {
        let in_force = {
            let versions = self.versions();
            versions.champion.as_deref().and_then(|key| versions.id(key)).is_some_and(|id| id == wanted.id)
        };
        in_force || self.wished() > wanted.at
    }

    /// Whether it was not found impossible a moment ago.
    fn is_due(&self, wanted: &Wanted) -> bool {
        let unmet = self.shared.unmet.lock().unwrap_or_else(PoisonError::into_inner);
        unmet.as_ref().is_none_or(|(known, at)| known != wanted || at.elapsed() >= TRY_AGAIN)
    }

    async fn meet(&self, wanted: &Wanted) -> Result<(), ModelsError> {
        self.enter_copy(&wanted.id).await;
        let key = self.find(&wanted.id.key()).await?;
        if self.versions().id(&key).is_none_or(|id| id != wanted.id) {
            let reason = "here it has other content".to_owned();
            return Err(ModelsError::Refused { version: key, reason });
        }
        let model =
            if self.is_way_back(&key) { self.of_before(&key).await? } else { self.prepare(&key, false).await? };
        if self.ask_again().await.is_some_and(|now| now != *wanted) {
            // That took so long that they want something else: the next round sees to it.
            return Ok(());
        }
        let _one = self.shared.switching.lock().await;
        if self.stands(wanted) {
            // It came otherwise, or something newer did, while it was prepared.
            return Ok(());
        }
        let deciding = {
            let versions = self.versions();
            versions.champion.as_deref().and_then(|key| versions.id(key))
        };
        // Whether for this wish or an earlier one that was not seen here: the record is to know that it went.
        let goes = deciding.is_some_and(|id| wanted.taken_back.as_ref() == Some(&id) || wanted.gone.contains(&id));
        let action = if goes { Action::FollowedBack } else { Action::Followed };
        let asked = Asked { by: wanted.by.clone(), why: wanted.why.clone() };
        self.put_in_force(&key, model, action, &asked).await?;
        self.watch_wish(wanted);
        Ok(())
    }
}
