//! Versions out of an MLflow registry: what its alias names.
//!
//! ```text
//! alias ─▶ model version, READY? ─▶ where its artifacts lie ─▶ each file of the package ─▶ read whole ─▶ a copy
//! ```
//!
//! In: the registered model's name and an alias. Out: the version that the alias names now, once its package is whole. REST alone.
//! Invariants: while MLflow is away or answers nonsense, what was seen stays; a request is bounded in time and bytes; a token goes
//! to the configured server and nowhere else.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::Agent;

use super::copies::Copies;
use crate::base::secret::Secret;
use crate::engine::models::{Found, Look, Registry, VersionId};
use crate::model::{Contents, PACKAGE_FILES};

/// Tries of a request that fails for a moment, and the pause after the first; doubled by each further one.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// How long a package that is not whole is left alone.
const AGAIN: Duration = Duration::from_secs(60);
/// The most bytes of a file, and of any other answer.
const FILE: u64 = 2 << 30;
const ANSWER: u64 = 4 << 20;
/// The scheme of artifacts that MLflow itself hands out.
const SERVED: &str = "mlflow-artifacts:";

/// How MLflow is reached.
#[derive(Debug, Clone)]
pub struct MlflowOptions {
    /// `http://host:port` or `https://…`, without a path behind.
    pub url: String,
    /// The registered model.
    pub model: String,
    /// The alias that names the version, such as `champion`.
    pub alias: String,
    /// The bearer token, where the server asks for one.
    pub token: Option<Secret>,
    /// The longest that a request may take.
    pub timeout: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Mlflow {
    options: MlflowOptions,
    agent: Agent,
    copies: Copies,
    /// Held while MLflow is asked: one at a time.
    looking: Mutex<()>,
    /// The last one is what the alias names. Nobody waits for MLflow under this lock.
    seen: Mutex<Vec<Seen>>,
}

/// A version that was looked at.
#[derive(Debug, Clone)]
struct Seen {
    /// What MLflow says of it: a number that was deleted may come again with other content.
    named: ModelVersion,
    look: Look,
    at: Instant,
}

impl Seen {
    /// Whether there is no need to download it again. One that is not whole may become so: files come after the version.
    fn stands(&self) -> bool {
        matches!(self.look, Look::Whole(_)) || self.at.elapsed() < AGAIN
    }
}

#[derive(Debug, Deserialize)]
struct Named {
    model_version: ModelVersion,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct ModelVersion {
    version: String,
    #[serde(default)]
    status: String,
    /// When it was registered, in milliseconds.
    #[serde(default)]
    creation_timestamp: i64,
    /// Where its files came from.
    #[serde(default)]
    source: String,
}

#[derive(Debug, Deserialize)]
struct Place {
    artifact_uri: String,
}

#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default)]
    files: Vec<Listed>,
}

#[derive(Debug, Deserialize)]
struct Listed {
    path: String,
    #[serde(default)]
    is_dir: bool,
}

impl Mlflow {
    /// A registry that has been asked nothing yet.
    #[must_use]
    pub fn new(options: MlflowOptions, copies: Copies) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            // The token is for the configured server: nobody is followed elsewhere with it, and no proxy of the environment hears it.
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .build();
        Self { options, agent: config.into(), copies, looking: Mutex::default(), seen: Mutex::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn named(&self) -> Result<ModelVersion, String> {
        let MlflowOptions { model, alias, .. } = &self.options;
        let path = "api/2.0/mlflow/registered-models/alias";
        let Named { model_version } = self.ask(path, &[("name", model), ("alias", alias)])?;
        // An empty status is that of servers which do not tell one.
        if !matches!(model_version.status.as_str(), "READY" | "") {
            return Err(format!("version {} of {model} is {}, not READY", model_version.version, model_version.status));
        }
        // It names a folder here.
        if model_version.version.is_empty() || !model_version.version.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{:?} is no number of a version", model_version.version));
        }
        Ok(model_version)
    }

    /// Downloads the package of a version into `folder`.
    fn download(&self, version: &str, folder: &Path) -> Result<(), String> {
        let asked = [("name", self.options.model.as_str()), ("version", version)];
        let Place { artifact_uri } = self.ask("api/2.0/mlflow/model-versions/get-download-uri", &asked)?;
        let path = artifact_uri.strip_prefix(SERVED).ok_or_else(|| {
            format!(
                "its artifacts lie at {artifact_uri}, which MLflow does not hand out: run it with --serve-artifacts"
            )
        })?;
        // mlflow-artifacts:/1/… or mlflow-artifacts://host/1/…: the host is the configured one.
        let path = match path.strip_prefix("//") {
            Some(rest) => rest.split_once('/').map_or("", |(_host, path)| path),
            None => path.trim_start_matches('/'),
        };
        let listing: Listing = self.ask("api/2.0/mlflow-artifacts/artifacts", &[("path", path)])?;
        for name in PACKAGE_FILES {
            let there = |one: &&Listed| !one.is_dir && one.path.rsplit('/').next() == Some(name);
            if listing.files.iter().find(there).is_some() {
                let place = format!("api/2.0/mlflow-artifacts/artifacts/{}/{name}", escaped(path));
                let bytes = self.get(&place, &[], FILE)?;
                fs::write(folder.join(name), bytes).map_err(|error| format!("{}: {error}", folder.display()))?;
            }
        }
        Ok(())
    }

