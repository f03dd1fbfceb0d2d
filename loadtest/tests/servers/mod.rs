//! Servers for tests: Kafka and PostgreSQL by the project's scripts, on free ports and data folders of their own, gone when
//! the test ends.
//!
//! `ASSAY_TEST_KAFKA` (host:port of this machine) and `ASSAY_TEST_POSTGRES_URL` (a superuser's database of this machine) name
//! servers that run already; then topics, group and database have names of their own and go when the test ends.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use serde_json::Value;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_loadtest");

/// What Kafka and PostgreSQL begin with.
const SERVERS: [(&str, &str); 2] = [("kafka", "ASSAY_TEST_KAFKA"), ("postgres", "ASSAY_TEST_POSTGRES_URL")];
/// The options and keys of the topics, and their usual names.
const TOPICS: [(&str, &str); 4] = [
    ("transactions", "transactions"),
    ("labels", "labels"),
    ("decisions", "fraud.decisions"),
    ("rejected", "transactions.rejected"),
];

static STARTED: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Servers {
    pub(crate) root: PathBuf,
    pub(crate) folder: PathBuf,
    /// Where Kafka listens that asks for TLS and a password.
    pub(crate) secure: Option<u16>,
    /// For the scripts, which start and stop.
    environment: Vec<(&'static str, String)>,
    /// Which of the servers the scripts started.
    own: Vec<&'static str>,
    /// Kafka: addresses with commas between them.
    kafka: String,
    postgres: Config,
    /// What topics and group begin with; nothing where Kafka is the test's own.
    prefix: String,
}

/// Where a server runs already, if one does.
fn elsewhere(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|place| !place.is_empty())
}

/// The first of `count` ports in a row that are free, and listeners that keep them.
fn free(count: u16) -> (u16, Vec<TcpListener>) {
    let bind = |port| TcpListener::bind(("127.0.0.1", port));
    (0..1_000)
        .find_map(|_| {
            let first = bind(0).ok()?;
            let port = first.local_addr().ok()?.port();
            let others: Result<Vec<_>, _> = (1..count).map(|number| bind(port.saturating_add(number))).collect();
            Some((port, std::iter::once(first).chain(others.ok()?).collect()))
        })
        .unwrap()
}

impl Servers {
    /// One node of Kafka, and PostgreSQL.
    pub(crate) fn start() -> Self {
        Self::start_with(1, false)
    }

    /// Kafka of `nodes` nodes, with a listener that asks for TLS and a password beside the plain one, or without.
    pub(crate) fn start_with(nodes: u16, secure: bool) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let name = format!("{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::SeqCst));
        let folder = root.join(format!(".cache/test-stack/{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        // Held together, so that no two are the same.
        let ports = [nodes, nodes, 1, nodes, 1].map(free);
        let [kafka, controller, postgres, secured, ferretdb] =
            [0, 1, 2, 3, 4].map(|number: usize| ports.get(number).unwrap().0);
        drop(ports);
        let environment = vec![
            ("ASSAY_KAFKA_DATA", folder.join("kafka").display().to_string()),
            ("ASSAY_KAFKA_PORT", kafka.to_string()),
            ("ASSAY_KAFKA_CONTROLLER_PORT", controller.to_string()),
            ("ASSAY_POSTGRES_DATA", folder.join("postgres/data").display().to_string()),
            ("ASSAY_POSTGRES_PORT", postgres.to_string()),
            ("ASSAY_FERRETDB_DATA", folder.join("ferretdb/data").display().to_string()),
            ("ASSAY_FERRETDB_PORT", ferretdb.to_string()),
        ];
        let secure = secure.then_some(secured);
        let own: Vec<_> =
            SERVERS.iter().filter(|server| elsewhere(server.1).is_none()).map(|server| server.0).collect();
        let addresses: Vec<String> = (0..nodes).map(|node| format!("127.0.0.1:{}", kafka + node)).collect();
        let mut place = Config::new();
        place.host("127.0.0.1").port(postgres).user("postgres").dbname("payments");
        let mut servers = Self {
            root,
            folder,
            secure,
            environment,
            own,
            kafka: addresses.join(","),
            postgres: place,
            prefix: String::new(),
        };
        if let Some(kafka) = elsewhere("ASSAY_TEST_KAFKA") {
            servers.kafka = kafka;
            servers.prefix = format!("test-{name}.");
        }
        if let Some(url) = elsewhere("ASSAY_TEST_POSTGRES_URL") {
            servers.postgres = url.parse().unwrap();
            servers.postgres.dbname(format!("assay_test_{}", name.replace('-', "_")));
        }
        for server in &servers.own {
            let words: &[&str] = if *server == "kafka" && nodes > 1 { &["start", "--nodes", "3"] } else { &["start"] };
            let output = servers.script(server, words);
            assert!(output.status.success(), "{server}: {}", String::from_utf8_lossy(&output.stderr));
        }
        servers
    }

    fn script(&self, name: &str, words: &[&str]) -> Output {
        let mut command = Command::new(self.root.join(format!("scripts/{name}.sh")));
        self.at_home(command.args(words)).output().unwrap()
    }

    /// In the project's folder, where its scripts, and instances of assay, find these servers.
    pub(crate) fn at_home<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(&self.root).env_remove("ASSAY_KAFKA_SECURE_PORT").env_remove("ASSAY_POSTGRES_PASSWORD");
        if let Some(secure) = self.secure {
            command.env("ASSAY_KAFKA_SECURE_PORT", secure.to_string());
        }
        command.envs(self.environment.iter().map(|(key, value)| (key, value))).envs(self.instance())
    }

    /// The options of `loadtest stack`.
    pub(crate) fn places(&self) -> Vec<String> {
        let (host, port) = self.postgres_address();
        let quoted = |text: &str| format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"));
        let mut postgres = format!("host={host} port={port}");
        postgres.push_str(&format!(" user={}", quoted(self.postgres.get_user().unwrap())));
        postgres.push_str(&format!(" dbname={}", quoted(self.postgres.get_dbname().unwrap())));
        if let Some(password) = self.postgres.get_password() {
            postgres.push_str(&format!(" password={}", quoted(&String::from_utf8_lossy(password))));
        }
        let mut places = vec!["--kafka".to_owned(), self.kafka.clone(), "--postgres".to_owned(), postgres];
        for (option, name) in TOPICS {
            places.extend([format!("--{option}"), format!("{}{name}", self.prefix)]);
        }
        places
    }

    /// What tells an instance of assay the same.
    fn instance(&self) -> Vec<(String, String)> {
        let (host, port) = self.postgres_address();
        let password = self.postgres.get_password().map(String::from_utf8_lossy).unwrap_or_default();
        let mut pairs = vec![
            ("KAFKA__BROKERS".to_owned(), self.kafka.clone()),
            ("KAFKA__GROUP".to_owned(), format!("{}assay", self.prefix)),
            ("POSTGRES__HOST".to_owned(), host),
            ("POSTGRES__PORT".to_owned(), port.to_string()),
            ("POSTGRES__USER".to_owned(), self.postgres.get_user().unwrap().to_owned()),
            ("POSTGRES__DATABASE".to_owned(), self.postgres.get_dbname().unwrap().to_owned()),
            ("POSTGRES__PASSWORD".to_owned(), password.into_owned()),
        ];
        pairs.extend(
            TOPICS.map(|(key, name)| (format!("KAFKA__{}", key.to_uppercase()), format!("{}{name}", self.prefix))),
        );
        pairs.into_iter().map(|(key, value)| (format!("ASSAY__{key}"), value)).collect()
    }

    fn postgres_address(&self) -> (String, u16) {
        let host = match self.postgres.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            _ => "127.0.0.1".to_owned(),
        };
        (host, self.postgres.get_ports().first().copied().unwrap_or(5_432))
    }

