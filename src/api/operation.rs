//! Addresses for those who run the service: health, metrics, the description of the interface.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::predict::{defect, json};
use super::problem::Problem;
use super::{Api, ROUTES};
use crate::engine::ports::Gauges;
use crate::ops::metrics::{Metrics, ProblemCode, QueueName};

/// The OpenAPI 3.1 document of this interface.
pub const OPENAPI: &str = include_str!("../../schemas/openapi.json");

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Response {
    json(b"{\"status\":\"live\"}".to_vec())
}

/// `GET /health/ready`: 200 when requests should come here, else 503 and why not.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let reasons = api.not_ready();
    if reasons.is_empty() {
        Ok(json(b"{\"status\":\"ready\"}".to_vec()))
    } else {
        Err(api.unavailable(reasons.join("; ")))
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    api.metrics.ready.set((), i64::from(api.not_ready().is_empty()));
    if let Some(engine) = api.engine.get() {
        show(&api.metrics, engine.gauges());
    }
    let text = api.metrics.text().map_err(|error| defect("the metrics cannot be written", &error))?;
    Ok(plain(text.into(), "text/plain; version=0.0.4; charset=utf-8"))
}

/// Puts what the engine holds into its gauges.
fn show(metrics: &Metrics, gauges: Gauges) {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    metrics.queue_depth.set(QueueName::Log, count(gauges.log_queue));
    metrics.queue_depth.set(QueueName::Background, count(gauges.background));
    metrics.queue_depth.set(QueueName::WaitingLabels, count(gauges.waiting_labels));
    metrics.open_transactions.set((), count(gauges.open));
    metrics.ids.set((), count(gauges.ids));
    metrics.id_bytes.set((), count(gauges.id_bytes));
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> Response {
    plain(Body::from(OPENAPI), "application/json")
}

/// `GET /`: the addresses.
pub(super) async fn index() -> Response {
    let mut text = String::from("assay scores payment transactions for fraud\n\n");
    for route in ROUTES {
        text.push_str(&format!("{:<5} {:<28} {}\n", route.method, route.path, route.what));
    }
    plain(text.into(), "text/plain; charset=utf-8")
}

/// Any other path.
pub(super) async fn unknown_route() -> Problem {
    Problem::new(ProblemCode::UnknownRoute, "no such address; GET / lists them")
}

/// A known path with another method.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(ProblemCode::MethodNotAllowed, "the Allow header names the methods of this address")
}

fn plain(body: Body, content_type: &'static str) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
