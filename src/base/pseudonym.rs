//! Pseudonyms: what stands for a personal identifier outside of the boundary.
//!
//! `pseudonym = HMAC-SHA-256(key, field ‖ 0x00 ‖ identifier)` (RFC 2104, FIPS 198-1), 64 hexadecimal digits, with the key's
//! name beside it. The field is part of it, so that the same text as a customer and as a card are two pseudonyms; it never
//! holds a zero byte, so that no two pairs are one text. Without the key neither an identifier nor a guess can be checked.
//!
//! In: a field's name and an identifier. Out: its pseudonym by the key in use; for a reader those by every key it still
//! has. Changing the key changes no pseudonym that was made: while the ring holds the earlier key, a reader finds both.

use std::fmt::Write as _;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::keyring::{KeyRing, NamedKey};

/// What stands for an identifier, and which key made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pseudonym {
    /// The key's name.
    pub key: Arc<str>,
    /// 64 hexadecimal digits.
    pub value: String,
}

/// Makes pseudonyms.
#[derive(Debug, Clone)]
pub struct Pseudonyms(KeyRing);

impl Pseudonyms {
    /// By these keys.
    #[must_use]
    pub const fn new(keys: KeyRing) -> Self {
        Self(keys)
    }

    /// The name of the key in use.
    #[must_use]
    pub const fn key(&self) -> &Arc<str> {
        &self.0.current().id
    }

    /// The pseudonym by the key in use: for what is written.
    #[must_use]
    pub fn of(&self, field: &str, identifier: &str) -> Pseudonym {
        make(self.0.current(), field, identifier)
    }

    /// Those by every key, the one in use first: for what is looked up.
    #[must_use]
    pub fn all_of(&self, field: &str, identifier: &str) -> Vec<Pseudonym> {
        self.0.all().map(|key| make(key, field, identifier)).collect()
    }
}

fn make(key: &NamedKey, field: &str, identifier: &str) -> Pseudonym {
    // HMAC fills a shorter key up with zeros to a block of the hash: 64 bytes.
    let mut block = [0; 64];
    block.iter_mut().zip(key.expose()).for_each(|(to, from)| *to = *from);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(field.as_bytes());
    mac.update(&[0]);
    mac.update(identifier.as_bytes());
    let mut value = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        // Writing to a string cannot fail.
        let _infallible = write!(value, "{byte:02x}");
    }
    Pseudonym { key: Arc::clone(&key.id), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NEW: &str = "new:1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";

    fn by(text: &str) -> Pseudonyms {
        Pseudonyms::new(KeyRing::parse(text).unwrap())
    }

    #[test]
    fn it_is_the_mac_that_other_programs_compute() {
        // printf 'customer_id\0c-1' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0001…1f
        let made = by(OLD).of("customer_id", "c-1");
        assert_eq!(made.value, "1bee4d89c276568e55f103a0406b21feef56eca2454b8bfea5e3a712d1a81857");
        assert_eq!(&*made.key, "old");
    }

    #[test]
    fn another_key_field_or_identifier_is_another_pseudonym() {
        let old = by(OLD);
        let made = old.of("customer_id", "c-1");
        assert_eq!(made, old.of("customer_id", "c-1"));
        for other in [old.of("card_id", "c-1"), old.of("customer_id", "c-2"), by(NEW).of("customer_id", "c-1")] {
            assert_ne!(made.value, other.value);
        }
        assert_ne!(old.of("a", "bc").value, old.of("ab", "c").value);
    }

    #[test]
    fn while_two_keys_overlap_a_reader_has_both_pseudonyms_and_a_writer_the_new_one() {
        let both = by(&format!("{NEW}\n{OLD}"));
        let all = both.all_of("card_id", "4711");
        assert_eq!(all, [by(NEW).of("card_id", "4711"), by(OLD).of("card_id", "4711")]);
        assert_eq!(both.of("card_id", "4711"), all[0]);
        assert_eq!(&**both.key(), "new");
    }

    #[test]
    fn it_prints_no_key() {
        assert!(!format!("{:?}", by(OLD)).contains("000102"));
    }
}