    /// Makes topics of so many partitions and the table. A role would outlive the test where the server does.
    pub(crate) fn prepare(&self, partitions: u32) -> String {
        self.stack(&format!("prepare --partitions {partitions}"), &["--role".to_owned(), String::new()])
    }

    /// Runs `loadtest stack` with these words; what it printed.
    pub(crate) fn stack(&self, words: &str, rest: &[String]) -> String {
        let (word, options) = words.split_once(' ').unwrap_or((words, ""));
        let mut command = Command::new(PROGRAM);
        command.args(["stack", word]).args(self.places()).args(options.split_whitespace()).args(rest);
        let output = self.at_home(&mut command).output().unwrap();
        let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{words}: {out}{error}{}", self.complaints());
        out.into_owned()
    }

    /// What the instances of assay complained of last: the folder with their logs goes when the test ends.
    fn complaints(&self) -> String {
        const LINES: usize = 20;
        let mut complaints = String::new();
        for folder in std::fs::read_dir(self.folder.join("instances")).into_iter().flatten().flatten() {
            let log = std::fs::read_to_string(folder.path().join("serve.log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().filter(|line| line.contains("WARN") || line.contains("ERROR")).collect();
            complaints.push_str(&format!("\ninstance {}:", folder.file_name().display()));
            for line in lines.iter().skip(lines.len().saturating_sub(LINES)) {
                complaints.push_str(&format!("\n  {line}"));
            }
        }
        complaints
    }

    /// The same of a command whose last line is JSON.
    pub(crate) fn figures(&self, words: &str, rest: &[String]) -> Value {
        let out = self.stack(&format!("{words} --json"), rest);
        serde_json::from_str(out.lines().last().unwrap()).unwrap_or_else(|error| panic!("{words}: {out}: {error}"))
    }

    /// Takes the topics and the database away where the servers stay.
    async fn sweep(&self) -> anyhow::Result<()> {
        if !self.prefix.is_empty() {
            let mut config = rdkafka::ClientConfig::new();
            let admin: AdminClient<DefaultClientContext> = config.set("bootstrap.servers", &self.kafka).create()?;
            let own = TOPICS.map(|(_, name)| format!("{}{name}", self.prefix));
            // Those of the bare loop, too.
            let all: Vec<String> = own.iter().flat_map(|name| [name.clone(), format!("{name}.bare")]).collect();
            admin.delete_topics(&all.iter().map(String::as_str).collect::<Vec<_>>(), &AdminOptions::new()).await?;
        }
        if !self.own.contains(&"postgres") {
            let mut config = self.postgres.clone();
            let (client, connection) = config.dbname("postgres").connect(NoTls).await?;
            tokio::spawn(connection);
            let name = self.postgres.get_dbname().unwrap_or_default();
            client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        }
        Ok(())
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for name in &self.own {
            drop(self.script(name, &["stop"]));
        }
        drop(std::fs::remove_dir_all(&self.folder));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        drop(runtime.map(|runtime| runtime.block_on(self.sweep())));
    }
}
