//! Wiring: configuration → runtime → logs → mouth (not ready) → log, model, history → serving → the end, in order.
//!
//! ```text
//! bind, answer health ─▶ open the log ─▶ read the reference data ─▶ models: the version of before ─▶ rebuild the history ─▶ ready: "listening on http://…"
//! signal ─▶ not ready ─▶ accept nothing ─▶ finish what is in flight ─▶ flush and close the log ─▶ exit 0
//! ```

pub(crate) mod key;
mod models;
mod mongodb;
mod observer;
pub(crate) mod reference;
mod snapshots;
mod stack;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::net::TcpListener;
use tokio::runtime::Handle;

use crate::api::{self, Api, server};
use crate::base::clock::SystemClock;
use crate::base::money::Rates;
use crate::config::{Bytes, Config, WhenAway};
use crate::decision::ReasonRules;
use crate::engine::models::Models;
use crate::engine::ports::Log;
use crate::engine::{self, Engine, EngineParts, SetUp, TimeSource};
use crate::features::{Catalogue, HistoryOptions};
use crate::model::Model;
use crate::ops::health::{Health, Stage};
use crate::ops::metrics::Metrics;
use crate::ops::shutdown::Shutdown;
use crate::ops::telemetry;
use crate::store::{SqliteLog, SqliteOptions};

use crate::transaction;
pub(crate) use mongodb::open as open_mongodb;
use observer::Counting;
use reference::Keeping;
use stack::{Following, Stack};
pub(crate) use stack::{kafka_options, open_log, open_postgres, postgres_options};

/// How long threads that hang may hold up the process after everything is closed.
const LAST_WAIT: Duration = Duration::from_secs(1);
/// The most entries of the log that are written together.
const LOG_GROUP: usize = 4_096;
/// How often it is asked whether the stream can still go on.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Connections that read the log.
const LOG_READERS: usize = 4;

/// Serves until a signal ends it.
///
/// # Errors
/// What kept it from starting, or what was not finished at its end, in one sentence.
pub(crate) fn serve(config: &Config) -> anyhow::Result<()> {
    telemetry::start(config.log.format, &config.log.level).map_err(anyhow::Error::msg)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), process = std::process::id(), "assay starts");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime's threads cannot be started")?;
    let ended = runtime.block_on(run(config));
    runtime.shutdown_timeout(LAST_WAIT);
    ended
}

async fn run(config: &Config) -> anyhow::Result<()> {
    let shutdown = Shutdown::default();
    shutdown.on_signals().context("signals cannot be listened for")?;
    let listener = bind(config.server.listen).await?;
    let address = listener.local_addr().context("the address that was bound cannot be told")?;

    let metrics = Arc::new(Metrics::new().context("the table of metrics is wrong")?);
    let health = Arc::new(Health::default());
    let api = Arc::new(Api::new(limits(config)?, Arc::clone(&metrics), Arc::clone(&health))?);
    let options = server::ServerOptions {
        max_connections: config.server.max_connections,
        head_timeout: config.server.head_timeout,
        grace: config.server.shutdown_grace,
    };
    let front = Arc::clone(&api).front();
    let serving = tokio::spawn(server::serve(listener, front, options, Arc::clone(&metrics), shutdown.clone()));

    let started = tokio::select! {
        started = start(config, Arc::clone(&metrics)) => started.map(Some),
        // Why: a signal while the history is rebuilt ends it; nothing was accepted yet.
        () = shutdown.asked() => Ok(None),
    };
    let Started { engine, following, models, _reference } = match started {
        Ok(Some(started)) => started,
        other => {
            health.enter(Stage::Stopping);
            shutdown.ask();
            serving.await.context("the server ended badly")?;
            return other.map(|_none| ());
        }
    };
    let commands = match &models {
        Some(models) => models::listen(config, models.clone(), Arc::clone(&metrics), shutdown.clone()).await?,
        None => None,
    };
    let ticking = models.as_ref().map(|models| models::tick(config, models, &metrics));
    api.start(engine.clone());
    health.enter(Stage::Serving);
    tell_ready(address, &engine, commands.as_ref().map(|(address, _)| *address))?;

    let fatal = until_the_end(&shutdown, following.as_ref()).await;
    health.enter(Stage::Stopping);
    let begun = Instant::now();
    ticking.into_iter().flatten().for_each(|task| task.abort());
    let cut = serving.await.context("the server ended badly")?;
    if let Some((_, commands)) = commands {
        commands.await.context("the listener for commands ended badly")?;
    }
    if let Some(models) = models {
        // It waits for a version that is being prepared, and an end does not.
        let _kept = tokio::time::timeout(LAST_WAIT, models.keep()).await;
    }
    if let Some(following) = following {
        following.stop(config.server.shutdown_grace, &engine).await?;
    }
    finish(config, &engine, cut, begun).await?;
    if fatal {
        bail!("Kafka's producer gave up for good; nothing that was accepted is lost, start this process again");
    }
    Ok(())
}

