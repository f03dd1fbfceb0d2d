//! Every change is recorded before it takes effect, and what is recorded took effect or is taken back in the record.
//!
//! A record may come later than anybody waits: the disk was slow, the caller left. The change was not made then, so another
//! record follows that says what is in force.

use std::sync::PoisonError;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::change::{Action, Asked, Change, ITSELF, VersionId};
use super::{Models, ModelsError};
use crate::base::clock::Millis;
use crate::engine::ports::{LogError, Scorer};
use crate::model::Checks;

impl<S: Scorer> Models<S> {
    /// Records a change from one version to another. Dropped or late, the record is taken back once it is there.
    pub(super) async fn record(
        &self,
        action: Action,
        asked: &Asked,
        (from, to): (Option<&str>, Option<&str>),
        basis_points: Option<u16>,
    ) -> Result<(), ModelsError> {
        let change = self.change(action, asked, (from, to), basis_points);
        let at = change.at;
        let (told, mut answer) = oneshot::channel();
        let models = self.clone();
        tokio::spawn(async move {
            let written = models.shared.book.record(change.clone()).await;
            if written.is_ok() {
                models.shared.engine.core.observer.model_changed(action);
            }
            let is_there = written.is_ok();
            match told.send(written) {
                Err(Ok(())) => models.take_record_back(change).await,
                Ok(()) if is_there => models.shared.book.share(vec![change]),
                _ => {}
            }
        });
        let wait = self.shared.options.record_wait;
        let written = match timeout(wait, &mut answer).await {
            Ok(written) => written.unwrap_or(Err(LogError::Closed)),
            Err(_) => {
                // What was sent before this still counts; what is sent after it finds nobody.
                answer.close();
                answer.try_recv().unwrap_or(Err(LogError::Late(wait)))
            }
        };
        written.map_err(ModelsError::Unrecorded)?;
        if action.is_wish() {
            self.note_wish(at);
        }
        Ok(())
    }

    fn change(
        &self,
        action: Action,
        asked: &Asked,
        (from, to): (Option<&str>, Option<&str>),
        basis_points: Option<u16>,
    ) -> Change {
        let at = self.time_of(action);
        let versions = self.versions();
        let id = |key: Option<&str>| key.and_then(|key| versions.id(key));
        Change {
            id: self.shared.engine.core.next_record().to_string(),
            at,
            action,
            by: readable(&asked.by),
            why: readable(&asked.why),
            from: id(from),
            to: id(to),
            basis_points,
            checks: to.map_or_else(Checks::default, |key| versions.checks(key)),
        }
    }

    /// Now; of a wish later than every change that is known, since the newest wish stands and clocks differ.
    fn time_of(&self, action: Action) -> Millis {
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = self.shared.clock.now().max(Millis(newest.0.saturating_add(i64::from(action.is_wish()))));
        *newest
    }

    /// There is a change of that moment.
    pub(super) fn note_time(&self, at: Millis) {
        let mut newest = self.shared.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = at.max(*newest);
    }

    /// This instance wished for something then.
    pub(super) fn note_wish(&self, at: Millis) {
        let mut wished = self.shared.wished.lock().unwrap_or_else(PoisonError::into_inner);
        *wished = at.max(*wished);
    }

    /// When this instance wished for something last.
    pub(super) fn wished(&self) -> Millis {
        *self.shared.wished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A change that was recorded and not made: says what is in force.
    async fn take_record_back(&self, late: Change) {
        let _one = self.shared.switching.lock().await;
        let (champion, shadow, canary) = {
            let versions = self.versions();
            (versions.champion.clone(), versions.shadow.clone(), versions.canary.clone())
        };
        let (action, to, basis_points) = match late.action {
            // A refusal changes nothing: it was one.
            Action::Refused => return self.shared.book.share(vec![late]),
            Action::Shadowed | Action::ShadowEnded => match shadow {
                Some((key, share)) => (Action::Shadowed, Some(key), Some(share)),
                None => (Action::ShadowEnded, None, None),
            },
            Action::Canaried | Action::CanaryEnded => match canary {
                Some((key, share)) => (Action::Canaried, Some(key), Some(share)),
                None => (Action::CanaryEnded, None, None),
            },
            // All instances are to stay with it where all were to follow.
            action if action.is_wish() => (Action::Activated, champion, None),
            _ => (Action::Started, champion, None),
        };
        let wanted = late.to.as_ref().or(late.from.as_ref()).map_or_else(String::new, VersionId::key);
        let why = format!("{}: {wanted} was recorded too late and not done, this stayed", late.action.as_str());
        let asked = Asked { by: ITSELF.to_owned(), why };
        // From itself to itself: it decided all the time.
        let from = to.as_deref().filter(|_| action.moves_champion());
        let mut change = self.change(action, &asked, (from, to.as_deref()), basis_points);
        if action.is_wish() {
            // It undoes that one wish and none that somebody had since.
            change.at = Millis(late.at.0.saturating_add(1));
        }
        match self.shared.book.record(change.clone()).await {
            Ok(()) => {
                tracing::warn!(version = wanted, "a change was recorded too late, and is taken back in the record");
                // Together: nobody follows a wish that is taken back.
                self.shared.book.share(vec![late, change]);
            }
            Err(error) => {
                tracing::error!(version = wanted, %error, "a change that was not made stays in the record");
            }
        }
    }
}

/// The most characters of a reason that are recorded.
const MOST: usize = 2_000;

/// Text that every book takes and a terminal shows: no control characters, not too long.
fn readable(text: &str) -> String {
    text.chars().take(MOST).map(|one| if one.is_control() && one != '\n' { ' ' } else { one }).collect()
}
