//! The rows that one figure is of (all, or a fold), prepared for both scores: what a replicate needs in order, once.

use super::Unit;
use super::replicate::{Triple, Weighted};
use crate::evaluation::cards::{self, CardDay, card_days};
use crate::evaluation::sample::{Fault, Sample};

/// The unit of every row, numbered from 0.
#[derive(Debug)]
pub(super) struct Units {
    unit: Unit,
    of: Vec<u32>,
    pub(super) count: usize,
    /// Days of the sample, ascending; none where they are not the units.
    days: Vec<i64>,
    /// Customers of the sample; 0 where they are not known.
    customers: usize,
}

impl Units {
    /// # Errors
    /// When the unit's column is not there.
    pub(super) fn of(sample: &Sample, unit: Unit) -> Result<Self, Fault> {
        let customers = sample.customers.as_ref();
        let known = customers.map_or(0, |customers| customers.names.len());
        let number = |place: usize| u32::try_from(place).unwrap_or(u32::MAX);
        match unit {
            Unit::Customer => {
                let fault = Fault::Unit { unit: "customer", missing: "there are no customers" };
                let of = customers.ok_or(fault)?.of.clone();
                Ok(Self { unit, of, count: known, days: Vec::new(), customers: known })
            }
            Unit::Day => {
                let fault = Fault::Unit { unit: "day", missing: "there are no times" };
                let (days, of) = sample.days().zip(sample.days.as_ref()).ok_or(fault)?;
                let units = Self { unit, of: Vec::new(), count: days.len(), days, customers: known };
                Ok(Self { of: of.iter().map(|day| units.number_of(*day)).collect(), ..units })
            }
            Unit::Row => {
                let of = (0..sample.len()).map(number).collect();
                Ok(Self { unit, of, count: sample.len(), days: Vec::new(), customers: known })
            }
        }
    }

    fn number_of(&self, day: i64) -> u32 {
        u32::try_from(self.days.partition_point(|other| *other < day)).unwrap_or(u32::MAX)
    }
}

/// Rows and what both scores make of them.
#[derive(Debug)]
pub(super) struct Scope {
    pub(super) name: String,
    pub(super) rows: u64,
    pub(super) frauds: u64,
    sides: [Side; 2],
}

#[derive(Debug)]
struct Side {
    rows: Weighted,
    cards: Cards,
    /// Cards a day.
    k: u32,
}

#[derive(Debug)]
enum Cards {
    /// No times or no customers, or rows are drawn.
    Unknown,
    /// Customers are drawn: copies of a card.
    Copies(Vec<CardDay>),
    /// Days are drawn: each day's unit and own figure.
    Days(Vec<(u32, f64)>),
}

impl Scope {
    /// The given rows of `sample`, under its own scores (A) and `other` (B).
    pub(super) fn new(name: &str, sample: &Sample, other: &[f64], rows: &[usize], units: &Units, k: u32) -> Self {
        let of_a = sample.pick(rows);
        let mut of_b = of_a.clone();
        of_b.scores = rows.iter().filter_map(|row| other.get(*row).copied()).collect();
        let of_units: Vec<u32> = rows.iter().filter_map(|row| units.of.get(*row).copied()).collect();
        Self {
            name: name.to_owned(),
            rows: rows.len() as u64,
            frauds: of_a.frauds.iter().filter(|fraud| **fraud).count() as u64,
            sides: [of_a, of_b].map(|side| Side::new(&side, &of_units, units, k)),
        }
    }

    /// The figures of A and of B where each unit stands as often as its weight says.
    pub(super) fn figures(&self, weights: &[u32]) -> [Triple; 2] {
        self.sides.each_ref().map(|side| side.figures(weights))
    }
}

impl Side {
    fn new(sample: &Sample, of_units: &[u32], units: &Units, k: u32) -> Self {
        let cards = match units.unit {
            Unit::Customer => card_days(sample).map(Cards::Copies),
            Unit::Row => None,
            Unit::Day => card_days(sample).map(|days| {
                let mut unknown = vec![1; units.customers];
                let by_day = cards::by_day(&days, k, &mut unknown);
                Cards::Days(days.iter().map(|day| units.number_of(day.day)).zip(by_day).collect())
            }),
        };
        Self { rows: Weighted::new(sample, of_units), cards: cards.unwrap_or(Cards::Unknown), k }
    }

    fn figures(&self, weights: &[u32]) -> Triple {
        let ranking = self.rows.figures(weights);
        [ranking.map(|(area, _)| area), ranking.map(|(_, precision)| precision), self.card_precision(weights)]
    }

    fn card_precision(&self, weights: &[u32]) -> Option<f64> {
        match &self.cards {
            Cards::Unknown => None,
            Cards::Copies(days) => {
                let by_day: Vec<f64> = cards::by_day(days, self.k, &mut weights.to_vec()).collect();
                Some(cards::mean(&by_day))
            }
            Cards::Days(days) => {
                let weight = |number: u32| f64::from(weights.get(number as usize).copied().unwrap_or_default());
                let total: f64 = days.iter().map(|(number, _)| weight(*number)).sum();
                let sum: f64 = days.iter().map(|(number, precision)| weight(*number) * precision).sum();
                (total > 0.0).then(|| sum / total)
            }
        }
    }
}