/// Waits for the end; true when the stream cannot go on in this process.
async fn until_the_end(shutdown: &Shutdown, following: Option<&Following>) -> bool {
    let Some(following) = following else {
        shutdown.asked().await;
        return false;
    };
    loop {
        tokio::select! {
            () = shutdown.asked() => return false,
            () = tokio::time::sleep(LOOK_EVERY) => {
                if following.is_fatal() {
                    shutdown.ask();
                    return true;
                }
            }
        }
    }
}

/// Flushes the log and says how the end went.
async fn finish(config: &Config, engine: &Engine, cut: usize, begun: Instant) -> anyhow::Result<()> {
    if cut > 0 {
        tracing::warn!(connections = cut, "cut off requests that were not finished within server.shutdown_grace");
    }
    let grace = config.server.shutdown_grace;
    // Why at least a second: what was accepted is worth more than an end on the dot.
    let left = grace.saturating_sub(begun.elapsed()).max(LAST_WAIT);
    if !engine.shutdown(left).await {
        tracing::error!(grace = ?grace, "the log was not flushed in time; answers given as queued may be lost");
        bail!("the log was not flushed within server.shutdown_grace ({grace:?}); raise it, or look at the disk");
    }
    tracing::info!(took = ?begun.elapsed(), "ended in order");
    Ok(())
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => {
            anyhow!("{address} is taken by another process; stop that one, or set server.listen to a free address")
        }
        _ => anyhow::Error::new(error).context(format!("cannot listen on server.listen {address}")),
    })
}

#[expect(clippy::print_stdout, reason = "the one line that whoever started the server waits for")]
fn tell_ready(address: SocketAddr, engine: &Engine, commands: Option<SocketAddr>) -> anyhow::Result<()> {
    if let Some(commands) = commands {
        tracing::info!(address = %commands, "commands to the models are taken");
    }
    match engine.model() {
        Some(model) => tracing::info!(%address, model = model.package.name, version = model.package.version, "ready"),
        None => tracing::warn!(%address, "serving without a model: every answer is what policy.on_no_model says"),
    }
    println!("listening on http://{address}");
    std::io::stdout().flush().context("standard output is closed")
}

/// What runs, and ends with the process.
struct Started {
    engine: Engine,
    following: Option<Following>,
    models: Option<Models<Model>>,
    _reference: Option<Keeping>,
}

/// Opens the log, reads the reference data, puts the model in force and rebuilds the history.
async fn start(config: &Config, metrics: Arc<Metrics>) -> anyhow::Result<Started> {
    let begun = Instant::now();
    let catalogue = Catalogue::shipped(config.money.base_currency)?;
    let stack = if config.kafka.is_there() { Some(Stack::open(config, &catalogue).await?) } else { None };
    let shared: Option<Arc<dyn Log>> =
        stack.as_ref().map(|stack| Arc::new(stack.log(Handle::current())) as Arc<dyn Log>);
    let counted = Arc::clone(&metrics);
    let (parts, reference) = {
        let (config, runtime) = (config.clone(), Handle::current());
        // Blocking: disk, sources of reference data, and a model's warm-up.
        let loading = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let (catalogue, rates, reference) = reference::keep(&config, catalogue, runtime, Arc::clone(&counted))?;
            Ok((parts(&config, (Arc::new(catalogue), rates), shared, counted)?, reference))
        });
        loading.await.context("loading ended badly")??
    };
    let (rates, instance) = (Arc::clone(&parts.rates), parts.instance);
    let log = Arc::clone(&parts.log);
    let engine = Engine::new(parts).context("the model asks for features that cannot be had")?;
    let postgres = stack.as_ref().and_then(Stack::postgres);
    let models = models::resume(config, &engine, log, postgres).await?;
    if let Some(stack) = stack {
        let following = stack.follow(config, &engine, (rates, instance, metrics)).await?;
        tracing::info!(took = ?begun.elapsed(), stream_time = ?engine.stream_time(), "topics followed, model loaded");
        return Ok(Started { engine, following: Some(following), models, _reference: reference });
    }
    let rebuilt = engine.rebuild().await.context("the history cannot be rebuilt from the log")?;
    tracing::info!(took = ?begun.elapsed(), ?rebuilt, "log open, model loaded, history rebuilt");
    Ok(Started { engine, following: None, models, _reference: reference })
}

