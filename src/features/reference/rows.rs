//! The rows of one table, held whole: a key's attributes side by side.

use compact_str::CompactString;
use hashbrown::HashMap;
use thiserror::Error;

/// A key stands twice.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("its key stands in an earlier row too")]
pub struct Repeated;

/// Rows by key: `width` attributes each, NaN where there is none.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    width: usize,
    places: HashMap<CompactString, u32>,
    values: Vec<f64>,
}

/// Equal where each key has the same attributes, in whatever order they came; NaN equals NaN.
impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        let same = |own: &[f64], others: &[f64]| {
            own.len() == others.len() && own.iter().zip(others).all(|(one, two)| one.to_bits() == two.to_bits())
        };
        let holds = |(key, values): (&str, &[f64])| other.get(key).is_some_and(|others| same(values, others));
        self.width == other.width && self.len() == other.len() && self.iter().all(holds)
    }
}

impl Rows {
    /// No rows yet, each to have `width` attributes.
    #[must_use]
    pub fn new(width: usize) -> Self {
        Self { width, ..Self::default() }
    }

    /// Adds a row; attributes that lack are NaN, those beyond `width` are left out.
    ///
    /// # Errors
    /// [`Repeated`]; the row that was there stays.
    pub fn push(&mut self, key: CompactString, attributes: impl IntoIterator<Item = f64>) -> Result<(), Repeated> {
        let place = u32::try_from(self.places.len()).map_err(|_| Repeated)?;
        if self.places.contains_key(&key) {
            return Err(Repeated);
        }
        self.places.insert(key, place);
        let nothing = std::iter::repeat(f64::NAN);
        self.values.extend(attributes.into_iter().chain(nothing).take(self.width));
        Ok(())
    }

    /// The attributes of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&[f64]> {
        let place = *self.places.get(key)? as usize;
        self.values.get(place * self.width..(place + 1) * self.width)
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The keys, in the order in which they came, and the attributes of all of them, a row behind the other.
    #[must_use]
    pub fn parts(&self) -> (Vec<&str>, &[f64]) {
        let mut keys = vec![""; self.len()];
        for (key, place) in &self.places {
            if let Some(slot) = keys.get_mut(*place as usize) {
                *slot = key;
            }
        }
        (keys, &self.values)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &[f64])> {
        self.places.keys().filter_map(|key| Some((key.as_str(), self.get(key)?)))
    }
}
