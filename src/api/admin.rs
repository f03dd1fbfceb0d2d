//! The mouth of the MLOps team: which versions there are, which is in force, and what changes that. A listener of its own.
//!
//! In: requests, from this machine or with the token. Out: what the lifecycle says, as JSON, or a problem document.
//! Invariant: a request without the token changes nothing and learns nothing, where one is configured.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use super::front::Front;
use super::predict::{defect, json};
use super::problem::Problem;
use super::query;
use crate::base::clock::Millis;
use crate::base::secret::Secret;
use crate::engine::models::{Asked, Models, ModelsError, Version};
use crate::model::Model;
use crate::ops::metrics::{Metrics, ProblemCode};

/// The most bytes of a request's body.
const BODY: usize = 16 << 10;
/// The most requests that are answered at the same time.
const IN_FLIGHT: usize = 64;
/// The most commands that are under way: one goes on when its caller leaves, and others come.
const COMMANDS: usize = 16;
/// Changes that are told where the query names no number, and the most.
const CHANGES: (usize, usize) = (100, 10_000);

/// What the handlers share.
#[derive(Debug)]
pub struct Admin {
    models: Models<Model>,
    token: Option<Secret>,
    commands: Arc<Semaphore>,
}

/// Who asks, and why; `basis_points` of a shadow or a canary.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Command {
    by: String,
    why: String,
    basis_points: Option<u16>,
}

impl Admin {
    /// The mouth; a `token` must be brought where there is one.
    #[must_use]
    pub fn new(models: Models<Model>, token: Option<Secret>) -> Arc<Self> {
        Arc::new(Self { models, token, commands: Arc::new(Semaphore::new(COMMANDS)) })
    }

    /// The addresses with what they are answered by, inside the front.
    #[must_use]
    pub fn front(self: &Arc<Self>, metrics: Arc<Metrics>) -> Front {
        let router = Router::new()
            .route("/models", get(list))
            .route("/models/history", get(history))
            .route("/models/compare", get(compare))
            .route("/models/rollback", post(rollback))
            .route("/models/{name}/{version}", get(show))
            .route("/models/{name}/{version}/{what}", post(change))
            .fallback(super::operation::unknown_route)
            .method_not_allowed_fallback(super::operation::method_not_allowed)
            .layer(middleware::from_fn_with_state(Arc::clone(self), admitted))
            .with_state(Arc::clone(self));
        Front::new(router, metrics, IN_FLIGHT)
    }
}

impl Admin {
    /// Carries a command out to its end, also when the caller leaves.
    async fn carry_out(
        &self,
        command: impl Future<Output = Result<Version, ModelsError>> + Send + 'static,
    ) -> Result<Version, Problem> {
        let busy = |_| Problem::new(ProblemCode::Overloaded, format!("{COMMANDS} commands are under way"));
        let place = Arc::clone(&self.commands).try_acquire_owned().map_err(busy)?;
        let carried_out = tokio::spawn(async move {
            let done = command.await;
            drop(place);
            done
        });
        match carried_out.await {
            Ok(done) => Ok(done?),
            Err(error) => Err(defect("a command ended badly", &error)),
        }
    }
}

/// Lets through who brings the token; where there is none, who is on this machine and no page in a browser.
async fn admitted(State(admin): State<Arc<Admin>>, request: Request, next: Next) -> Response {
    let refused = |detail: &'static str| Problem::new(ProblemCode::Unauthorized, detail).into_response();
    if request.headers().contains_key(header::ORIGIN) {
        return refused("pages in a browser are not answered");
    }
    let Some(token) = &admin.token else {
        return if names_this_machine(request.headers()) {
            next.run(request).await
        } else {
            refused("without a token only this machine is answered, by the name localhost or its address")
        };
    };
    let brought = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    // Hashes are compared: how long that takes says nothing of the token.
    let hash = |text: &str| Sha256::digest(text.as_bytes());
    match brought.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(brought) if hash(brought) == hash(token.expose()) => next.run(request).await,
        _ => refused("a bearer token is needed: Authorization: Bearer …"),
    }
}

/// Whether the address that was asked for is this machine's own: another name that leads here is somebody's trick.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name).trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A page in a browser can send other content unasked.
fn expect_json(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::CONTENT_TYPE) {
        return super::body::expect_json(headers);
    }
    Err(Problem::new(ProblemCode::UnsupportedMediaType, "must be application/json").about("Content-Type", None))
}

async fn list(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let broken = admin.models.broken().into_iter().map(|(place, reason)| json!({"place": place, "reason": reason}));
    told(&json!({"versions": admin.models.list(), "broken": broken.collect::<Vec<_>>()}))
}

async fn show(
    State(admin): State<Arc<Admin>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    told(&admin.models.show(&format!("{name}/{version}"))?)
}

