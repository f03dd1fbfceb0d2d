//! `assay models`: which versions a running instance has, which is in force, and what changes that.
//!
//! In: a command, and the listener `admin.listen` of an instance. Out: a table for a person or JSON for a program, and an
//! exit status for Jenkins and Airflow: 0 done, 3 refused by a gate, 4 not as things stand, 64 a bad configuration, 1 anything else.

mod shown;

use std::env;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, Subcommand};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::replay::client::{Client, Server};
use crate::base::clock::Millis;
use crate::base::secret::Secret;
use crate::base::span;
use crate::config::Config;

/// The exit status of a version that a gate refused.
const EXIT_REFUSED: u8 = 3;
/// That of a command that makes no sense as things stand.
const EXIT_NOT_NOW: u8 = 4;

/// Show and change the models of a running instance.
///
/// Exit status 0: done. 3: a gate refused the version. 4: it makes no sense as things stand. 64: a bad configuration.
/// 1: anything else.
#[derive(Debug, Args)]
pub(super) struct Models {
    #[command(subcommand)]
    what: What,
    /// The instance's listener for commands, http://HOST:PORT; without it, admin.listen of the configuration.
    #[arg(long, global = true)]
    url: Option<String>,
    /// The TOML file; without it, defaults and environment (ASSAY__ADMIN__TOKEN) alone.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// How long to wait for the answer: a version is loaded and held against its gates meanwhile.
    #[arg(long, default_value = "5m", value_parser = span::parse, global = true)]
    wait: Duration,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every version with its stage.
    List,
    /// One version with its gates.
    Show(Version),
    /// Hold a version against the gates.
    Verify(Version),
    /// Put a version in force.
    Activate(Changed),
    /// Bring back the version before, which is kept loaded.
    Rollback(Reason),
    /// Let a version score a share of the transactions besides, and decide nothing; 0 ends it.
    Shadow(Shared),
    /// Let a version decide for a share of the customers, always the same ones; 0 ends it.
    Canary(Shared),
    /// How the version that scores besides compares with the active one.
    Compare,
    /// Who changed what, when and why; with --at, which version was active then.
    History(History),
}

#[derive(Debug, Args)]
struct Version {
    /// NAME/VERSION.
    version: String,
}

#[derive(Debug, Args)]
struct Reason {
    /// Why, for the record.
    #[arg(long)]
    why: String,
    /// Who asks for it, for the record; without it, the user of this shell.
    #[arg(long)]
    by: Option<String>,
}

#[derive(Debug, Args)]
struct Changed {
    #[command(flatten)]
    version: Version,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
struct Shared {
    #[command(flatten)]
    version: Version,
    /// The share in basis points: 0 (none) to 10000 (all).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=10_000))]
    basis_points: u16,
    #[command(flatten)]
    reason: Reason,
}

#[derive(Debug, Args)]
struct History {
    /// A moment, RFC 3339: 2026-01-31T14:03:07Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    at: Option<Millis>,
    /// The most changes that are shown.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    most: u16,
}

fn parse_time(text: &str) -> Result<Millis, String> {
    Millis::parse_rfc3339(text).ok_or_else(|| format!("{text:?} is no time such as 2026-01-31T14:03:07Z"))
}

impl Models {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let (url, token) = match Config::load(self.config.as_deref()) {
            Ok(config) => (self.url.clone().map_or_else(|| address(&config), Ok)?, config.admin.token()),
            Err(faults) => return Ok(super::tell_faults(&faults)),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (status, answer) = runtime.block_on(self.ask(&url, token))?;
        if status != StatusCode::OK {
            return self.refused(status, &answer);
        }
        let text = if self.json { answer.to_string() } else { self.shown(&answer)? };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, url: &str, token: Option<Secret>) -> anyhow::Result<(StatusCode, Value)> {
        // Commands go where the configuration or the person says; the token says who may.
        let server = Server::parse(url, true)?;
        let (method, path, body) = self.request()?;
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let mut client = Client::new(server, self.wait).with_token(token);
        let (status, body) = client.send(method, &path, body).await?;
        Ok((status, serde_json::from_slice(&body).context("the answer is not assay's")?))
    }

