//! Sessions: how one is made, what it is set to, and when a broken one is made anew.
//!
//! Invariant: every wait has a bound, on this side and on the server's. A session that has failed is never used again.

use std::error::Error as _;
use std::fmt::{self, Debug};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod};
use postgres_openssl::MakeTlsConnector;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

use super::fault::PostgresError;
use super::options::{PostgresOptions, Tls};

/// The pause after a first failed connection; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The longest that a new session may take to become ready, migrations apart.
const PREPARING: Duration = Duration::from_secs(360);

/// The longest that the server waits for a COMMIT that was sent with its statement: the network was cut between them.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

/// How sessions are made.
pub(super) struct Settings {
    config: Config,
    tls: Option<MakeTlsConnector>,
    connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
    lock_timeout: Duration,
}

impl Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Settings").field("tls", &self.tls.is_some()).finish_non_exhaustive()
    }
}

impl Settings {
    /// The settings of these options, or each of their faults.
    pub(super) fn of(options: &PostgresOptions) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut config = match &options.url {
            // Why: the parser's own message may quote the text, and with it a password.
            Some(url) => Config::from_str(url.expose()).unwrap_or_else(|error| {
                let why = error.source().map(|source| source.to_string()).unwrap_or_default();
                let why = why.split('`').next().unwrap_or_default().trim().to_owned();
                faults.push(format!(
                    "the url cannot be read ({why}): it must be like postgres://user@host:5432/database"
                ));
                Config::new()
            }),
            None => {
                let mut config = Config::new();
                config.host(&options.host).port(options.port).dbname(&options.database).user(&options.user);
                config
            }
        };
        if let Some(password) = &options.password {
            config.password(password.expose());
        }
        config
            .application_name("assay")
            .connect_timeout(options.connect_timeout)
            .tcp_user_timeout(options.statement_timeout + super::SLACK)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .ssl_mode(if options.tls == Tls::Off { SslMode::Disable } else { SslMode::Require });
        let tls = match options.tls {
            Tls::Off => None,
            Tls::Verify => verifying(options).map_err(|fault| faults.push(fault)).ok(),
        };
        if options.tls == Tls::Off && options.ca_file.is_some() {
            faults.push("a CA file is given and TLS is off: switch it on or leave the file out".to_owned());
        }
        for (name, limit) in [("statement", options.statement_timeout), ("lock", options.lock_timeout)] {
            if limit < Duration::from_millis(1) || limit > Duration::from_secs(600) {
                faults.push(format!("the {name} time-out is {limit:?} and must be 1 ms to 10 min"));
            }
        }
        let (connect_timeout, statement_timeout) = (options.connect_timeout, options.statement_timeout);
        let lock_timeout = options.lock_timeout;
        if faults.is_empty() {
            Ok(Self { config, tls, connect_timeout, statement_timeout, lock_timeout })
        } else {
            Err(faults)
        }
    }

    /// Sets a session so that its statements are short, read tables by key only, and leave the disk to one commit.
    pub(super) async fn calm(&self, client: &Client) -> Result<(), PostgresError> {
        let (statement, lock) = (self.statement_timeout.as_millis(), self.lock_timeout.as_millis());
        let idle = LONGEST_IDLE.min(self.statement_timeout).as_millis();
        let settings = format!(
            "SET statement_timeout = {statement}; SET lock_timeout = {lock};
             SET idle_in_transaction_session_timeout = {idle}; SET synchronous_commit = off;
             SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
             SET max_parallel_workers_per_gather = 0; SET plan_cache_mode = force_generic_plan; SET jit = off;
             SET default_transaction_isolation = 'read committed'; SET search_path = pg_catalog; SET timezone = 'UTC';
             SET extra_float_digits = 1"
        );
        Ok(client.batch_execute(&settings).await?)
    }

    async fn client(&self) -> Result<(Client, Driver), PostgresError> {
        let connecting = async {
            Ok(match &self.tls {
                Some(tls) => {
                    let (client, connection) = self.config.connect(tls.clone()).await?;
                    (client, Driver(tokio::spawn(async { drop(connection.await) })))
                }
                None => {
                    let (client, connection) = self.config.connect(NoTls).await?;
                    (client, Driver(tokio::spawn(async { drop(connection.await) })))
                }
            })
        };
        let late = |_| Err(PostgresError::Unavailable(format!("no connection within {:?}", self.connect_timeout)));
        tokio::time::timeout(self.connect_timeout, connecting).await.unwrap_or_else(late)
    }
}

