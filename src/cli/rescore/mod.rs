//! `assay rescore`: payments of before decided again with another model, or for the first time.
//!
//! ```text
//! the only one? ─▶ model, view, topics fit? ─▶ PostgreSQL has what was acknowledged? ─▶ taken up or begun ─▶ run ─▶ done
//! ```
//!
//! A process of its own, at low priority: it touches no live history and no service. Refusals come before anything is written.

mod asked;
mod desk;
mod pace;
mod work;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use sha2::{Digest as _, Sha256};
use tokio::runtime::Builder;

use self::asked::moment;
use self::work::Work;
use super::{EXIT_HELD, say, tell_faults};
use crate::app;
use crate::base::clock::Millis;
use crate::config::Config;
use crate::features::Catalogue;
use crate::ops::telemetry;

/// How much nicer to others this process is than one that serves.
const NICE: i32 = 15;

/// Decide payments of before again, or for the first time.
///
/// Reads the OLTP's payments from a view, computes their complete features in a history of its own, and appends decisions of
/// the next revision to the topic of decisions. May be ended at any time: the same command again takes the run up. One at a time.
#[derive(Debug, Args)]
pub(super) struct Rescore {
    /// The service's configuration: Kafka, PostgreSQL, the model, history, rates and reasons are read from it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Score the payments that have no full decision; with --from and --to those of a span.
    #[arg(long, required_unless_present = "from", conflicts_with = "replace")]
    missing: bool,
    /// Score payments from this moment on (RFC 3339, or milliseconds since 1970).
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    from: Option<Millis>,
    /// Score payments before this moment; without it, those of up to 10 minutes ago.
    #[arg(long, value_name = "MOMENT", value_parser = moment)]
    to: Option<Millis>,
    /// Give payments that have a decision the next revision; without it they are left alone.
    #[arg(long, requires = "from")]
    replace: bool,
    /// The package that scores, such as models/fraud/2; without it the active version of model.directory.
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// postgres://USER@HOST:PORT/DATABASE, a role that may read the view; its password is taken from PGPASSWORD.
    #[arg(long, value_name = "URL")]
    postgres_url: String,
    /// The view of the payments, whose columns the connector names.
    #[arg(long, value_name = "[SCHEMA.]VIEW")]
    view: String,
    /// How its columns map to canonical fields: canonical, major, stripe, handbook, or a mapping file.
    #[arg(long, default_value = "canonical", value_name = "NAME|FILE")]
    connector: String,
    /// Verdicts: those of the topic, those of the view's is_fraud, or a file (NDJSON, as POST /labels takes them).
    #[arg(long, default_value = "topic", value_name = "topic|view|FILE")]
    labels: String,
    /// The model's inputs: computed anew and complete, or those that MongoDB keeps with the newest decision.
    #[arg(long, value_enum, default_value_t = Features::Scratch)]
    features: Features,
    /// The view holds every payment that ever was: its beginning is that of all windows.
    #[arg(long)]
    whole_view: bool,
    /// Decisions a second at most.
    #[arg(long, default_value_t = 1_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// Rows of the view a second at most, while the windows are filled.
    #[arg(long, default_value_t = 10_000, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    read_rate: u32,
    /// How long PostgreSQL may take to have what was decided before.
    #[arg(long, default_value = "60s", value_name = "SPAN", value_parser = crate::base::span::parse)]
    wait: Duration,
    /// Collect rows that are no payments here (NDJSON) and go on; without it the first one ends the run.
    #[arg(long, value_name = "FILE")]
    rejected: Option<PathBuf>,
    /// Say how many would be scored, and write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Where the model's inputs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Features {
    Scratch,
    Stored,
}

impl Rescore {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence: what is refused, or what kept the run from going on.
    pub(super) fn run(self) -> Result<ExitCode> {
        let config = match Config::load(self.config.as_deref()) {
            Ok(config) => config,
            Err(faults) => return Ok(tell_faults(&faults)),
        };
        if !config.kafka.is_there() || !config.postgres.is_there() {
            bail!(
                "rescore is for the stack: it needs kafka.brokers and postgres.host; of the embedded log's payments \
                 `assay score` writes a file"
            );
        }
        if self.features == Features::Stored && !(self.replace && config.mongodb.is_there()) {
            bail!("--features stored takes those that MongoDB keeps of decisions: it needs [mongodb] and --replace");
        }
        telemetry::start(config.log.format, &config.log.level).map_err(anyhow::Error::msg)?;
        // Whoever serves goes first. Where it is not allowed, the rate alone bounds what this takes.
        let _ = rustix::process::nice(NICE);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let catalogue = Catalogue::shipped(config.money.base_currency)?;
        let store = runtime.block_on(app::open_postgres(&config))?;
        let active = runtime.block_on(store.wanted_model())?;
        let Some(session) = runtime.block_on(store.rescoring())? else {
            say("assay: another rescore is at work on this schema; there is one at a time");
            return Ok(ExitCode::from(EXIT_HELD));
        };
        let (catalogue, rates) = app::reference::once(&config, catalogue, runtime.handle().clone())?;
        let (connection, log) = runtime.block_on(app::open_log(&config, &catalogue, store))?;
        let work =
            Work { command: &self, config: &config, runtime: &runtime, connection, session, active, catalogue, rates };
        work.run(log).map(|()| ExitCode::SUCCESS)
    }
}

impl Rescore {
    /// What was asked for, for a person: what may differ when a run is taken up is not in it.
    fn told(&self) -> String {
        let mut words = Vec::new();
        if self.missing {
            words.push("--missing".to_owned());
        }
        let moments = [("from", self.from), ("to", self.to)];
        words.extend(moments.iter().filter_map(|(name, moment)| Some(format!("--{name} {}", (*moment)?))));
        if self.replace {
            words.push("--replace".to_owned());
        }
        words.push(format!("--view {} --connector {}", self.view, self.connector));
        words.push(match self.features {
            Features::Scratch => format!("--labels {}", self.labels),
            Features::Stored => "--features stored".to_owned(),
        });
        words.join(" ")
    }

    /// What makes two commands the same run.
    fn fingerprint(&self, model: &str) -> String {
        let digest = Sha256::digest(format!("{}\n{model}", self.told()));
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
