//! Sealed texts: encrypted so that a change is noticed, with the name of the key beside them.
//!
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03): its nonce has 192 bits, so that one drawn at random for each text never
//! comes again, however many texts a key seals. What a text belongs to is bound to it: moved elsewhere it does not open.
//!
//! In: a text, a random nonce, what it belongs to. Out: a [`Sealed`]; opened again by the key of the same name.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use thiserror::Error;

use super::keyring::{KeyRing, NamedKey};

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;

/// A sealed text.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// The key's name.
    pub key: Arc<str>,
    /// Drawn at random for this text.
    pub nonce: [u8; NONCE_BYTES],
    /// The encrypted text and its tag of 16 bytes.
    pub text: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({}, {} bytes)", self.key, self.text.len())
    }
}

/// Why a text cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SealError {
    /// The ring has no key of this name.
    #[error("there is no key {0}: add it behind the key in use")]
    UnknownKey(String),
    /// Another key of the same name, a changed text, or one that belongs elsewhere.
    #[error("the text does not open with the key {0}: the key, the text or its place is another")]
    Broken(String),
    /// Longer than the cipher allows (256 GiB).
    #[error("the text is too long to be sealed")]
    TooLong,
}

/// Seals with the key in use, opens with every key of the ring.
#[derive(Debug, Clone)]
pub struct Seals(KeyRing);

impl Seals {
    /// By these keys.
    #[must_use]
    pub const fn new(keys: KeyRing) -> Self {
        Self(keys)
    }

    /// Seals `text` as what belongs to `place`. Invariant: `nonce` is random and used once.
    ///
    /// # Errors
    /// `TooLong`.
    pub fn seal(&self, nonce: [u8; NONCE_BYTES], place: &str, text: &[u8]) -> Result<Sealed, SealError> {
        let key = self.0.current();
        let payload = Payload { msg: text, aad: place.as_bytes() };
        let text = cipher(key).encrypt(&XNonce::from(nonce), payload).map_err(|_too_long| SealError::TooLong)?;
        Ok(Sealed { key: Arc::clone(&key.id), nonce, text })
    }

    /// Opens what was sealed for `place`.
    ///
    /// # Errors
    /// `UnknownKey`, `Broken`.
    pub fn open(&self, place: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
        let name = || sealed.key.to_string();
        let key = self.0.named(&sealed.key).ok_or_else(|| SealError::UnknownKey(name()))?;
        let payload = Payload { msg: &sealed.text, aad: place.as_bytes() };
        cipher(key).decrypt(&XNonce::from(sealed.nonce), payload).map_err(|_wrong| SealError::Broken(name()))
    }
}

fn cipher(key: &NamedKey) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&(*key.expose()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "old:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const NEW: &str = "new:1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100";

    fn by(text: &str) -> Seals {
        Seals::new(KeyRing::parse(text).unwrap())
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_and_for_its_place_alone() {
        let old = by(OLD);
        let sealed = old.seal([7; 24], "tx-1", b"who pays").unwrap();
        assert_eq!((&*sealed.key, sealed.text.len()), ("old", 8 + 16));
        assert!(!sealed.text.windows(3).any(|part| part == b"who"));
        assert_eq!(old.open("tx-1", &sealed).unwrap(), b"who pays");
        assert_eq!(old.open("tx-2", &sealed), Err(SealError::Broken("old".into())));
        assert_eq!(by(NEW).open("tx-1", &sealed), Err(SealError::UnknownKey("old".into())));
        let renamed = NEW.replace("new:", "old:");
        assert_eq!(by(&renamed).open("tx-1", &sealed), Err(SealError::Broken("old".into())));
        for at in 0..sealed.text.len() {
            let mut changed = sealed.clone();
            changed.text[at] ^= 1;
            assert!(old.open("tx-1", &changed).is_err(), "{at}");
        }
        assert!(!format!("{sealed:?} {old:?}").contains("000102"));
    }

    #[test]
    fn after_a_change_of_the_key_what_was_sealed_before_opens_still() {
        let sealed = by(OLD).seal([1; 24], "p", b"text").unwrap();
        let both = by(&format!("{NEW},{OLD}"));
        assert_eq!(both.open("p", &sealed).unwrap(), b"text");
        assert_eq!(&*both.seal([2; 24], "p", b"text").unwrap().key, "new");
    }
}
