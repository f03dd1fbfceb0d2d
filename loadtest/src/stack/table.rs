//! The OLTP's table of payments: made, filled in bulk, and asked what of it is completed.
//!
//! The payment pipeline's columns are written here; the four of the decision are left to who completes rows.

use std::fmt::Write as _;

use anyhow::Context as _;
use assay::transaction::Transaction;
use futures_util::SinkExt as _;
use hyper::body::Bytes;
use tokio_postgres::Client;

use super::servers::Servers;

/// Rows that one COPY takes.
const BULK: usize = 20_000;

/// The table on one connection.
pub(crate) struct Table {
    pub(crate) client: Client,
    name: String,
}

/// A row's four columns of the decision.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Completed {
    pub(crate) score: Option<f32>,
    pub(crate) model_version: Option<String>,
    pub(crate) flagged: Option<bool>,
    pub(crate) revision: Option<i32>,
}

impl Completed {
    /// Some of the four are there and others are not.
    pub(crate) fn is_half(&self) -> bool {
        let there =
            [self.score.is_some(), self.model_version.is_some(), self.flagged.is_some(), self.revision.is_some()];
        there.contains(&true) && there.contains(&false)
    }
}

impl Table {
    pub(crate) async fn open(servers: &Servers) -> anyhow::Result<Self> {
        Ok(Self { client: servers.database().await?, name: servers.table.clone() })
    }

    /// Makes the table where it is not there.
    pub(crate) async fn create(&self) -> anyhow::Result<()> {
        let statement = format!(
            "CREATE TABLE IF NOT EXISTS {} (
               transaction_id text PRIMARY KEY,
               occurred_at timestamptz NOT NULL,
               customer_id text NOT NULL,
               terminal_id text NOT NULL,
               amount_minor bigint NOT NULL,
               currency text NOT NULL,
               created_at timestamptz NOT NULL DEFAULT now(),
               fraud_score real,
               fraud_model_version text,
               fraud_flagged boolean,
               fraud_revision integer
             ) WITH (fillfactor = 80)",
            self.name
        );
        Ok(self.client.batch_execute(&statement).await?)
    }

    /// Writes the rows of these payments; a row that is there stays as it is. The number of new ones.
    pub(crate) async fn insert(&mut self, payments: &[Transaction]) -> anyhow::Result<u64> {
        const COLUMNS: &str = "transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency";
        let mut made = 0;
        for bulk in payments.chunks(BULK) {
            let transaction = self.client.transaction().await?;
            let begin = format!(
                "CREATE TEMP TABLE incoming ON COMMIT DROP AS SELECT {COLUMNS} FROM {} WITH NO DATA",
                self.name
            );
            transaction.batch_execute(&begin).await?;
            let sink = transaction.copy_in("COPY incoming FROM STDIN").await?;
            let mut sink = std::pin::pin!(sink);
            sink.send(Bytes::from(lines(bulk))).await?;
            sink.close().await?;
            let finish = format!("INSERT INTO {} ({COLUMNS}) SELECT * FROM incoming ON CONFLICT DO NOTHING", self.name);
            made += transaction.execute(&finish, &[]).await?;
            transaction.commit().await?;
        }
        Ok(made)
    }

    /// Fresh figures for the planner and no dead rows from before, so that a measurement meets neither's absence.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        Ok(self.client.batch_execute(&format!("VACUUM ANALYZE {}", self.name)).await?)
    }

    /// How many of these rows are completed. Reads by key alone.
    pub(crate) async fn completed_of(&self, ids: &[String]) -> anyhow::Result<u64> {
        let query =
            format!("SELECT count(*) FROM {} WHERE transaction_id = ANY($1) AND fraud_score IS NOT NULL", self.name);
        let count: i64 = self.client.query_one(&query, &[&ids]).await?.get(0);
        Ok(count.try_into()?)
    }

    /// How many of these rows are flagged. Reads by key alone.
    pub(crate) async fn flagged_of(&self, ids: &[String]) -> anyhow::Result<u64> {
        let query = format!("SELECT count(*) FROM {} WHERE transaction_id = ANY($1) AND fraud_flagged", self.name);
        let mut flagged = 0;
        for some in ids.chunks(BULK) {
            flagged += self.client.query_one(&query, &[&some]).await?.get::<_, i64>(0);
        }
        Ok(flagged.try_into()?)
    }

    /// Rows that are not completed. Reads the whole table.
    pub(crate) async fn open_rows(&self) -> anyhow::Result<u64> {
        let query = format!("SELECT count(*) FROM {} WHERE fraud_score IS NULL", self.name);
        let count: i64 = self.client.query_one(&query, &[]).await?.get(0);
        Ok(count.try_into()?)
    }

    /// The whole table in a line: rows, completed, flagged, and the newest flagged one. No customer stands in it.
    pub(crate) async fn summary(&self) -> anyhow::Result<String> {
        let name = &self.name;
        let query = format!(
            "SELECT count(*), count(fraud_score), count(*) FILTER (WHERE fraud_flagged),
               (SELECT transaction_id || ', ' || amount_minor || ' minor units ' || currency || ', score ' || fraud_score
                  || ', model ' || fraud_model_version
                FROM {name} WHERE fraud_flagged ORDER BY created_at DESC LIMIT 1)
             FROM {name}"
        );
        let row = self.client.query_one(&query, &[]).await?;
        let (rows, completed, flagged): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let newest = row.get::<_, Option<String>>(3).unwrap_or_else(|| "none".to_owned());
        Ok(format!("rows {rows}  completed {completed}  flagged {flagged}  newest flagged: {newest}"))
    }

    /// Visits the rows of these payments, missing ones apart.
    pub(crate) async fn visit(&self, ids: &[String], mut each: impl FnMut(&str, Completed)) -> anyhow::Result<()> {
        let query = format!(
            "SELECT transaction_id, fraud_score, fraud_model_version, fraud_flagged, fraud_revision
             FROM {} WHERE transaction_id = ANY($1)",
            self.name
        );
        for some in ids.chunks(BULK) {
            for row in self.client.query(&query, &[&some]).await? {
                let completed = Completed {
                    score: row.get(1),
                    model_version: row.get(2),
                    flagged: row.get(3),
                    revision: row.get(4),
                };
                each(row.get(0), completed);
            }
        }
        Ok(())
    }

    /// From now on a row says in `completed_at` when it was completed: the moment of its UPDATE, before the commit.
    pub(crate) async fn stamp(&self) -> anyhow::Result<()> {
        let name = &self.name;
        let function = format!("{}_stamp", name.replace('.', "_"));
        let statement = format!(
            "ALTER TABLE {name} ADD COLUMN IF NOT EXISTS completed_at timestamptz;
             CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN NEW.completed_at := clock_timestamp(); RETURN NEW; END $$;
             CREATE OR REPLACE TRIGGER stamp BEFORE UPDATE ON {name} FOR EACH ROW
               WHEN (OLD.fraud_score IS NULL AND NEW.fraud_score IS NOT NULL) EXECUTE FUNCTION {function}()"
        );
        self.client.batch_execute(&statement).await.context("the trigger that stamps completed rows")
    }

    /// Ends what [`stamp`](Self::stamp) began; the column stays.
    pub(crate) async fn stamp_no_more(&self) -> anyhow::Result<()> {
        Ok(self.client.batch_execute(&format!("DROP TRIGGER IF EXISTS stamp ON {}", self.name)).await?)
    }

    /// (id, microseconds since 1970) of those of these rows that are stamped.
    pub(crate) async fn stamps(&self, ids: &[String]) -> anyhow::Result<Vec<(String, i64)>> {
        let query = format!(
            "SELECT transaction_id, (extract(epoch FROM completed_at) * 1000000)::bigint
             FROM {} WHERE transaction_id = ANY($1) AND completed_at IS NOT NULL",
            self.name
        );
        let mut stamps = Vec::with_capacity(ids.len());
        for some in ids.chunks(BULK) {
            let rows = self.client.query(&query, &[&some]).await?;
            stamps.extend(rows.iter().map(|row| (row.get(0), row.get(1))));
        }
        Ok(stamps)
    }
}