    fn look_at(&self, version: &str) -> Result<Look, String> {
        let folder = self.copies.beside(&format!("mlflow-{version}")).map_err(|error| error.to_string())?;
        let downloaded = self.download(version, &folder);
        let look = downloaded.map(|()| {
            let contents = Contents::read(&folder).map_err(|error| error.to_string());
            match contents.and_then(|contents| self.copies.keep(&contents)) {
                Ok(found) => Look::Whole(found),
                Err(reason) => {
                    let place = format!("{}/{}/{version}", self.options.url, self.options.model);
                    Look::Broken { place, reason }
                }
            }
        });
        // What was downloaded is copied, or of no use.
        let _left = fs::remove_dir_all(&folder);
        look
    }

    fn ask<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, String> {
        let bytes = self.get(path, query, ANSWER)?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{path}: the answer is not MLflow's: {error}"))
    }

    /// One GET, tried again where it fails for a moment.
    fn get(&self, path: &str, query: &[(&str, &str)], most: u64) -> Result<Vec<u8>, String> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let (reason, again) = match self.get_once(path, query, most) {
                Ok(bytes) => return Ok(bytes),
                Err(failed) => failed,
            };
            if !again || attempt >= TRIES {
                return Err(format!("MLflow at {}: {path}: {reason}", self.options.url));
            }
            thread::sleep(pause);
            pause *= 2;
        }
        Err(String::new())
    }

    /// What is wrong, and whether it may be well in a moment.
    fn get_once(&self, path: &str, query: &[(&str, &str)], most: u64) -> Result<Vec<u8>, (String, bool)> {
        let url = format!("{}/{path}", self.options.url.trim_end_matches('/'));
        let mut request = self.agent.get(&url);
        for (name, value) in query {
            request = request.query(name, value);
        }
        if let Some(token) = &self.options.token {
            request = request.header("authorization", format!("Bearer {}", token.expose()));
        }
        let mut answer = request.call().map_err(|error| (error.to_string(), true))?;
        let status = answer.status().as_u16();
        let body = match answer.body_mut().with_config().limit(most).read_to_vec() {
            Ok(body) => body,
            Err(ureq::Error::BodyExceedsLimit(_)) => {
                return Err((format!("its answer has more than {most} bytes"), false));
            }
            Err(error) => return Err((format!("the answer broke off: {error}"), true)),
        };
        let said = || self.said(&body);
        match status {
            200 => Ok(body),
            429 | 500.. => Err((format!("status {status}: {}", said()), true)),
            _ => Err((format!("status {status}: {}", said()), false)),
        }
    }

    /// MLflow's own words, short, and without the token where it repeats that.
    fn said(&self, body: &[u8]) -> String {
        let told: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        let told = told.get("message").and_then(serde_json::Value::as_str).unwrap_or("no reason is given");
        let told = match &self.options.token {
            Some(token) if !token.expose().is_empty() => told.replace(token.expose(), "…"),
            _ => told.to_owned(),
        };
        told.chars().take(200).collect()
    }
}

/// A path with everything escaped that is not plain in an address (RFC 3986, unreserved) but the slashes.
fn escaped(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(one).collect()
}

impl Registry for Mlflow {
    fn look(&self) -> Result<Vec<Look>, String> {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let named = self.named()?;
        let known = self.seen().iter().find(|one| one.named == named && one.stands()).cloned();
        let one = match known {
            Some(one) => one,
            None => Seen { look: self.look_at(&named.version)?, named, at: Instant::now() },
        };
        let mut seen = self.seen();
        seen.retain(|other| other.named.version != one.named.version);
        seen.push(one);
        Ok(seen.iter().map(|one| one.look.clone()).collect())
    }

    fn recall(&self, id: &VersionId) -> Option<Found> {
        self.copies.recall(id)
    }

    fn wanted(&self) -> Option<VersionId> {
        match self.seen().last() {
            Some(Seen { look: Look::Whole(found), .. }) => Some(found.id.clone()),
            _ => None,
        }
    }

    fn tidy(&self, kept: &HashSet<String>) {
        self.copies.tidy(kept);
    }
}

#[cfg(test)]
#[path = "mlflow_tests.rs"]
mod tests;
