//! A view of the OLTP as a source of transactions: each row as JSON, mapped by a connector.
//!
//! Reads only. The role needs SELECT on the view and nothing else. [`View::all`] reads the whole view as of one moment, in any
//! order, a batch at a time: the server keeps the rest. [`ordered::Ordered`] reads a range of time in order, page by page, each
//! a short statement of its own: no snapshot is held on the OLTP for as long as a rescore takes.

pub(super) mod ordered;

use std::time::Duration;

use anyhow::{Context as _, Result};
use openssl::ssl::{SslConnector, SslMethod};
use postgres_openssl::MakeTlsConnector;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};

use crate::store::files::{CHUNK, Rejected};
use crate::transaction::{Connector, Limits, Transaction, read_json};

/// How long connecting may take where the URL does not say.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// A row as it was read.
pub(super) type Row = std::result::Result<Transaction, Rejected>;

/// A view, connected to.
#[derive(Debug)]
pub(super) struct View {
    client: Client,
    connection: JoinHandle<std::result::Result<(), tokio_postgres::Error>>,
    name: String,
    connector: Connector,
    limits: Limits,
    /// Rows read so far.
    rows: u64,
}

impl View {
    /// Connects.
    pub(super) async fn open(url: &str, name: &str, connector: Connector, limits: Limits) -> Result<Self> {
        let tls = MakeTlsConnector::new(SslConnector::builder(SslMethod::tls())?.build());
        let (client, connection) = settings(url)?.connect(tls).await.context("PostgreSQL cannot be reached")?;
        let connection = tokio::spawn(connection);
        Ok(Self { client, connection, name: name.to_owned(), connector, limits, rows: 0 })
    }

    /// Gives every row of the view to `take`, in batches, all of one moment.
    pub(super) async fn all(&mut self, mut take: impl FnMut(Vec<Row>) -> Result<()>) -> Result<()> {
        let Self { client, name, connector, limits, rows: row, .. } = self;
        let query = format!("SELECT row_to_json(v)::text FROM {} AS v", quoted(name));
        let transaction = client.build_transaction().read_only(true).start().await?;
        let statement = transaction.prepare(&query).await.with_context(|| format!("--view {name}"))?;
        let portal = transaction.bind(&statement, &[]).await.with_context(|| format!("--view {name}"))?;
        let batch = i32::try_from(CHUNK).unwrap_or(i32::MAX);
        loop {
            let rows = transaction.query_portal(&portal, batch).await.with_context(|| format!("--view {name}"))?;
            if rows.is_empty() {
                return anyhow::Ok(());
            }
            let mut chunk = Vec::with_capacity(rows.len());
            for one in &rows {
                *row += 1;
                chunk.push(read(one.try_get(0)?, *row, connector, limits));
            }
            take(chunk)?;
        }
    }

    /// Ends the connection; what was read of it, or why it could not be.
    pub(super) async fn close<T>(self, read: Result<T>) -> Result<T> {
        let Self { client, connection, .. } = self;
        drop(client);
        let ended = connection.await.map_err(anyhow::Error::from).and_then(|ended| Ok(ended?));
        // The reading's own error says more than the connection's end.
        read.and_then(|read| ended.map(|()| read))
    }
}

fn read(text: &str, row: u64, connector: &Connector, limits: &Limits) -> Row {
    let read = read_json(text.as_bytes(), connector, limits);
    read.map(|read| read.transaction).map_err(|rejection| Rejected { row, rejection })
}

fn settings(url: &str) -> Result<Config> {
    // Why without its source: that may repeat a password that stands in the URL.
    let mut config: Config = url.parse().map_err(|_| anyhow::anyhow!("--postgres-url is no URL of PostgreSQL"))?;
    if let Ok(password) = std::env::var("PGPASSWORD") {
        config.password(password);
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT_WAIT);
    }
    config.application_name("assay");
    Ok(config)
}

/// The name as SQL has it: `[schema.]view`, each part quoted.
fn quoted(view: &str) -> String {
    let parts: Vec<String> = view.split('.').map(quoted_part).collect();
    parts.join(".")
}

fn quoted_part(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn names_are_quoted_and_passwords_are_not_told() {
        assert_eq!(quoted("pay.all"), "\"pay\".\"all\"");
        assert_eq!(quoted("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
        let told = format!("{:#}", settings("postgres://me:secret@host:x/").unwrap_err());
        assert!(!told.contains("secret"), "{told}");
    }
}