    fn request(&self) -> anyhow::Result<(Method, String, Option<Value>)> {
        let of = |version: &Version, what: &str| -> anyhow::Result<String> {
            let Some((name, number)) = version.version.split_once('/') else {
                bail!("{:?} is no version such as fraud/2", version.version);
            };
            let allowed = |word: &str| word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if !allowed(name) || !allowed(number) || name.is_empty() || number.is_empty() {
                bail!("{:?} is no version such as fraud/2", version.version);
            }
            Ok(format!("/models/{name}/{number}{what}"))
        };
        Ok(match &self.what {
            What::List => (Method::GET, "/models".to_owned(), None),
            What::Show(version) => (Method::GET, of(version, "")?, None),
            What::Verify(version) => (Method::POST, of(version, "/verify")?, None),
            What::Activate(Changed { version, reason }) => {
                (Method::POST, of(version, "/activate")?, Some(reason.command(None)?))
            }
            What::Rollback(reason) => (Method::POST, "/models/rollback".to_owned(), Some(reason.command(None)?)),
            What::Shadow(Shared { version, basis_points, reason }) => {
                (Method::POST, of(version, "/shadow")?, Some(reason.command(Some(*basis_points))?))
            }
            What::Canary(Shared { version, basis_points, reason }) => {
                (Method::POST, of(version, "/canary")?, Some(reason.command(Some(*basis_points))?))
            }
            What::Compare => (Method::GET, "/models/compare".to_owned(), None),
            What::History(History { at: Some(at), .. }) => {
                (Method::GET, format!("/models/history?at={}", at.to_rfc3339()), None)
            }
            What::History(History { most, .. }) => (Method::GET, format!("/models/history?most={most}"), None),
        })
    }

    fn shown(&self, answer: &Value) -> anyhow::Result<String> {
        Ok(match &self.what {
            What::List => shown::list(answer),
            What::Compare => shown::comparison(answer),
            What::History(History { at: Some(at), .. }) => shown::active(answer)
                .ok_or_else(|| anyhow!("no version was active at {at}, as far as the record goes back"))?,
            What::History(_) => shown::history(answer),
            _ => shown::version(answer),
        })
    }

    fn refused(&self, status: StatusCode, answer: &Value) -> anyhow::Result<ExitCode> {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        if self.json {
            writeln!(std::io::stdout(), "{answer}")?;
        }
        let exit = match text("code").as_str() {
            "version_refused" => EXIT_REFUSED,
            "not_now" => EXIT_NOT_NOW,
            "" => bail!("{status}: the answer is not assay's"),
            _ => bail!("{}", text("detail")),
        };
        eprintln!("assay: {}", text("detail"));
        Ok(ExitCode::from(exit))
    }
}

impl Reason {
    fn command(&self, basis_points: Option<u16>) -> anyhow::Result<Value> {
        let user =
            || ["USER", "LOGNAME"].into_iter().find_map(|name| env::var(name).ok().filter(|user| !user.is_empty()));
        let by = self.by.clone().or_else(user).context("nobody is named by USER: pass --by")?;
        let mut command = json!({"by": by, "why": self.why});
        if let (Some(share), Some(members)) = (basis_points, command.as_object_mut()) {
            members.insert("basis_points".to_owned(), json!(share));
        }
        Ok(command)
    }
}

/// Where this machine reaches the listener of the configuration.
fn address(config: &Config) -> anyhow::Result<String> {
    let found = config.admin.address(config.server.listen);
    let listen = found.context("admin.listen is \"off\": no commands are taken")?;
    if listen.port() == 0 {
        bail!("admin.listen names no port: pass --url, as the instance's log says it");
    }
    let host = if listen.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    Ok(format!("http://{}", SocketAddr::new(host, listen.port())))
}
