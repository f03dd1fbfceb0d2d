//! The configuration: TOML, then the environment. Complete and checked before anything is opened or bound.
//!
//! In: a TOML text and environment variables `ASSAY__SECTION__KEY`. Out: a [`Config`], or every fault at once, each
//! with key, value and rule. Every key has a default; the shipped `config/embedded.toml` writes them all out.
//! Units are in the values (`"250ms"`, `"64 MiB"`), never in the keys. Secrets print `***`.

mod reader;
mod setting;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reader::Reader;

pub use reader::Fault;
pub use setting::Bytes;

use crate::base::money::Currency;
use crate::base::secret::Secret;
use crate::decision::{OnFallback, Policy};
use crate::engine::{Durability, TimeSource};
use crate::ops::telemetry::{self, LogFormat};

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The HTTP mouth.
    pub server: Server,
    /// The model and its runtime.
    pub model: Model,
    /// The log.
    pub store: Store,
    /// What is remembered of every entity.
    pub history: History,
    /// Amounts.
    pub money: Money,
    /// What is answered when the model cannot.
    pub policy: Policy,
    /// Logs.
    pub log: Log,
    effective: Vec<(&'static str, String)>,
}

/// `[server]`
#[derive(Debug, Clone)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The most bytes of a body.
    pub max_body: Bytes,
    /// The most bytes of a batch's body.
    pub max_batch_body: Bytes,
    /// The most transactions or labels of a batch.
    pub max_batch_items: usize,
    /// Items of one batch that are scored at the same time.
    pub batch_concurrency: usize,
    /// Batches that are answered at the same time.
    pub max_batches: usize,
    /// Connections open at the same time.
    pub max_connections: usize,
    /// Requests being answered at the same time.
    pub max_in_flight: usize,
    /// How long a request waits for its decision when it does not say.
    pub default_deadline: Duration,
    /// How long a client may take for a request's head, or stay silent between two requests.
    pub head_timeout: Duration,
    /// How long it may take for a body.
    pub body_timeout: Duration,
    /// How long an orderly end may take.
    pub shutdown_grace: Duration,
}

/// `[model]`
#[derive(Debug, Clone)]
pub struct Model {
    /// The package; `None` leaves every answer to the policy.
    pub directory: Option<PathBuf>,
    /// ONNX Runtime's shared library.
    pub onnxruntime: Option<PathBuf>,
    /// Threads with a session each.
    pub workers: Workers,
    /// The most rows scored together.
    pub max_batch: usize,
    /// The most rows that wait.
    pub max_queue: usize,
    /// Reasons of features in a decision.
    pub reasons: usize,
    /// How long a flagged decision's explanation may take.
    pub explain_wait: Duration,
}

/// How many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// One a core.
    Auto,
    /// So many.
    Number(usize),
}

impl Workers {
    /// The number on this machine.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Auto => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            Self::Number(number) => number,
        }
    }
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// The SQLite file.
    pub path: PathBuf,
    /// What an answer promises.
    pub durability: Durability,
    /// The most records that wait for the disk.
    pub max_queue: usize,
    /// The most transactions between their first sight and the disk, or without a full decision.
    pub max_open: usize,
    /// Of those without a full decision, the most that memory holds as well as the disk.
    pub max_background: usize,
    /// Decisions kept in memory.
    pub cached_decisions: usize,
    /// How long the log may take to answer a read or a label.
    pub wait: Duration,
}

/// `[history]`
#[derive(Debug, Clone)]
pub struct History {
    /// How late an event may be, and how long ids are remembered.
    pub lateness: Duration,
    /// Events of an entity that stay exact.
    pub exact_events: usize,
    /// Key of history's hashes.
    pub hash_key: Option<Secret>,
    /// The file it is in, made when it is not there.
    pub hash_key_file: PathBuf,
    /// Which clock says what is too far ahead.
    pub clock: TimeSource,
    /// How far ahead of the clock an event may be.
    pub max_ahead: Duration,
    /// Labels that wait for their transaction.
    pub max_waiting_labels: usize,
}

/// `[money]`
#[derive(Debug, Clone)]
pub struct Money {
    /// The currency that windows are summed in.
    pub base_currency: Currency,
    /// Exchange rates.
    pub rates: Option<PathBuf>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// Which lines.
    pub level: String,
}

