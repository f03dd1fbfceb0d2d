//! A version held against its gates, on a thread that gives way.
//!
//! In: a version. Out: its model, loaded and warm, or the gate that refused it. One version is prepared at a time. Only
//! reading recent traffic from history takes a thread of normal priority: it holds the line's lock for a moment each.

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::change::{Action, Asked};
use super::{Models, ModelsError};
use crate::engine::lineup::{Prepared, Traffic};
use crate::engine::ports::Scorer;
use crate::engine::tally::Counts;
use crate::model::{Checks, Gate, Met};

/// The most payments that a version is tried on.
const MOST_TRAFFIC: usize = 2_048;
/// Rows of them that are scored together.
const ROWS: usize = 256;

impl<S: Scorer> Models<S> {
    /// The model of a version: the one that is loaded, unless it is to be looked at `anew`. Gates that could not be looked at
    /// when it was loaded are looked at now.
    pub(super) async fn prepare(&self, key: &str, anew: bool) -> Result<Arc<S>, ModelsError> {
        let loaded = || self.versions().usable(key).filter(|_| !anew);
        if let Some(model) = loaded().filter(|_| !self.is_open(key)) {
            return Ok(model);
        }
        let _one = self.shared.preparing.lock().await;
        let mut checks = Checks::default();
        let passed = match loaded() {
            Some(model) if !self.is_open(key) => return Ok(model),
            Some(model) => {
                checks = self.versions().checks(key);
                self.hold_in_service(key, model, &mut checks).await
            }
            None => {
                let begun = Instant::now();
                let passed = self.hold(key, &mut checks).await;
                self.shared.engine.core.observer.model_prepared(begun.elapsed());
                passed
            }
        };
        match passed {
            Ok(model) => {
                let (kept, spare) = {
                    let mut versions = self.versions();
                    // What serves stays what serves; what only waits is replaced by what has just passed.
                    let (kept, spare) = match versions.warm(key) {
                        Some(loaded) if Arc::ptr_eq(&loaded, &model) => (model, None),
                        Some(loaded) if versions.serves(key) => (loaded, Some(model)),
                        earlier => (model, earlier),
                    };
                    versions.passed(key, checks, Arc::clone(&kept));
                    (kept, spare)
                };
                self.leave(spare.into_iter().collect());
                self.let_go(Some(key));
                Ok(kept)
            }
            Err(reason) => {
                tracing::warn!(version = key, reason, "a version is refused");
                let (again, spare) = {
                    let mut versions = self.versions();
                    (versions.is_refused(key), versions.refused(key, checks, reason.clone()))
                };
                self.leave(spare.into_iter().collect());
                let why = Asked::by_itself(reason.clone());
                // One that was refused before is no news.
                if !again && let Err(error) = self.record(Action::Refused, &why, (None, Some(key)), None).await {
                    tracing::warn!(%error, "the refusal is not recorded");
                }
                Err(ModelsError::Refused { version: key.to_owned(), reason })
            }
        }
    }

    async fn hold(&self, key: &str, checks: &mut Checks) -> Result<Arc<S>, String> {
        let found = self.versions().found(key).cloned().ok_or("it is not in the registry any more")?;
        let loader = Arc::clone(&self.shared.loader);
        let work = move || {
            let mut checks = Checks::default();
            let loaded = loader.load(&found.directory, &mut checks);
            (loaded.map(Arc::new), checks)
        };
        let (loaded, held) = self.shared.bench.run(work).await?;
        *checks = held;
        let model = loaded.map_err(|error| error.to_string())?;
        let passed = self.hold_in_service(key, Arc::clone(&model), checks).await;
        if passed.is_err() {
            // Its threads end and its memory goes back where that holds up nobody.
            self.leave(vec![model]);
        }
        passed
    }

    /// The gates that ask what is there at the moment: the catalogue, history, recent traffic.
    async fn hold_in_service(&self, key: &str, model: Arc<S>, checks: &mut Checks) -> Result<Arc<S>, String> {
        checks.drop_from(Gate::Features);
        let prepared = self.shared.engine.prepare(Arc::clone(&model)).map_err(|error| error.to_string());
        let prepared = checks.hold(Gate::Features, prepared)?;
        self.hold_history(&prepared, checks)?;
        self.hold_distribution(key, &prepared, checks).await?;
        Ok(model)
    }

    /// The model of a version that decided before: loaded already, but for the first moments after a start. No gate of today keeps
    /// it from coming back.
    pub(super) async fn of_before(&self, key: &str) -> Result<Arc<S>, ModelsError> {
        let loaded = self.versions().warm(key);
        match loaded {
            Some(model) => Ok(model),
            None => self.prepare(key, false).await,
        }
    }

