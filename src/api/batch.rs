//! Several items in one request: a JSON array or NDJSON, bounded in items and bytes, handled concurrently within a
//! bound, answered in order and streamed while later ones are still being handled.
//!
//! Invariant: one answer an item, in the items' order: an object of the route, or a problem document with `index`.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use serde_json::value::RawValue;
use tokio::sync::OwnedSemaphorePermit;

use super::body::{self, BodyLimits, Format};
use super::front::Arrival;
use super::predict::{self, Asked, JSON, no_arrival};
use super::problem::Problem;
use super::{Api, query};
use crate::decision::Source;
use crate::ops::metrics::ProblemCode;

const NDJSON: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Answers that are written together when they are ready together.
const TOGETHER: usize = 32;

/// `POST /predict/batch`.
pub(super) async fn predict_batch(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let arrival = head.extensions.get::<Arrival>().ok_or_else(no_arrival)?.clone();
    let format = body::format(&head.headers)?;
    let deadline = query::deadline(&head.headers, api.limits.deadline)?;
    api.asking(head.uri.query())?;
    api.engine()?;
    let query: Option<Arc<str>> = head.uri.query().map(Arc::from);
    let batch = Batch::read(&api, body, format).await?;
    let now = arrival.now;
    let answers = Answers { api: Arc::clone(&api), arrival };
    Ok(answers.stream(batch, move |bytes| {
        let (api, query) = (Arc::clone(&api), query.clone());
        async move {
            let (connector, explain) = api.asking(query.as_deref())?;
            // Why: an item's deadline runs from its own turn, or the last of a long batch would have none.
            let asked = Asked { connector, now, at: Instant::now(), deadline, source: Source::Batch, explain };
            predict::decide(&api, &bytes, asked).await
        }
    }))
}

/// The items of a body, and the right to be one of the batches in work.
pub(super) struct Batch {
    format: Format,
    items: Vec<Bytes>,
    permit: OwnedSemaphorePermit,
}

impl Batch {
    /// Reads a body of several items.
    pub(super) async fn read(api: &Api, body: Body, format: Format) -> Result<Self, Problem> {
        let permit = Arc::clone(&api.batches).try_acquire_owned().map_err(|_none| {
            let rule = "as many batches are being answered as server.max_batches allows; try again";
            Problem::new(ProblemCode::Overloaded, rule).retry_after(Duration::from_secs(1))
        })?;
        let bounds = BodyLimits { bytes: api.limits.batch_body, wait: api.limits.body_wait };
        let bytes = body::read(body, bounds).await?;
        Self::split(&bytes, format, api.limits.batch_items).map(|items| Self { format, items, permit })
    }

    /// The bytes of each item.
    fn split(bytes: &Bytes, format: Format, most: usize) -> Result<Vec<Bytes>, Problem> {
        let items: Vec<Bytes> = match format {
            Format::Ndjson => bytes
                .split(|byte| *byte == b'\n')
                .map(<[u8]>::trim_ascii)
                .filter(|line| !line.is_empty())
                .map(|line| bytes.slice_ref(line))
                .collect(),
            Format::Json => {
                let not_json =
                    |error: serde_json::Error| Problem::new(ProblemCode::NotJson, format!("must be JSON: {error}"));
                if bytes.trim_ascii_start().first() != Some(&b'[') {
                    serde_json::from_slice::<&RawValue>(bytes).map_err(not_json)?;
                    return Err(Problem::new(
                        ProblemCode::WrongType,
                        "must be an array, or lines with Content-Type application/x-ndjson",
                    ));
                }
                let raw: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(not_json)?;
                raw.into_iter().map(|item| bytes.slice_ref(item.get().as_bytes())).collect()
            }
        };
        if items.len() > most {
            let rule = format!("must be at most {most} items, and there are {}; send several batches", items.len());
            return Err(Problem::new(ProblemCode::TooLarge, rule));
        }
        Ok(items)
    }

    /// A body of exactly one JSON object, for routes that take one or several.
    pub(super) fn is_one(format: Format, bytes: &[u8]) -> bool {
        format == Format::Json && bytes.trim_ascii_start().first() != Some(&b'[')
    }

