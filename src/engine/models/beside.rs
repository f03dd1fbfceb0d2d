//! What runs beside the champion: a challenger that is compared, and a canary that decides for a share of the customers.
//!
//! In: a version that passed its gates, and a share. Out: it runs, and is taken up by a later process; with its figures where
//! both models are the same.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::change::{Action, Asked, Change, VersionId};
use super::versions::{Beside, Version};
use super::{Models, ModelsError};
use crate::engine::comparison::Compared;
use crate::engine::lineup::{Challenging, Lineup, Prepared};
use crate::engine::ports::Scorer;
use crate::engine::share::{self, Share};

/// How often a comparison that runs is kept: what a process that is killed loses of it.
const KEEP_EVERY: Duration = Duration::from_secs(30);

/// A version and its share in basis points.
type Shared = (VersionId, u16);

/// What ran beside the champion after all these changes, oldest first: the challenger and the canary.
fn beside(changes: &[Change]) -> (Option<Shared>, Option<Shared>) {
    let (mut shadow, mut canary): (Option<Shared>, Option<Shared>) = (None, None);
    for change in changes {
        let to = change.to.clone();
        match change.action {
            Action::Shadowed => shadow = to.zip(change.basis_points),
            Action::ShadowEnded => shadow = None,
            Action::Canaried => canary = to.zip(change.basis_points),
            Action::CanaryEnded => canary = None,
            action if action.moves_champion() => {
                // A version that decides for everybody neither challenges itself nor stands in for itself.
                let other = |one: &Shared| Some(&one.0) != to.as_ref();
                (shadow, canary) = (shadow.filter(other), canary.filter(other));
            }
            _ => {}
        }
    }
    (shadow, canary)
}

impl<S: Scorer> Models<S> {
    /// Lets a version score `basis_points` of 10,000 transactions besides; 0 ends it. Another one that did so ends.
    ///
    /// # Errors
    /// See [`ModelsError`].
    pub async fn shadow(&self, key: &str, basis_points: u16, asked: &Asked) -> Result<Version, ModelsError> {
        let key = self.find(key).await?;
        if basis_points == 0 {
            self.versions().note_end(&key);
            self.end(Beside::Shadow, &key, asked).await?;
            return self.show(&key);
        }
        let ends = self.versions().ends(&key);
        let model = self.prepare(&key, false).await?;
        let _one = self.shared.switching.lock().await;
        self.expect_not_ended(&key, ends)?;
        let champion = self.shared.engine.lineup().champion;
        let champion = champion.ok_or_else(|| ModelsError::NotNow("no version is active".into()))?;
        if self.versions().champion.as_ref() == Some(&key) {
            return Err(ModelsError::NotNow(format!("{key} is the active version: it cannot challenge itself")));
        }
        let prepared = self.plan(&key, model)?;
        if self.versions().shadow.as_ref() == Some(&(key.clone(), basis_points)) {
            // It runs: what was compared so far counts on.
            return self.show(&key);
        }
        let challenger = self.challenger(&key, basis_points, &prepared, &champion)?;
        self.record(Action::Shadowed, asked, (None, Some(&key)), Some(basis_points)).await?;
        self.run_shadow(&key, basis_points, challenger);
        self.show(&key)
    }

    /// Lets a version decide for `basis_points` of 10,000 customers, always the same ones; 0 ends it.
    ///
    /// # Errors
    /// See [`ModelsError`].
    pub async fn canary(&self, key: &str, basis_points: u16, asked: &Asked) -> Result<Version, ModelsError> {
        let key = self.find(key).await?;
        if basis_points == 0 {
            self.versions().note_end(&key);
            self.end(Beside::Canary, &key, asked).await?;
            return self.show(&key);
        }
        let ends = self.versions().ends(&key);
        let model = self.prepare(&key, false).await?;
        let _one = self.shared.switching.lock().await;
        self.expect_not_ended(&key, ends)?;
        let lineup = self.shared.engine.lineup();
        if lineup.champion.is_none() {
            return Err(ModelsError::NotNow("no version is active".into()));
        }
        if self.versions().champion.as_ref() == Some(&key) {
            return Err(ModelsError::NotNow(format!("{key} is the active version: it decides for everybody")));
        }
        let prepared = match &lineup.canary {
            Some((running, _)) if Arc::ptr_eq(running.model(), &model) => running.clone(),
            _ => self.plan(&key, model)?,
        };
        self.record(Action::Canaried, asked, (None, Some(&key)), Some(basis_points)).await?;
        self.run_canary(&key, basis_points, prepared);
        self.show(&key)
    }

    /// Whoever ended it while it was prepared does not find it running later.
    fn expect_not_ended(&self, key: &str, ends: u64) -> Result<(), ModelsError> {
        if self.versions().ends(key) == ends {
            return Ok(());
        }
        Err(ModelsError::NotNow(format!("{key} was ended while it was prepared")))
    }

    /// Ends what runs beside the champion, where it is that version still.
    pub(super) async fn end(&self, beside: Beside, key: &str, asked: &Asked) -> Result<(), ModelsError> {
        let _one = self.shared.switching.lock().await;
        let runs = {
            let mut versions = self.versions();
            versions.beside(beside).as_ref().is_some_and(|(running, _)| running == key)
        };
        if !runs {
            return Ok(());
        }
        self.record(beside.ended(), asked, (Some(key), None), None).await?;
        let lineup = self.shared.engine.lineup();
        self.shared.engine.line_up(match beside {
            Beside::Shadow => Lineup { challenger: None, ..lineup },
            Beside::Canary => Lineup { canary: None, ..lineup },
        });
        *self.versions().beside(beside) = None;
        self.let_go(None);
        Ok(())
    }

