//! The models in force as whoever changes them sees them, and the one store that changes them all together.
//!
//! In: models that passed their gates, with their shares. Out: a new `Active` behind the pointer. Invariant: a model that
//! stays in force keeps its tally; one that comes into force starts at 0.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Engine;
use super::active::{Active, Canary, Chosen};
use super::challenge::{Challenger, ChallengerOptions};
use super::comparison::{Compared, Comparison, Kept};
use super::ports::Scorer;
use super::share::Share;
use super::tally::Counts;
use crate::base::money::BaseAmount;
use crate::decision::ModelRef;
use crate::features::{CatalogueError, Event, Rows};
use crate::transaction::Transaction;

/// A model with the plan of its inputs, ready to come into force.
#[derive(Debug)]
pub struct Prepared<S>(pub(super) Arc<Chosen<S>>);

impl<S> Clone for Prepared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Prepared<S> {
    /// Which model it is.
    #[must_use]
    pub fn reference(&self) -> &ModelRef {
        &self.0.reference
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<S> {
        &self.0.model
    }

    /// How it has done since it came into force.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.tally.counts()
    }

    /// Names of what it reads, in order.
    #[must_use]
    pub fn features(&self) -> &[String] {
        self.0.plan.names()
    }
}

/// A challenger that runs.
#[derive(Debug)]
pub struct Challenging<S>(Arc<Challenger<S>>);

impl<S> Clone for Challenging<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Challenging<S> {
    /// How it compares with the champion so far.
    #[must_use]
    pub fn compared(&self) -> Compared {
        self.0.comparison.read()
    }

    /// The comparison as a later process goes on with it. Not for a thread that serves.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.0.comparison.kept()
    }

    /// Goes on with a comparison of before, where it is of the same two models; whether it is.
    #[must_use]
    pub fn go_on(&self, kept: &Kept) -> bool {
        self.0.comparison.go_on(kept)
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<S> {
        &self.0.chosen.model
    }

    /// Whether everything that was handed to it is compared or dropped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.0.is_idle()
    }

    /// The same version with the same share against another champion, from 0.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn against(
        &self,
        engine: &Engine<S>,
        champion: &Prepared<S>,
        options: ChallengerOptions,
    ) -> std::io::Result<Self>
    where
        S: Scorer,
    {
        engine.challenge(&Prepared(Arc::clone(&self.0.chosen)), champion, self.0.share.clone(), options)
    }
}

/// What is in force.
#[derive(Debug)]
pub struct Lineup<S> {
    /// Decides.
    pub champion: Option<Prepared<S>>,
    /// Decides in the champion's place for a share of the customers.
    pub canary: Option<(Prepared<S>, Share)>,
    /// Scores a share of the transactions besides.
    pub challenger: Option<Challenging<S>>,
}

/// A payment that was decided a moment ago.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    pub(super) transaction: Arc<Transaction>,
    pub(super) base: BaseAmount,
    pub(super) score: f32,
    /// Whose score it is.
    pub(super) model: Arc<ModelRef>,
}

/// Recent traffic as another model reads it.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Row-major, in the other model's order.
    pub rows: Vec<f32>,
    /// What the champion scored, one a row.
    pub scores: Vec<f32>,
}

impl<S: Scorer> Engine<S> {
    /// Compiles the plan of a model's inputs.
    ///
    /// # Errors
    /// When the catalogue lacks a feature of the model.
    pub fn prepare(&self, model: Arc<S>) -> Result<Prepared<S>, CatalogueError> {
        Chosen::new(model, &self.core.catalogue).map(|chosen| Prepared(Arc::new(chosen)))
    }

    /// What is in force.
    #[must_use]
    pub fn lineup(&self) -> Lineup<S> {
        let active = self.core.active.load();
        Lineup {
            champion: active.chosen.clone().map(Prepared),
            canary: active.canary.as_ref().map(|canary| (Prepared(Arc::clone(&canary.chosen)), canary.share.clone())),
            challenger: active.challenger.clone().map(Challenging),
        }
    }

    /// Puts `lineup` in force: one store. A request that has been observed keeps the model it was observed for.
    pub fn line_up(&self, lineup: Lineup<S>) {
        let policy = self.core.active.load().policy;
        let canary = lineup.canary.map(|(prepared, share)| Canary { chosen: prepared.0, share });
        let challenger = lineup.challenger.map(|challenging| challenging.0);
        let chosen = lineup.champion.map(|prepared| prepared.0);
        self.core.active.store(Arc::new(Active { policy, chosen, canary, challenger }));
    }

    /// Starts a challenger's threads; it is handed nothing before it is in force.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn challenge(
        &self,
        challenger: &Prepared<S>,
        champion: &Prepared<S>,
        share: Share,
        options: ChallengerOptions,
    ) -> std::io::Result<Challenging<S>> {
        let (champion, reference) = (champion.reference().clone(), challenger.reference().clone());
        let comparison = Arc::new(Comparison::new(champion, reference, self.core.clock.now()));
        Challenger::start(Arc::clone(&challenger.0), share, comparison, options).map(Arc::new).map(Challenging)
    }

    /// The newest payments that the champion decided, at most `most`, as `prepared` reads them now: what a canary or an
    /// earlier champion scored says nothing of it. Blocking: the lock of the line is taken once a payment, as a request takes it.
    #[must_use]
    pub fn recent_traffic(&self, prepared: &Prepared<S>, most: usize) -> Traffic {
        let mut traffic = Traffic::default();
        let Some(champion) = self.core.active.load().chosen.as_ref().map(|chosen| Arc::clone(&chosen.reference)) else {
            return traffic;
        };
        let recent = self.core.recent(most, &champion);
        let mut rows = Rows::default();
        for Recent { transaction, base, score, .. } in &recent {
            rows.reset(prepared.0.plan.width());
            let event = Event { transaction, base: *base };
            self.core.ledger().history.read(std::slice::from_ref(&event), &prepared.0.plan, &mut rows);
            let values = rows.row(0).map_or(&[][..], |(values, _)| values);
            traffic.rows.extend(super::explain::single(values));
            traffic.scores.push(*score);
        }
        traffic
    }

    /// Whether history was read: before that nothing can be said of it.
    #[must_use]
    pub fn has_history(&self) -> bool {
        self.core.ready.load(Ordering::SeqCst)
    }

    /// Whether history reaches as far back as `prepared` looks.
    #[must_use]
    pub fn reaches(&self, prepared: &Prepared<S>) -> bool {
        let needs = |name: &String| self.core.catalogue.needs(name).map_or(0, |needs| needs.reach);
        let reach = prepared.features().iter().map(needs).max().unwrap_or(0);
        reach == 0 || !self.core.ledger().is_incomplete()
    }
}
