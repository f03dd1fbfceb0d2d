//! Messages that must be refused, over every code that a topic can meet.
//!
//! Most stand in `tests/data/bad_inputs.json`; those that depend on the clock or on another payment are made here.
//! `amount_digits` needs a connector in major units, which the topic does not have.

use std::sync::Arc;

use anyhow::Context as _;
use assay::base::clock::{Clock as _, DAY, HOUR, Millis, SystemClock};
use assay::transaction::Transaction;
use hyper::body::Bytes;
use serde::Deserialize;

use super::payments::body;

const TABLE: &str = include_str!("../../../tests/data/bad_inputs.json");

/// A message that must be refused with this code.
#[derive(Debug, Clone)]
pub(crate) struct Bad {
    pub(crate) key: String,
    pub(crate) payload: Bytes,
    pub(crate) code: Arc<str>,
}

#[derive(Deserialize)]
struct Input {
    body: String,
    code: String,
}

/// An endless source of bad messages.
pub(crate) struct Source {
    inputs: Vec<(Bytes, Arc<str>)>,
}

/// What is made rather than read.
const MADE: [&str; 3] = ["too_far_ahead", "too_old", "conflict"];

impl Source {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let inputs: Vec<Input> = serde_json::from_str(TABLE).context("tests/data/bad_inputs.json")?;
        let inputs = inputs.into_iter().map(|input| (Bytes::from(input.body), Arc::from(input.code)));
        // Each made one stands as often as any input of the table.
        let made = MADE.into_iter().map(|code| (Bytes::new(), Arc::from(code)));
        Ok(Self { inputs: inputs.chain(made).collect() })
    }

    /// Number `number`; `earlier` was sent before and is what a contradiction contradicts.
    pub(crate) fn next(&self, number: usize, earlier: &Transaction) -> anyhow::Result<Bad> {
        let (payload, code) = self.inputs.get(number % self.inputs.len().max(1)).context("there are no bad inputs")?;
        let now = SystemClock.now();
        let with = |id: &str, at: Millis| Transaction {
            transaction_id: format!("{id}-{number}-{}", now.0).into(),
            occurred_at: at,
            ..earlier.clone()
        };
        let made = match code.as_ref() {
            "too_far_ahead" => Some(with("ahead", Millis(now.0 + DAY))),
            "too_old" => Some(with("old", Millis(now.0 - 72 * HOUR))),
            // The same key, so the same partition, in which it comes later.
            "conflict" => Some(Transaction { amount_minor: earlier.amount_minor + 1, ..earlier.clone() }),
            _ => None,
        };
        let payload = match &made {
            Some(payment) => Bytes::from(body(payment)?),
            None => payload.clone(),
        };
        let key = made.map_or_else(|| format!("bad-{number}"), |payment| payment.customer_id.to_string());
        Ok(Bad { key, payload, code: Arc::clone(code) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use assay::transaction::{Connector, Limits, RejectionCode, read_json};

    use super::*;

    #[test]
    fn every_code_that_a_topic_can_meet_is_there() {
        let source = Source::new().unwrap();
        let earlier = super::super::payments::Payments::new(1).unwrap().next();
        let all: Vec<Bad> = (0..source.inputs.len()).map(|number| source.next(number, &earlier).unwrap()).collect();
        let codes: BTreeSet<&str> = all.iter().map(|bad| bad.code.as_ref()).collect();
        let expected =
            RejectionCode::ALL.map(RejectionCode::as_str).into_iter().filter(|code| *code != "amount_digits");
        assert_eq!(codes, expected.collect());
        // Those that a reader refuses by itself carry the reader's code, the others are read.
        let (connector, limits) = (Connector::shipped("canonical").unwrap(), Limits::default());
        for bad in &all {
            let read = read_json(&bad.payload, &connector, &limits);
            match MADE.contains(&bad.code.as_ref()) {
                true => assert!(read.is_ok(), "{}", bad.code),
                false => assert_eq!(read.unwrap_err().code.as_str(), bad.code.as_ref()),
            }
        }
    }

    #[test]
    fn a_contradiction_has_the_id_and_the_key_of_an_earlier_payment() {
        let source = Source::new().unwrap();
        let earlier = super::super::payments::Payments::new(1).unwrap().next();
        let last = source.next(source.inputs.len() - 1, &earlier).unwrap();
        assert_eq!((last.code.as_ref(), last.key.as_str()), ("conflict", earlier.customer_id.as_str()));
        assert!(std::str::from_utf8(&last.payload).unwrap().contains(earlier.transaction_id.as_str()));
    }
}
