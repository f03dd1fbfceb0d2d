//! `POST /predict`: one transaction in, its decision out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;

use super::body::{self, BodyLimits};
use super::front::Arrival;
use super::problem::Problem;
use super::{Api, query};
use crate::base::clock::Millis;
use crate::decision::Source;
use crate::engine::{Answer, Received};
use crate::ops::metrics::{ProblemCode, Step};
use crate::transaction::{Connector, read_json};

/// The content type of an answer.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers one transaction.
pub(super) async fn predict(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let arrival = head.extensions.get::<Arrival>().ok_or_else(no_arrival)?;
    body::expect_json(&head.headers)?;
    let deadline = query::deadline(&head.headers, api.limits.deadline)?;
    let (connector, explain) = api.asking(head.uri.query())?;
    let limits = BodyLimits { bytes: api.limits.body, wait: api.limits.body_wait };
    let bytes = body::read(body, limits).await?;
    let (now, at, source) = (arrival.now, arrival.at, Source::Predict);
    let asked = Asked { connector, now, at, deadline, source, explain };
    Ok(json(decide(&api, &bytes, asked).await?))
}

/// How a transaction is asked about.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) connector: &'a Connector,
    pub(super) now: Millis,
    pub(super) at: Instant,
    pub(super) deadline: Duration,
    pub(super) source: Source,
    /// Whether for reasons even if it is not flagged.
    pub(super) explain: bool,
}

/// Reads, decides and writes the answer's JSON.
pub(super) async fn decide(api: &Api, bytes: &[u8], asked: Asked<'_>) -> Result<Vec<u8>, Problem> {
    let engine = api.engine()?;
    let begun = Instant::now();
    let read = read_json(bytes, asked.connector, &api.limits.transaction)?;
    api.metrics.step_seconds.took(Step::Read, begun.elapsed());
    if read.unknown_fields > 0 {
        api.metrics.unknown_fields.add((), u64::from(read.unknown_fields));
    }
    let Asked { now, at, deadline, source, explain, .. } = asked;
    let received = Received { now, at, deadline, source, explain };
    let answer = engine.decide(read.transaction, received).await?;
    write(&answer)
}

/// The decision, and whether it is an earlier one, as one JSON object.
fn write(answer: &Answer) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::with_capacity(1_024);
    serde_json::to_writer(&mut text, &*answer.decision)
        .map_err(|error| defect("a decision cannot be written", &error))?;
    add_member(&mut text, "repeated", if answer.repeated { b"true" } else { b"false" });
    Ok(text)
}

/// Adds a member to an object that is written out and not empty. `value` is JSON.
pub(super) fn add_member(object: &mut Vec<u8>, key: &str, value: &[u8]) {
    if object.last() == Some(&b'}') {
        object.pop();
        object.extend_from_slice(b",\"");
        object.extend_from_slice(key.as_bytes());
        object.extend_from_slice(b"\":");
        object.extend_from_slice(value);
        object.push(b'}');
    }
}

/// A 200 with a JSON body.
pub(super) fn json(text: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// A defect: logged in full, answered without.
pub(super) fn defect(what: &str, error: &(dyn std::error::Error + 'static)) -> Problem {
    tracing::error!(error, "{what}");
    Problem::new(ProblemCode::Internal, "a defect in the server; its log says more")
}

/// The router was called without the front.
pub(super) fn no_arrival() -> Problem {
    Problem::new(ProblemCode::Internal, "the request reached its handler past the front")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_added_at_the_end() {
        let mut object = b"{\"a\":1}".to_vec();
        add_member(&mut object, "repeated", b"true");
        assert_eq!(object, b"{\"a\":1,\"repeated\":true}");
    }
}
