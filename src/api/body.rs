//! A request's body, bounded in bytes and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use super::problem::Problem;
use crate::ops::metrics::ProblemCode;

/// Bounds of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// The most bytes.
    pub(super) bytes: usize,
    /// The longest wait for all of it.
    pub(super) wait: Duration,
}

/// Bytes beyond the limit that are read and thrown away, so that the client reads its answer and not a reset.
const DRAIN: usize = 4 << 20;

/// Reads a body whole. One frame, the usual case, is not copied.
pub(super) async fn read(body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    match timeout(limits.wait, collect(body, limits.bytes)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(Problem::new(
            ProblemCode::BodyTimeout,
            format!("the body did not arrive within {:?}; send it faster, or raise server.body_timeout", limits.wait),
        )),
    }
}

async fn collect(mut body: Body, most: usize) -> Result<Bytes, Problem> {
    let mut first: Option<Bytes> = None;
    let mut rest: Vec<u8> = Vec::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(ProblemCode::NotJson, format!("the body ended before it was complete: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length > most.saturating_add(DRAIN) {
            break;
        }
        if length > most {
            continue;
        }
        match &first {
            None => first = Some(data),
            Some(head) => {
                if rest.is_empty() {
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    if length > most {
        return Err(Problem::new(
            ProblemCode::TooLarge,
            format!("the body must be at most {most} bytes; send less at once, or raise the limit of the server"),
        ));
    }
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.into() })
}

/// What the bytes of a body are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
}

/// The format that `Content-Type` announces: JSON where it is absent.
pub(super) fn format(headers: &HeaderMap) -> Result<Format, Problem> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(Format::Json) };
    let text = value.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    let is = |name: &str| essence.eq_ignore_ascii_case(name);
    if is("application/json") {
        Ok(Format::Json)
    } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl") {
        Ok(Format::Ndjson)
    } else {
        let rule = "must be application/json, or application/x-ndjson where several are taken";
        Err(Problem::new(ProblemCode::UnsupportedMediaType, rule).about("Content-Type", Some(text)))
    }
}

/// The same where only JSON is taken.
pub(super) fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    match format(headers)? {
        Format::Json => Ok(()),
        Format::Ndjson => {
            let rule = "must be application/json; several transactions go to /predict/batch";
            Err(Problem::new(ProblemCode::UnsupportedMediaType, rule).about("Content-Type", None))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(bytes: usize) -> BodyLimits {
        BodyLimits { bytes, wait: Duration::from_secs(5) }
    }

    #[tokio::test]
    async fn bodies_of_one_and_of_many_frames_are_the_same() {
        assert_eq!(read(Body::from("abc"), limits(3)).await.unwrap(), "abc");
        let frames = ["a", "b", "c"].map(Ok::<_, std::convert::Infallible>);
        let body = Body::from_stream(futures_util::stream::iter(frames));
        assert_eq!(read(body, limits(3)).await.unwrap(), "abc");
        assert_eq!(read(Body::from("abcd"), limits(3)).await.unwrap_err().code(), ProblemCode::TooLarge);
        assert_eq!(read(Body::empty(), limits(3)).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_that_never_comes_times_out() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>());
        let limits = BodyLimits { wait: Duration::from_millis(1), ..limits(3) };
        assert_eq!(read(body, limits).await.unwrap_err().code(), ProblemCode::BodyTimeout);
    }

    #[test]
    fn formats_go_by_content_type() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, text.parse().unwrap());
            format(&headers).map_err(|problem| problem.code())
        };
        assert_eq!(of("application/json; charset=utf-8"), Ok(Format::Json));
        assert_eq!(of("Application/X-NDJSON"), Ok(Format::Ndjson));
        assert_eq!(of("text/plain"), Err(ProblemCode::UnsupportedMediaType));
        assert_eq!(format(&HeaderMap::new()).unwrap(), Format::Json);
    }
}
