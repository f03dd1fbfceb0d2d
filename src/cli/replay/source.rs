//! Where payments come from: a file, row by row, or the simulation, at the wall clock's time.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::base::money::Currency;
use crate::simulate::{Settings, Stream, World};
use crate::transaction::Transaction;

type Rows = Box<dyn Iterator<Item = anyhow::Result<Transaction>> + Send>;

/// Payments, one after the other.
pub(super) struct Source {
    rows: std::iter::Peekable<Rows>,
}

impl Source {
    /// A file's payments. Its time order is not checked: a payment out of order is due at once.
    pub(super) fn file(path: &Path, connector: &str) -> anyhow::Result<Self> {
        Ok(Self { rows: open(path, connector)?.peekable() })
    }

    /// Simulated payments that happen when they are taken.
    pub(super) fn simulation(customers: u32, terminals: u32, seed: u64) -> anyhow::Result<Self> {
        let euro = Currency::parse("EUR").context("the euro is a currency")?;
        let world = World::new(&Settings { customers, terminals, seed, currencies: vec![euro] })?;
        let mut stream = Stream::new(Arc::new(world), SystemClock.now());
        let rows = std::iter::from_fn(move || Some(Ok(stream.next_at(SystemClock.now()))));
        Ok(Self { rows: (Box::new(rows) as Rows).peekable() })
    }

    /// When the first payment happened; `None` without any. Takes nothing.
    pub(super) fn first(&mut self) -> Option<Millis> {
        self.rows.peek()?.as_ref().ok().map(|payment| payment.occurred_at)
    }
}

impl Iterator for Source {
    type Item = anyhow::Result<Transaction>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next()
    }
}

/// The longest line read.
const LONGEST: u64 = 1 << 20;

fn open(path: &Path, connector: &str) -> anyhow::Result<Rows> {
    if connector != "canonical" || !path.extension().is_some_and(|ending| ending == "ndjson" || ending == "jsonl") {
        bail!("{}: only .ndjson with the canonical connector can be replayed", path.display());
    }
    let name = path.display().to_string();
    let mut file = BufReader::new(File::open(path).with_context(|| format!("cannot read {name}"))?);
    let mut number = 0_u64;
    Ok(Box::new(std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match file.by_ref().take(LONGEST).read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) => return Some(read(&line).with_context(|| format!("{name}, line {number}"))),
                Err(error) => return Some(Err(error).with_context(|| format!("cannot read {name}"))),
            }
        }
    })))
}

fn read(line: &[u8]) -> anyhow::Result<Transaction> {
    let mut value: serde_json::Value = serde_json::from_slice(line)?;
    if let Some(moment) = value.get_mut("occurred_at")
        && let Some(millis) = moment.as_str().map(Millis::parse_rfc3339)
    {
        *moment = millis.context("occurred_at is not RFC 3339")?.0.into();
    }
    Ok(serde_json::from_value(value)?)
}
