//! Labels as messages: `schemas/kafka/label.v1.json`.
//!
//! In: the bytes of a message. Out: a verdict with the entities it counts for; one whose sender knows nothing but the id is
//! a loose one and waits for its transaction.

use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::base::money::Rates;
use crate::engine::{Label, event_label};
use crate::features::EventLabel;
use crate::transaction::{Connector, Limits, Rejection, Transaction, read_json};

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// With the transaction's entities.
    Whole(EventLabel),
    /// The id alone.
    Loose(Label),
}

/// Writes a label, with the transaction it is about where that is known.
pub(super) fn write(label: &Label, transaction: Option<&Transaction>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Message<'a> {
        transaction_id: &'a str,
        is_fraud: bool,
        labelled_at: Millis,
        source: &'a str,
        #[serde(flatten)]
        transaction: Option<serde_json::Map<String, serde_json::Value>>,
    }
    // The transaction's own verdict and id are the label's.
    let known = transaction.and_then(|transaction| match serde_json::to_value(transaction) {
        Ok(serde_json::Value::Object(mut fields)) => {
            let extra = fields.remove("extra");
            for key in ["transaction_id", "is_fraud"] {
                fields.remove(key);
            }
            if let Some(serde_json::Value::Array(pairs)) = extra {
                for pair in pairs {
                    if let Ok((name, value)) = serde_json::from_value::<(String, serde_json::Value)>(pair) {
                        fields.insert(name, value);
                    }
                }
            }
            Some(fields)
        }
        _ => None,
    });
    let Label { transaction_id, is_fraud, labelled_at, source } = label;
    let message =
        Message { transaction_id, is_fraud: *is_fraud, labelled_at: *labelled_at, source, transaction: known };
    // A struct of text and numbers is always written.
    serde_json::to_vec(&message).unwrap_or_default()
}

/// Reads a label.
pub(super) fn read(bytes: &[u8], connector: &Connector, limits: &Limits, rates: &Rates) -> Result<Verdict, Rejection> {
    #[derive(Deserialize)]
    struct Message {
        customer_id: Option<serde_json::Value>,
        amount_minor: Option<serde_json::Value>,
    }
    if bytes.len() > limits.bytes {
        return Err(Rejection::too_large(bytes.len(), limits.bytes));
    }
    let label = Label::read(bytes)?;
    let unreadable = |error: serde_json::Error| Rejection::not_json(&format!("not JSON: {error}"));
    let message: Message = serde_json::from_slice(bytes).map_err(unreadable)?;
    if message.customer_id.is_none() {
        return Ok(Verdict::Loose(label));
    }
    let read = if message.amount_minor.is_some() {
        read_json(bytes, connector, limits)?
    } else {
        // Whoever sends verdicts may not know amounts: they count as 0 in sums of fraud, and nowhere else.
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(bytes).map_err(unreadable)?;
        fields.insert("amount_minor".to_owned(), 0.into());
        fields.insert("currency".to_owned(), rates.base().code().into());
        read_json(&serde_json::to_vec(&fields).map_err(unreadable)?, connector, limits)?
    };
    let transaction = read.transaction;
    let base = rates.to_base(transaction.amount_minor, transaction.currency, transaction.occurred_at);
    Ok(Verdict::Whole(event_label(&transaction, base, &label)))
}