    /// How the challenger compares with the champion so far; `None` where there is none.
    #[must_use]
    pub fn compare(&self) -> Option<Compared> {
        self.shared.engine.lineup().challenger.map(|challenger| challenger.compared())
    }

    /// Its threads, which are handed nothing before it runs.
    fn challenger(
        &self,
        key: &str,
        basis_points: u16,
        prepared: &Prepared<S>,
        champion: &Prepared<S>,
    ) -> Result<Challenging<S>, ModelsError> {
        let share = Share::new(key.to_owned(), basis_points);
        Ok(self.shared.engine.challenge(prepared, champion, share, self.shared.options.challenger)?)
    }

    fn run_shadow(&self, key: &str, basis_points: u16, challenger: Challenging<S>) {
        let lineup = self.shared.engine.lineup();
        self.versions().runs(key, Arc::clone(challenger.model()));
        self.shared.engine.line_up(Lineup { challenger: Some(challenger), ..lineup });
        self.versions().shadow = Some((key.to_owned(), basis_points.min(share::ALL)));
        self.let_go(None);
    }

    fn run_canary(&self, key: &str, basis_points: u16, prepared: Prepared<S>) {
        let share = Share::new(key.to_owned(), basis_points);
        let lineup = self.shared.engine.lineup();
        self.versions().runs(key, Arc::clone(prepared.model()));
        self.shared.engine.line_up(Lineup { canary: Some((prepared, share)), ..lineup });
        self.versions().canary = Some((key.to_owned(), basis_points.min(share::ALL)));
        self.let_go(None);
    }

    /// Takes up what ran beside the champion before this process; what cannot be taken up ends, and the record says so.
    pub(super) async fn resume_beside(&self, changes: &[Change]) {
        let (shadow, canary) = beside(changes);
        if let Some((id, basis_points)) = canary
            && let Err(error) = self.resume_canary(&id, basis_points).await
        {
            self.not_resumed(Beside::Canary, &id, &error).await;
        }
        if let Some((id, basis_points)) = shadow
            && let Err(error) = self.resume_shadow(&id, basis_points).await
        {
            self.not_resumed(Beside::Shadow, &id, &error).await;
        }
    }

    async fn resume_canary(&self, id: &VersionId, basis_points: u16) -> Result<(), ModelsError> {
        let key = self.other(id).await?;
        let prepared = self.plan(&key, self.prepare(&key, false).await?)?;
        self.run_canary(&key, basis_points, prepared);
        Ok(())
    }

    async fn resume_shadow(&self, id: &VersionId, basis_points: u16) -> Result<(), ModelsError> {
        let key = self.other(id).await?;
        let prepared = self.plan(&key, self.prepare(&key, false).await?)?;
        let Some(champion) = self.shared.engine.lineup().champion else { return Ok(()) };
        let challenger = self.challenger(&key, basis_points, &prepared, &champion)?;
        let comparisons = Arc::clone(&self.shared.comparisons);
        let kept = tokio::task::spawn_blocking(move || comparisons.kept()).await;
        match kept.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(Some(kept)) if challenger.go_on(&kept) => {}
            Ok(_) => tracing::info!(version = key, "the comparison begins anew"),
            Err(error) => tracing::warn!(%error, "the comparison of before cannot be read: it begins anew"),
        }
        self.run_shadow(&key, basis_points, challenger);
        Ok(())
    }

    /// The key of a version of the record, which must be the same bytes still and not the champion.
    async fn other(&self, id: &VersionId) -> Result<String, ModelsError> {
        let key = self.find(&id.key()).await?;
        let versions = self.versions();
        if versions.id(&key).as_ref() != Some(id) {
            return Err(ModelsError::Refused { version: key, reason: "its content is another one".to_owned() });
        }
        if versions.champion.as_ref() == Some(&key) {
            return Err(ModelsError::NotNow(format!("{key} is the active version")));
        }
        Ok(key)
    }

    async fn not_resumed(&self, beside: Beside, id: &VersionId, error: &ModelsError) {
        let key = id.key();
        tracing::error!(version = key, %error, "what ran beside the active version is not taken up");
        let why = Asked::by_itself(format!("at the start: {error}"));
        if let Err(error) = self.record(beside.ended(), &why, (Some(&key), None), None).await {
            tracing::warn!(%error, "that it ended is not recorded");
        }
    }

    /// Keeps the comparison that runs, where that was not done for a while.
    pub(super) async fn keep_now_and_then(&self) {
        let is_due = {
            let mut at = self.shared.kept_at.lock().unwrap_or_else(PoisonError::into_inner);
            let is_due = at.elapsed() >= KEEP_EVERY;
            if is_due {
                *at = Instant::now();
            }
            is_due
        };
        if is_due {
            self.keep().await;
        }
    }

    /// Keeps the comparison that runs, for a later process. Call it at the end.
    pub async fn keep(&self) {
        let Some(challenger) = self.shared.engine.lineup().challenger else { return };
        let comparisons = Arc::clone(&self.shared.comparisons);
        let kept =
            self.shared.bench.run(move || comparisons.keep(&challenger.kept()).map_err(|error| error.to_string()));
        if let Err(reason) = kept.await.and_then(|kept| kept) {
            tracing::warn!(reason, "the comparison could not be kept: a restart would begin it anew");
        }
    }
}
