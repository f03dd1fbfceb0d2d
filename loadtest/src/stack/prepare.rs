//! Topics, database, table and role, made before anything runs.
//!
//! The role gets what `schemas/postgres/grants.sql` grants and nothing else.

use anyhow::Context as _;
use clap::Args;

use super::servers::{Servers, parse_name};
use super::table::Table;
use super::topics;
use crate::client::runtime;
use crate::report::say;

#[derive(Debug, Args)]
pub(crate) struct Prepare {
    #[command(flatten)]
    servers: Servers,
    /// Partitions of every topic.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(i32).range(1..=256))]
    partitions: i32,
    /// assay's role, made without a password where it is not there; "" makes none.
    #[arg(long, default_value = "assay")]
    role: String,
    /// The schema of assay's own tables.
    #[arg(long, default_value = "assay", value_parser = parse_name)]
    schema: String,
}

const GRANTS: &str = include_str!("../../../schemas/postgres/grants.sql");

impl Prepare {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Servers { transactions, labels, decisions, rejected, .. } = &self.servers;
        let names = [transactions.as_str(), labels.as_str(), decisions.as_str(), rejected.as_str()];
        runtime()?.block_on(async {
            let made = topics::create(&self.servers, &names, self.partitions).await?;
            let database = self.servers.create_database().await?;
            let table = Table::open(&self.servers).await?;
            table.create().await?;
            if !self.role.is_empty() {
                parse_name(&self.role).map_err(anyhow::Error::msg)?;
                let role = "SELECT 1 FROM pg_roles WHERE rolname = $1";
                if table.client.query_opt(role, &[&self.role]).await?.is_none() {
                    table.client.batch_execute(&format!("CREATE ROLE {} LOGIN", self.role)).await?;
                }
                table.client.batch_execute(&self.grants(&database)).await.context("schemas/postgres/grants.sql")?;
            }
            say(&format!(
                "topics {} with {} partitions ({made} new), table {} of database {database}",
                names.join(", "),
                self.partitions,
                self.servers.table
            ))
        })
    }
}

impl Prepare {
    /// What psql would make of the file with this harness's names, without what asks for a name (`\if`) that it has not.
    fn grants(&self, database: &str) -> String {
        let table = &self.servers.table;
        let (rows_schema, rows) = table.split_once('.').unwrap_or(("public", table));
        let names = [
            ("database", database),
            ("role", &self.role),
            ("schema", &self.schema),
            ("rows_schema", rows_schema),
            ("rows", rows),
            ("key", "transaction_id"),
            ("score", "fraud_score"),
            ("version", "fraud_model_version"),
            ("flag", "fraud_flagged"),
            ("fourth", "fraud_revision"),
        ];
        let mut is_named = true;
        let of_names = |line: &&str| {
            if let Some(name) = line.strip_prefix("\\if :{?").and_then(|rest| rest.strip_suffix('}')) {
                is_named = names.iter().any(|(known, _)| *known == name);
            } else if line.starts_with('\\') {
                is_named = true;
            } else {
                return is_named;
            }
            false
        };
        let text = GRANTS.lines().filter(of_names).collect::<Vec<_>>().join("\n");
        names.iter().fold(text, |text, (name, value)| text.replace(&format!(":\"{name}\""), &format!("\"{value}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_the_grants_is_filled_in() {
        let prepare = Prepare {
            servers: Servers { table: "shop.rows".to_owned(), ..Servers::default() },
            partitions: 8,
            role: "assay".to_owned(),
            schema: "own".to_owned(),
        };
        let grants = prepare.grants("payments");
        let statements: Vec<&str> = grants.lines().filter(|line| !line.starts_with("--")).collect();
        assert!(statements.len() >= 5, "{grants}");
        assert!(statements.iter().all(|line| !line.contains(":\"") && !line.contains('\\')), "{grants}");
        assert!(statements.iter().all(|line| !line.contains("reference")), "{grants}");
        assert!(grants.contains(r#"UPDATE ("fraud_revision") ON "shop"."rows" TO "assay""#), "{grants}");
    }
}
