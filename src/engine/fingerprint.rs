//! Keyed hashes of a transaction: of its id, and of its required fields.

use crate::base::hash::HashKey;
use crate::transaction::Transaction;

/// The keyed hash of an id.
pub(crate) fn id_of(key: HashKey, transaction_id: &str) -> u128 {
    key.wide(transaction_id.as_bytes())
}

/// 48 bits over the required fields besides the id: two copies with the same one are the same payment.
pub(crate) fn fingerprint_of(key: HashKey, transaction: &Transaction) -> u64 {
    let mut bytes = Vec::with_capacity(160);
    bytes.extend_from_slice(&transaction.occurred_at.0.to_le_bytes());
    bytes.extend_from_slice(&transaction.amount_minor.to_le_bytes());
    bytes.extend_from_slice(transaction.currency.code().as_bytes());
    // Lengths are at most 64: a byte keeps ("ab", "c") and ("a", "bc") apart.
    for id in [&transaction.customer_id, &transaction.terminal_id] {
        bytes.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(id.as_bytes());
    }
    (key.wide(&bytes) >> 64) as u64 & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Millis;
    use crate::base::money::Currency;

    type Change = fn(&mut Transaction);

    #[test]
    fn every_required_field_counts_and_no_optional_one() {
        let key = HashKey::new([3; 16]);
        let transaction = Transaction {
            transaction_id: "t".into(),
            occurred_at: Millis(5),
            customer_id: "ab".into(),
            terminal_id: "c".into(),
            amount_minor: 5,
            currency: Currency::parse("EUR").unwrap(),
            merchant_id: None,
            product_id: None,
            country: None,
            channel: None,
            card_id: None,
            device_id: None,
            is_fraud: None,
        };
        let with = |change: Change| {
            let mut other = transaction.clone();
            change(&mut other);
            fingerprint_of(key, &other)
        };
        let same = fingerprint_of(key, &transaction);
        let required: [Change; 5] = [
            |t| t.occurred_at = Millis(6),
            |t| t.amount_minor = 6,
            |t| t.currency = Currency::parse("USD").unwrap(),
            |t| t.customer_id = "a".into(),
            |t| t.terminal_id = "d".into(),
        ];
        assert!(required.iter().all(|change| with(*change) != same));
        let shifted: Change = |t| (t.customer_id, t.terminal_id) = ("a".into(), "bc".into());
        assert_ne!(with(shifted), same);
        let optional: Change = |t| (t.merchant_id, t.is_fraud) = (Some("m".into()), Some(true));
        assert_eq!(with(optional), same);
    }
}
