//! The models in force, behind one pointer: the champion decides, a canary decides in its place for a share of the customers,
//! a challenger scores a share of the transactions besides and decides nothing.
//!
//! In: a transaction. Out: the one model that decides it, and the challenger that scores it too, if any.
//! Invariant: plan, session, policy and version of a model are one value. A request sees one [`Active`], and of that one
//! model; what it observed was read by the plan of that model.

use std::sync::Arc;

use super::challenge::Challenger;
use super::ports::Scorer;
use super::share::Share;
use super::tally::Tally;
use crate::decision::{Column, ModelRef, Policy};
use crate::features::{Catalogue, CatalogueError, Plan};
use crate::transaction::Transaction;

/// What decides, as of one moment.
#[derive(Debug)]
pub(super) struct Active<S> {
    pub(super) policy: Policy,
    /// The champion. `None` while there is no model: the policy answers.
    pub(super) chosen: Option<Arc<Chosen<S>>>,
    pub(super) canary: Option<Canary<S>>,
    pub(super) challenger: Option<Arc<Challenger<S>>>,
}

/// A model that decides in the champion's place.
#[derive(Debug)]
pub(super) struct Canary<S> {
    pub(super) chosen: Arc<Chosen<S>>,
    /// Of the customers.
    pub(super) share: Share,
}

/// A model with the plan of its inputs.
#[derive(Debug)]
pub(super) struct Chosen<S> {
    pub(super) model: Arc<S>,
    pub(super) reference: Arc<ModelRef>,
    pub(super) plan: Plan,
    pub(super) columns: Arc<[Column]>,
    /// How it has done since it came into force.
    pub(super) tally: Tally,
}

impl<S: Scorer> Chosen<S> {
    pub(super) fn new(model: Arc<S>, catalogue: &Catalogue) -> Result<Self, CatalogueError> {
        let plan = catalogue.plan(model.features())?;
        let column = |(index, name): (usize, &String)| Column {
            name: name.clone(),
            meaning: plan.meaning(index).to_owned(),
            integer: plan.is_integer(index),
            group: plan.group(index).to_owned(),
            group_meaning: catalogue.group_meaning(plan.group(index)).unwrap_or_default().to_owned(),
            usual: model.medians().get(index).map(|median| f64::from(*median)),
        };
        let columns = plan.names().iter().enumerate().map(column).collect();
        let reference = Arc::new(model.reference());
        Ok(Self { model, reference, plan, columns, tally: Tally::default() })
    }
}

impl<S> Chosen<S> {
    /// Whether both read the same features in the same order: a row of the one is a row of the other.
    pub(super) fn reads_like(&self, other: &Self) -> bool {
        self.plan.names() == other.plan.names()
    }
}

impl<S> Active<S> {
    /// No model.
    pub(super) const fn none(policy: Policy) -> Self {
        Self { policy, chosen: None, canary: None, challenger: None }
    }

    /// The model that decides a transaction.
    pub(super) fn of(&self, transaction: &Transaction) -> Option<&Arc<Chosen<S>>> {
        match &self.canary {
            Some(canary) if canary.share.takes(&transaction.customer_id) => Some(&canary.chosen),
            _ => self.chosen.as_ref(),
        }
    }

    /// The challenger, where it scores this transaction too.
    pub(super) fn challenger_of(&self, transaction: &Transaction) -> Option<&Arc<Challenger<S>>> {
        self.challenger.as_ref().filter(|challenger| challenger.share.takes(&transaction.transaction_id))
    }
}

impl<S> Clone for Canary<S> {
    fn clone(&self) -> Self {
        Self { chosen: Arc::clone(&self.chosen), share: self.share.clone() }
    }
}