async fn history(State(admin): State<Arc<Admin>>, request: Request) -> Result<Response, Problem> {
    let (mut most, mut at) = (CHANGES.0, None);
    for (key, value) in query::pairs(request.uri().query(), &["most", "at"])? {
        let bad = |rule: &'static str| Problem::new(ProblemCode::BadQuery, rule).about(key, Some(value));
        if key == "at" {
            let rule = "must be a time such as 2026-01-31T14:03:07Z";
            at = Some(Millis::parse_rfc3339(value).ok_or_else(|| bad(rule))?);
        } else {
            let number = value.parse().ok().filter(|most| (1..=CHANGES.1).contains(most));
            most = number.ok_or_else(|| bad("must be a number of 1 to 10000"))?;
        }
    }
    let changes = match at {
        Some(at) => admin.models.active_at(at).await?.into_iter().collect(),
        None => admin.models.history(most).await?,
    };
    let shown = changes.iter().map(|change| {
        let mut shown = serde_json::to_value(change).unwrap_or_default();
        if let Some(members) = shown.as_object_mut() {
            members.insert("at".to_owned(), json!(change.at.to_rfc3339()));
        }
        shown
    });
    told(&json!({"changes": shown.collect::<Vec<_>>()}))
}

async fn compare(State(admin): State<Arc<Admin>>) -> Result<Response, Problem> {
    let compared = admin.models.compare();
    let none =
        || Problem::new(ProblemCode::NotNow, "no version challenges the active one: `assay models shadow` starts one");
    let compared = compared.ok_or_else(none)?;
    let mut shown =
        serde_json::to_value(&compared).map_err(|error| defect("the comparison cannot be written", &error))?;
    if let Some(members) = shown.as_object_mut() {
        members.insert("since".to_owned(), json!(compared.since.to_rfc3339()));
    }
    told(&shown)
}

async fn rollback(State(admin): State<Arc<Admin>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    expect_json(&headers)?;
    let asked = read(&body)?.asked()?;
    let models = admin.models.clone();
    told(&admin.carry_out(async move { models.rollback(&asked).await }).await?)
}

/// What is done with one version.
async fn change(
    State(admin): State<Arc<Admin>>,
    Path((name, version, what)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    expect_json(&headers)?;
    let (key, command) = (format!("{name}/{version}"), read(&body)?);
    let models = admin.models.clone();
    let version = match what.as_str() {
        "verify" => admin.carry_out(async move { models.verify(&key).await }).await?,
        "activate" => {
            let asked = command.asked()?;
            admin.carry_out(async move { models.activate(&key, &asked).await }).await?
        }
        "shadow" => {
            let (share, asked) = (command.share()?, command.asked()?);
            admin.carry_out(async move { models.shadow(&key, share, &asked).await }).await?
        }
        "canary" => {
            let (share, asked) = (command.share()?, command.asked()?);
            admin.carry_out(async move { models.canary(&key, share, &asked).await }).await?
        }
        _ => return Err(super::operation::unknown_route().await),
    };
    told(&version)
}

fn read(body: &Bytes) -> Result<Command, Problem> {
    if body.len() > BODY {
        return Err(Problem::new(ProblemCode::TooLarge, format!("at most {BODY} bytes are taken")));
    }
    if body.is_empty() {
        return Ok(Command::default());
    }
    serde_json::from_slice(body).map_err(|error| Problem::new(ProblemCode::BadCommand, error.to_string()))
}

impl Command {
    fn asked(&self) -> Result<Asked, Problem> {
        let bad = |field: &'static str, rule: &'static str| {
            Err(Problem::new(ProblemCode::BadCommand, rule).about(field, None))
        };
        if !(1..=64).contains(&self.by.chars().count()) {
            return bad("by", "who asks for it: 1 to 64 characters are needed");
        }
        if !(1..=500).contains(&self.why.chars().count()) {
            return bad("why", "why: 1 to 500 characters are needed");
        }
        Ok(Asked { by: self.by.clone(), why: self.why.clone() })
    }

    fn share(&self) -> Result<u16, Problem> {
        let rule = "a share in basis points is needed, 0 (none) to 10000 (all)";
        let share = self.basis_points.filter(|share| *share <= crate::engine::ALL_BASIS_POINTS);
        share.ok_or_else(|| Problem::new(ProblemCode::BadCommand, rule).about("basis_points", None))
    }
}

impl From<ModelsError> for Problem {
    fn from(error: ModelsError) -> Self {
        let code = match &error {
            ModelsError::Unknown(_) => ProblemCode::UnknownVersion,
            ModelsError::Refused { .. } => ProblemCode::Refused,
            ModelsError::NotNow(_) => ProblemCode::NotNow,
            ModelsError::Unrecorded(_) | ModelsError::Thread(_) => ProblemCode::Unavailable,
        };
        let problem = Self::new(code, error.to_string());
        if code == ProblemCode::Unavailable { problem.retry_after(Duration::from_secs(1)) } else { problem }
    }
}

fn told(value: &impl Serialize) -> Result<Response, Problem> {
    let text = serde_json::to_vec(value).map_err(|error| defect("an answer cannot be written", &error))?;
    let mut response = json(text);
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_its_own() {
        let of = |host: &str| names_this_machine(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]));
        for host in ["localhost", "LocalHost:8081", "127.0.0.1:8081", "127.1.2.3", "[::1]:8081", "[::1]"] {
            assert!(of(host), "{host}");
        }
        for host in
            ["", "evil.example", "localhost.evil.example:8081", "10.0.0.1:8081", "127.0.0.1.evil.example", "[::2]:1"]
        {
            assert!(!of(host), "{host}");
        }
        assert!(!names_this_machine(&HeaderMap::new()));
    }
}
