//! `GET /completeness`: up to when every transaction is decided, and its row completed.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::predict::{defect, json};
use super::problem::Problem;
use super::{Api, query};
use crate::base::clock::Millis;
use crate::ops::metrics::ProblemCode;

/// The figures, and of `?day=` whether it is complete.
pub(super) async fn completeness(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let mut day = None;
    for (key, value) in query::pairs(request.uri().query(), &["day"])? {
        let bad = || Problem::new(ProblemCode::BadQuery, "must be a day, YYYY-MM-DD, UTC").about(key, Some(value));
        day = Some((value, Millis::parse_day(value).ok_or_else(bad)?));
    }
    let found = api.engine()?.completeness(api.limits.allow_late).await?;
    let mut text = serde_json::to_value(&found).map_err(|error| defect("the figures cannot be written", &error))?;
    if let (Some((day, number)), Value::Object(members)) = (day, &mut text) {
        let (complete, applied) = found.of_day(number);
        members.insert("day".to_owned(), json!(day));
        members.insert("complete".to_owned(), json!(complete));
        members.insert("applied_complete".to_owned(), json!(applied));
    }
    Ok(json(text.to_string().into_bytes()))
}
