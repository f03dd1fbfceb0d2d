//! What every request passes on its way in and out: its id, the bound on requests in flight, the deadline's clock,
//! the metrics, and the wall that a panic stops at.
//!
//! Invariant: whatever a handler does, the client gets an answer with an `X-Request-Id`, and a problem document
//! carries the same id.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use axum::response::Response;
use futures_util::FutureExt as _;
use tower::Service as _;

use super::problem::Problem;
use crate::base::clock::{Clock, Millis, SystemClock};
use crate::ops::metrics::{Metrics, ProblemCode, Route, Status};

/// The header that carries a request's id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// When a request came and what it is called. Read once, here; handlers find it among the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Arrival {
    /// The wall clock.
    pub(super) now: Millis,
    /// The same moment, for measuring.
    pub(super) at: Instant,
    /// The request's id.
    pub(super) id: HeaderValue,
}

impl Arrival {
    /// The id as text; ids are visible ASCII.
    pub(super) fn id(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

/// Wraps the router. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Front {
    router: Router,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    metrics: Arc<Metrics>,
    in_flight: AtomicUsize,
    most: usize,
    made: AtomicU64,
    /// Distinguishes the ids made here from those of an earlier run.
    run: u64,
}

/// Counts a request for as long as it lives.
struct InFlight<'a>(&'a Shared);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.0.metrics.http_in_flight.add((), -1);
    }
}

impl Front {
    /// `most` requests at a time reach the handlers of `router`; operation's addresses are always answered.
    #[must_use]
    pub fn new(router: Router, metrics: Arc<Metrics>, most: usize) -> Self {
        let run = SystemClock.now().0.unsigned_abs();
        let shared = Shared { metrics, in_flight: AtomicUsize::new(0), most, made: AtomicU64::new(0), run };
        Self { router, shared: Arc::new(shared) }
    }

    /// Answers one request. Panics never: a handler's panic is a 500.
    ///
    /// # Errors
    /// None: the type is what hyper wants.
    pub async fn answer(mut self, request: Request<Body>) -> Result<Response, Infallible> {
        let arrival =
            Arrival { now: SystemClock.now(), at: Instant::now(), id: self.shared.request_id(request.headers()) };
        let route = route_of(request.uri().path());
        let shared = Arc::clone(&self.shared);
        let response = match shared.admit(route) {
            Err(problem) => self.shared.write_out(&problem, &arrival),
            Ok(_in_flight) => self.pass(request, &arrival).await,
        };
        Ok(shared.send_off(response, route, &arrival))
    }

    /// Through the router, stopping a panic.
    async fn pass(&mut self, mut request: Request<Body>, arrival: &Arrival) -> Response {
        request.extensions_mut().insert(arrival.clone());
        let handled = AssertUnwindSafe(self.router.call(request)).catch_unwind().await;
        let mut response = match handled {
            Ok(Ok(response)) => response,
            Err(_panic) => {
                tracing::error!(request_id = arrival.id(), "a handler panicked; the request is answered 500");
                let problem = Problem::new(ProblemCode::Internal, "a defect in the server; its log says more");
                return self.shared.write_out(&problem, arrival);
            }
        };
        if response.status().as_u16() < 400 {
            return response;
        }
        let Some(problem) = response.extensions_mut().remove::<Problem>() else { return response };
        let mut written = self.shared.write_out(&problem, arrival);
        // Why: what else the router said is about the empty body that carried the problem, its length of 0 above all.
        if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
            written.headers_mut().insert(header::ALLOW, allow);
        }
        written
    }
}