fn verifying(options: &PostgresOptions) -> Result<MakeTlsConnector, String> {
    let mut builder =
        SslConnector::builder(SslMethod::tls_client()).map_err(|error| format!("TLS cannot be set up: {error}"))?;
    if let Some(file) = &options.ca_file {
        // Why: the store of the system's certificates is replaced, so that only those of the file are trusted.
        let store =
            openssl::x509::store::X509StoreBuilder::new().map_err(|error| format!("TLS cannot be set up: {error}"))?;
        builder.set_cert_store(store.build());
        builder.set_ca_file(file).map_err(|error| format!("the CA file {} cannot be used: {error}", file.display()))?;
    }
    Ok(MakeTlsConnector::new(builder.build()))
}

/// The task that moves a session's bytes; it ends with the session.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A connection with its prepared statements.
pub(super) struct Session<P> {
    pub(super) client: Client,
    pub(super) prepared: P,
    _driver: Driver,
}

impl<P> Debug for Session<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Session").field("closed", &self.client.is_closed()).finish_non_exhaustive()
    }
}

impl<P> Session<P> {
    /// Connects, and lets `prepare` make it ready.
    pub(super) async fn connect(
        settings: &Settings,
        prepare: impl AsyncFnOnce(&mut Client) -> Result<P, PostgresError>,
    ) -> Result<Self, PostgresError> {
        let (mut client, driver) = settings.client().await?;
        let late = |_| Err(PostgresError::Unavailable(format!("a session was not ready within {PREPARING:?}")));
        let prepared = tokio::time::timeout(PREPARING, prepare(&mut client)).await.unwrap_or_else(late)?;
        Ok(Self { client, prepared, _driver: driver })
    }
}

/// The place of one session.
#[derive(Debug)]
pub(super) struct Slot<P> {
    session: Option<Arc<Session<P>>>,
    failures: u32,
    /// The last failure, and when another attempt may be made.
    trouble: Option<(Instant, PostgresError)>,
}

impl<P> Default for Slot<P> {
    fn default() -> Self {
        Self { session: None, failures: 0, trouble: None }
    }
}

impl<P> Slot<P> {
    /// The session, where there is one that works; `None`: one may be made.
    ///
    /// # Errors
    /// The last failure, while it is too early for another attempt.
    pub(super) fn usable(&mut self) -> Result<Option<Arc<Session<P>>>, PostgresError> {
        self.session = self.session.take().filter(|session| !session.client.is_closed());
        match (&self.session, &self.trouble) {
            (Some(session), _) => Ok(Some(Arc::clone(session))),
            (None, Some((moment, trouble))) if Instant::now() < *moment => Err(trouble.clone()),
            (None, _) => Ok(None),
        }
    }

    /// Takes a new session in, or notes why there is none.
    pub(super) fn keep(&mut self, made: Result<Session<P>, PostgresError>) -> Result<Arc<Session<P>>, PostgresError> {
        match made {
            Ok(session) => {
                let session = Arc::new(session);
                self.session = Some(Arc::clone(&session));
                (self.failures, self.trouble) = (0, None);
                Ok(session)
            }
            Err(error) => {
                let pause = FIRST_PAUSE * 2_u32.pow(self.failures.min(10));
                self.failures += 1;
                self.trouble = Some((Instant::now() + pause.min(LONGEST_PAUSE), error.clone()));
                Err(error)
            }
        }
    }

    /// Gives `session` up, unless another one has taken its place.
    pub(super) fn forget(&mut self, session: &Arc<Session<P>>) {
        self.session = self.session.take().filter(|held| !Arc::ptr_eq(held, session));
    }
}
