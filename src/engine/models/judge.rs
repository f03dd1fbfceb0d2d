//! What is looked after by itself, beside anything that takes long: the version that has just come into force, the canary, the
//! comparison, and models that nobody holds any more.

use std::sync::{Arc, PoisonError};

use super::change::Asked;
use super::versions::Beside;
use super::watch::{self, WatchOptions};
use super::{Models, ModelsError};
use crate::engine::ports::Scorer;

impl<S: Scorer> Models<S> {
    /// One round; call it every second or so. It waits for no registry, no preparation and no thread that gives way.
    pub async fn judge(&self) {
        self.judge_watched().await;
        self.judge_canary().await;
    }

    /// Until a model is no longer needed.
    pub async fn something_left(&self) {
        self.shared.left.notified().await;
    }

    /// Drops models that nobody holds, and keeps the comparison now and then; call it every second or so, and when something
    /// left. It may take long.
    pub async fn put_away(&self) {
        self.drop_unheld().await;
        self.keep_now_and_then().await;
    }

    /// Takes the watched version back where it must go.
    async fn judge_watched(&self) {
        let options = &self.shared.options.watch;
        let (key, why) = {
            let mut watched = self.watched();
            let Some(one) = &*watched else { return };
            if one.since.elapsed() > options.window || self.versions().champion.as_ref() != Some(&one.key) {
                *watched = None;
                return;
            }
            // One that decided before comes back because somebody wants other scores.
            let options = WatchOptions { max_shift: options.max_shift.filter(|_| one.is_new), ..*options };
            match watch::verdict(&options, &one.prepared.counts(), one.before.as_ref()) {
                Some(why) => (one.key.clone(), why),
                None => return,
            }
        };
        match self.roll_back(&Asked::by_itself(why.clone()), Some(&key)).await {
            Ok(version) => tracing::error!(version = key, why, back = version.id.key(), "the version was rolled back"),
            Err(error) => {
                tracing::error!(version = key, why, %error, "the version should be rolled back and cannot be");
                if !matches!(error, ModelsError::NotNow(_)) {
                    // Once more in the next round.
                    return;
                }
            }
        }
        let mut watched = self.watched();
        if watched.as_ref().is_some_and(|one| one.key == key) {
            *watched = None;
        }
    }

    /// Ends a canary that does so much worse than the champion does meanwhile.
    async fn judge_canary(&self) {
        let options = &self.shared.options.watch;
        let lineup = self.shared.engine.lineup();
        let (Some((canary, _)), Some(champion)) = (lineup.canary, lineup.champion) else { return };
        if options.window.is_zero() {
            return;
        }
        let Some(why) = watch::verdict(options, &canary.counts(), Some(&champion.counts())) else { return };
        let Some((key, _)) = self.versions().canary.clone() else { return };
        match self.end(Beside::Canary, &key, &Asked::by_itself(why.clone())).await {
            Ok(()) => tracing::error!(version = key, why, "the canary was ended"),
            Err(error) => tracing::error!(version = key, why, %error, "the canary should be ended and cannot be"),
        }
    }

    /// Drops models that nobody holds any more: their threads end, their memory goes back.
    async fn drop_unheld(&self) {
        let unheld: Vec<Arc<S>> = {
            let mut leaving = self.shared.leaving.lock().unwrap_or_else(PoisonError::into_inner);
            leaving.extract_if(.., |model| Arc::strong_count(model) == 1).collect()
        };
        if !unheld.is_empty()
            && let Err(reason) = self.shared.bench.run(move || drop(unheld)).await
        {
            tracing::warn!(reason, "models could not be dropped beside the line");
        }
    }
}