    /// The items of bytes that were read already.
    pub(super) fn of(api: &Api, bytes: &Bytes, format: Format, permit: OwnedSemaphorePermit) -> Result<Self, Problem> {
        Self::split(bytes, format, api.limits.batch_items).map(|items| Self { format, items, permit })
    }
}

/// Writes answers as they come.
pub(super) struct Answers {
    pub(super) api: Arc<Api>,
    pub(super) arrival: Arrival,
}

impl Answers {
    /// Answers every item of `batch` with `handle`, in order.
    pub(super) fn stream<H, F>(self, batch: Batch, handle: H) -> Response
    where
        H: Fn(Bytes) -> F + Send + 'static,
        F: Future<Output = Result<Vec<u8>, Problem>> + Send + 'static,
    {
        let Batch { format, items, permit } = batch;
        let (concurrency, count) = (self.api.limits.batch_concurrency, items.len());
        let answered = stream::iter(items.into_iter().enumerate())
            .map(move |(index, bytes)| {
                let handled = AssertUnwindSafe(handle(bytes)).catch_unwind();
                async move { (index, handled.await) }
            })
            .buffered(concurrency)
            .ready_chunks(TOGETHER)
            .map(move |chunk| {
                // The permit lives as long as answers are to be written.
                let _in_work = &permit;
                let mut text = Vec::with_capacity(chunk.len() * 512);
                for (index, answer) in chunk {
                    if format == Format::Json {
                        text.push(if index == 0 { b'[' } else { b',' });
                    }
                    match answer {
                        Ok(Ok(object)) => text.extend_from_slice(&object),
                        Ok(Err(problem)) => text.extend_from_slice(&self.problem(&problem, index)),
                        Err(_panic) => {
                            tracing::error!(request_id = self.arrival.id(), index, "an item's handler panicked");
                            let problem =
                                Problem::new(ProblemCode::Internal, "a defect in the server; its log says more");
                            text.extend_from_slice(&self.problem(&problem, index));
                        }
                    }
                    if format == Format::Ndjson {
                        text.push(b'\n');
                    }
                }
                Ok::<_, Infallible>(Bytes::from(text))
            });
        let end: &'static [u8] = match (format, count) {
            (Format::Ndjson, _) => b"",
            (Format::Json, 0) => b"[]",
            (Format::Json, _) => b"]",
        };
        let end = stream::iter((!end.is_empty()).then(|| Ok(Bytes::from_static(end))));
        let mut response = Response::new(Body::from_stream(answered.chain(end)));
        let content_type = if format == Format::Json { JSON } else { NDJSON };
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
        response
    }

    fn problem(&self, problem: &Problem, index: usize) -> Vec<u8> {
        self.api.metrics.problems.up(problem.code());
        problem.document(self.arrival.id(), Some(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &'static str, format: Format) -> Result<Vec<Bytes>, ProblemCode> {
        Batch::split(&Bytes::from_static(text.as_bytes()), format, 3).map_err(|problem| problem.code())
    }

    #[test]
    fn items_keep_their_bytes() {
        assert_eq!(split(" [ {\"a\" : 1}, 2,\"x\" ]\n", Format::Json).unwrap(), ["{\"a\" : 1}", "2", "\"x\""]);
        assert_eq!(split("{\"a\":1}\r\n\n not json \n", Format::Ndjson).unwrap(), ["{\"a\":1}", "not json"]);
        assert!(split("[]", Format::Json).unwrap().is_empty());
        assert!(split("", Format::Ndjson).unwrap().is_empty());
    }

    #[test]
    fn what_is_no_batch_is_refused_as_a_whole() {
        for (text, code) in [
            ("", ProblemCode::NotJson),
            ("[1,", ProblemCode::NotJson),
            ("[1] 2", ProblemCode::NotJson),
            ("{\"a\":1}", ProblemCode::WrongType),
            ("[1,2,3,4]", ProblemCode::TooLarge),
        ] {
            assert_eq!(split(text, Format::Json), Err(code), "{text}");
        }
        assert_eq!(split("1\n2\n3\n4", Format::Ndjson), Err(ProblemCode::TooLarge));
    }
}
