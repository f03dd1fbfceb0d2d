//! The check of what a person set up: the server's version, the payments' table, its columns, and what the role may.
//!
//! In: names. Out: what the statements need to know of the table, or every fault at once, in one sentence each.

use std::collections::HashMap;

use tokio_postgres::{Client, Row};

use super::fault::PostgresError;
use super::options::Fourth;
use super::statements::{Names, Target, quoted};

const OLDEST_SERVER: i32 = 150_000;

/// A column as the catalogue has it.
struct Column {
    number: i16,
    kind: String,
    /// Digits of a `numeric`: (all, after the point).
    digits: Option<(i32, i32)>,
    generated: bool,
    collation: String,
    deterministic: bool,
    may_select: bool,
    may_update: bool,
}

/// Checks all of it.
///
/// # Errors
/// `Faults`, one sentence each.
pub(super) async fn check(client: &Client, names: &Names) -> Result<Target, PostgresError> {
    let mut faults = Vec::new();
    own_tables(client, names, &mut faults).await?;
    let target = payments(client, names, &mut faults).await?;
    match target {
        Some(target) if faults.is_empty() => Ok(target),
        _ => Err(PostgresError::Faults(faults)),
    }
}

async fn own_tables(client: &Client, names: &Names, faults: &mut Vec<String>) -> Result<(), PostgresError> {
    let version = client.query_one("SELECT current_setting('server_version_num')::int", &[]).await?.get::<_, i32>(0);
    if version < OLDEST_SERVER {
        faults.push(format!("the server is PostgreSQL {} and 15 or newer is needed", version / 10_000));
    }
    let tables = [
        "fraud_decisions",
        "fraud_fallbacks",
        "fraud_superseded",
        "fraud_progress",
        "fraud_claim",
        "fraud_letters_read",
        "fraud_dead_letters",
        "fraud_rescores",
        "fraud_dismissed_rows",
    ];
    for table in tables {
        let table = names.own(table);
        let rights = "SELECT right_name FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS right_name
                       WHERE NOT has_table_privilege($1, right_name)";
        for row in client.query(rights, &[&table]).await? {
            faults.push(format!("the role lacks {} on {table}", row.get::<_, &str>(0)));
        }
    }
    Ok(())
}

async fn payments(client: &Client, names: &Names, faults: &mut Vec<String>) -> Result<Option<Target>, PostgresError> {
    let rows = format!("{}.{}", quoted(&names.rows_schema), quoted(&names.rows));
    let usable = "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = $1";
    match client.query_opt(usable, &[&names.rows_schema]).await?.map(|row| row.get::<_, bool>(0)) {
        None => {
            faults.push(format!("there is no schema {}", quoted(&names.rows_schema)));
            return Ok(None);
        }
        Some(false) => faults.push(format!("the role lacks USAGE on the schema {}", quoted(&names.rows_schema))),
        Some(true) => {}
    }
    let table = "SELECT c.oid, c.relkind::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
                  WHERE n.nspname = $1 AND c.relname = $2";
    let Some(table) = client.query_opt(table, &[&names.rows_schema, &names.rows]).await? else {
        faults.push(format!("there is no table {rows}"));
        return Ok(None);
    };
    if !matches!(table.get::<_, &str>(1), "r" | "p") {
        faults.push(format!("{rows} is no table"));
        return Ok(None);
    }
    let oid: u32 = table.get(0);
    let columns = columns(client, oid).await?;
    let mut found = Vec::new();
    for (what, name) in names.columns() {
        match columns.get(name) {
            None => faults.push(format!("{rows} has no column {} (the {what})", quoted(name))),
            Some(column) => {
                judge(names, what, name, column, &rows, faults);
                found.push((what, column));
            }
        }
    }
    let of = |wanted| found.iter().find(|(what, _)| *what == wanted).map(|(_, column)| *column);
    let Some(key) = of("key column") else { return Ok(None) };
    let unique = "SELECT count(*) FROM pg_index WHERE indrelid = $1 AND indisunique AND indisvalid AND indpred IS NULL
                     AND indnkeyatts = 1 AND indkey[0] = $2
                     AND indcollation[0] = (SELECT attcollation FROM pg_attribute WHERE attrelid = $1 AND attnum = $2)";
    if client.query_one(unique, &[&oid, &key.number]).await?.get::<_, i64>(0) == 0 {
        faults.push(format!("{rows} has no unique index on {} alone: assay would scan the table", quoted(&names.key)));
    }
    let score_cast = match of("score column").map(|column| column.kind.as_str()) {
        Some("float8") => "::double precision",
        // Why: a cast from real to numeric keeps six digits; the text has all that tell one real from the next.
        Some("numeric") => "::text::numeric",
        _ => "",
    };
    Ok(Some(Target { collation: key.collation.clone(), score_cast }))
}

