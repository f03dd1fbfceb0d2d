//! The catalogue of features, and the plan of those a model asks for. (Interface; the body is being written.)

use thiserror::Error;

/// Every feature that `schemas/features.toml` names.
#[derive(Debug, Clone)]
pub struct Catalogue {}

/// Why a catalogue or a plan cannot be had.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// The text breaks a rule.
    #[error("features catalogue: {0}")]
    Invalid(String),
    /// A plan asks for a name the catalogue does not have.
    #[error("the catalogue has no feature {0:?}")]
    Unknown(String),
}

/// Features in the order a model wants them.
#[derive(Debug, Clone)]
pub struct Plan {}

impl Catalogue {
    /// The catalogue that is built into the program (`schemas/features.toml`).
    ///
    /// # Errors
    /// When the text breaks a rule of the catalogue; a test keeps the shipped one right.
    pub fn shipped() -> Result<Self, CatalogueError> {
        todo!()
    }

    /// Reads a catalogue.
    ///
    /// # Errors
    /// The first entry that breaks a rule, by name.
    pub fn parse(_toml: &str) -> Result<Self, CatalogueError> {
        todo!()
    }

    /// Names of all features, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }

    /// The plan that reads `names`, in that order.
    ///
    /// # Errors
    /// The first name the catalogue does not have.
    pub fn plan<S: AsRef<str>>(&self, _names: &[S]) -> Result<Plan, CatalogueError> {
        todo!()
    }

    /// How far back history must reach, in milliseconds: the longest window plus its delay (the lateness comes on top).
    #[must_use]
    pub fn reach(&self) -> i64 {
        todo!()
    }
}

impl Plan {
    /// Names, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        todo!()
    }

    /// Number of features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.names().len()
    }

    /// Whether column `index` is an integer (counts, flags) rather than a 64-bit float.
    #[must_use]
    pub fn is_integer(&self, _index: usize) -> bool {
        todo!()
    }

    /// A sentence about column `index` for a person, from the catalogue.
    #[must_use]
    pub fn meaning(&self, _index: usize) -> &str {
        todo!()
    }
}
