//! Simulated payments, with fraud whose kind is known. Pure: a [`Settings`] goes in, payments come out; no clock, no I/O.
//!
//! ```text
//! Settings ─▶ World (towns, customers, terminals) ─▶ day(n): payments in time order ─▶ text, columns, verdicts
//!                                                └─▶ Stream: one payment after the other, at times the caller gives
//! ```
//!
//! Every number is drawn from a stream of its own, keyed by (seed, purpose, who, day), so a day can be made alone, on any
//! thread, and is the same bytes again.
//!
//! A customer lives in a town, has a usual amount and spread (log-normal), a daily rate (log-normal about two), a daily
//! rhythm, cards and devices, and terminals it prefers: most near home, some in the town next to it, some web shops.
//!
//! About one payment in a hundred is fraud (shares of the expected genuine volume):
//!
//! | kind | share | what it looks like |
//! |---|---|---|
//! | `compromised_terminal` | 0.45 % | for 3 to 9 days many small to medium payments at one point of sale, with many customers' cards |
//! | `stolen_card` | 0.30 % | within hours, three to eight times the customer's usual amount, at terminals it never used |
//! | `card_testing` | 0.25 % | tiny online payments seconds apart from an unknown device, then one large one |
//!
//! Verdicts come later: chargebacks after 3 to 20 days, customers' reports after hours to three days; one fraud in twenty is never
//! reported; 5 in 10,000 genuine payments are reported by mistake and a review takes that back.

mod columns;
mod day;
mod dice;
mod fraud;
mod places;
mod reference;
mod stream;
mod text;
mod verdicts;
mod world;

use thiserror::Error;

use crate::base::money::Currency;

pub use columns::{batch, schema};
pub use day::{Payment, live_id, payment_id};
pub use fraud::FraudKind;
pub use stream::Stream;
pub use text::{CSV_HEADER, csv, ndjson};
pub use verdicts::Verdict;
pub use world::World;

/// What a world is made from. The same settings make the same world, and the same payments.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who pays: 1 to 50,000,000.
    pub customers: u32,
    /// Where: 10 to 50,000,000.
    pub terminals: u32,
    /// Everything drawn depends on it.
    pub seed: u64,
    /// The first is the one of home and of `rates`; all must have a country in the simulator's table.
    pub currencies: Vec<Currency>,
}

/// Why there is no such world.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SimulateError {
    /// A count is out of its range.
    #[error("{what} = {value}: must be {least} to {most}")]
    Range {
        /// Which count.
        what: &'static str,
        /// What it was.
        value: u32,
        /// The least allowed.
        least: u32,
        /// The most allowed.
        most: u32,
    },
    /// No currency was given.
    #[error("at least one currency is needed")]
    NoCurrency,
    /// The table of places has no country for it.
    #[error("no simulated country pays in {currency}; known are {known}")]
    NoCountry {
        /// The currency.
        currency: String,
        /// Those that have one.
        known: String,
    },
}

#[cfg(test)]
mod tests;