impl Shared {
    /// Lets a request in, or says that too many are.
    fn admit(&self, route: Route) -> Result<InFlight<'_>, Problem> {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.metrics.http_in_flight.add((), 1);
        let admitted = InFlight(self);
        if before >= self.most && route != Route::Operation {
            let rule =
                format!("{} requests are being answered, the most of server.max_in_flight; try again", self.most);
            return Err(Problem::new(ProblemCode::Overloaded, rule).retry_after(Duration::from_secs(1)));
        }
        Ok(admitted)
    }

    /// The client's id when it is 1 to 128 letters, digits, `-`, `_`, `.` or `:`, else a new one.
    fn request_id(&self, headers: &HeaderMap) -> HeaderValue {
        let sane = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            (1..=128).contains(&bytes.len())
                && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
        };
        if let Some(given) = headers.get(REQUEST_ID).filter(sane) {
            return given.clone();
        }
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        HeaderValue::try_from(format!("{:x}-{number:x}", self.run)).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }

    fn write_out(&self, problem: &Problem, arrival: &Arrival) -> Response {
        self.metrics.problems.up(problem.code());
        problem.answer(arrival.id())
    }

    fn send_off(&self, mut response: Response, route: Route, arrival: &Arrival) -> Response {
        let status = match response.status().as_u16() {
            0..400 => Status::Success,
            400..500 => Status::Client,
            _ => Status::Server,
        };
        response.headers_mut().insert(REQUEST_ID, arrival.id.clone());
        self.metrics.http_requests.up((route, status));
        self.metrics.http_request_seconds.took(route, arrival.at.elapsed());
        response
    }
}

/// The route of a path, for metrics and admission.
fn route_of(path: &str) -> Route {
    match path {
        "/predict" => Route::Predict,
        "/predict/batch" => Route::Batch,
        "/labels" => Route::Labels,
        "/model" => Route::Model,
        "/health/live" | "/health/ready" | "/metrics" | "/openapi.json" | "/" => Route::Operation,
        path if path.starts_with("/decisions/") => Route::Decision,
        _ => Route::Other,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::routing::get;
    use http_body_util::BodyExt as _;

    use super::*;

    fn front(most: usize) -> (Front, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new().unwrap());
        let fall = || async {
            if Instant::now() < Instant::now() + Duration::from_secs(1) {
                panic!("on purpose")
            }
        };
        let router = Router::new().route("/fall", get(fall)).route("/metrics", get(|| async { "fine" }));
        (Front::new(router, Arc::clone(&metrics), most), metrics)
    }

    fn request(path: &str, id: Option<&str>) -> Request<Body> {
        let builder = Request::builder().uri(path);
        let builder = match id {
            Some(id) => builder.header(REQUEST_ID, id),
            None => builder,
        };
        builder.body(Body::empty()).unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_a_500_with_the_request_id() {
        let (front, metrics) = front(4);
        let answer = front.clone().answer(request("/fall", Some("mine-1"))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers().get(REQUEST_ID).unwrap(), "mine-1");
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((document["code"].as_str(), document["instance"].as_str()), (Some("internal"), Some("mine-1")));
        assert_eq!(metrics.http_in_flight.value(()), 0);
        assert_eq!(metrics.problems.value(ProblemCode::Internal), 1);
        assert_eq!(front.answer(request("/metrics", None)).await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_problem_keeps_its_document_on_the_way_through_the_router() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let wrong = || async { Problem::new(ProblemCode::BadQuery, "must be right") };
        let router = Router::new().route("/wrong", get(wrong));
        let answer = Front::new(router, metrics, 4).answer(request("/wrong", None)).await.unwrap();
        let announced = answer.headers().get(header::CONTENT_LENGTH).cloned();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.starts_with(b"{"));
        assert!(announced.is_none_or(|length| length == bytes.len().to_string()));
    }

    #[tokio::test]
    async fn over_the_bound_is_429_but_operation_is_answered() {
        let (front, _) = front(0);
        let answer = front.clone().answer(request("/fall", None)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(answer.headers().contains_key("retry-after"));
        assert_eq!(front.answer(request("/metrics", None)).await.unwrap().status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn ids_that_are_not_sane_are_replaced() {
        let (front, _) = front(4);
        let long = "x".repeat(129);
        for odd in ["a b", "<script>", long.as_str()] {
            let answer = front.clone().answer(request("/metrics", Some(odd))).await.unwrap();
            assert_ne!(answer.headers().get(REQUEST_ID).unwrap(), odd);
        }
    }
}
