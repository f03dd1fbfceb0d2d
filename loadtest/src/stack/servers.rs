//! Where Kafka and PostgreSQL are, and what of them the harness uses. Addresses of this machine only.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rdkafka::ClientConfig;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, NoTls};

/// The servers, the topics and the table.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Servers")]
pub(crate) struct Servers {
    /// Kafka: addresses with commas between them.
    #[arg(long, default_value = "127.0.0.1:19092")]
    pub(crate) kafka: String,
    /// PostgreSQL: a role that owns the table of payments.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1:15432/payments")]
    pub(crate) postgres: String,
    /// Topic of payments.
    #[arg(long, default_value = "transactions")]
    pub(crate) transactions: String,
    /// Topic of labels.
    #[arg(long, default_value = "labels")]
    pub(crate) labels: String,
    /// Topic of decisions.
    #[arg(long, default_value = "fraud.decisions")]
    pub(crate) decisions: String,
    /// Topic of dead letters.
    #[arg(long, default_value = "transactions.rejected")]
    pub(crate) rejected: String,
    /// The OLTP's table of payments.
    #[arg(long, default_value = "payments", value_parser = parse_name)]
    pub(crate) table: String,
}

/// A name that needs no quotes: it becomes part of statements.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_' || letter == '.';
    let first = text.chars().next().is_some_and(|letter| letter.is_ascii_lowercase());
    if first && text.chars().all(fits) && text.len() <= 63 {
        return Ok(text.to_owned());
    }
    Err(format!("{text:?} must be 1 to 63 of a to z, digits, '_' and '.', a letter first"))
}

impl Servers {
    /// What every client of Kafka begins with.
    pub(crate) fn client(&self) -> anyhow::Result<ClientConfig> {
        for address in self.kafka.split(',') {
            let loopback = address.replace("localhost", "127.0.0.1").parse::<SocketAddr>();
            ensure!(
                loopback.is_ok_and(|address| address.ip().is_loopback()),
                "--kafka {address:?} must be like 127.0.0.1:19092: load goes to this machine only"
            );
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka).set("client.id", "loadtest");
        // A broker that is not there is said by whoever waits for it, once.
        config.set("log.connection.close", "false").set("reconnect.backoff.max.ms", "1000");
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        Ok(config)
    }

    /// A connection to PostgreSQL, served by a task of this runtime.
    pub(crate) async fn database(&self) -> anyhow::Result<Client> {
        connect(self.settings()?).await
    }

    /// The name of the database; it is made where it is not there.
    pub(crate) async fn create_database(&self) -> anyhow::Result<String> {
        let mut config = self.settings()?;
        let name = config.get_dbname().context("--postgres names no database")?.to_owned();
        parse_name(&name).map_err(anyhow::Error::msg)?;
        config.dbname("postgres");
        let client = connect(config).await?;
        if client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&name]).await?.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        }
        Ok(name)
    }

    fn settings(&self) -> anyhow::Result<tokio_postgres::Config> {
        let mut config: tokio_postgres::Config = self.postgres.parse().context("--postgres is no connection string")?;
        for host in config.get_hosts() {
            match host {
                Host::Tcp(name) if name == "localhost" => {}
                Host::Tcp(name) if name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()) => {}
                Host::Unix(_) => {}
                Host::Tcp(_) => bail!("--postgres must name a host of this machine: load goes to this machine only"),
            }
        }
        config.connect_timeout(Duration::from_secs(10)).application_name("loadtest");
        Ok(config)
    }
}

async fn connect(config: tokio_postgres::Config) -> anyhow::Result<Client> {
    let (client, connection) = config.connect(NoTls).await.context("PostgreSQL does not answer")?;
    tokio::spawn(connection);
    Ok(client)
}

/// Runs a program that starts or stops a server: a script of the project, from its folder, or a signal.
pub(crate) async fn turn(program: &str, words: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(words).stdout(Stdio::null()).stdin(Stdio::null());
    let status = tokio::task::spawn_blocking(move || command.status()).await?;
    let status = status.with_context(|| format!("{program} cannot be run from this folder"))?;
    ensure!(status.success(), "{program} {}: {status}", words.join(" "));
    Ok(())
}

#[cfg(test)]
impl Default for Servers {
    fn default() -> Self {
        #[derive(clap::Parser)]
        struct Alone {
            #[command(flatten)]
            servers: Servers,
        }
        <Alone as clap::Parser>::parse_from(["x"]).servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_of_this_machine() {
        let at = |kafka: &str| Servers { kafka: kafka.to_owned(), ..Servers::default() }.client().is_ok();
        assert!(at("127.0.0.1:19092") && at("localhost:1,127.0.0.1:2"));
        for elsewhere in ["10.0.0.1:9092", "127.0.0.1:1,10.0.0.1:2", "kafka:9092", "127.0.0.1", ""] {
            assert!(!at(elsewhere), "{elsewhere}");
        }
        let runtime = crate::client::runtime().unwrap();
        let away = Servers { postgres: "postgres://a@10.0.0.1/b".to_owned(), ..Servers::default() };
        assert!(runtime.block_on(away.database()).err().unwrap().to_string().contains("this machine"));
    }

    #[test]
    fn a_table_is_a_plain_name() {
        assert!(parse_name("payments").is_ok() && parse_name("shop.payments_2").is_ok());
        for wrong in ["", "a b", "a;drop", "Payments", "1a", "a\"b"] {
            assert!(parse_name(wrong).is_err(), "{wrong}");
        }
    }
}
