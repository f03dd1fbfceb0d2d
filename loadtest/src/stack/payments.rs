//! Payments to send: simulated or out of a file, each with its row and its canonical JSON.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use assay::base::clock::{Clock as _, Millis, SystemClock};
use assay::base::money::Currency;
use assay::simulate::{Settings, Stream, World};
use assay::store::files::Source;
use assay::transaction::{Connector, Limits, Transaction};

/// An endless source of simulated payments that happen when they are taken, or at moments that are given.
pub(crate) struct Payments(Stream);

impl Payments {
    /// As many customers and terminals as [`Bodies`](crate::bodies::Bodies) has, for the same reason.
    pub(crate) fn new(seed: u64) -> anyhow::Result<Self> {
        let euro = Currency::parse("EUR").context("the euro is a currency")?;
        let settings = Settings { customers: 500_000, terminals: 100_000, seed, currencies: vec![euro] };
        Ok(Self(Stream::new(Arc::new(World::new(&settings)?), SystemClock.now())))
    }

    /// The next `count`, without their labels.
    pub(crate) fn take(&mut self, count: u64) -> Vec<Transaction> {
        (0..count).map(|_| self.next()).collect()
    }

    /// The next one, without its label.
    pub(crate) fn next(&mut self) -> Transaction {
        self.next_at(SystemClock.now())
    }

    /// The next ones, each at its moment of an ascending row of them. Payments all of one moment look like an attack.
    pub(crate) fn take_at(&mut self, moments: impl Iterator<Item = Millis>) -> Vec<Transaction> {
        moments.map(|moment| self.next_at(moment)).collect()
    }

    fn next_at(&mut self, moment: Millis) -> Transaction {
        let mut payment = self.0.next_at(moment);
        payment.is_fraud = None;
        payment
    }
}

/// `count` moments spread evenly over `span`, ascending from `start`.
pub(crate) fn moments(start: Millis, span: Duration, count: u64) -> impl Iterator<Item = Millis> {
    let span = span.as_millis();
    (0..count).map(move |number| {
        let since = span * u128::from(number) / u128::from(count.max(1));
        Millis(start.0.saturating_add(i64::try_from(since).unwrap_or(i64::MAX)))
    })
}

/// The canonical JSON of a payment, as it stands on the topic and in a request; without a label.
pub(crate) fn body(payment: &Transaction) -> anyhow::Result<Vec<u8>> {
    if payment.is_fraud.is_none() {
        return Ok(serde_json::to_vec(payment)?);
    }
    Ok(serde_json::to_vec(&Transaction { is_fraud: None, ..payment.clone() })?)
}

/// Every payment of a file, in its order, at most `most`; a row that is none is an error.
pub(crate) fn of_file(path: &Path, connector: &str, most: usize) -> anyhow::Result<Vec<Transaction>> {
    let connector = if Connector::is_file(connector) {
        Connector::parse(&std::fs::read_to_string(connector).with_context(|| format!("connector {connector}"))?)?
    } else {
        Connector::shipped(connector)?
    };
    let mut source = Source::open(path, connector, Limits::of_files())?;
    let mut payments = Vec::new();
    while payments.len() < most {
        let chunk = source.read()?;
        if chunk.is_empty() {
            break;
        }
        for row in chunk {
            payments.push(row.map_err(|refused| {
                anyhow::anyhow!("{}, row {}: {}", path.display(), refused.row, refused.rejection)
            })?);
        }
    }
    payments.truncate(most);
    Ok(payments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_again_as_the_same_payment_without_its_label() {
        let mut payments = Payments::new(7).unwrap();
        let connector = Connector::shipped("canonical").unwrap();
        for mut payment in payments.take(50) {
            payment.is_fraud = Some(true);
            let read = assay::transaction::read_json(&body(&payment).unwrap(), &connector, &Limits::default()).unwrap();
            payment.is_fraud = None;
            assert_eq!((read.transaction, read.unknown_fields), (payment, 0));
        }
    }

    #[test]
    fn moments_are_spread_evenly_and_the_payments_happen_at_them() {
        let minute = Duration::from_secs(60);
        let all: Vec<i64> = moments(Millis(1_000), minute, 4).map(|moment| moment.0).collect();
        assert_eq!(all, [1_000, 16_000, 31_000, 46_000]);
        assert!(moments(Millis(0), minute, 0).next().is_none());
        let payments = Payments::new(1).unwrap().take_at(moments(Millis(1_000), minute, 4));
        assert!(payments.iter().map(|payment| payment.occurred_at.0).eq(all));
    }

    #[test]
    fn a_file_is_read_up_to_the_most() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payments.ndjson");
        let made = Payments::new(1).unwrap().take(5);
        let lines: Vec<String> = made.iter().map(|payment| serde_json::to_string(payment).unwrap()).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(of_file(&path, "canonical", 3).unwrap(), made[..3]);
        assert_eq!(of_file(&path, "canonical", 100).unwrap(), made);
        std::fs::write(&path, "{}").unwrap();
        assert!(of_file(&path, "canonical", 1).unwrap_err().to_string().contains("row 1"));
    }
}
