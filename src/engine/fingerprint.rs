//! Keyed hashes of a transaction, as wide as the index of ids keeps them.

use crate::base::hash::HashKey;
use crate::transaction::Transaction;

/// The keyed hash of an id.
pub(crate) fn id_of(key: HashKey, transaction_id: &str) -> u128 {
    key.wide(transaction_id.as_bytes())
}

/// 48 bits over the required fields besides the id: two copies with the same one are the same payment.
pub(crate) fn fingerprint_of(key: HashKey, transaction: &Transaction) -> u64 {
    transaction.fingerprint(&key) & 0xffff_ffff_ffff
}
