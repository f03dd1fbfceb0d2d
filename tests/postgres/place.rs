//! A database of one test, with a payments' table of someone else's and a role that has exactly the rights it needs.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use assay::base::secret::Secret;
use assay::store::postgres::{Fourth, PostgresOptions, PostgresStore, RowTable};
use tokio_postgres::{Client, Config, NoTls, Row};

use crate::server::Server;

/// The payments' table: the key and the columns that are assay's business, and some that are not.
const PAYMENTS: &str = "CREATE SCHEMA shop;
    CREATE TABLE shop.payments (id varchar(64) PRIMARY KEY, amount bigint NOT NULL DEFAULT 1, note text,
        fraud_score real, model_version text, is_flagged boolean, revision integer, decided_at timestamptz)";

static MADE: AtomicU32 = AtomicU32::new(0);

/// One test's.
pub(crate) struct Place {
    pub(crate) options: PostgresOptions,
    /// The owner, in this database.
    pub(crate) owner: Client,
    pub(crate) role: String,
    url: String,
    database: String,
    _server: Option<Arc<Server>>,
}

/// Names as the tests' table has them.
pub(crate) fn row_table() -> RowTable {
    RowTable {
        table: "shop.payments".into(),
        key: "id".into(),
        score: "fraud_score".into(),
        version: "model_version".into(),
        flag: "is_flagged".into(),
        fourth: Fourth::Revision("revision".into()),
    }
}

pub(crate) async fn connect(url: &str, database: Option<&str>, user: Option<&str>) -> Client {
    let mut config = Config::from_str(url).unwrap();
    if let Some(database) = database {
        config.dbname(database);
    }
    if let Some(user) = user {
        config.user(user);
    }
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// On somebody's server nothing is left behind; the tests' own goes as a whole.
impl Drop for Place {
    fn drop(&mut self) {
        if std::env::var_os("ASSAY_TEST_POSTGRES_URL").as_deref() != Some(self.url.as_ref()) {
            return;
        }
        let (url, name) = (self.url.clone(), self.database.clone());
        let cleared = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let everything = connect(&url, None, None).await;
                everything.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
                everything.batch_execute(&format!("DROP ROLE {name}")).await.unwrap();
            });
        });
        drop(cleared.join());
    }
}

impl Place {
    /// With the payments' table of [`PAYMENTS`] and exactly the rights of `schemas/postgres/grants.sql`.
    pub(crate) async fn new() -> Self {
        Self::with(PAYMENTS, Fourth::Revision("revision".into())).await
    }

    pub(crate) async fn with(tables: &str, fourth: Fourth) -> Self {
        match std::env::var("ASSAY_TEST_POSTGRES_URL") {
            Ok(url) => Self::made(&url, None, tables, fourth).await,
            Err(_) => {
                let server = tokio::task::spawn_blocking(Server::shared).await.unwrap();
                Self::made(&server.url(), Some(Arc::clone(&server)), tables, fourth).await
            }
        }
    }

    pub(crate) async fn fourth(fourth: Fourth) -> Self {
        Self::with(PAYMENTS, fourth).await
    }

    /// On a server of the test's own.
    pub(crate) async fn on(server: &Server) -> Self {
        Self::made(&server.url(), None, PAYMENTS, Fourth::Revision("revision".into())).await
    }

    async fn made(url: &str, server: Option<Arc<Server>>, tables: &str, fourth: Fourth) -> Self {
        let name = format!("assay_test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
        let everything = connect(url, None, None).await;
        everything.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        everything.batch_execute(&format!("CREATE ROLE {name} LOGIN PASSWORD 'not-a-secret'")).await.unwrap();
        let owner = connect(url, Some(&name), None).await;
        owner.batch_execute(tables).await.unwrap();
        let mut config = Config::from_str(url).unwrap();
        config.dbname(&name);
        let tokio_postgres::config::Host::Tcp(host) = &config.get_hosts()[0] else { unreachable!("a host name") };
        let options = PostgresOptions {
            host: host.clone(),
            port: config.get_ports()[0],
            database: name.clone(),
            user: name.clone(),
            password: Some(Secret::new("not-a-secret".into())),
            rows: RowTable { fourth: fourth.clone(), ..row_table() },
            statement_timeout: Duration::from_secs(5),
            ..PostgresOptions::default()
        };
        let place = Self { options, owner, role: name.clone(), url: url.to_owned(), database: name, _server: server };
        place.owner.batch_execute(&place.grants(&fourth)).await.unwrap();
        place
    }

    /// The statements of `schemas/postgres/grants.sql` with this place's names.
    pub(crate) fn grants(&self, fourth: &Fourth) -> String {
        let text =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/postgres/grants.sql")).unwrap();
        let fourth = match fourth {
            Fourth::None => None,
            Fourth::Revision(name) | Fourth::Time(name) => Some(name.as_str()),
        };
        let (before, after) = text.split_once("\\if").unwrap();
        let conditional = after.split_once('\n').unwrap().1.split_once("\\endif").unwrap().0;
        let mut text = before.to_owned();
        if fourth.is_some() {
            text.push_str(conditional);
        }
        for (variable, name) in [
            ("role", self.role.as_str()),
            ("schema", &self.options.schema),
            ("rows_schema", "shop"),
            ("rows", "payments"),
            ("key", "id"),
            ("score", "fraud_score"),
            ("version", "model_version"),
            ("flag", "is_flagged"),
            ("fourth", fourth.unwrap_or_default()),
            ("database", &self.database),
        ] {
            text = text.replace(&format!(":\"{variable}\""), &format!("\"{name}\""));
        }
        text
    }

    pub(crate) fn store(&self) -> PostgresStore {
        PostgresStore::new(&self.options).unwrap()
    }

    /// Another session of the owner's.
    pub(crate) async fn session(&self) -> Client {
        connect(&self.url, Some(&self.database), None).await
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.owner.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn pay(&self, ids: &[&str]) {
        self.owner.execute("INSERT INTO shop.payments (id) SELECT unnest($1::text[])", &[&ids]).await.unwrap();
    }

    /// (score, version, flag) of a payment; `None` while it is not scored.
    pub(crate) async fn scored(&self, id: &str) -> Option<(f32, String, bool)> {
        let sql = "SELECT fraud_score::real, model_version, is_flagged FROM shop.payments WHERE id = $1";
        let row = self.owner.query_one(sql, &[&id]).await.unwrap();
        row.get::<_, Option<f32>>(0).map(|score| (score, row.get(1), row.get(2)))
    }

    pub(crate) async fn one(&self, sql: &str) -> Row {
        self.owner.query_one(sql, &[]).await.unwrap()
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.one(sql).await.get(0)
    }
}
