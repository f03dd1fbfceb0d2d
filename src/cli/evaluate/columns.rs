//! Which columns mean what, and which rows count.

use std::path::PathBuf;

use clap::Args;

use crate::base::clock::{DAY, Millis};
use crate::base::money::Currency;
use crate::store::files::Kind;

/// Names of columns. A name that is given must be there; without one the usual name is looked for.
#[derive(Debug, Args)]
#[command(next_help_heading = "Columns and rows")]
pub(super) struct Columns {
    /// Column of scores, 0 to 1.
    #[arg(long, value_name = "COLUMN", default_value = "score")]
    pub(super) score: String,
    /// Column of labels: a boolean, or 0 and 1.
    #[arg(long, value_name = "COLUMN", default_value = "is_fraud")]
    pub(super) label: String,
    /// Column of times [usual: occurred_at].
    #[arg(long, value_name = "COLUMN")]
    pub(super) time: Option<String>,
    /// Column of customers, whose rows are one card's [usual: customer_id].
    #[arg(long, value_name = "COLUMN")]
    pub(super) customer: Option<String>,
    /// Column of amounts in major units [usual: amount, where there is none in minor units].
    #[arg(long, value_name = "COLUMN", conflicts_with = "amount_minor")]
    pub(super) amount: Option<String>,
    /// Column of amounts in minor units, such as cents [usual: base_amount_minor, else amount_minor].
    #[arg(long, value_name = "COLUMN")]
    pub(super) amount_minor: Option<String>,
    /// Currency of amounts in minor units, where no column `currency` says it.
    #[arg(long, value_name = "CODE", default_value = "EUR", value_parser = currency)]
    pub(super) currency: Currency,
    /// Column of transaction ids, by which files are joined.
    #[arg(long, value_name = "COLUMN", default_value = "transaction_id")]
    pub(super) id: String,
    /// Column that names the kind of each fraud; gives figures by kind.
    #[arg(long, value_name = "COLUMN")]
    pub(super) kind: Option<String>,
    /// Column that names each row's fold; gives figures by fold, their mean and spread.
    #[arg(long, value_name = "COLUMN")]
    pub(super) fold: Option<String>,
    /// A second file with labels and the other columns, joined by transaction id. Its rows without a score do not count.
    #[arg(long, value_name = "FILE")]
    pub(super) labels: Option<PathBuf>,
    /// The first day (UTC) that counts, such as 2026-01-31.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub(super) from: Option<i64>,
    /// The last day (UTC) that counts.
    #[arg(long, value_name = "DATE", value_parser = day)]
    pub(super) to: Option<i64>,
}

/// The usual name of the column that says in which currency an amount is.
pub(super) const CURRENCY: &str = "currency";

impl Columns {
    /// The column of times: its name, and whether it was given.
    pub(super) fn time(&self) -> (&str, bool) {
        named(self.time.as_deref(), "occurred_at")
    }

    /// The column of customers.
    pub(super) fn customer(&self) -> (&str, bool) {
        named(self.customer.as_deref(), "customer_id")
    }

    /// Columns of amounts in the order in which they are looked for: name, whether in minor units, whether given.
    pub(super) fn amounts(&self) -> Vec<(&str, bool, bool)> {
        match (&self.amount, &self.amount_minor) {
            (Some(name), _) => vec![(name, false, true)],
            (None, Some(name)) => vec![(name, true, true)],
            (None, None) => {
                vec![("base_amount_minor", true, false), ("amount_minor", true, false), ("amount", false, false)]
            }
        }
    }

    /// Whether a day counts.
    pub(super) fn counts(&self, day: i64) -> bool {
        self.from.is_none_or(|from| day >= from) && self.to.is_none_or(|to| day <= to)
    }

    /// Everything to read.
    pub(super) fn wanted(&self) -> Vec<(&str, Kind)> {
        let mut wanted = vec![
            (self.score.as_str(), Kind::Number),
            (&self.label, Kind::Flag),
            (&self.id, Kind::Text),
            (self.time().0, Kind::Time),
            (self.customer().0, Kind::Text),
            (CURRENCY, Kind::Text),
        ];
        wanted.extend(self.amounts().iter().map(|(name, ..)| (*name, Kind::Number)));
        wanted.extend([&self.kind, &self.fold].into_iter().flatten().map(|name| (name.as_str(), Kind::Text)));
        let mut once: Vec<(&str, Kind)> = Vec::new();
        wanted.into_iter().for_each(|column| {
            if !once.contains(&column) {
                once.push(column);
            }
        });
        once
    }
}

fn named<'a>(given: Option<&'a str>, usual: &'a str) -> (&'a str, bool) {
    (given.unwrap_or(usual), given.is_some())
}

fn currency(code: &str) -> Result<Currency, String> {
    Currency::parse(code).ok_or_else(|| "an ISO 4217 code such as EUR".to_owned())
}

fn day(text: &str) -> Result<i64, String> {
    let moment = Millis::parse_rfc3339(&format!("{text}T00:00:00Z")).filter(|moment| moment.0 % DAY == 0);
    moment.map(Millis::day).ok_or_else(|| "a day such as 2026-01-31".to_owned())
}
