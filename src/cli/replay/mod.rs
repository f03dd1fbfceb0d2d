//! `assay replay`: payments against a running server, in their time, with their labels.
//!
//! ```text
//! file or simulation ─▶ pacer (a thread: waits until a payment is due) ─▶ bounded queue ─▶ connections ─▶ tally ─▶ lines
//! ```
//!
//! A label is posted as soon as the stream's time (the newest payment sent) has reached its `labelled_at`. The queue holds
//! [`QUEUE`] posts: a server slower than the pace slows the pacer, and the line shows it.

pub(super) mod client;
mod labels;
mod pace;
mod pacer;
mod source;
mod tally;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{ArgGroup, Args};
use hyper::body::Bytes;
use hyper::{Method, StatusCode};
use tokio::sync::mpsc;

use crate::base::clock::{Clock as _, DAY, Millis, SystemClock};
use crate::base::span;
use client::{Client, Server};
use labels::Labels;
use pace::Pace;
use pacer::{Pacer, Post};
use source::Source;
use tally::{Outcome, Tally};

/// Post a file's payments, or simulated ones, to a running server.
///
/// With --input, a file's payments go at --rate, or as they were recorded (--pace recorded), and their labels when the
/// stream's time reaches them. With --simulate, simulated payments happen now, until Ctrl-C. A line a second says rate,
/// answer times, flagged payments and the model's version; a summary ends it.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("payments").required(true).args(["input", "simulate"])))]
pub(crate) struct Replay {
    /// The file: .ndjson, .csv or .parquet, in time order.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Simulated payments instead of a file.
    #[arg(long)]
    simulate: bool,
    /// How the file speaks: canonical, major, stripe, handbook, or a connector's file.
    #[arg(long, default_value = "canonical")]
    connector: String,
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// Payments a second.
    #[arg(long, default_value_t = 500.0, value_parser = parse_positive)]
    rate: f64,
    /// Even, or as the times of the payments say.
    #[arg(long, value_enum, default_value_t = PaceName::Constant, conflicts_with = "simulate")]
    pace: PaceName,
    /// With --pace recorded: how many times as fast as it was.
    #[arg(long, default_value_t = 1.0, value_parser = parse_positive)]
    speed: f64,
    /// Labels as NDJSON (transaction_id, is_fraud, labelled_at, source). Without it, is_fraud of the payments counts.
    #[arg(long, value_name = "FILE", conflicts_with = "simulate")]
    labels: Option<PathBuf>,
    /// How long after its payment a fraud marked by is_fraud is labelled: 7d for files, 30s for simulated payments.
    #[arg(long, value_parser = span::parse)]
    label_delay: Option<Duration>,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    /// Stop after this many payments.
    #[arg(long)]
    limit: Option<u64>,
    /// How long an answer may take.
    #[arg(long, default_value = "10s", value_parser = span::parse)]
    timeout: Duration,
    /// With --simulate: how many customers pay.
    #[arg(long, default_value_t = 5_000)]
    customers: u32,
    /// With --simulate: how many terminals they pay at.
    #[arg(long, default_value_t = 10_000)]
    terminals: u32,
    /// With --simulate: everything drawn depends on it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Send to other machines than this one.
    #[arg(long)]
    allow_remote: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PaceName {
    Constant,
    Recorded,
}

/// Posts that wait for a connection.
const QUEUE: usize = 1_024;
/// How long posts under way may take at the end.
const GRACE: Duration = Duration::from_secs(5);

fn parse_positive(text: &str) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0 && *number <= 1e9);
    number.ok_or_else(|| format!("{text:?} is not a number above 0"))
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let server = Server::parse(&self.url, self.allow_remote)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let done = runtime.block_on(self.replay(server));
        // A pacer that waits for input must not hold the end up.
        runtime.shutdown_timeout(Duration::from_secs(1));
        done
    }

    async fn replay(self, server: Server) -> anyhow::Result<ExitCode> {
        let model = ask_model(&server, self.timeout).await?;
        let (mut source, labels) = self.open()?;
        say(&format!("{} → {}, {}", self.describe(), self.url, model.describe()))?;
        if let Some(first) = source.first().filter(|_| self.input.is_some() && model.is_wall_clock())
            && first.0 < SystemClock.now().0 - 2 * DAY
        {
            say(&format!(
                "note: the server runs clock=\"wall\" and this file begins at {first}: payments older than its newest one less the allowed lateness are refused as too_old; replay old data against a server with clock=\"stream\""
            ))?;
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let pace = match self.pace {
            PaceName::Constant => Pace::Constant(self.rate),
            PaceName::Recorded => Pace::Recorded(self.speed),
        };
        let delay = self.label_delay.unwrap_or(Duration::from_secs(if self.simulate { 30 } else { 7 * 86_400 }));
        let pacer = Pacer {
            pace,
            limit: self.limit.unwrap_or(u64::MAX),
            label_delay: (self.labels.is_none()).then_some(Millis(i64::try_from(delay.as_millis())?)),
            stop: Arc::clone(&stop),
        };
        let pacing = tokio::task::spawn_blocking(move || pacer.run(source, labels, &sender));
        let (whole, span) = self.observe(server, receiver, &stop).await?;
        let unsent = tokio::time::timeout(GRACE, pacing).await.context("the reader did not end")???;
        let seconds = span.as_secs_f64();
        say(&format!("in all  {}  {} payments in {seconds:.1} s", whole.line(span), whole.decided))?;
        for line in whole.causes().into_iter().chain(unsent.lines()) {
            say(&format!("        {line}"))?;
        }
        let nothing_went_well = whole.decided == 0 && (whole.errors > 0 || unsent.first.is_some());
        Ok(if nothing_went_well { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Runs the connections and says a line a second until the posts end or Ctrl-C. Returns the counts of the whole run and how long it took.
    async fn observe(
        &self,
        server: Server,
        receiver: mpsc::Receiver<Post>,
        stop: &AtomicBool,
    ) -> anyhow::Result<(Tally, Duration)> {
        let tally = Arc::new(Mutex::new(Tally::new()?));
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..self.connections {
            let client = Client::new(server.clone(), self.timeout);
            connections.spawn(post_all(client, Arc::clone(&receiver), Arc::clone(&tally)));
        }
        let (begun, mut whole, mut last) = (Instant::now(), Tally::new()?, Instant::now());
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.tick().await;
        let mut interrupted = Box::pin(interruption());
        let mut end = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {
                    let mut second = Tally::new()?;
                    second.absorb(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))?;
                    say(&second.line(last.elapsed()))?;
                    last = Instant::now();
                    whole.absorb(&mut second)?;
                }
                ended = connections.join_next() => if ended.is_none() { break },
                () = &mut interrupted, if end.is_none() => {
                    stop.store(true, Ordering::Relaxed);
                    end = Some(Instant::now() + GRACE);
                }
            }
            if end.is_some_and(|end| Instant::now() > end) {
                connections.abort_all();
            }
        }
        let span = begun.elapsed();
        whole.absorb(&mut tally.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok((whole, span))
    }

    fn open(&self) -> anyhow::Result<(Source, Labels)> {
        let labels = self.labels.as_deref().map(Labels::read).transpose()?.unwrap_or_default();
        let source = match &self.input {
            Some(path) => Source::file(path, &self.connector)?,
            None => Source::simulation(self.customers, self.terminals, self.seed)?,
        };
        Ok((source, labels))
    }

    fn describe(&self) -> String {
        match (&self.input, self.pace) {
            (None, _) => {
                format!("simulated payments of {} customers, {} a second, until Ctrl-C", self.customers, self.rate)
            }
            (Some(path), PaceName::Constant) => format!("{}, {} payments a second", path.display(), self.rate),
            (Some(path), PaceName::Recorded) => format!("{}, {} times as fast as recorded", path.display(), self.speed),
        }
    }
}

/// What `GET /model` said.
struct Model(serde_json::Value);

impl Model {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(serde_json::Value::as_str)
    }

    fn is_wall_clock(&self) -> bool {
        self.text("clock") == Some("wall")
    }

    fn describe(&self) -> String {
        match (self.text("model"), self.text("model_version")) {
            (Some(name), Some(version)) => format!("model {name} {version}"),
            _ => "no model".to_owned(),
        }
    }
}

