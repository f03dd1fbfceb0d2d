//! Wiring of the models: the registry of the configuration, the gates' loader, the book, and the listener that commands come by.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::api::admin::Admin;
use crate::api::server::{self, ServerOptions};
use crate::config::{self, Activate, Config};
use crate::engine::models::{Book, Loader, LogBook, Models, ModelsOptions, ModelsParts, Registry, Stage, WatchOptions};
use crate::engine::ports::Log;
use crate::engine::{ChallengerOptions, Compared, Engine};
use crate::model::{Checks, Model, ModelError, Package, RuntimeOptions};
use crate::ops::metrics::{Challenged, Compared as LabelsOf, Flags, Metrics, ModelStage};
use crate::ops::shutdown::Shutdown;
use crate::store::registry::{Copies, Folder, Mlflow, MlflowOptions, Several};
use crate::store::{ComparisonFile, Journal, PostgresStore, SharedBook};

/// The longest that a record of a change may take.
const RECORD_WAIT: Duration = Duration::from_secs(2);
/// The longest that a first start waits for what all instances want.
const FIRST_WISH: Duration = Duration::from_secs(30);
/// Connections of the listener for commands.
const CONNECTIONS: usize = 64;
/// How often the wish of all instances is looked at.
const FOLLOW: Duration = Duration::from_millis(500);
/// How often the version in force is looked after.
const JUDGE: Duration = Duration::from_secs(1);
/// How often the gauges of the models are set.
const SHOW: Duration = Duration::from_secs(1);
/// The file of the comparison, beside the copies.
const COMPARISON: &str = "comparison.json";

/// A package as the configuration runs it.
#[derive(Debug)]
struct PackageLoader(RuntimeOptions);

impl Loader<Model> for PackageLoader {
    fn load(&self, directory: &Path, checks: &mut Checks) -> Result<Model, ModelError> {
        let package = Package::read_checked(directory, checks)?;
        Model::load_checked(package, &self.0, checks)
    }
}

/// The lifecycle of the configuration's models, the version of before in force again; `None` without models.
pub(super) async fn resume(
    config: &Config,
    engine: &Engine,
    log: Arc<dyn Log>,
    postgres: Option<Arc<PostgresStore>>,
) -> anyhow::Result<Option<Models<Model>>> {
    let copies = Copies::new(config.models.copies.clone());
    let folder = config.model.directory.as_ref().map(|directory| Folder::new(directory.clone(), copies.clone()));
    let alone = !config.mlflow.is_there() && folder.as_ref().is_some_and(Folder::is_one_package);
    let mlflow = config.mlflow.is_there().then(|| Mlflow::new(mlflow_options(&config.mlflow), copies));
    let mlflow = mlflow.map(|mlflow| Arc::new(mlflow) as Arc<dyn Registry>);
    let registries: Vec<_> =
        folder.map(|folder| Arc::new(folder) as Arc<dyn Registry>).into_iter().chain(mlflow).collect();
    if registries.is_empty() {
        return Ok(None);
    }
    let book: Arc<dyn Book> = if config.kafka.is_there() {
        let path = &config.models.journal;
        let journal = Journal::open(path).with_context(|| format!("models.journal {}", path.display()))?;
        match postgres {
            Some(postgres) => Arc::new(SharedBook::new(journal, postgres).await?),
            None => Arc::new(journal),
        }
    } else {
        Arc::new(LogBook(log))
    };
    let models = Models::new(ModelsParts {
        engine: engine.clone(),
        registry: Arc::new(Several::new(registries)),
        loader: Arc::new(PackageLoader(runtime_options(config))),
        book,
        comparisons: Arc::new(ComparisonFile(config.models.copies.join(COMPARISON))),
        options: options(config),
    });
    let resumed = if alone { models.resume_alone().await } else { models.resume().await };
    let place = config.model.directory.as_ref().map_or_else(
        || format!("mlflow.url {}", config.mlflow.url),
        |directory| format!("model.directory {}", directory.display()),
    );
    resumed.map_err(|error| anyhow!("{place}: {error}"))?;
    Ok(Some(models))
}

fn mlflow_options(mlflow: &config::Mlflow) -> MlflowOptions {
    MlflowOptions {
        url: mlflow.url.clone(),
        model: mlflow.model.clone(),
        alias: mlflow.alias.clone(),
        token: mlflow.token.0.clone(),
        timeout: mlflow.timeout,
    }
}

/// How a package is run, by the configuration.
fn runtime_options(config: &Config) -> RuntimeOptions {
    let budget = config.models.latency_budget;
    RuntimeOptions {
        library: config.model.onnxruntime.clone(),
        workers: config.model.workers.count(),
        max_batch: config.model.max_batch,
        max_queue: config.model.max_queue,
        max_explanations: config.reasons.max_queue,
        latency_budget: (!budget.is_zero()).then_some(budget),
        device: config.model.device,
        on_device_failure: config.model.on_device_failure,
        device_memory: config.model.device_memory.map(|bytes| bytes.0),
    }
}

