//! What the fuzz targets and the short suite run: every reader on any bytes. A reader must come back, with a
//! transaction that satisfies the schema or with a rejection that says code and rule.

use std::sync::{Arc, LazyLock};

use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt16Array};
use assay::transaction::arrow::ArrowRows;
use assay::transaction::csv::csv;
use assay::transaction::{Connector, Limits, Read, Rejection, ndjson, read_json};

/// How often a reader gave a transaction, and how often a rejection.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Transactions (of `connector`: files that could be used).
    pub read: u64,
    /// Rejections and files that were refused.
    pub rejected: u64,
}

/// A reader on any bytes.
pub type Reader = fn(&[u8], &mut Outcomes);

/// Every reader by the name of its corpus.
pub const READERS: [(&str, Reader); 5] =
    [("json", json), ("ndjson", lines), ("csv", table), ("arrow", columns), ("connector", connector)];

static CONNECTORS: LazyLock<Vec<Connector>> = LazyLock::new(|| {
    Connector::shipped_names().map(|name| Connector::shipped(name).expect("shipped connectors are right")).collect()
});

/// One JSON object.
pub fn json(bytes: &[u8], outcomes: &mut Outcomes) {
    for connector in CONNECTORS.iter() {
        check(read_json(bytes, connector, &Limits::of_files()), outcomes);
    }
}

/// One JSON object a line.
pub fn lines(bytes: &[u8], outcomes: &mut Outcomes) {
    for connector in CONNECTORS.iter() {
        for (_, outcome) in ndjson(bytes, connector, &Limits::default()) {
            check(outcome, outcomes);
        }
    }
}

/// A CSV table.
pub fn table(bytes: &[u8], outcomes: &mut Outcomes) {
    for connector in CONNECTORS.iter() {
        match csv(bytes, connector, Limits::of_files()) {
            Ok(rows) => rows.for_each(|(_, outcome)| check(outcome, outcomes)),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                outcomes.rejected += 1;
            }
        }
    }
}

/// A record batch whose values are taken from the bytes, eight a row; some texts are identifiers.
pub fn columns(bytes: &[u8], outcomes: &mut Outcomes) {
    let words: Vec<u64> =
        bytes.chunks(8).map(|part| part.iter().fold(0, |word, byte| word << 8 | u64::from(*byte))).collect();
    let text: StringArray = words
        .iter()
        .map(|word| match word % 7 {
            0 => None,
            1..=3 => Some(format!("{word:x}")),
            _ => Some(String::from_utf8_lossy(&word.to_le_bytes()).into_owned()),
        })
        .collect();
    let currency: StringArray = words.iter().map(|word| ["EUR", "JPY", "eur", "XXX"].get(*word as usize % 5)).collect();
    let verdict: Int64Array = words.iter().map(|word| (word % 3 != 0).then_some(*word as i64 % 3)).collect();
    let optional = |shift: u32| words.iter().map(move |word| (word % 5 != 0).then_some((word >> shift) as i64));
    let (times, cents) = (optional(24).collect::<Int64Array>(), optional(40).collect::<Int64Array>());
    let floats: Float64Array = words.iter().map(|word| Some(f64::from_bits(*word))).collect();
    let numbers: UInt16Array = words.iter().map(|word| (word % 11 != 0).then_some(*word as u16)).collect();
    let arrays: [(&str, ArrayRef); 12] = [
        ("TRANSACTION_ID", Arc::new(numbers.clone())),
        ("TX_DATETIME", Arc::new(times)),
        ("CUSTOMER_ID", Arc::new(text.clone())),
        ("TERMINAL_ID", Arc::new(numbers)),
        ("TX_AMOUNT_CENTS", Arc::new(cents.clone())),
        ("transaction_id", Arc::new(text.clone())),
        ("customer_id", Arc::new(text.clone())),
        ("terminal_id", Arc::new(text)),
        ("currency", Arc::new(currency)),
        ("occurred_at", Arc::new(floats.clone())),
        ("amount_minor", Arc::new(floats)),
        ("TX_FRAUD", Arc::new(verdict)),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(arrays.map(|(name, array)| (name, array, true)));
    let batch = batch.expect("columns of one length");
    for connector in CONNECTORS.iter() {
        match ArrowRows::new(connector, Limits::of_files(), &batch) {
            Ok(rows) => rows.for_each(|outcome| check(outcome, outcomes)),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}

/// A connector file.
pub fn connector(bytes: &[u8], outcomes: &mut Outcomes) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Connector::parse(text) {
        Ok(_) => outcomes.read += 1,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            outcomes.rejected += 1;
        }
    }
}

fn check(outcome: Result<Read, Rejection>, outcomes: &mut Outcomes) {
    match outcome {
        Ok(Read { transaction, .. }) => {
            for id in [&transaction.transaction_id, &transaction.customer_id, &transaction.terminal_id] {
                assert!((1..=64).contains(&id.len()) && id.is_ascii(), "{id:?}");
            }
            assert!((0..=1_000_000_000_000).contains(&transaction.amount_minor));
            assert!((0..=253_402_300_799_999).contains(&transaction.occurred_at.0));
            outcomes.read += 1;
        }
        Err(rejection) => {
            assert!(!rejection.rule.is_empty());
            assert!(rejection.value.as_ref().is_none_or(|value| value.chars().count() <= 33), "{rejection}");
            outcomes.rejected += 1;
        }
    }
}