async fn ask_model(server: &Server, timeout: Duration) -> anyhow::Result<Model> {
    let (_, body) = Client::new(server.clone(), timeout).send(Method::GET, "/model", Bytes::new()).await?;
    Ok(Model(serde_json::from_slice(&body).context("GET /model is not answered as assay does")?))
}

/// One connection's work: posts until there are no more.
async fn post_all(mut client: Client, posts: Arc<tokio::sync::Mutex<mpsc::Receiver<Post>>>, tally: Arc<Mutex<Tally>>) {
    loop {
        let next = posts.lock().await.recv().await;
        let Some(post) = next else { return };
        let outcome = send(&mut client, post).await;
        tally.lock().unwrap_or_else(PoisonError::into_inner).add(outcome);
    }
}

/// Tries of one post: the server may be busy or restart.
const TRIES: u32 = 5;

async fn send(client: &mut Client, post: Post) -> Outcome {
    let mut cause = String::new();
    for wait in 0..TRIES {
        tokio::time::sleep(Duration::from_millis(200) * wait).await;
        let answer = client.send(Method::POST, post.path(), post.body.clone()).await;
        let (status, body) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                cause = format!("{error:#}");
                continue;
            }
        };
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => cause = describe(status, &body),
            _ if !status.is_success() => return Outcome::Failed(describe(status, &body)),
            _ if post.is_label => return Outcome::Labelled,
            _ => {
                return serde_json::from_slice(&body).map_or_else(
                    |error| Outcome::Failed(format!("an answer that is no decision: {error}")),
                    |answer| Outcome::Decided(answer, post.due.elapsed()),
                );
            }
        }
    }
    Outcome::Failed(cause)
}

/// `422 too_old`: the status and the problem's code.
fn describe(status: StatusCode, body: &[u8]) -> String {
    let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let code = problem.get("code").and_then(serde_json::Value::as_str).unwrap_or_default();
    format!("{} {code}", status.as_u16()).trim_end().to_owned()
}

/// Ctrl-C or SIGTERM.
async fn interruption() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // An error here means that no signal can be heard; then only the end of the input ends the run.
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A line on standard output.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
