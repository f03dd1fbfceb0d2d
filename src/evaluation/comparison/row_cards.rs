//! Card precision of drawn rows: a card is there on a day when one of its rows was drawn, and has what those rows have.

use std::collections::HashMap;

use crate::evaluation::cards::mean;
use crate::evaluation::sample::{Sample, real};

/// Rows by day, highest score first, ties by customer.
#[derive(Debug)]
pub(super) struct RowCards {
    days: Vec<Vec<Row>>,
    /// Every fraud: its unit, and which card of which day it is.
    frauds: Vec<(u32, u32)>,
    /// Cards of all days.
    card_days: usize,
    customers: usize,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    unit: u32,
    card_day: u32,
    customer: u32,
}

/// What is known of a card of one day while a replicate is counted.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    fraud: bool,
    looked_at: bool,
}

impl RowCards {
    /// `None` without times or customers. `units` has the unit of each row.
    pub(super) fn new(sample: &Sample, units: &[u32]) -> Option<Self> {
        let (days, customers) = (sample.days.as_ref()?, sample.customers.as_ref()?);
        let columns = days.iter().zip(&customers.of).zip(sample.scores.iter().zip(&sample.frauds)).zip(units);
        let mut sorted: Vec<(i64, f64, u32, u32, bool)> = columns
            .map(|(((day, customer), (score, fraud)), unit)| (*day, score + 0.0, *customer, *unit, *fraud))
            .collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)).then(a.3.cmp(&b.3)));
        let mut card_days: HashMap<(i64, u32), u32> = HashMap::new();
        let mut all =
            Self { days: Vec::new(), frauds: Vec::new(), card_days: 0, customers: customers.names.len() };
        let mut today = None;
        for (day, _, customer, unit, fraud) in sorted {
            if today != Some(day) {
                today = Some(day);
                all.days.push(Vec::new());
            }
            let next = u32::try_from(card_days.len()).unwrap_or(u32::MAX);
            let card_day = *card_days.entry((day, customer)).or_insert(next);
            if fraud {
                all.frauds.push((unit, card_day));
            }
            if let Some(rows) = all.days.last_mut() {
                rows.push(Row { unit, card_day, customer });
            }
        }
        all.card_days = card_days.len();
        Some(all)
    }

    /// Mean over the days of the card precision at `k` of rows whose unit has a weight.
    pub(super) fn precision(&self, weights: &[u32], k: u32) -> f64 {
        let drawn = |unit: u32| weights.get(unit as usize).is_some_and(|weight| *weight > 0);
        let mut seen = vec![Seen::default(); self.card_days];
        for (unit, card_day) in &self.frauds {
            if let Some(card) = seen.get_mut(*card_day as usize).filter(|_| drawn(*unit)) {
                card.fraud = true;
            }
        }
        let mut known = vec![false; self.customers];
        let by_day = self.days.iter().map(|rows| {
            let (mut places, mut found) = (k, 0);
            for row in rows {
                if places == 0 {
                    break;
                }
                let (Some(card), Some(known)) =
                    (seen.get_mut(row.card_day as usize), known.get_mut(row.customer as usize))
                else {
                    continue;
                };
                // A card that was found today has been looked at today: its other rows take no place.
                if *known || card.looked_at || !drawn(row.unit) {
                    continue;
                }
                card.looked_at = true;
                places -= 1;
                if card.fraud {
                    found += 1;
                    *known = true;
                }
            }
            real(found) / f64::from(k)
        });
        mean(&by_day.collect::<Vec<f64>>())
    }
}
