//! A range of a view's time in the order of (occurred_at, transaction_id), page by page.
//!
//! ```text
//! WHERE time >= $1 AND (time > $1 OR id > $2) AND time < $3 ORDER BY time, id LIMIT page
//! ```
//!
//! The mapped columns themselves are compared, so that an index on the time serves every page. The column's own order is finer than
//! the transaction's (microseconds) or coarser than its id's: rows of one millisecond are put in order here, once the next one
//! has begun.
//!
//! A row that is written behind a page that was read is not seen: a range should end before the present.

use anyhow::{Context as _, Result, bail};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::{Row, View, quoted, quoted_part, read};
use crate::base::clock::Millis;
use crate::store::files::Rejected;
use crate::transaction::Transaction;
use crate::transaction::connector::Unit;

/// The longest that the server may work on a page, milliseconds: a view without an index on its time is told by it.
const PAGE_TIMEOUT: u32 = 60_000;

/// What the time's column counts in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// `timestamp with time zone`, as microseconds.
    Moment,
    Milliseconds,
    Seconds,
}

impl Scale {
    /// The first value of the column that is not before `moment`.
    fn from(self, moment: Millis) -> i64 {
        match self {
            Self::Moment => moment.0.saturating_mul(1_000),
            Self::Milliseconds => moment.0,
            Self::Seconds => moment.0.div_euclid(1_000) + i64::from(moment.0.rem_euclid(1_000) > 0),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(in crate::cli) struct Ordered {
    view: View,
    statement: Statement,
    first: Statement,
    scale: Scale,
    /// Where the next page begins: after this time and id.
    after: (i64, String),
    until: i64,
    page: i64,
    /// Rows of the last millisecond that was seen: the next page may have more of it.
    held: Vec<Transaction>,
    ended: bool,
}

/// Rows in order, and those that are no transactions.
#[derive(Debug, Default)]
pub(in crate::cli) struct Page {
    pub(in crate::cli) transactions: Vec<Transaction>,
    pub(in crate::cli) rejected: Vec<Rejected>,
    /// Whether there is nothing more.
    pub(in crate::cli) ended: bool,
}

impl Ordered {
    /// Checks that the view can be read in order; reads nothing yet.
    pub(in crate::cli) async fn new(view: View, page: i64) -> Result<Self> {
        let column = |field: &str| {
            let plain = view.connector.plain(field).filter(|(path, _)| !path.contains('.'));
            plain.with_context(|| {
                format!("connector {}: a range needs {field} from one column as it is", view.connector.name())
            })
        };
        let ((time, unit), (id, _)) = (column("occurred_at")?, column("transaction_id")?);
        let (time, id, name) = (quoted_part(time), quoted_part(id), quoted(&view.name));
        let what = || format!("--view {}", view.name);
        let asked =
            view.client.prepare(&format!("SELECT v.{time} FROM {name} AS v LIMIT 0")).await.with_context(what)?;
        let kind = asked.columns().first().map(|column| column.type_().clone());
        let scale = match (kind, unit) {
            (Some(Type::TIMESTAMPTZ), Unit::Default | Unit::Rfc3339) => Scale::Moment,
            (Some(Type::INT8 | Type::INT4), Unit::Default | Unit::Milliseconds) => Scale::Milliseconds,
            (Some(Type::INT8 | Type::INT4), Unit::Seconds) => Scale::Seconds,
            (kind, _) => {
                let kind = kind.map_or_else(String::new, |kind| kind.name().to_owned());
                bail!(
                    "{}: {time} is {kind}: a range needs a timestamptz, or an integer of milliseconds or seconds as the connector says",
                    what()
                )
            }
        };
        // A moment as an integer and back, exact to the microsecond; the column itself stays bare for its index.
        let number = match scale {
            Scale::Moment => format!("(extract(epoch FROM v.{time}) * 1000000)::bigint"),
            Scale::Milliseconds | Scale::Seconds => format!("v.{time}::bigint"),
        };
        let moment = |place: &str| match scale {
            Scale::Moment => format!("(timestamptz 'epoch' + {place}::bigint * interval '1 microsecond')"),
            Scale::Milliseconds | Scale::Seconds => format!("{place}::bigint"),
        };
        let (from, until) = (moment("$1"), moment("$3"));
        let text = format!("v.{id}::text COLLATE \"C\"");
        let page_of = format!(
            "SELECT row_to_json(v)::text, {number}, {text} FROM {name} AS v
              WHERE v.{time} >= {from} AND (v.{time} > {from} OR {text} > $2::text COLLATE \"C\") AND v.{time} < {until}
              ORDER BY v.{time}, {text} LIMIT $4"
        );
        let first = format!("SELECT row_to_json(v)::text FROM {name} AS v ORDER BY v.{time} LIMIT 1");
        let settings = format!(
            "SET default_transaction_read_only = on; SET statement_timeout = {PAGE_TIMEOUT}; SET timezone = 'UTC'"
        );
        view.client.batch_execute(&settings).await?;
        let statement = view.client.prepare(&page_of).await.with_context(what)?;
        let first = view.client.prepare(&first).await.with_context(what)?;
        Ok(Self {
            view,
            statement,
            first,
            scale,
            after: (0, String::new()),
            until: 0,
            page,
            held: Vec::new(),
            ended: true,
        })
    }

    /// When the view's first transaction happened.
    pub(in crate::cli) async fn begins(&self) -> Result<Option<Millis>> {
        let found = self.view.client.query_opt(&self.first, &[]).await.with_context(|| self.what())?;
        let Some(row) = found else { return Ok(None) };
        let read = read(row.try_get(0)?, 1, &self.view.connector, &self.view.limits);
        let transaction =
            read.map_err(|refused| anyhow::anyhow!("{}: its first row: {}", self.what(), refused.rejection))?;
        Ok(Some(transaction.occurred_at))
    }

    /// Begins to read [from, until).
    pub(in crate::cli) fn seek(&mut self, from: Millis, until: Millis) {
        // No id is before the empty one.
        self.after = (self.scale.from(from), String::new());
        self.until = self.scale.from(until);
        self.held = Vec::new();
        self.ended = false;
    }

    /// The next rows in order. A page may have none and not be the last.
    pub(in crate::cli) async fn next(&mut self) -> Result<Page> {
        if self.ended {
            return Ok(Page { ended: true, ..Page::default() });
        }
        let (from, id) = &self.after;
        let rows = self.view.client.query(&self.statement, &[from, id, &self.until, &self.page]).await;
        let rows = rows.with_context(|| self.what())?;
        let mut read_rows: Vec<Row> = Vec::with_capacity(rows.len());
        for row in &rows {
            self.view.rows += 1;
            read_rows.push(read(row.try_get(0)?, self.view.rows, &self.view.connector, &self.view.limits));
        }
        if let Some(last) = rows.last() {
            self.after = (last.try_get(1)?, last.try_get(2)?);
        }
        self.ended = i64::try_from(rows.len()).unwrap_or(i64::MAX) < self.page;
        let mut rejected = Vec::new();
        for row in read_rows {
            match row {
                Ok(transaction) => self.held.push(transaction),
                Err(refused) => rejected.push(refused),
            }
        }
        Ok(Page { transactions: settled(&mut self.held, self.ended), rejected, ended: self.ended })
    }

    fn what(&self) -> String {
        format!("--view {}", self.view.name)
    }
}

/// Takes what no later row can precede, in order: all but those of the newest millisecond, or all at the end.
fn settled(held: &mut Vec<Transaction>, ended: bool) -> Vec<Transaction> {
    let newest = held.iter().map(|one| one.occurred_at).max();
    let (mut settled, rest): (Vec<_>, Vec<_>) =
        std::mem::take(held).into_iter().partition(|one| ended || Some(one.occurred_at) < newest);
    *held = rest;
    settled
        .sort_by(|one, other| (one.occurred_at, &one.transaction_id).cmp(&(other.occurred_at, &other.transaction_id)));
    settled
}

#[cfg(test)]
#[path = "ordered_tests.rs"]
mod tests;
