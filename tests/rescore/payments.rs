//! The payments of the test: known by their number, a minute apart and more, the last some hours ago.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

pub(crate) const COUNT: usize = 400;
/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000;
const HOUR: i64 = 3_600_000;

pub(crate) struct Payment {
    pub(crate) id: String,
    pub(crate) at: i64,
    pub(crate) customer: String,
    pub(crate) terminal: String,
    pub(crate) amount: i64,
    /// When it was told to be fraud.
    pub(crate) labelled_at: Option<i64>,
}

pub(crate) fn id(number: usize) -> String {
    format!("tx-{number:04}")
}

/// Payments that the service never sees.
pub(crate) fn is_missing(number: usize) -> bool {
    number % 9 == 4
}

pub(crate) fn all() -> Vec<Payment> {
    let payment = |number: usize| {
        let at = START + (number as i64) * 47 * 60_000 + (number as i64 * 7919) % 60_000;
        Payment {
            id: id(number),
            at,
            customer: format!("c{}", number % 13),
            terminal: format!("t{}", number % 5),
            amount: 100 + (number as i64 * 37) % 9_000,
            labelled_at: (number % 10 == 1).then_some(at + 3 * HOUR),
        }
    };
    (0..COUNT).map(payment).collect()
}

impl Payment {
    pub(crate) fn json(&self) -> Value {
        json!({
            "transaction_id": self.id, "occurred_at": self.at, "customer_id": self.customer, "terminal_id": self.terminal,
            "amount_minor": self.amount, "currency": "EUR",
        })
    }

    pub(crate) fn label(&self) -> Option<Value> {
        let at = self.labelled_at?;
        Some(json!({"transaction_id": self.id, "is_fraud": true, "labelled_at": at, "source": "review"}))
    }
}

/// What `assay features` says of the same payments and verdicts, by id: the file is in order, so each row is complete.
pub(crate) fn offline(folder: &Path) -> HashMap<String, Value> {
    let [input, labels, output] = ["tx.ndjson", "labels.ndjson", "features.ndjson"].map(|name| folder.join(name));
    if !output.exists() {
        let (mut lines, mut verdicts) = (String::new(), String::new());
        for payment in all() {
            writeln!(lines, "{}", payment.json()).unwrap();
            if let Some(label) = payment.label() {
                writeln!(verdicts, "{label}").unwrap();
            }
        }
        std::fs::write(&input, lines).unwrap();
        std::fs::write(&labels, verdicts).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
        command.arg("features").arg("--input").arg(&input).arg("--labels").arg(&labels).arg("--output").arg(&output);
        let told = command.output().unwrap();
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    }
    let text = std::fs::read_to_string(output).unwrap();
    let rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    rows.map(|row| (row["transaction_id"].as_str().unwrap().to_owned(), row)).collect()
}