impl Config {
    /// Reads `file` (none: defaults) and this process's environment.
    ///
    /// # Errors
    /// Every fault.
    pub fn load(file: Option<&Path>) -> Result<Self, Vec<Fault>> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                let rule = format!("{} cannot be read: {error}", path.display());
                vec![Fault { key: String::new(), value: String::new(), rule }]
            })?,
        };
        // A name or value that is not UTF-8 cannot be a key of ours.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::parse(&text, environment)
    }

    /// Reads TOML text and the given environment.
    ///
    /// # Errors
    /// Every fault.
    pub fn parse(toml: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::new(toml, environment.collect());
        let config = Self {
            server: Server::read(&mut reader),
            model: Model::read(&mut reader),
            store: Store::read(&mut reader),
            history: History::read(&mut reader),
            money: Money {
                base_currency: reader.take("money.base_currency", euro()?),
                rates: reader.take("money.rates", None),
            },
            policy: Policy {
                deadline: reader.take("policy.on_deadline", OnFallback::FailOpen),
                overload: reader.take("policy.on_overload", OnFallback::FailOpen),
                no_model: reader.take("policy.on_no_model", OnFallback::Refuse),
            },
            log: Log {
                format: reader.take("log.format", LogFormat::Human),
                level: reader.take_if(
                    "log.level",
                    "info".to_owned(),
                    "error, warn, info, debug, trace or a filter such as \"info,assay=debug\"",
                    |level| telemetry::is_level(level),
                ),
            },
            effective: Vec::new(),
        };
        config.cross_check(&mut reader);
        let effective = reader.finish()?;
        Ok(Self { effective, ..config })
    }

    /// Every key with its value, in TOML's words, in the order of the sections.
    #[must_use]
    pub fn effective(&self) -> &[(&'static str, String)] {
        &self.effective
    }

    /// The effective configuration as TOML; secrets print `***`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut current = "";
        for (path, value) in &self.effective {
            let (section, key) = path.split_once('.').unwrap_or(("", path));
            if section != current {
                let gap = if current.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{gap}[{section}]\n"));
                current = section;
            }
            text.push_str(&format!("{key} = {value}\n"));
        }
        text
    }

    /// Rules between keys.
    fn cross_check(&self, reader: &mut Reader) {
        if !reader.is_clean() {
            // Why: a default that stands in for a faulty value would cause faults that nobody wrote.
            return;
        }
        let server = &self.server;
        if server.max_batch_body < server.max_body {
            reader.fault("server.max_batch_body", "must be at least server.max_body".to_owned());
        }
        if server.batch_concurrency > self.model.max_queue {
            reader.fault(
                "server.batch_concurrency",
                format!("must be at most model.max_queue ({})", self.model.max_queue),
            );
        }
        if self.model.max_batch > self.model.max_queue {
            reader.fault("model.max_batch", format!("must be at most model.max_queue ({})", self.model.max_queue));
        }
        if self.store.max_background > self.store.max_open {
            reader.fault("store.max_background", format!("must be at most store.max_open ({})", self.store.max_open));
        }
        if self.history.max_ahead > self.history.lateness {
            reader.fault(
                "history.max_ahead",
                "must be at most history.lateness, or one clock gone wrong shuts out the rest".to_owned(),
            );
        }
        if server.default_deadline > server.shutdown_grace {
            reader.fault(
                "server.shutdown_grace",
                "must be at least server.default_deadline, or the end cuts requests off".to_owned(),
            );
        }
    }
}

/// The euro, or the fault that the table of currencies has lost it.
fn euro() -> Result<Currency, Vec<Fault>> {
    Currency::parse("EUR").ok_or_else(|| {
        let rule = "EUR is missing in the table of currencies".to_owned();
        vec![Fault { key: "money.base_currency".to_owned(), value: String::new(), rule }]
    })
}

impl Server {
    fn read(reader: &mut Reader) -> Self {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        Self {
            listen: reader.take("server.listen", SocketAddr::from(([127, 0, 0, 1], 8080))),
            max_body: reader.take_in("server.max_body", Bytes(64 << 10), Bytes(1 << 10)..=Bytes(16 << 20)),
            max_batch_body: reader.take_in("server.max_batch_body", Bytes(16 << 20), Bytes(1 << 10)..=Bytes(256 << 20)),
            max_batch_items: reader.take_in("server.max_batch_items", 10_000, 1..=1_000_000),
            batch_concurrency: reader.take_in("server.batch_concurrency", 64, 1..=4_096),
            max_batches: reader.take_in("server.max_batches", 8, 1..=1_024),
            max_connections: reader.take_in("server.max_connections", 4_096, 1..=65_536),
            max_in_flight: reader.take_in("server.max_in_flight", 1_024, 1..=65_536),
            default_deadline: reader.take_in("server.default_deadline", ms(250), ms(1)..=s(60)),
            head_timeout: reader.take_in("server.head_timeout", s(60), ms(100)..=s(3600)),
            body_timeout: reader.take_in("server.body_timeout", s(10), ms(100)..=s(600)),
            shutdown_grace: reader.take_in("server.shutdown_grace", s(20), ms(100)..=s(600)),
        }
    }
}

impl Model {
    fn read(reader: &mut Reader) -> Self {
        Self {
            directory: reader.take("model.directory", Some(PathBuf::from("models/fraud/1"))),
            onnxruntime: reader.take("model.onnxruntime", None),
            workers: reader.take("model.workers", Workers::Auto),
            max_batch: reader.take_in("model.max_batch", 64, 1..=4_096),
            max_queue: reader.take_in("model.max_queue", 4_096, 1..=1_000_000),
            reasons: reader.take_in("model.reasons", 3, 0..=32),
            explain_wait: reader.take_in(
                "model.explain_wait",
                Duration::from_millis(5),
                Duration::ZERO..=Duration::from_secs(1),
            ),
        }
    }
}

