//! Values without a domain of their own: time, money, identifiers, secrets. Imports nothing of the crate.

pub mod bench;
pub mod clock;
pub mod hash;
pub mod keyring;
pub mod money;
pub mod priority;
pub mod pseudonym;
pub mod rates;
pub mod seal;
pub mod secret;
pub mod span;
