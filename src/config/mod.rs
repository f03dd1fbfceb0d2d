//! The configuration: TOML, then the environment. Complete and checked before anything is opened or bound.
//!
//! In: a TOML text and environment variables `ASSAY__SECTION__KEY`. Out: a [`Config`], or every fault at once, each
//! with key, value and rule. Every key has a default; the shipped `config/embedded.toml` writes them all out.
//! Units are in the values (`"250ms"`, `"64 MiB"`), never in the keys. Secrets print `***`.

mod device;
mod models;
mod mongodb;
mod reader;
mod reference;
mod sections;
mod setting;
mod stack;

use std::path::Path;

use reader::Reader;

pub use models::{Activate, Admin, Mlflow, Models};
pub use mongodb::{Keys, Mongodb};
pub use reader::Fault;
pub use reference::Reference;
pub use sections::{Completeness, History, Log, Model, Money, Reasons, Server, Store, Workers};
pub use setting::{AdminAddress, Bytes, Password, Share};
pub use stack::{Kafka, Postgres, Stream, Switch, WhenAway};

use crate::base::money::Currency;
use crate::decision::{OnFallback, Policy};
use crate::features::Catalogue;
use crate::ops::telemetry::{self, LogFormat};
use crate::stream::Mechanism;
use crate::transaction::Connector;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The HTTP mouth.
    pub server: Server,
    /// The model and its runtime.
    pub model: Model,
    /// Its versions, and how they come into force.
    pub models: Models,
    /// Where versions come from besides the folder.
    pub mlflow: Mlflow,
    /// Who may change that.
    pub admin: Admin,
    /// What is told of why.
    pub reasons: Reasons,
    /// The log.
    pub store: Store,
    /// What is remembered of every entity.
    pub history: History,
    /// Amounts.
    pub money: Money,
    /// What is known of merchants, countries and rates beforehand.
    pub reference: Reference,
    /// What is answered when the model cannot.
    pub policy: Policy,
    /// Kafka: the stack, where it is there.
    pub kafka: Kafka,
    /// How its topics are followed.
    pub stream: Stream,
    /// Where decisions complete the transactions' rows.
    pub postgres: Postgres,
    /// Where features are kept.
    pub mongodb: Mongodb,
    /// How completeness is told.
    pub completeness: Completeness,
    /// Logs.
    pub log: Log,
    effective: Vec<(&'static str, String)>,
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
            models: Models::read(&mut reader),
            mlflow: Mlflow::read(&mut reader),
            admin: Admin::read(&mut reader),
            reasons: Reasons::read(&mut reader),
            store: Store::read(&mut reader),
            history: History::read(&mut reader),
            money: Money {
                base_currency: reader.take("money.base_currency", euro()?),
                rates: reader.take("money.rates", None),
            },
            reference: Reference::read(&mut reader),
            policy: Policy {
                deadline: reader.take("policy.on_deadline", OnFallback::FailOpen),
                overload: reader.take("policy.on_overload", OnFallback::FailOpen),
                no_model: reader.take("policy.on_no_model", OnFallback::Refuse),
            },
            kafka: Kafka::read(&mut reader),
            stream: Stream::read(&mut reader),
            postgres: Postgres::read(&mut reader),
            mongodb: Mongodb::read(&mut reader),
            completeness: Completeness::read(&mut reader),
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
        self.check_hidden(reader);
        self.admin.check(reader);
        self.check_stack(reader);
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

impl Config {
    /// Rules of the stack.
    fn check_stack(&self, reader: &mut Reader) {
        let (kafka, postgres) = (&self.kafka, &self.postgres);
        if postgres.is_there() && !kafka.is_there() {
            reader.fault("postgres.host", "needs kafka.brokers: decisions come to PostgreSQL by Kafka".to_owned());
        }
        self.mongodb.check(kafka.is_there(), reader);
        self.reference.check(postgres.is_there(), self.money.rates.is_some(), reader);
        let mut topics = [&kafka.transactions, &kafka.labels, &kafka.decisions, &kafka.rejected];
        topics.sort_unstable();
        if topics.windows(2).any(|pair| pair.first() == pair.last()) {
            reader.fault("kafka.rejected", "the four topics must have four names".to_owned());
        }
        if kafka.sasl.is_some() && (kafka.user.is_empty() || kafka.password.0.is_none()) {
            reader.fault("kafka.sasl", "needs kafka.user and kafka.password".to_owned());
        }
        if kafka.sasl == Some(Mechanism::Plain) && !kafka.tls.is_on() {
            reader.fault("kafka.sasl", "sends the password in the clear: set kafka.tls".to_owned());
        }
        if !postgres.revision_column.is_empty() && !postgres.time_column.is_empty() {
            reader.fault("postgres.time_column", "is instead of postgres.revision_column: leave one empty".to_owned());
        }
        if postgres.lock_timeout > postgres.statement_timeout {
            reader.fault("postgres.lock_timeout", "must be at most postgres.statement_timeout".to_owned());
        }
        if kafka.is_there() && !Connector::shipped_names().any(|name| name == self.stream.connector) {
            let known = Connector::shipped_names().collect::<Vec<_>>().join(", ");
            reader.fault("stream.connector", format!("must be one of {known}"));
        }
    }

    /// What is to be hidden must be in the catalogue: a misspelt name would be told.
    fn check_hidden(&self, reader: &mut Reader) {
        match Catalogue::shipped(self.money.base_currency) {
            Ok(catalogue) => {
                let known = |name: &String| {
                    catalogue.names().any(|feature| feature == name) || catalogue.group_meaning(name).is_some()
                };
                for name in self.reasons.hidden.iter().filter(|name| !known(name)) {
                    let rule = format!("{name:?} is neither a feature nor a group of schemas/features.toml");
                    reader.fault("reasons.hidden", rule);
                }
            }
            Err(error) => reader.fault("reasons.hidden", error.to_string()),
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
            ("[reasons]\nhidden = [\"terminal_risk\", \"terminal_fraud_share_7d\", \"amout\"]", "reasons.hidden"),
            ("[server]\nshutdown_grace = \"1s\"\ndefault_deadline = \"2s\"", "server.shutdown_grace"),
            ("[reference]\ntables = [\"merchants=shop.merchants\"]", "reference.tables"),
            ("[reference]\nrefresh = \"2h\"", "reference.stale_after"),
            ("[admin]\nlisten = \"0.0.0.0:8081\"", "admin.listen"),
        ] {
            let faults = parse(toml, &[]).unwrap_err();
            assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [key], "{toml}");
        }
    }

    #[test]
    fn tables_of_reference_data_are_known_ones_from_one_place() {
        let stack = "[kafka]\nbrokers = \"127.0.0.1:1\"\n[postgres]\nhost = \"127.0.0.1\"\n";
        let tables = "tables = [\"merchants=shop.sellers\", \"rates=finance.rates\"]\n";
        let config = parse(&format!("{stack}[reference]\n{tables}"), &[]).unwrap();
        let named = [("merchants", "shop.sellers"), ("rates", "finance.rates")];
        assert_eq!(config.reference.named(), named.map(|(name, table)| (name.to_owned(), table.to_owned())));
        for (rest, faulty) in [
            (format!("[reference]\n{tables}directory = \"a\""), "reference.directory"),
            ("[reference]\ntables = [\"sellers=shop.sellers\"]".to_owned(), "reference.tables"),
            ("[reference]\ntables = [\"merchants\"]".to_owned(), "reference.tables"),
            ("[reference]\ntables = [\"merchants=a\", \"merchants=b\"]".to_owned(), "reference.tables"),
            (format!("[money]\nrates = \"a.csv\"\n[reference]\n{tables}"), "money.rates"),
        ] {
            let faults = parse(&format!("{stack}{rest}"), &[]).unwrap_err();
            assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [faulty], "{rest}");
        }
    }

    #[test]
    fn mongodb_is_left_out_or_configured_whole() {
        let key = format!("k:{}", (0..32).map(|at| format!("{at:02x}")).collect::<String>());
        let stack = "[kafka]\nbrokers = \"127.0.0.1:1\"\n[mongodb]\n";
        let url = "url = \"mongodb://u:hunter2@127.0.0.1\"\n";
        let keys = format!("pseudonym_keys = \"{key}\"\n");
        assert!(!parse("", &[]).unwrap().mongodb.is_there());
        let config = parse(&format!("{stack}{url}{keys}"), &[]).unwrap();
        assert!(config.mongodb.is_there());
        let shown = format!("{config:?}{}", config.to_toml());
        assert!(!shown.contains("hunter2") && !shown.contains("0a0b0c"), "{shown}");
        for (rest, faulty) in [
            (url.to_owned(), "mongodb.pseudonym_keys"),
            (format!("{url}{keys}pseudonym_keys_file = \"a\""), "mongodb.pseudonym_keys"),
            (format!("{url}{keys}raw_collection = \"raw\""), "mongodb.raw_keys"),
            (format!("{url}{keys}raw_collection = \"decisions\"\nraw_keys_file = \"a\""), "mongodb.raw_collection"),
            (format!("{url}{keys}ttl = \"1500ms\""), "mongodb.ttl"),
            (format!("{url}{keys}database = \"a.b\""), "mongodb.database"),
            (format!("{url}{keys}collection = \"system.users\""), "mongodb.collection"),
            (format!("{url}{keys}raw_collection = \"a b\"\nraw_keys_file = \"a\""), "mongodb.raw_collection"),
            (format!("{url}{keys}operation_timeout = \"20ms\""), "mongodb.selection_timeout"),
            (format!("url = \"hunter2\"\n{keys}"), "mongodb.url"),
            (format!("url = \"mongodb+srv://u:hunter2@a.example\"\n{keys}"), "mongodb.url"),
        ] {
            let faults = parse(&format!("{stack}{rest}"), &[]).unwrap_err();
            assert_eq!(faults.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), [faulty], "{rest}");
            let told = faults.iter().map(ToString::to_string).collect::<String>();
            assert!(!told.contains("hunter2") && !told.contains("0a0b0c"), "{told}");
        }
        let faults = parse(&format!("[mongodb]\n{url}{keys}batch = 0"), &[]).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
        let faults = parse(&format!("[mongodb]\n{url}{keys}"), &[]).unwrap_err();
        assert!(faults[0].to_string().contains("needs kafka.brokers"), "{faults:?}");
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
