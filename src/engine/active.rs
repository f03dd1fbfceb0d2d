//! The active model: plan, session, policy and version are one value behind one pointer. A request sees one of them.

use std::sync::Arc;

use super::ports::Scorer;
use crate::decision::{Column, ModelRef, Policy};
use crate::features::{Catalogue, CatalogueError, Plan};

/// What decides, as of one moment.
#[derive(Debug)]
pub(super) struct Active<S> {
    pub(super) policy: Policy,
    /// `None` while there is no model: the policy answers.
    pub(super) chosen: Option<Chosen<S>>,
}

/// A model with the plan of its inputs.
#[derive(Debug)]
pub(super) struct Chosen<S> {
    pub(super) model: Arc<S>,
    pub(super) reference: Arc<ModelRef>,
    pub(super) plan: Plan,
    pub(super) columns: Arc<[Column]>,
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
        Ok(Self { model, reference, plan, columns })
    }
}

impl<S> Active<S> {
    /// How many values the model takes; none where there is none.
    pub(super) fn width(&self) -> usize {
        self.chosen.as_ref().map_or(0, |chosen| chosen.plan.width())
    }
}