/// The payments as COPY reads them.
fn lines(payments: &[Transaction]) -> String {
    let mut text = String::with_capacity(payments.len() * 100);
    for payment in payments {
        let Transaction { transaction_id, occurred_at, customer_id, terminal_id, amount_minor, currency, .. } = payment;
        // Writing into a String cannot fail.
        let _ = writeln!(
            text,
            "{transaction_id}\t{}\t{}\t{}\t{amount_minor}\t{}",
            occurred_at.to_rfc3339(),
            escaped(customer_id),
            escaped(terminal_id),
            currency.code()
        );
    }
    text
}

/// A value without what COPY would take for its own signs.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_six_values_whatever_stands_in_them() {
        let mut payment = crate::stack::payments::Payments::new(1).unwrap().next();
        payment.customer_id = "a\tb\\c\nd".into();
        let text = lines(&[payment.clone(), payment]);
        assert_eq!(text.lines().count(), 2);
        assert!(text.lines().all(|line| line.split('\t').count() == 6 && line.contains("a\\tb\\\\c\\nd")), "{text}");
    }

    #[test]
    fn a_row_is_half_written_when_some_of_its_columns_are_there() {
        let none = Completed::default();
        let whole =
            Completed { score: Some(0.5), model_version: Some("1".to_owned()), flagged: Some(true), revision: Some(0) };
        assert!(!none.is_half() && !whole.is_half());
        assert!(Completed { flagged: None, ..whole.clone() }.is_half());
        assert!(Completed { revision: Some(0), ..none }.is_half());
    }
}
