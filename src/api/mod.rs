//! The HTTP mouth: thin. In: requests. Out: what the engine says, or a problem document.
//!
//! Invariant: nothing here decides anything about a payment; every bound (bytes, items, requests, waits) is in
//! [`Limits`], every address in [`ROUTES`], every code in [`problem::CODES`].

pub mod admin;
mod batch;
mod body;
mod completeness;
mod decisions;
mod front;
mod labels;
mod operation;
mod predict;
pub mod problem;
mod query;
pub mod server;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

pub use front::Front;
pub use operation::OPENAPI;
use problem::Problem;

use crate::engine::Engine;
use crate::ops::health::Health;
use crate::ops::metrics::{Metrics, ProblemCode};
use crate::transaction::{self, Connector};

/// Bounds of the mouth.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one transaction's body.
    pub body: usize,
    /// Bytes of a batch's body.
    pub batch_body: usize,
    /// Items of a batch.
    pub batch_items: usize,
    /// Items of a batch handled at the same time.
    pub batch_concurrency: usize,
    /// Batches answered at the same time.
    pub batches: usize,
    /// Requests answered at the same time.
    pub in_flight: usize,
    /// A request's deadline when it names none.
    pub deadline: Duration,
    /// The longest wait for a body.
    pub body_wait: Duration,
    /// How far ahead of the wall clock a label's time may be, milliseconds; `None` in a replay.
    pub max_ahead: Option<i64>,
    /// How late a transaction may arrive without being late, milliseconds.
    pub allow_late: i64,
    /// Bounds of a transaction.
    pub transaction: transaction::Limits,
}

/// An address.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// The method.
    pub method: &'static str,
    /// The path, as OpenAPI writes it.
    pub path: &'static str,
    /// What it does.
    pub what: &'static str,
}

const fn address(method: &'static str, path: &'static str, what: &'static str) -> Address {
    Address { method, path, what }
}

/// Every address; `schemas/openapi.json` and docs/API.md are compared with it.
pub const ROUTES: &[Address] = &[
    address("POST", "/predict", "score one transaction; ?explain=true, ?connector=NAME"),
    address("POST", "/predict/batch", "score several: a JSON array or NDJSON; ?explain=true, ?connector=NAME"),
    address("POST", "/labels", "say whether transactions were fraud: one, an array or NDJSON"),
    address("GET", "/decisions/{transaction_id}", "what was decided; ?explain=true, ?features=true, ?revision=N"),
    address("GET", "/completeness", "up to when all is decided and applied; ?day=YYYY-MM-DD"),
    address("GET", "/model", "the model in force"),
    address("GET", "/health/live", "whether the process answers"),
    address("GET", "/health/ready", "whether requests should come here"),
    address("GET", "/metrics", "metrics for Prometheus"),
    address("GET", "/openapi.json", "this interface, described"),
    address("GET", "/", "this list"),
];

/// What the handlers share.
pub struct Api {
    /// Absent while the program starts.
    engine: OnceLock<Engine>,
    canonical: Connector,
    connectors: Vec<Connector>,
    limits: Limits,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    batches: Arc<Semaphore>,
}

impl fmt::Debug for Api {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Api").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Api {
    /// The mouth without an engine yet: it answers health and metrics, and 503 to the rest.
    ///
    /// # Errors
    /// When a shipped connector breaks a rule; a test keeps them right.
    pub fn new(
        limits: Limits,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Result<Self, transaction::ConnectorError> {
        Ok(Self {
            engine: OnceLock::new(),
            canonical: Connector::shipped("canonical")?,
            connectors: Connector::shipped_names().map(Connector::shipped).collect::<Result<_, _>>()?,
            batches: Arc::new(Semaphore::new(limits.batches)),
            limits,
            metrics,
            health,
        })
    }

    /// Gives it its engine. Only the first one counts.
    pub fn start(&self, engine: Engine) {
        let _first = self.engine.set(engine);
    }

    /// Why requests should go elsewhere; empty when they should not.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let own = self.health.reason().map(str::to_owned);
        own.into_iter().chain(self.engine.get().map(Engine::not_ready).unwrap_or_default()).collect()
    }

    /// The addresses with what they are answered by, inside the front.
    #[must_use]
    pub fn front(self: Arc<Self>) -> Front {
        let (metrics, in_flight) = (Arc::clone(&self.metrics), self.limits.in_flight);
        let router = Router::new()
            .route("/predict", post(predict::predict))
            .route("/predict/batch", post(batch::predict_batch))
            .route("/labels", post(labels::labels))
            .route("/decisions/{transaction_id}", get(decisions::decision))
            .route("/completeness", get(completeness::completeness))
            .route("/model", get(decisions::model))
            .route("/health/live", get(operation::live))
            .route("/health/ready", get(operation::ready))
            .route("/metrics", get(operation::metrics))
            .route("/openapi.json", get(operation::openapi))
            .route("/", get(operation::index))
            .fallback(operation::unknown_route)
            .method_not_allowed_fallback(operation::method_not_allowed)
            .with_state(self);
        Front::new(router, metrics, in_flight)
    }

    fn engine(&self) -> Result<&Engine, Problem> {
        self.engine.get().ok_or_else(|| self.unavailable("starting: the model and the history are being loaded"))
    }

    fn unavailable(&self, reason: impl Into<String>) -> Problem {
        Problem::new(ProblemCode::Unavailable, reason.into()).retry_after(Duration::from_secs(1))
    }

    /// What the query of a transaction asks: its connector, canonical where it names none, and whether for reasons.
    fn asking(&self, query: Option<&str>) -> Result<(&Connector, bool), Problem> {
        let (mut connector, mut explain) = (&self.canonical, false);
        for (key, value) in query::pairs(query, &["connector", "explain"])? {
            if key == "explain" {
                explain = query::flag(key, value)?;
                continue;
            }
            connector = self.connectors.iter().find(|connector| connector.name() == value).ok_or_else(|| {
                let known = Connector::shipped_names().collect::<Vec<_>>().join(", ");
                Problem::new(ProblemCode::BadQuery, format!("must be one of {known}")).about("connector", Some(value))
            })?;
        }
        Ok((connector, explain))
    }
}
