//! Keyed hashes of identifiers. History holds these and never the identifiers themselves.
//!
//! SipHash-1-3 (Aumasson, Bernstein: "SipHash: a fast short-input PRF", 2012) with a 128-bit key: without the
//! key neither an identifier nor a collision can be computed.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128, SipHasher13 as SipHasher13x128};

/// The key of history's hashes, 16 bytes. Changing it means rebuilding the history.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// A key from its 16 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 64-bit keyed hash of an entity's identifier.
    #[must_use]
    pub fn entity(&self, id: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(id.as_bytes());
        hasher.finish()
    }

    /// The 128-bit keyed hash of `bytes`.
    #[must_use]
    pub fn wide(&self, bytes: &[u8]) -> u128 {
        let mut hasher = SipHasher13x128::new_with_key(&self.0);
        hasher.write(bytes);
        hasher.finish128().as_u128()
    }
}

impl std::fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("HashKey(***)")
    }
}
