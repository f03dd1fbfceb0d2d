//! What became of dead letters, as PostgreSQL keeps it: states read, marks written, letters dismissed.
//!
//! Where PostgreSQL is not configured there is no book: nothing is marked, and nothing holds completeness.

use std::collections::HashMap;

use anyhow::{Context as _, bail};
use clap::Args;
use tokio::runtime::Runtime;

use super::dead_letters::{chosen, parse};
use crate::app::postgres_options;
use crate::base::clock::Millis;
use crate::config::Config;
use crate::engine::completeness::Mark;
use crate::store::PostgresStore;
use crate::store::postgres::NAME;
use crate::stream::KafkaOptions;
use crate::stream::letters::{Letter, dead_letter};

/// See the module.
pub(super) struct Book {
    store: Option<(PostgresStore, Runtime)>,
}

impl Book {
    pub(super) fn open(config: &Config) -> anyhow::Result<Self> {
        if !config.postgres.is_there() {
            return Ok(Self { store: None });
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { store: Some((PostgresStore::new(&postgres_options(config)?)?, runtime)) })
    }

    /// Whether what is done is written down.
    pub(super) const fn is_there(&self) -> bool {
        self.store.is_some()
    }

    /// The states of letters, as far as PostgreSQL says; one that no auditor has seen yet is open.
    pub(super) fn states(&self, letters: &[Letter]) -> HashMap<(i32, i64), String> {
        let Some((store, runtime)) = &self.store else { return HashMap::new() };
        let places: Vec<_> = letters.iter().map(|letter| (letter.partition, letter.offset)).collect();
        match runtime.block_on(store.states(&places)) {
            Ok(known) => places.into_iter().map(|place| (place, "open".to_owned())).chain(known).collect(),
            Err(error) => {
                super::say(&format!("PostgreSQL does not say what became of them: {error}"));
                HashMap::new()
            }
        }
    }

    /// Writes down what was done with letters, and says which had their end before; how many had not.
    pub(super) fn mark<'l>(
        &self,
        options: &KafkaOptions,
        marks: impl Iterator<Item = (&'l Letter, Mark)>,
        by: &str,
    ) -> anyhow::Result<usize> {
        let Some((store, runtime)) = &self.store else { return Ok(0) };
        let mut marked = 0;
        for (letter, mark) in marks {
            let kept = dead_letter(letter, options, NAME);
            if runtime.block_on(store.mark(&kept, &mark, by))? {
                marked += 1;
            } else {
                super::say(&format!("{}:{} was dismissed or settled before", letter.partition, letter.offset));
            }
        }
        Ok(marked)
    }
}

/// Who does it: as was said, else the user of the system.
pub(super) fn person(by: Option<&str>) -> anyhow::Result<String> {
    let user =
        || ["USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()));
    by.map(str::to_owned).or_else(user).context("the user of the system is not known: pass --by NAME")
}

/// Which letters need no decision, and why.
#[derive(Debug, Args)]
pub(super) struct Dismissal {
    /// PARTITION:OFFSET, one or more.
    #[arg(required_unless_present_any = ["code", "before", "fallback", "row"])]
    places: Vec<String>,
    /// Every letter with this code.
    #[arg(long, conflicts_with = "places")]
    code: Option<String>,
    /// Every letter whose message happened before this moment (RFC 3339).
    #[arg(long, conflicts_with = "places", value_parser = parse_moment)]
    before: Option<Millis>,
    /// The id of a transaction that was only ever answered by a fallback; may stand several times.
    #[arg(long, value_name = "TRANSACTION_ID")]
    fallback: Vec<String>,
    /// The id of a transaction with a decision whose row will not come; may stand several times.
    #[arg(long, value_name = "TRANSACTION_ID")]
    row: Vec<String>,
    /// Why they need no decision.
    #[arg(long)]
    reason: String,
    /// Who says so; the user of the system without it.
    #[arg(long)]
    by: Option<String>,
}

fn parse_moment(text: &str) -> Result<Millis, String> {
    Millis::parse_rfc3339(text).ok_or_else(|| format!("{text:?} is no moment such as 2026-01-31T00:00:00Z"))
}

impl Dismissal {
    pub(super) fn run(&self, options: &KafkaOptions, book: &Book) -> anyhow::Result<()> {
        let Some((store, runtime)) = &book.store else {
            bail!("postgres.host is empty: what became of dead letters is kept in PostgreSQL");
        };
        let by = person(self.by.as_deref())?;
        if !self.fallback.is_empty() {
            let answers = runtime.block_on(store.dismiss_fallbacks(&self.fallback, &by, &self.reason))?;
            super::say(&format!("dismissed {answers} fallbacks"));
            if answers == 0 {
                bail!("none of these transactions has a fallback alone");
            }
        }
        if !self.row.is_empty() {
            let rows = runtime.block_on(store.dismiss_rows(&self.row, &by, &self.reason))?;
            super::say(&format!("dismissed {rows} rows"));
            if rows == 0 {
                bail!("none of these transactions has a decision that waits for its row, or all were dismissed before");
            }
        }
        if self.places.is_empty() && self.code.is_none() && self.before.is_none() {
            return Ok(());
        }
        let places = self.places.iter().map(|place| parse(place)).collect::<anyhow::Result<Vec<_>>>()?;
        // Kafka may no longer have what is known.
        let known = runtime.block_on(store.dismiss(&places, &by, &self.reason))?;
        let places: Vec<String> = self
            .places
            .iter()
            .zip(places)
            .filter(|(_, place)| !known.contains(place))
            .map(|(text, _)| text.clone())
            .collect();
        if places.is_empty() && !self.places.is_empty() {
            super::say(&format!("dismissed {} dead letters", known.len()));
            return Ok(());
        }
        let letters = chosen(options, &places, |letter| {
            self.code.as_ref().is_none_or(|code| letter.code == *code)
                && self.before.is_none_or(|before| letter.at < before)
        })?;
        let marks = letters.iter().map(|letter| (letter, Mark::Dismissed(self.reason.clone())));
        let new = book.mark(options, marks, &by)?;
        super::say(&format!("dismissed {} dead letters", known.len() + new));
        Ok(())
    }
}