fn options(config: &Config) -> ModelsOptions {
    let models = &config.models;
    ModelsOptions {
        newest: models.activate == Activate::Newest,
        max_shift: models.max_shift.bound(),
        least_traffic: models.least_traffic,
        watch: WatchOptions {
            window: models.watch,
            least: models.watch_rows as u64,
            max_errors: models.watch_errors.bound(),
            max_latency: (!models.watch_latency.is_zero()).then_some(models.watch_latency),
            max_shift: models.watch_shift.bound(),
        },
        challenger: ChallengerOptions { workers: models.challenger_workers, queue: models.challenger_queue },
        record_wait: RECORD_WAIT,
        first_wish: FIRST_WISH,
    }
}

/// What happens by itself, until it is aborted. A task each, so that none waits for another.
pub(super) fn tick(config: &Config, models: &Models<Model>, metrics: &Arc<Metrics>) -> [JoinHandle<()>; 5] {
    let follow = every(FOLLOW, models, |models| async move { models.follow().await });
    let tick = every(config.models.look_every, models, |models| async move { models.tick().await });
    let judge = every(JUDGE, models, |models| async move { models.judge().await });
    let tidying = models.clone();
    let put_away = tokio::spawn(async move {
        loop {
            // A model that a request still holds is dropped in a later round.
            let _next = tokio::time::timeout(JUDGE, tidying.something_left()).await;
            tidying.put_away().await;
        }
    });
    let metrics = Arc::clone(metrics);
    let show = every(SHOW, models, move |models| {
        show(&models, &metrics);
        std::future::ready(())
    });
    [follow, tick, judge, put_away, show]
}

/// Does something again and again, with a pause before each.
fn every<Done>(
    pause: Duration,
    models: &Models<Model>,
    act: impl Fn(Models<Model>) -> Done + Send + 'static,
) -> JoinHandle<()>
where
    Done: Future<Output = ()> + Send,
{
    let models = models.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(pause).await;
            act(models.clone()).await;
        }
    })
}

/// Puts what is known of the models into its gauges.
fn show(models: &Models<Model>, metrics: &Metrics) {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let versions = models.list();
    if let Some(active) = versions.iter().find(|one| one.stage == Stage::Active) {
        metrics.model_active.name(&active.id.key());
    }
    for stage in Stage::ALL {
        if let Some(label) = ModelStage::of(stage.as_str()) {
            metrics.model_versions.set(label, count(versions.iter().filter(|one| one.stage == stage).count() as u64));
        }
    }
    let compared = models.compare();
    let of = |figure: fn(&Compared) -> u64| compared.as_ref().map_or(0, |compared| count(figure(compared)));
    metrics.challenged.set(Challenged::Compared, of(|compared| compared.compared));
    metrics.challenged.set(Challenged::Dropped, of(|compared| compared.dropped));
    metrics.challenged.set(Challenged::Failed, of(|compared| compared.failed));
    metrics.challenger_flags.set(Flags::Both, of(|compared| compared.both_flagged));
    metrics.challenger_flags.set(Flags::Champion, of(|compared| compared.champion_only));
    metrics.challenger_flags.set(Flags::Challenger, of(|compared| compared.challenger_only));
    let labels = &metrics.challenger_labels;
    labels.set(LabelsOf::Labelled, of(|compared| compared.labels.labelled));
    labels.set(LabelsOf::Fraud, of(|compared| compared.labels.fraud));
    labels.set(LabelsOf::ChampionFlagged, of(|compared| compared.labels.champion_flagged));
    labels.set(LabelsOf::ChampionCaught, of(|compared| compared.labels.champion_caught));
    labels.set(LabelsOf::ChallengerFlagged, of(|compared| compared.labels.challenger_flagged));
    labels.set(LabelsOf::ChallengerCaught, of(|compared| compared.labels.challenger_caught));
    metrics.challenger_shift.set((), of(|compared| (compared.shift * 1e3).round().max(0.0) as u64));
}

/// The listener for commands; where it is.
pub(super) async fn listen(
    config: &Config,
    models: Models<Model>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
) -> anyhow::Result<Option<(SocketAddr, JoinHandle<usize>)>> {
    let Some(address) = config.admin.address(config.server.listen) else { return Ok(None) };
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("cannot listen on admin.listen {address}: stop who does, name a free address, or \"off\"")
    })?;
    let address = listener.local_addr().context("the address that was bound cannot be told")?;
    let front = Admin::new(models, config.admin.token()).front(Arc::clone(&metrics));
    let options = ServerOptions {
        max_connections: CONNECTIONS,
        head_timeout: config.server.head_timeout,
        grace: config.server.shutdown_grace,
    };
    let serving = tokio::spawn(server::serve(listener, front, options, metrics, shutdown));
    Ok(Some((address, serving)))
}
