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
        let package = model.package();
        let plan = catalogue.plan(&package.features)?;
        let column = |(index, name): (usize, &String)| Column {
            name: name.clone(),
            meaning: plan.meaning(index).to_owned(),
            integer: plan.is_integer(index),
        };
        let columns = plan.names().iter().enumerate().map(column).collect();
        let reference = Arc::new(ModelRef {
            name: package.name.clone(),
            version: package.version.clone(),
            sha256: package.sha256.clone(),
            threshold: package.threshold,
        });
        Ok(Self { model, reference, plan, columns })
    }
}
