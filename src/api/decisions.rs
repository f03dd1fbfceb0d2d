//! `GET /decisions/{transaction_id}`: what was decided; `GET /model`: by which model.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde_json::json;

use super::predict::{add_member, defect, json};
use super::problem::Problem;
use super::{Api, query};
use crate::ops::metrics::ProblemCode;

/// The decision of an id, with its reasons and its features when they are asked for.
pub(super) async fn decision(
    State(api): State<Arc<Api>>,
    Path(transaction_id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (mut with_features, mut explain, mut revision) = (false, false, None);
    for (key, value) in query::pairs(request.uri().query(), &["explain", "features", "revision"])? {
        let bad = |rule| Problem::new(ProblemCode::BadQuery, rule).about(key, Some(value));
        match key {
            "explain" => explain = query::flag(key, value)?,
            "features" => with_features = query::flag(key, value)?,
            _ => revision = Some(value.parse::<u32>().map_err(|_not| bad("must be a whole number from 0"))?),
        }
    }
    let engine = api.engine()?;
    let found = engine.decision(&transaction_id, revision).await?;
    let mut decision = found.ok_or_else(|| {
        let rule = "no decision of this id and revision is known";
        Problem::new(ProblemCode::UnknownTransaction, rule).about("transaction_id", Some(&transaction_id))
    })?;
    if explain {
        decision = engine.explain(decision).await;
    }
    let mut text = serde_json::to_vec(&*decision).map_err(|error| defect("a decision cannot be written", &error))?;
    if with_features {
        let features = engine.features(&transaction_id, decision.revision).await?.unwrap_or(serde_json::Value::Null);
        add_member(&mut text, "features", features.to_string().as_bytes());
    }
    Ok(json(text))
}

/// The model in force, and which clock bounds the times of payments.
pub(super) async fn model(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let engine = api.engine()?;
    let model = engine.model().ok_or_else(|| api.unavailable("no model is loaded"))?;
    let package = &model.package;
    let text = json!({
        "model": package.name,
        "model_version": package.version,
        "model_sha256": package.sha256,
        "threshold": package.threshold,
        "features": package.features,
        "clock": engine.clock(),
    });
    Ok(json(text.to_string().into_bytes()))
}