    /// Whether a gate is left open: history or traffic said too little when the version was held against them. What is in force
    /// is past that.
    fn is_open(&self, key: &str) -> bool {
        let versions = self.versions();
        let may_close = |gate| match gate {
            Gate::History => true,
            Gate::Distribution => self.shared.options.max_shift.is_some(),
            _ => false,
        };
        versions.champion.as_deref() != Some(key)
            && versions.checks(key).list().iter().any(|check| check.met == Met::Skipped && may_close(check.gate))
    }

    /// A version may look back no further than history reaches, but for what the active version reads as well.
    fn hold_history(&self, prepared: &Prepared<S>, checks: &mut Checks) -> Result<(), String> {
        let engine = &self.shared.engine;
        if !engine.has_history() {
            checks.note(Gate::History, Met::Skipped, "history is not read yet");
            return Ok(());
        }
        if engine.reaches(prepared) {
            checks.note(Gate::History, Met::Passed, "");
            return Ok(());
        }
        let Some(champion) = engine.lineup().champion else {
            let detail = "history is incomplete, and no version is active: decisions say history_incomplete";
            checks.note(Gate::History, Met::Skipped, detail);
            return Ok(());
        };
        let more = prepared.features().iter().find(|name| !champion.features().contains(name));
        match more {
            None => {
                checks.note(Gate::History, Met::Skipped, "history is incomplete for the active version's windows too");
                Ok(())
            }
            Some(name) => {
                let reason = format!(
                    "history does not reach as far back as {name} looks, which the active version does not read"
                );
                checks.hold(Gate::History, Err(reason))
            }
        }
    }

    async fn hold_distribution(&self, key: &str, prepared: &Prepared<S>, checks: &mut Checks) -> Result<(), String> {
        let options = &self.shared.options;
        let Some(most) = options.max_shift else {
            checks.note(Gate::Distribution, Met::Skipped, "switched off");
            return Ok(());
        };
        if self.is_way_back(key) {
            checks.note(Gate::Distribution, Met::Skipped, "it decided before: whoever goes is not asked");
            return Ok(());
        }
        let (engine, read) = (self.shared.engine.clone(), prepared.clone());
        let reading = tokio::task::spawn_blocking(move || engine.recent_traffic(&read, MOST_TRAFFIC));
        let Traffic { rows, scores } = reading.await.map_err(|error| error.to_string())?;
        if scores.len() < options.least_traffic {
            let (found, needed) = (scores.len(), options.least_traffic);
            let detail = format!("{found} recent payments of the active version, and {needed} are needed");
            checks.note(Gate::Distribution, Met::Skipped, detail);
            return Ok(());
        }
        let (model, width) = (Arc::clone(prepared.model()), prepared.features().len().max(1));
        let score = move || rows.chunks(ROWS * width).map(|rows| model.infer_rows(rows)).collect::<Result<Vec<_>, _>>();
        let scored = self.shared.bench.run(score).await?.map_err(|error| error.to_string());
        let own = checks.hold(Gate::Distribution, scored.map(|scored| scored.concat()))?;
        let shift = Counts::of_scores(&own).shift(&Counts::of_scores(&scores));
        let detail = format!("the scores of {} recent payments shift by {shift:.3}, {most} is the bound", scores.len());
        checks.amend(Gate::Distribution, if shift > most { Met::Failed } else { Met::Passed }, detail.clone());
        if shift > most { Err(detail) } else { Ok(()) }
    }

    /// Whether a rollback leads to it, here or by the wish of all instances.
    pub(super) fn is_way_back(&self, key: &str) -> bool {
        let wanted = self.wanted();
        let versions = self.versions();
        let back = wanted.filter(|wanted| wanted.id.key() == key).and_then(|wanted| wanted.taken_back);
        versions.previous.as_deref() == Some(key) || back.is_some_and(|back| versions.champion == Some(back.key()))
    }

    /// Lets go of what need not stay loaded besides `kept`.
    pub(super) fn let_go(&self, kept: Option<&str>) {
        let cooled = self.versions().cool(kept);
        self.leave(cooled);
    }

    /// Models that are dropped as soon as no request holds them, on a thread that gives way.
    pub(super) fn leave(&self, models: Vec<Arc<S>>) {
        let mut leaving = self.shared.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        for model in models {
            // One that was let go, came into force, and is let go again is there already.
            if !leaving.iter().any(|other| Arc::ptr_eq(other, &model)) {
                leaving.push(model);
                self.shared.left.notify_one();
            }
        }
    }
}
