//! What becomes known of a payment later, and when.

use compact_str::CompactString;
use serde::Serialize;

use super::day::Payment;
use super::dice::{Dice, Purpose};
use super::fraud::{FraudKind, milliseconds};
use super::world::World;
use crate::base::clock::{DAY, HOUR, Millis};

/// A label in the shape of `POST /labels`, and the truth behind it for evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The payment.
    pub transaction_id: CompactString,
    /// The verdict.
    pub is_fraud: bool,
    /// When it was given: after the payment.
    pub labelled_at: Millis,
    /// `chargeback`, `customer` or `review`.
    pub source: &'static str,
    /// The kind of fraud it really is; `None` for a genuine payment that was reported by mistake.
    pub fraud_kind: Option<FraudKind>,
}

/// A file's line.
#[derive(Serialize)]
struct Line<'a> {
    transaction_id: &'a str,
    is_fraud: bool,
    labelled_at: String,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fraud_kind: Option<FraudKind>,
}

impl Verdict {
    /// One line of NDJSON, without its end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let line = Line {
            transaction_id: &self.transaction_id,
            is_fraud: self.is_fraud,
            labelled_at: self.labelled_at.to_rfc3339(),
            source: self.source,
            fraud_kind: self.fraud_kind,
        };
        // Strings, booleans and unit variants always serialise.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Genuine payments that are reported by mistake.
const MISTAKES: f64 = 0.0005;
/// Frauds that nobody ever reports.
const UNNOTICED: f64 = 0.05;

impl World {
    /// The verdicts of the `number`th payment of its day, in their order in time: none for most payments.
    #[must_use]
    pub fn verdicts(&self, payment: &Payment, number: u64) -> Vec<Verdict> {
        let day = payment.at.day();
        let mut dice = Dice::of(self.seed, Purpose::Verdict, number, day.cast_unsigned());
        let luck = dice.unit();
        let id = || super::day::payment_id(self.seed, day, number);
        let verdict = |transaction_id, is_fraud, delay: f64, source| Verdict {
            transaction_id,
            is_fraud,
            labelled_at: Millis(payment.at.0 + milliseconds(delay).max(1)),
            source,
            fraud_kind: payment.fraud,
        };
        #[expect(clippy::cast_precision_loss, reason = "an hour and a day in milliseconds")]
        let (hour, day) = (HOUR as f64, DAY as f64);
        let noticed = dice.between(2.0, 72.0) * hour;
        let later = dice.between(3.0, 20.0) * day;
        match payment.fraud {
            Some(_) if luck < UNNOTICED => Vec::new(),
            Some(_) if luck < 0.40 => vec![verdict(id(), true, noticed, "customer")],
            Some(_) => vec![verdict(id(), true, later, "chargeback")],
            None if luck < MISTAKES => {
                vec![verdict(id(), true, noticed, "customer"), verdict(id(), false, noticed + later / 2.0, "review")]
            }
            None => Vec::new(),
        }
    }
}
