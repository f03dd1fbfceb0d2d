//! Tables of reference data and rates in PostgreSQL, and `fraud_rates`: the rates that count, for every instance.
//!
//! In: names of tables or views that belong to somebody else. Out: their rows, as the schema of reference data means them.
//! One session of its own reads; it takes no lock that others wait for and gives up at a time-out.
//! Invariant: of a (currency, day) the first rate that is written to `fraud_rates` stays, whichever instance wrote it.

use std::sync::Arc;
use std::time::Duration;

use compact_str::CompactString;
use futures_util::TryStreamExt as _;
use tokio_postgres::{Client, Row};

use super::connection::{Session, Settings, Slot};
use super::fault::PostgresError;
use super::options::PostgresOptions;
use super::statements::{Names, quoted};
use crate::base::rates::Publication;
use crate::features::reference::{RATES, Rows, TableSchema};

/// The longest that a table may take to be read.
const READING: Duration = Duration::from_secs(60);
/// The longest that a table's owner may hold it back from being read.
const LOCKED: Duration = Duration::from_secs(1);
/// The most rates that are read.
const MOST_RATES: usize = 1_000_000;

/// Tables or views, by the names that the schema of reference data has for them.
#[derive(Debug)]
pub struct PostgresTables {
    settings: Settings,
    names: Names,
    relations: Vec<(String, String)>,
    slot: Slot<()>,
}

impl PostgresTables {
    /// Of `tables`, each (name in the schema of reference data, `schema.table`; without a dot the schema is `public`).
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// [`PostgresError::Faults`]: every fault of the options.
    pub fn new(options: &PostgresOptions, tables: &[(String, String)]) -> Result<Self, PostgresError> {
        let settings = Settings::of(options).map_err(PostgresError::Faults)?;
        let names = Names::of(options).map_err(PostgresError::Faults)?;
        let relation = |(name, table): &(String, String)| {
            let (schema, table) = table.split_once('.').unwrap_or(("public", table));
            (name.clone(), format!("{}.{}", quoted(schema), quoted(table)))
        };
        Ok(Self { settings, names, relations: tables.iter().map(relation).collect(), slot: Slot::default() })
    }

    /// Whether the table of this name is among them.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.relation(name).is_some()
    }

    /// Whether rates are.
    #[must_use]
    pub fn has_rates(&self) -> bool {
        self.has(RATES)
    }

    fn relation(&self, name: &str) -> Option<&str> {
        self.relations.iter().find(|(own, _)| own == name).map(|(_, relation)| relation.as_str())
    }

    /// Every row of a table; `None` where it has more than `most`.
    ///
    /// # Errors
    /// See [`PostgresError`]; what is wrong with a row names table and column, never what stands there.
    pub async fn rows(&mut self, schema: &TableSchema, most: usize) -> Result<Option<Rows>, PostgresError> {
        let relation = self.relation(&schema.name).unwrap_or_default().to_owned();
        let sql = format!("SELECT {} FROM {relation} LIMIT {}", columns(schema), most.saturating_add(1));
        let session = self.session().await?;
        let read = async {
            let client = &session.client;
            let mut stream = std::pin::pin!(client.query_raw(&sql, std::iter::empty::<i32>()).await?);
            let mut rows = Rows::new(schema.attributes.len());
            while let Some(row) = stream.try_next().await? {
                let (key, values) = of_row(schema, &relation, &row)?;
                rows.push(key, values).map_err(|error| fault(&relation, &schema.key, &error.to_string()))?;
            }
            Ok((rows.len() <= most).then_some(rows))
        };
        self.kept(&relation, bounded(read).await, &session)
    }

    /// The rows of these keys of a table, those that are there.
    ///
    /// # Errors
    /// As [`PostgresTables::rows`].
    pub async fn rows_of(
        &mut self,
        schema: &TableSchema,
        keys: &[CompactString],
    ) -> Result<Vec<(CompactString, Vec<f64>)>, PostgresError> {
        let relation = self.relation(&schema.name).unwrap_or_default().to_owned();
        let sql = format!("SELECT {} FROM {relation} WHERE {} = ANY ($1)", columns(schema), quoted(&schema.key));
        let session = self.session().await?;
        let keys: Vec<&str> = keys.iter().map(CompactString::as_str).collect();
        let read = async {
            let rows = session.client.query(&sql, &[&keys]).await?;
            rows.iter().map(|row| of_row(schema, &relation, row)).collect()
        };
        self.kept(&relation, bounded(read).await, &session)
    }

    /// What the table of rates publishes now. Codes that no payment can have are passed over.
    ///
    /// # Errors
    /// As [`PostgresTables::rows`].
    pub async fn published(&mut self) -> Result<Vec<Publication>, PostgresError> {
        let relation = self.relation(RATES).unwrap_or_default().to_owned();
        let rates = self.rates(&relation).await;
        Ok(rates?.into_iter().flatten().collect())
    }

    /// Every rate that counts.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn frozen(&mut self) -> Result<Vec<Publication>, PostgresError> {
        let own = self.names.own("fraud_rates");
        Ok(self.rates(&own).await?.into_iter().flatten().collect())
    }

    async fn rates(&mut self, relation: &str) -> Result<Vec<Option<Publication>>, PostgresError> {
        let sql = format!(
            "SELECT published::date::text, currency::text, rate::numeric::text FROM {relation} LIMIT {}",
            MOST_RATES + 1
        );
        let session = self.session().await?;
        let read = async {
            let rows = session.client.query(&sql, &[]).await?;
            if rows.len() > MOST_RATES {
                return Err(PostgresError::Faults(vec![format!("{relation} has more than {MOST_RATES} rates")]));
            }
            rows.iter().map(|row| publication(relation, row)).collect()
        };
        self.kept(relation, bounded(read).await, &session)
    }

    /// Writes each to `fraud_rates` where its day has none yet, on disk before this returns; what counts of their days now.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn freeze(&mut self, publications: &[Publication]) -> Result<Vec<Publication>, PostgresError> {
        let own = self.names.own("fraud_rates");
        let given = "unnest($1::text[], $2::text[], $3::text[]) AS i(published, currency, rate)";
        let insert = format!(
            "INSERT INTO {own} (published, currency, rate) SELECT i.published::date, i.currency, i.rate::numeric FROM {given}
             ON CONFLICT (currency, published) DO NOTHING"
        );
        let select = format!(
            "SELECT f.published::text, f.currency, f.rate::text FROM {own} AS f
               JOIN unnest($1::text[], $2::text[]) AS i(published, currency)
                 ON f.published = i.published::date AND f.currency = i.currency"
        );
        // The same order in every instance, so that two of them cannot wait for each other.
        let mut ordered = publications.to_vec();
        ordered.sort_unstable_by_key(|one| (one.day, one.currency.code().to_owned()));
        let days: Vec<String> = ordered.iter().map(Publication::date).collect();
        let codes: Vec<&str> = ordered.iter().map(|one| one.currency.code()).collect();
        let rates: Vec<String> = ordered.iter().map(|one| one.rate.to_string()).collect();
        let session = self.session().await?;
        let write = async {
            session.client.execute(&insert, &[&days, &codes, &rates]).await?;
            let rows = session.client.query(&select, &[&days, &codes]).await?;
            let counting: Result<Vec<_>, _> = rows.iter().map(|row| publication(&own, row)).collect();
            Ok(counting?.into_iter().flatten().collect())
        };
        self.kept(&own, bounded(write).await, &session)
    }

    async fn session(&mut self) -> Result<Arc<Session<()>>, PostgresError> {
        if let Some(session) = self.slot.usable()? {
            return Ok(session);
        }
        let made = Box::pin(Session::connect(&self.settings, async |client| calm(client).await)).await;
        self.slot.keep(made)
    }

    /// An answer; after one that ends the session a new one is made, and a fault names the relation.
    fn kept<T>(
        &mut self,
        relation: &str,
        answer: Result<T, PostgresError>,
        session: &Arc<Session<()>>,
    ) -> Result<T, PostgresError> {
        answer.map_err(|error| {
            if error.ends_session() {
                self.slot.forget(session);
            }
            match error {
                PostgresError::Faults(faults) => {
                    let named = |fault: String| {
                        if fault.contains(relation) { fault } else { format!("{relation}: {fault}") }
                    };
                    PostgresError::Faults(faults.into_iter().map(named).collect())
                }
                other => other,
            }
        })
    }
}