async fn columns(client: &Client, table: u32) -> Result<HashMap<String, Column>, PostgresError> {
    let sql = "SELECT a.attname::text, a.attnum, t.typname::text, a.atttypmod, a.attgenerated <> '' OR a.attidentity = 'a',
                      quote_ident(cn.nspname) || '.' || quote_ident(c.collname), coalesce(c.collisdeterministic, true),
                      has_column_privilege(a.attrelid, a.attnum, 'SELECT'), has_column_privilege(a.attrelid, a.attnum, 'UPDATE')
                 FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid
                 LEFT JOIN pg_collation AS c ON c.oid = a.attcollation LEFT JOIN pg_namespace AS cn ON cn.oid = c.collnamespace
                WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped";
    let column = |row: &Row| {
        let (kind, modifier): (String, i32) = (row.get(2), row.get(3));
        // The catalogue keeps a numeric's digits as ((all << 16) | after the point) + 4.
        let digits =
            (kind == "numeric" && modifier >= 4).then(|| (((modifier - 4) >> 16) & 0xffff, (modifier - 4) & 0x7ff));
        let column = Column {
            number: row.get(1),
            kind,
            digits,
            generated: row.get(4),
            collation: row.get::<_, Option<String>>(5).unwrap_or_default(),
            deterministic: row.get(6),
            may_select: row.get(7),
            may_update: row.get(8),
        };
        (row.get::<_, String>(0), column)
    };
    Ok(client.query(sql, &[&table]).await?.iter().map(column).collect())
}

fn judge(names: &Names, what: &str, name: &str, column: &Column, rows: &str, faults: &mut Vec<String>) {
    let place = format!("{} of {rows}", quoted(name));
    let (kinds, needed): (&[&str], &str) = match what {
        "key column" | "version column" => (&["text", "varchar"], "text or character varying"),
        "score column" => (&["float4", "float8", "numeric"], "real, double precision or numeric"),
        "flag column" => (&["bool"], "boolean"),
        "revision column" => (&["int4", "int8"], "integer or bigint"),
        _ => (&["timestamptz"], "timestamp with time zone"),
    };
    if !kinds.contains(&column.kind.as_str()) {
        faults.push(format!("{place}, the {what}, is of type {} and must be {needed}", column.kind));
    }
    if let Some((all, after)) = column.digits
        && what == "score column"
        && (all - after < 1 || after < 1)
    {
        faults.push(format!("{place} is numeric({all},{after}) and must hold 0 to 1 with at least one decimal"));
    }
    let is_key = what == "key column";
    if is_key && !column.deterministic {
        faults.push(format!("{place} has a collation that is not deterministic: two ids could be one"));
    }
    if column.generated && !is_key {
        faults.push(format!("{place} is generated and cannot be written"));
    }
    let read = is_key || matches!(&names.fourth, Fourth::Revision(fourth) if fourth == name);
    if read && !column.may_select {
        faults.push(format!("the role lacks SELECT on {place}"));
    }
    if !is_key && !column.may_update {
        faults.push(format!("the role lacks UPDATE on {place}"));
    }
}
