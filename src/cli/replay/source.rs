//! Where payments come from: a file, row by row, or the simulation, at the wall clock's time.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::base::clock::{Clock as _, Millis, SystemClock};
use crate::base::money::Currency;
use crate::simulate::{Settings, Stream, World};
use crate::store::files;
use crate::transaction::{Limits, RejectionCode, Transaction};

/// A row of the source.
#[derive(Debug)]
pub(super) enum Row {
    Payment(Box<Transaction>),
    /// It is no payment: the code, and where and why in words.
    Refused(RejectionCode, String),
}

/// Fails where nothing more can be read.
type Rows = Box<dyn Iterator<Item = anyhow::Result<Row>> + Send>;

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
        let rows = std::iter::from_fn(move || Some(Ok(Row::Payment(Box::new(stream.next_at(SystemClock.now()))))));
        Ok(Self { rows: (Box::new(rows) as Rows).peekable() })
    }

    /// When the first row's payment happened; `None` where it is none. Takes nothing.
    pub(super) fn first(&mut self) -> Option<Millis> {
        match self.rows.peek()? {
            Ok(Row::Payment(payment)) => Some(payment.occurred_at),
            Ok(Row::Refused(..)) | Err(_) => None,
        }
    }
}

impl Iterator for Source {
    type Item = anyhow::Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next()
    }
}

fn open(path: &Path, connector: &str) -> anyhow::Result<Rows> {
    let connector = crate::cli::features::connector(connector)?;
    let name = path.display().to_string();
    let mut file = files::Source::open(path, connector, Limits::of_files())?;
    let mut chunk = Vec::new().into_iter();
    Ok(Box::new(std::iter::from_fn(move || {
        if chunk.len() == 0 {
            chunk = match file.read() {
                Ok(rows) => rows.into_iter(),
                Err(error) => return Some(Err(error.into())),
            };
        }
        let row = chunk.next()?;
        Some(Ok(row.map_or_else(
            |refused| {
                Row::Refused(refused.rejection.code, format!("{name}, row {}: {}", refused.row, refused.rejection))
            },
            |payment| Row::Payment(Box::new(payment)),
        )))
    })))
}