/// Short waits, no part in parallel, and commits that wait for the disk.
async fn calm(client: &Client) -> Result<(), PostgresError> {
    let settings = format!(
        "SET statement_timeout = {}; SET lock_timeout = {}; SET synchronous_commit = on;
         SET max_parallel_workers_per_gather = 0; SET jit = off; SET search_path = pg_catalog; SET timezone = 'UTC';
         SET datestyle = 'ISO'; SET extra_float_digits = 1",
        READING.as_millis(),
        LOCKED.as_millis()
    );
    Ok(client.batch_execute(&settings).await?)
}

async fn bounded<T>(work: impl Future<Output = Result<T, PostgresError>>) -> Result<T, PostgresError> {
    tokio::time::timeout(READING + super::SLACK, work).await.unwrap_or_else(|_| {
        Err(PostgresError::Unavailable(format!(
            "no answer within {:?}; the connection is given up",
            READING + super::SLACK
        )))
    })
}

fn columns(schema: &TableSchema) -> String {
    let names = std::iter::once(&schema.key).chain(schema.attributes.iter().map(|attribute| &attribute.column));
    names.map(|name| format!("{}::text", quoted(name))).collect::<Vec<_>>().join(", ")
}

fn fault(relation: &str, column: &str, rule: &str) -> PostgresError {
    PostgresError::Faults(vec![format!("{relation}, column {}: a row is wrong: {rule}", quoted(column))])
}

fn of_row(schema: &TableSchema, relation: &str, row: &Row) -> Result<(CompactString, Vec<f64>), PostgresError> {
    let cell = |place: usize| row.try_get::<_, Option<&str>>(place).map_err(PostgresError::from);
    let key = cell(0)?.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| fault(relation, &schema.key, "a key is needed"))?;
    let mut values = Vec::with_capacity(schema.attributes.len());
    for (place, attribute) in (1..).zip(&schema.attributes) {
        let value = attribute.value(cell(place)?.unwrap_or_default());
        values.push(value.map_err(|rule| fault(relation, &attribute.column, rule))?);
    }
    Ok((key.into(), values))
}

/// `None` for a code that no payment can have.
fn publication(relation: &str, row: &Row) -> Result<Option<Publication>, PostgresError> {
    let cell = |place: usize, column: &str| {
        let cell = row.try_get::<_, Option<&str>>(place).map_err(PostgresError::from)?;
        cell.ok_or_else(|| fault(relation, column, "a value is needed"))
    };
    let (day, code, rate) = (cell(0, "published")?, cell(1, "currency")?, cell(2, "rate")?);
    if crate::base::money::Currency::parse(code).is_none() {
        return Ok(None);
    }
    Publication::parse(day, code, rate).map(Some).map_err(|rule| fault(relation, "rate", rule))
}
