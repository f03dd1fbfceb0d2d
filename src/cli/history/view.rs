//! A view of the OLTP as a source of transactions: each row as JSON, mapped by a connector.
//!
//! Reads only, in one transaction that says so, a batch at a time: the server keeps the rest. The role needs SELECT on
//! the view and nothing else. The whole view is read: one that is large shows only what windows reach.

use std::time::Duration;

use anyhow::{Context as _, Result};
use openssl::ssl::{SslConnector, SslMethod};
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::Config;

use crate::store::files::{CHUNK, Rejected};
use crate::transaction::{Connector, Limits, Transaction, read_json};

/// How long connecting may take where the URL does not say.
const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// Gives every row of `view` to `take`, in batches.
///
/// # Errors
/// When the server or the view cannot be read, or what `take` says.
pub(super) fn read(
    url: &str,
    view: &str,
    connector: &Connector,
    limits: Limits,
    take: impl FnMut(Vec<std::result::Result<Transaction, Rejected>>) -> Result<()>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(batches(settings(url)?, view, connector, limits, take))
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
    config.application_name("assay history build");
    Ok(config)
}

async fn batches(
    settings: Config,
    view: &str,
    connector: &Connector,
    limits: Limits,
    mut take: impl FnMut(Vec<std::result::Result<Transaction, Rejected>>) -> Result<()>,
) -> Result<()> {
    let tls = MakeTlsConnector::new(SslConnector::builder(SslMethod::tls())?.build());
    let (mut client, connection) = settings.connect(tls).await.context("PostgreSQL cannot be reached")?;
    let connection = tokio::spawn(connection);
    let query = format!("SELECT row_to_json(v)::text FROM {} AS v", quoted(view));
    let reading = async {
        let transaction = client.build_transaction().read_only(true).start().await?;
        let statement = transaction.prepare(&query).await.with_context(|| format!("--view {view}"))?;
        let portal = transaction.bind(&statement, &[]).await.with_context(|| format!("--view {view}"))?;
        let batch = i32::try_from(CHUNK).unwrap_or(i32::MAX);
        let mut row = 0;
        loop {
            let rows = transaction.query_portal(&portal, batch).await.with_context(|| format!("--view {view}"))?;
            if rows.is_empty() {
                return anyhow::Ok(());
            }
            let mut chunk = Vec::with_capacity(rows.len());
            for one in &rows {
                row += 1;
                let text: &str = one.try_get(0)?;
                let read = read_json(text.as_bytes(), connector, &limits);
                chunk.push(read.map(|read| read.transaction).map_err(|rejection| Rejected { row, rejection }));
            }
            take(chunk)?;
        }
    };
    let read = reading.await;
    drop(client);
    // The reading's own error says more than the connection's end.
    read.and(connection.await.map_err(anyhow::Error::from).and_then(|ended| Ok(ended?)))
}

/// The name as SQL has it: `[schema.]view`, each part quoted.
fn quoted(view: &str) -> String {
    let parts: Vec<String> = view.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
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
