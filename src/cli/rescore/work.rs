//! The command's work in its order: what is refused, what is waited for, which run it is, and the run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::runtime::Runtime;

use super::asked::{self, Span};
use super::desk::{Desk, Progress, Rows, Sending};
use super::pace::Pace;
use super::{Features, Rescore};
use crate::app;
use crate::base::clock::{Clock as _, HOUR, Millis, SystemClock};
use crate::base::hash::HashKey;
use crate::base::money::Rates;
use crate::cli::rejects::Rejects;
use crate::cli::verdicts::Verdicts;
use crate::cli::view::View;
use crate::cli::view::ordered::Ordered;
use crate::cli::{features, say};
use crate::config::Config;
use crate::engine::models::VersionId;
use crate::engine::ports::Scorer as _;
use crate::engine::rescore::{self, Inputs, RescoreParts, Tally, Wanted};
use crate::features::{Catalogue, HistoryOptions};
use crate::model::{Model, Package, RuntimeOptions};
use crate::store::MongoStore;
use crate::store::postgres::rescore::{RescoreSession, StoredRun};
use crate::store::registry::{Copies, Folder};
use crate::stream::{Connection, KafkaLog, verdicts};
use crate::transaction::Limits;

/// Rows that are read with one statement.
const PAGE: i64 = 1_000;
/// Records that are made, acknowledged and noted together: so many a second's part, and at most so many.
const BATCHES_A_SECOND: u32 = 20;
const MOST_TOGETHER: u32 = 250;
/// What has not happened so long ago is not rescored where nobody says so: the stream is at it.
const SETTLED: i64 = HOUR / 6;
/// How much of the past the scratch history tells apart by id: it is filled in order.
const TIES: i64 = HOUR;

/// What the command has at hand.
pub(super) struct Work<'c> {
    pub(super) command: &'c Rescore,
    pub(super) config: &'c Config,
    pub(super) runtime: &'c Runtime,
    pub(super) connection: Connection,
    pub(super) session: RescoreSession,
    /// The version that all instances want.
    pub(super) active: Option<VersionId>,
    pub(super) catalogue: Catalogue,
    pub(super) rates: Arc<Rates>,
}