impl Store {
    fn read(reader: &mut Reader) -> Self {
        Self {
            path: reader.take("store.path", PathBuf::from("data/assay.sqlite")),
            durability: reader.take("store.durability", Durability::Committed),
            max_queue: reader.take_in("store.max_queue", 65_536, 1..=10_000_000),
            max_open: reader.take_in("store.max_open", 65_536, 1..=10_000_000),
            max_background: reader.take_in("store.max_background", 16_384, 1..=10_000_000),
            cached_decisions: reader.take_in("store.cached_decisions", 65_536, 0..=100_000_000),
            wait: reader.take_in(
                "store.wait",
                Duration::from_secs(2),
                Duration::from_millis(1)..=Duration::from_secs(60),
            ),
        }
    }
}

impl History {
    fn read(reader: &mut Reader) -> Self {
        let hour = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            lateness: reader.take_in("history.lateness", hour(48), Duration::from_secs(1)..=hour(24 * 90)),
            exact_events: reader.take_in("history.exact_events", 65_536, 64..=16_777_216),
            hash_key: reader.take("history.hash_key", None),
            hash_key_file: reader.take("history.hash_key_file", PathBuf::from("data/history.key")),
            clock: reader.take("history.clock", TimeSource::Wall),
            max_ahead: reader.take_in("history.max_ahead", Duration::from_secs(600), Duration::ZERO..=hour(24 * 30)),
            max_waiting_labels: reader.take_in("history.max_waiting_labels", 100_000, 0..=100_000_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(toml: &str, environment: &[(&str, &str)]) -> Result<Config, Vec<Fault>> {
        Config::parse(toml, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let toml = "[server]\nlisten = \"127.0.0.1:1\"\n[model]\nworkers = 3\n";
        let config = parse(
            toml,
            &[("ASSAY__SERVER__LISTEN", "0.0.0.0:9"), ("ASSAY__SERVER__MAX_IN_FLIGHT", "7"), ("OTHER", "x")],
        )
        .unwrap();
        assert_eq!(config.server.listen.to_string(), "0.0.0.0:9");
        assert_eq!((config.server.max_in_flight, config.model.workers), (7, Workers::Number(3)));
    }

    #[test]
    fn every_fault_is_told_at_once() {
        let toml = "top = 1\n[server]\nlisten = \"nowhere\"\nmax_body = 5\nbacklog = 3\n[history]\nlateness = \"2 days\"\nhash_key = \"tell nobody\"\n[extra]\na = true\n";
        let faults = parse(toml, &[("ASSAY__LOG__LEVEL", "loud,,=="), ("ASSAY__MODEL__WORKER", "2")]).unwrap_err();
        let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
        for key in [
            "top",
            "server.listen",
            "server.max_body",
            "server.backlog",
            "history.lateness",
            "history.hash_key",
            "extra.a",
            "log.level",
            "model.worker",
        ] {
            assert!(keys.contains(&key), "{key} in {keys:?}");
        }
        assert_eq!(keys.len(), 9, "{faults:?}");
        let told = faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        assert!(!told.contains("tell nobody"), "{told}");
        assert!(told.contains("server.listen = \"nowhere\": must be an IP address and a port"), "{told}");
    }

    #[test]
    fn rules_between_keys_hold() {
        for (toml, key) in [
            ("[server]\nmax_body = \"8 MiB\"\nmax_batch_body = \"1 MiB\"", "server.max_batch_body"),
            ("[model]\nmax_batch = 100\nmax_queue = 64", "model.max_batch"),
            ("[store]\nmax_open = 10\nmax_background = 11", "store.max_background"),
            ("[history]\nmax_ahead = \"3h\"\nlateness = \"1h\"", "history.max_ahead"),
            ("[server]\nshutdown_grace = \"1s\"\ndefault_deadline = \"2s\"", "server.shutdown_grace"),
        ] {
            let faults = parse(toml, &[]).unwrap_err();
            assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [key], "{toml}");
        }
    }

    #[test]
    fn what_is_not_toml_is_one_fault_and_a_file_that_is_not_there_another() {
        assert_eq!(parse("[server", &[]).unwrap_err().len(), 1);
        let faults = Config::load(Some(Path::new("/nowhere/at/all.toml"))).unwrap_err();
        assert!(faults[0].to_string().contains("/nowhere/at/all.toml cannot be read"), "{}", faults[0]);
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        let config = parse("[store]\ndurability = \"queued\"\n[history]\nlateness = \"10m\"", &[]).unwrap();
        let again = parse(&config.to_toml(), &[]).unwrap();
        assert_eq!(again.effective(), config.effective());
        assert!(config.to_toml().contains("lateness = \"10m\""));
    }
}
