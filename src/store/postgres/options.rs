//! What a person configures of the destination, as plain values.

use std::path::PathBuf;
use std::time::Duration;

use crate::base::secret::Secret;

/// How PostgreSQL is reached and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database`, or `key=value` pairs; where it is given, `host`, `port`, `database`
    /// and `user` are not used. What it says of TLS is not used either: `tls` does.
    pub url: Option<Secret>,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database.
    pub database: String,
    /// Role.
    pub user: String,
    /// Its password; wins over one in `url`.
    pub password: Option<Secret>,
    /// Whether the connection is encrypted.
    pub tls: Tls,
    /// Certificates (PEM) that the server's must descend from; `None`: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Assay's own schema.
    pub schema: String,
    /// The payments' table.
    pub rows: RowTable,
    /// The longest that a statement may run.
    pub statement_timeout: Duration,
    /// The longest that a statement may wait for a lock; only assay's own tables are ever waited for.
    pub lock_timeout: Duration,
    /// The longest that connecting may take.
    pub connect_timeout: Duration,
}

/// Encryption. There is no "if the server can": a connection is what was asked for, or it is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// None.
    #[default]
    Off,
    /// TLS; the server's certificate and name are verified.
    Verify,
}

/// The payments' table. It belongs to someone else; names are as PostgreSQL's catalogue spells them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowTable {
    /// `schema.table`; without a dot the schema is `public`.
    pub table: String,
    /// Column of the transaction id: text, with a unique index of its own.
    pub key: String,
    /// Column of the score: `real`, `double precision` or `numeric`.
    pub score: String,
    /// Column of the model's version: text.
    pub version: String,
    /// Column of the flag: boolean.
    pub flag: String,
    /// The fourth column.
    pub fourth: Fourth,
}

/// The fourth column of a row: what tells one decision of a transaction from the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Fourth {
    /// There is none: `fraud_decisions` alone knows the revision.
    #[default]
    None,
    /// Column of the revision: `integer` or `bigint`.
    Revision(String),
    /// Column of the decision's time: `timestamp with time zone`.
    Time(String),
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            url: None,
            host: "127.0.0.1".to_owned(),
            port: 5432,
            database: "postgres".to_owned(),
            user: "assay".to_owned(),
            password: None,
            tls: Tls::Off,
            ca_file: None,
            schema: "assay".to_owned(),
            rows: RowTable {
                table: "public.transactions".to_owned(),
                key: "transaction_id".to_owned(),
                score: "fraud_score".to_owned(),
                version: "fraud_model_version".to_owned(),
                flag: "fraud_flagged".to_owned(),
                fourth: Fourth::Revision("fraud_revision".to_owned()),
            },
            statement_timeout: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(5),
        }
    }
}