impl Work<'_> {
    pub(super) fn run(self, log: KafkaLog) -> Result<()> {
        let model = Arc::new(self.model()?);
        let rows = self.rows()?;
        self.wait_for(crate::store::postgres::NAME)?;
        let mongodb = self.mongodb()?;
        let reference = model.reference();
        let fingerprint = self.command.fingerprint(&reference.sha256);
        let taken_up = self.taken_up(&fingerprint)?;
        let Self { command, config, runtime, session, catalogue, rates, .. } = self;
        let mut desk = Desk {
            runtime: runtime.handle().clone(),
            rows,
            session,
            sending: Sending::new(log),
            mongodb,
            run: 0,
            saved: Instant::now(),
            pace: Pace::new(command.rate),
            progress: Progress::new(),
        };
        let word = if taken_up.is_some() { "taken up" } else { "begun" };
        let (run, windows) = if let Some(run) = taken_up {
            let windows = command.windows(&mut desk, config, (&catalogue, model.features()), &run)?;
            (run, windows)
        } else {
            let Some(wanted) = command.wanted(&mut desk)? else {
                say("nothing to do: every payment there has a decision");
                return Ok(());
            };
            if command.dry_run {
                return command.count(&mut desk, wanted);
            }
            let run = StoredRun {
                run: rand::random(),
                fingerprint,
                arguments: command.told(),
                model: [reference.name, reference.version, reference.sha256],
                wanted,
                position: None,
                tally: Tally::default(),
            };
            let windows = command.windows(&mut desk, config, (&catalogue, model.features()), &run)?;
            runtime.block_on(desk.session.begin(&run))?;
            (run, windows)
        };
        let StoredRun { wanted, position, tally, .. } = run;
        say(&format!(
            "{word} run {:016x}: payments of {} to {}, model {} {}, {} a second at most; windows are filled from {windows} on",
            run.run, wanted.from, wanted.to, run.model[0], run.model[1], command.rate
        ));
        desk.run = run.run;
        desk.rows.seek(windows, wanted.to);
        desk.progress.begin(position.as_ref().map_or(wanted.from, |position| position.occurred_at), wanted.to);
        let parts = RescoreParts {
            run: run.run,
            wanted,
            done: position,
            tally,
            model,
            inputs: match command.features {
                Features::Scratch => Inputs::Scratch,
                Features::Stored => Inputs::Stored,
            },
            catalogue,
            // It lives as long as the run and is never kept: any key does.
            history: HistoryOptions {
                key: HashKey::new(*b"assay, rescoring"),
                lateness: TIES,
                exact_events: config.history.exact_events,
            },
            rates,
            reasons: app::reason_rules(config),
            batch: usize::try_from((command.rate / BATCHES_A_SECOND).clamp(1, MOST_TOGETHER))?,
        };
        let tally = rescore::Rescore::new(parts)?.run(&mut desk)?;
        desk.end(&tally)
    }

    /// Where stored features are read, when they are asked for; what is acknowledged is there then.
    fn mongodb(&self) -> Result<Option<Arc<MongoStore>>> {
        if self.command.features == Features::Scratch {
            return Ok(None);
        }
        self.wait_for(crate::store::mongodb::NAME)?;
        self.runtime.block_on(app::open_mongodb(self.config)).map(Some)
    }

    /// The unfinished run of the same command; others are told of.
    fn taken_up(&self, fingerprint: &str) -> Result<Option<StoredRun>> {
        let unfinished = self.runtime.block_on(self.session.unfinished())?;
        let (mut same, others): (Vec<_>, Vec<_>) =
            unfinished.into_iter().partition(|run| run.fingerprint == fingerprint);
        for other in &others {
            say(&format!("left as it is: the unfinished rescore {:016x} ({})", other.run, other.arguments));
        }
        Ok(same.pop().filter(|_| !self.command.dry_run))
    }

    /// The package that --model names, else the active version of model.directory.
    fn package(&self) -> Result<PathBuf> {
        if let Some(directory) = &self.command.model {
            return Ok(directory.clone());
        }
        let directory = self.config.model.directory.clone();
        let directory = directory.context("model.directory is empty: name a package with --model")?;
        let folder = Folder::new(directory, Copies::new(self.config.models.copies.clone()));
        let package = folder.package(self.active.as_ref()).map_err(anyhow::Error::msg);
        package.context("no model: name a package with --model")
    }

    /// The model, verified as at a start.
    fn model(&self) -> Result<Model> {
        let directory = self.package()?;
        let options = RuntimeOptions { library: self.config.model.onnxruntime.clone(), ..RuntimeOptions::of_files() };
        let package = Package::read(&directory).with_context(|| directory.display().to_string())?;
        let model = Model::load(package, &options).with_context(|| directory.display().to_string())?;
        let lacking: Vec<&str> =
            model.features().iter().map(String::as_str).filter(|name| self.catalogue.needs(name).is_err()).collect();
        ensure!(
            lacking.is_empty(),
            "the model {} asks for what schemas/features.toml does not have: {}",
            directory.display(),
            lacking.join(", ")
        );
        Ok(model)
    }

    fn rows(&self) -> Result<Rows> {
        let command = self.command;
        let connector = features::connector(&command.connector)?;
        let view = self.runtime.block_on(async {
            let view = View::open(&command.postgres_url, &command.view, connector, Limits::of_files()).await?;
            Ordered::new(view, PAGE).await
        })?;
        Ok(Rows {
            runtime: self.runtime.handle().clone(),
            view,
            verdicts: Verdicts::none(),
            rejects: Rejects::new(command.rejected.as_deref())?,
            pace: Pace::new(command.read_rate),
        })
    }

    /// Waits until a destination has every decision that was acknowledged until now: what it shows then is all there is.
    fn wait_for(&self, destination: &str) -> Result<()> {
        let ends = self.connection.decisions_end()?;
        let begun = Instant::now();
        loop {
            let left = self.connection.left_of(destination, &ends)?;
            if left == 0 {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < self.command.wait,
                "{destination} lacks {left} of the decisions that are acknowledged, and what is not there yet might be decided \
                 twice: start the service that delivers them, or raise --wait"
            );
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

impl Rescore {
    fn span(&self, now: Millis) -> Result<Span> {
        let to = self.to.unwrap_or(Millis(now.0.saturating_sub(SETTLED)));
        ensure!(self.from.is_none_or(|from| from < to), "--from must be before --to");
        Ok(Span { from: self.from, to })
    }

    /// The span in which payments are wanted; `None` where none is.
    fn wanted(&self, desk: &mut Desk) -> Result<Option<Wanted>> {
        let Span { from, to } = self.span(SystemClock.now())?;
        if let Some(from) = from {
            return Ok(Some(Wanted { from, to, replace: self.replace }));
        }
        let Some(begins) = desk.rows.begins()?.filter(|begins| *begins < to) else { return Ok(None) };
        say("looking for the first payment without a decision");
        let wanted = Wanted { from: begins, to, replace: false };
        desk.rows.seek(begins, to);
        Ok(rescore::first(wanted, desk)?.map(|from| Wanted { from, ..wanted }))
    }

    /// From when on payments are read, so that every input of the model is there for those behind the run's position.
    fn windows(
        &self,
        desk: &mut Desk,
        config: &Config,
        (catalogue, names): (&Catalogue, &[String]),
        run: &StoredRun,
    ) -> Result<Millis> {
        let start = run.position.as_ref().map_or(run.wanted.from, |position| position.occurred_at);
        if self.features == Features::Stored {
            if run.position.is_none() {
                self.none_lacks(desk, run.wanted, names)?;
            }
            return Ok(start);
        }
        let windows = asked::windows_begin(catalogue, names, start, desk.rows.begins()?, self.whole_view)?;
        desk.rows.verdicts = self.verdicts(catalogue, names, windows, config)?;
        Ok(windows)
    }

    /// Refuses a model that asks for what the stored features of a payment do not have.
    fn none_lacks(&self, desk: &mut Desk, wanted: Wanted, names: &[String]) -> Result<()> {
        say("looking through the stored features");
        desk.rows.seek(wanted.from, wanted.to);
        let lacking = rescore::lacking(wanted, names, desk)?;
        let names: Vec<&str> = lacking.iter().map(String::as_str).collect();
        ensure!(
            names.is_empty(),
            "inputs of the model are not available: stored features of that span lack {}; --features scratch computes them",
            names.join(", ")
        );
        Ok(())
    }

    fn count(&self, desk: &mut Desk, wanted: Wanted) -> Result<()> {
        desk.rows.seek(wanted.from, wanted.to);
        let tally = rescore::count(wanted, desk)?;
        say(&format!(
            "{} would be scored: {} for the first time, {} again; {} have a decision and keep it, {} are in conflict with theirs, \
             {} stand twice; payments of {} to {}; nothing was written",
            tally.scored(),
            tally.first,
            tally.replaced,
            tally.decided,
            tally.conflicts,
            tally.repeated,
            wanted.from,
            wanted.to
        ));
        Ok(())
    }

    fn verdicts(&self, catalogue: &Catalogue, names: &[String], windows: Millis, config: &Config) -> Result<Verdicts> {
        let verdicts = match self.labels.as_str() {
            "view" => Verdicts::of_rows(),
            "topic" => {
                let mut found = Verdicts::none();
                let mut fits = true;
                let read = verdicts::read(&app::kafka_options(config)?, |label| {
                    // A verdict is given after its payment: of an earlier one no window speaks.
                    if label.labelled_at >= windows {
                        found.put(label);
                        fits = found.check().is_ok();
                    }
                    fits
                })?;
                asked::labels_reach(catalogue, names, windows, read.since)?;
                say(&format!("{} verdicts of the topic {}", read.labels, config.kafka.labels));
                found
            }
            path => Verdicts::of_file(std::path::Path::new(path))?,
        };
        verdicts.check()?;
        Ok(verdicts)
    }
}