/// What the engine is made of; `shared` is the log of the stack.
fn parts(
    config: &Config,
    (catalogue, rates): (Arc<Catalogue>, Arc<Rates>),
    shared: Option<Arc<dyn Log>>,
    metrics: Arc<Metrics>,
) -> anyhow::Result<EngineParts> {
    let set_up = if shared.is_some() { SetUp::Stack } else { SetUp::Embedded };
    let log = match shared {
        Some(shared) => shared,
        None => Arc::new(open_sqlite(config)?),
    };
    let history = HistoryOptions {
        key: key::hash_key(&config.history)?,
        lateness: millis(config.history.lateness),
        exact_events: config.history.exact_events,
    };
    Ok(EngineParts {
        clock: Arc::new(SystemClock),
        rates,
        catalogue,
        history,
        log,
        // The lifecycle puts one in force.
        model: None,
        policy: config.policy,
        limits: engine::Limits {
            time: config.history.clock,
            too_far_ahead: config.history.max_ahead,
            max_open: config.store.max_open,
            max_background: config.store.max_background,
            cache: u64::try_from(config.store.cached_decisions).unwrap_or(u64::MAX),
            max_waiting_labels: config.history.max_waiting_labels,
            store_wait: config.store.wait,
            explain_wait: config.model.explain_wait,
            unrecorded: (config.kafka.when_away == WhenAway::Answer).then_some(config.kafka.answer_after),
        },
        reasons: reason_rules(config),
        durability: config.store.durability,
        set_up,
        instance: rand::random(),
        observer: Arc::new(Counting(metrics)),
    })
}

/// Which reasons are told, by the configuration.
pub(crate) fn reason_rules(config: &Config) -> ReasonRules {
    ReasonRules {
        most: config.model.reasons,
        by: config.reasons.by,
        hidden: config.reasons.hidden.iter().cloned().collect(),
    }
}

fn open_sqlite(config: &Config) -> anyhow::Result<SqliteLog> {
    let path = &config.store.path;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let options = SqliteOptions {
        path: path.clone(),
        durability: config.store.durability,
        queue: config.store.max_queue,
        group: LOG_GROUP,
        readers: LOG_READERS,
    };
    SqliteLog::open(&options).with_context(|| format!("store.path {}", path.display()))
}

fn limits(config: &Config) -> anyhow::Result<api::Limits> {
    let server = &config.server;
    let bytes =
        |key: &str, size: Bytes| usize::try_from(size.0).with_context(|| format!("{key} is beyond this machine"));
    let body = bytes("server.max_body", server.max_body)?;
    Ok(api::Limits {
        body,
        batch_body: bytes("server.max_batch_body", server.max_batch_body)?,
        batch_items: server.max_batch_items,
        batch_concurrency: server.batch_concurrency,
        batches: server.max_batches,
        in_flight: server.max_in_flight,
        deadline: server.default_deadline,
        body_wait: server.body_timeout,
        max_ahead: (config.history.clock == TimeSource::Wall).then(|| millis(config.history.max_ahead)),
        allow_late: millis(config.completeness.allow_late),
        transaction: transaction_limits(config)?,
    })
}

/// Bounds of a transaction, the same for every mouth.
fn transaction_limits(config: &Config) -> anyhow::Result<transaction::Limits> {
    let bytes = usize::try_from(config.server.max_body.0).context("server.max_body is beyond this machine")?;
    Ok(transaction::Limits { bytes, ..transaction::Limits::default() })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
