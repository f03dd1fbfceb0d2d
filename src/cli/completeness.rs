//! `assay completeness`: waits until a day is complete, for a scheduler.
//!
//! In: a day, and the address of a running instance. Out: one line and an exit status: 0 complete, 3 not within the wait, and
//! the usual ones where nobody could say. The same on both set-ups: `GET /completeness` is asked.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::Args;
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use serde_json::Value;

use super::replay::client::{Client, Server};
use crate::base::clock::Millis;
use crate::base::span;
use crate::config::Config;

/// The exit status of a day that is not complete.
const EXIT_NOT_COMPLETE: u8 = 3;
/// The pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Say whether every transaction of a day has its full decision, and wait for it.
///
/// Exit status 0: the day is complete. 3: it is not, and the line says what holds it. Any other: nobody could say.
#[derive(Debug, Args)]
pub(super) struct Completeness {
    /// The day, UTC: YYYY-MM-DD.
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    day: String,
    /// How long to wait for it: 30m, 2h.
    #[arg(long, default_value = "0s", value_parser = span::parse)]
    wait: Duration,
    /// Wait until the decisions stand in their rows, too.
    #[arg(long)]
    applied: bool,
    /// Print the whole answer as JSON.
    #[arg(long)]
    json: bool,
    /// The server, http://HOST:PORT; without it, server.listen of the configuration.
    #[arg(long)]
    url: Option<String>,
    /// The TOML file; without it, defaults and environment (ASSAY__SECTION__KEY) alone.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn parse_day(text: &str) -> Result<String, String> {
    let day = Millis::parse_day(text).map(|_| text.to_owned());
    day.ok_or_else(|| format!("{text:?} is no day such as 2026-01-31"))
}

impl Completeness {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => match Config::load(self.config.as_deref()) {
                Ok(config) => address(config.server.listen)?,
                Err(faults) => return Ok(super::tell_faults(&faults)),
            },
        };
        // Nothing but a day is sent: any machine will do.
        let server = Server::parse(&url, true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(self.poll(server))?;
        let is_complete = self.is_complete(&answer);
        let line = if self.json { answer.to_string() } else { self.line(&answer, is_complete) };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()?;
        Ok(if is_complete { ExitCode::SUCCESS } else { ExitCode::from(EXIT_NOT_COMPLETE) })
    }

    /// Asks until the day is complete or the wait is over; the last answer.
    async fn poll(&self, server: Server) -> anyhow::Result<Value> {
        let path = format!("/completeness?day={}", self.day);
        let mut client = Client::new(server, PATIENCE);
        let until = Instant::now() + self.wait;
        let mut answered = None;
        loop {
            let trouble = match client.send(Method::GET, &path, Bytes::new()).await {
                Ok((StatusCode::OK, body)) => {
                    let answer: Value = serde_json::from_slice(&body).context("the answer is not assay's")?;
                    if self.is_complete(&answer) {
                        return Ok(answer);
                    }
                    answered = Some(answer);
                    None
                }
                // Kept elsewhere, and that is away, or the program starts: it may be back in time.
                Ok((StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, body)) => Some(detail(&body)),
                Ok((status, body)) => bail!("{status}: {}", detail(&body)),
                Err(error) => Some(format!("{error:#}")),
            };
            if Instant::now() >= until {
                // Who cannot say now has not said that it is not complete.
                return match (trouble, answered) {
                    (Some(trouble), _) => bail!("nobody can say whether {} is complete: {trouble}", self.day),
                    (None, Some(answer)) => Ok(answer),
                    (None, None) => bail!("no answer"),
                };
            }
            tokio::time::sleep(PAUSE.min(until.saturating_duration_since(Instant::now()))).await;
        }
    }

    fn is_complete(&self, answer: &Value) -> bool {
        let is = |name: &str| answer.get(name).and_then(Value::as_bool) == Some(true);
        is("complete") && (!self.applied || is("applied_complete"))
    }

    fn line(&self, answer: &Value, is_complete: bool) -> String {
        let (watermark, held_by) =
            if self.applied { ("applied_watermark", "applied_held_by") } else { ("watermark", "held_by") };
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("not known").to_owned();
        let what = if self.applied { "applied" } else { "decided" };
        let state = if is_complete { "complete" } else { "not complete" };
        let held = if is_complete { String::new() } else { format!("; held by {}", text(held_by)) };
        format!("{} is {state}: {what} up to {}, as of {}{held}", self.day, text(watermark), text("as_of"))
    }
}

/// Where this machine reaches what listens there.
fn address(listen: SocketAddr) -> anyhow::Result<String> {
    if listen.port() == 0 {
        bail!("server.listen is {listen}, which names no port: pass --url");
    }
    let host = if listen.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    Ok(format!("http://{}", SocketAddr::new(host, listen.port())))
}

fn detail(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    problem.get("detail").and_then(Value::as_str).unwrap_or("no answer of assay's").to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_address_of_any_interface_is_this_machine() {
        assert_eq!(address("0.0.0.0:8080".parse().unwrap()).unwrap(), "http://127.0.0.1:8080");
        assert_eq!(address("10.1.2.3:80".parse().unwrap()).unwrap(), "http://10.1.2.3:80");
        assert!(address("127.0.0.1:0".parse().unwrap()).is_err());
    }

    #[test]
    fn a_day_is_written_one_way() {
        assert!(parse_day("2026-02-28").is_ok());
        for wrong in ["2026-02-30", "2026-2-1", "28.2.2026", "", "+026-02-01", "2026-02-28T00"] {
            assert!(parse_day(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_line_says_what_holds_it() {
        let command = |applied| Completeness {
            day: "2026-01-31".into(),
            wait: Duration::ZERO,
            applied,
            json: false,
            url: None,
            config: None,
        };
        let answer = json!({"complete": true, "applied_complete": false, "as_of": "now", "watermark": "late",
            "applied_watermark": null, "applied_held_by": "the row of tx"});
        assert!(command(false).is_complete(&answer) && !command(true).is_complete(&answer));
        assert_eq!(command(false).line(&answer, true), "2026-01-31 is complete: decided up to late, as of now");
        let held = "2026-01-31 is not complete: applied up to not known, as of now; held by the row of tx";
        assert_eq!(command(true).line(&answer, false), held);
    }
}
