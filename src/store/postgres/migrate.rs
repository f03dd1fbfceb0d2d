//! Assay's own schema, brought up to date: one migration after the other, under an advisory lock, in one transaction.
//!
//! A migration is never changed once released: the next one is appended. What was applied is recorded with the SHA-256 of
//! its text, so that a later program's schema and a changed text are refused and not guessed at.

use sha2::{Digest, Sha256};
use tokio_postgres::{Client, Transaction};

use super::fault::PostgresError;
use super::statements::{Names, quoted};

/// One step of the schema.
#[derive(Debug, Clone, Copy)]
pub struct Migration {
    /// Its file's name, without the number.
    pub name: &'static str,
    /// Its SQL; names without a schema are of assay's own.
    pub text: &'static str,
}

/// Every step; the first is version 1.
pub const MIGRATIONS: &[Migration] = &[
    Migration { name: "decisions", text: include_str!("../../../schemas/postgres/0001_decisions.sql") },
    Migration { name: "reference", text: include_str!("../../../schemas/postgres/0002_reference.sql") },
    Migration { name: "completeness", text: include_str!("../../../schemas/postgres/0003_completeness.sql") },
    Migration { name: "rescore", text: include_str!("../../../schemas/postgres/0004_rescore.sql") },
    Migration { name: "dismissed_rows", text: include_str!("../../../schemas/postgres/0005_dismissed_rows.sql") },
    Migration { name: "models", text: include_str!("../../../schemas/postgres/0006_models.sql") },
    Migration { name: "active_models", text: include_str!("../../../schemas/postgres/0007_active_models.sql") },
    Migration { name: "gone_models", text: include_str!("../../../schemas/postgres/0008_gone_models.sql") },
];

/// Brings the schema to the version of `migrations`.
///
/// # Errors
/// `Faults` for a version from the future, a changed text, or a missing right.
pub(super) async fn migrate(client: &mut Client, names: &Names, migrations: &[Migration]) -> Result<(), PostgresError> {
    // Why: another instance may be migrating; these bounds are those of a migration, not of a batch.
    client.batch_execute("SET lock_timeout = '60s'; SET statement_timeout = '300s'").await?;
    let transaction = client.transaction().await?;
    let key = format!("assay migrations of {}", names.schema);
    transaction.query("SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended($1, 0))", &[&key]).await?;
    make_schema(&transaction, names).await?;
    let applied = applied(&transaction, names).await?;
    refuse_unknown(names, &applied, migrations)?;
    let schema = quoted(&names.schema);
    transaction.batch_execute(&format!("SET LOCAL search_path = {schema}, pg_catalog")).await?;
    for (number, migration) in (1_i32..).zip(migrations).skip(applied.len()) {
        transaction.batch_execute(migration.text).await?;
        let record = format!("INSERT INTO {schema}.schema_migrations (version, name, sha256) VALUES ($1, $2, $3)");
        transaction.execute(&record, &[&number, &migration.name, &sha256(migration)]).await?;
    }
    Ok(transaction.commit().await?)
}

async fn make_schema(transaction: &Transaction<'_>, names: &Names) -> Result<(), PostgresError> {
    let there = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_namespace WHERE nspname = $1";
    if transaction.query_one(there, &[&names.schema]).await?.get::<_, i64>(0) > 0 {
        return Ok(());
    }
    let schema = quoted(&names.schema);
    transaction.batch_execute(&format!("CREATE SCHEMA {schema}")).await.map_err(|error| match error.into() {
        PostgresError::Faults(_) => PostgresError::Faults(vec![format!(
            "there is no schema {schema} and the role may not make it: an owner runs CREATE SCHEMA {schema} AUTHORIZATION <role>"
        )]),
        other => other,
    })
}

/// (version, SHA-256) of what was applied, in order.
async fn applied(transaction: &Transaction<'_>, names: &Names) -> Result<Vec<(i32, String)>, PostgresError> {
    let schema = quoted(&names.schema);
    let table = format!("{schema}.schema_migrations");
    let there = transaction.query_one("SELECT pg_catalog.to_regclass($1) IS NOT NULL", &[&table]).await?;
    if !there.get::<_, bool>(0) {
        let make = format!(
            "CREATE TABLE {table} (version integer PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL,
                                   applied_at timestamptz NOT NULL DEFAULT pg_catalog.now())"
        );
        transaction.batch_execute(&make).await?;
    }
    let rows = transaction.query(&format!("SELECT version, sha256 FROM {table} ORDER BY version"), &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn refuse_unknown(names: &Names, applied: &[(i32, String)], known: &[Migration]) -> Result<(), PostgresError> {
    let fault = |sentence| Err(PostgresError::Faults(vec![sentence]));
    let schema = &names.schema;
    if let Some((newest, _)) = applied.last()
        && applied.len() > known.len()
    {
        return fault(format!(
            "the schema {schema} has version {newest} and this program knows up to {}: use the program that wrote it",
            known.len()
        ));
    }
    for ((version, found), (number, migration)) in applied.iter().zip((1_i32..).zip(known)) {
        if *version != number {
            return fault(format!(
                "the schema {schema} lacks migration {number} and has {version}: restore its schema_migrations"
            ));
        }
        let own = sha256(migration);
        if *found != own {
            return fault(format!(
                "migration {number} ({}) of the schema {schema} was applied from another text (SHA-256 {found}, here {own}): \
                 use the program that applied it",
                migration.name
            ));
        }
    }
    Ok(())
}

fn sha256(migration: &Migration) -> String {
    Sha256::digest(migration.text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
