//! Keys that have names and are changed: the one in use, and those of before that readers still need.
//!
//! In: a text with a key a line (or several in a line, parted by commas), `NAME:64 HEXADECIMAL DIGITS`, the one in use first;
//! a line that begins with `#` is a note. Out: a [`KeyRing`], or what is wrong with which key, without a word of the keys.
//! Invariant: no name stands twice, so a name says which key it was for as long as the key is kept.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Keys of a ring at most: a reader tries each.
pub const MOST_KEYS: usize = 16;
/// Characters of a key's name at most.
const MOST_NAME: usize = 32;

/// A key of 32 bytes and its name, which is no secret.
#[derive(Clone, PartialEq, Eq)]
pub struct NamedKey {
    /// What documents say beside what was made with it: 1 to 32 of letters, digits, `.` `_` `-`.
    pub id: Arc<str>,
    bytes: [u8; KEY_BYTES],
}

impl NamedKey {
    /// The key itself: only for the call that needs it.
    #[must_use]
    pub(super) const fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "NamedKey({}, ***)", self.id)
    }
}

/// One key or more; see the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRing {
    current: NamedKey,
    previous: Vec<NamedKey>,
}

/// What is wrong with a text of keys. It quotes no part of it but a key's name that stands twice.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyRingError {
    /// There is none.
    #[error("holds no key: NAME:64 hexadecimal digits, the key in use first")]
    Empty,
    /// More than a reader should try.
    #[error("holds {0} keys and may hold 16: remove the oldest")]
    TooMany(usize),
    /// A key that is none, by its place from 1 on.
    #[error("key {0} must be NAME:64 hexadecimal digits, with a name of 1 to 32 letters, digits, '.', '_' and '-'")]
    Form(usize),
    /// All its bytes are the same.
    #[error("key {0} is no key: all its bytes are the same")]
    Weak(usize),
    /// Two keys with one name.
    #[error("two keys have the name {0}")]
    Twice(Arc<str>),
}

impl KeyRing {
    /// Reads a text of keys.
    ///
    /// # Errors
    /// See [`KeyRingError`].
    pub fn parse(text: &str) -> Result<Self, KeyRingError> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let entries = lines.flat_map(|line| line.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
        let mut keys: Vec<NamedKey> = Vec::new();
        for (place, entry) in (1..).zip(entries) {
            let key = key_of(entry).ok_or(KeyRingError::Form(place))?;
            if key.bytes.iter().all(|byte| Some(byte) == key.bytes.first()) {
                return Err(KeyRingError::Weak(place));
            }
            if keys.iter().any(|known| known.id == key.id) {
                return Err(KeyRingError::Twice(key.id));
            }
            keys.push(key);
        }
        if keys.len() > MOST_KEYS {
            return Err(KeyRingError::TooMany(keys.len()));
        }
        let mut keys = keys.into_iter();
        let current = keys.next().ok_or(KeyRingError::Empty)?;
        Ok(Self { current, previous: keys.collect() })
    }

    /// The key in use.
    #[must_use]
    pub const fn current(&self) -> &NamedKey {
        &self.current
    }

    /// The key in use, then those of before in their order.
    pub fn all(&self) -> impl Iterator<Item = &NamedKey> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// The key of this name.
    #[must_use]
    pub fn named(&self, id: &str) -> Option<&NamedKey> {
        self.all().find(|key| &*key.id == id)
    }
}

fn key_of(entry: &str) -> Option<NamedKey> {
    let (id, digits) = entry.split_once(':')?;
    let is_name = (1..=MOST_NAME).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let is_hex = digits.len() == 2 * KEY_BYTES && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_name || !is_hex {
        return None;
    }
    let mut bytes = [0; KEY_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(NamedKey { id: id.into(), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(first: u8) -> String {
        (0..32).map(|at| format!("{:02x}", first.wrapping_add(at))).collect()
    }

    #[test]
    fn the_first_key_is_the_one_in_use() {
        let text = format!("# the new one\n 2026-11:{} \n\n2026-05:{},old:{}\n", digits(1), digits(2), digits(3));
        let ring = KeyRing::parse(&text).unwrap();
        assert_eq!(ring.all().map(|key| &*key.id).collect::<Vec<_>>(), ["2026-11", "2026-05", "old"]);
        assert_eq!((&*ring.current().id, ring.current().expose()[31]), ("2026-11", 32));
        assert!(ring.named("old").is_some() && ring.named("none").is_none());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let good = digits(0xa0);
        let many: String = (0..17).map(|at| format!("k{at}:{}\n", digits(at))).collect();
        for (text, expected) in [
            (String::new(), KeyRingError::Empty),
            ("# only a note".to_owned(), KeyRingError::Empty),
            (good.clone(), KeyRingError::Form(1)),
            (format!("a:{good}\nb:{}", &good[1..]), KeyRingError::Form(2)),
            (format!(":{good}"), KeyRingError::Form(1)),
            (format!("a b:{good}"), KeyRingError::Form(1)),
            (format!("a:{}", "g".repeat(64)), KeyRingError::Form(1)),
            (format!("a:{}", "00".repeat(32)), KeyRingError::Weak(1)),
            (format!("a:{good}\na:{}", digits(1)), KeyRingError::Twice("a".into())),
            (many, KeyRingError::TooMany(17)),
        ] {
            let error = KeyRing::parse(&text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("a1a2a3"), "{error}");
        }
        let ring = KeyRing::parse(&format!("a:{good}")).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing { current: NamedKey(a, ***), previous: [] }");
    }
}
