//! Card precision at k (Fraud Detection Handbook, chapter 4, "card precision top-k"): of the k cards a team looks at a
//! day, the share that had a fraud that day.
//!
//! A day at a time (UTC): each card's highest score; the k highest cards; frauds found / k (k, also when fewer cards were
//! there). A card that was found is known, so its rows count on no later day. A customer is a card here. Cards that tie at
//! the k-th place go by customer, ascending: the handbook's own order of ties is whatever its sort leaves.

use serde::Serialize;

use super::sample::{Sample, date};

/// Card precision at k.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CardPrecision {
    /// Cards a day.
    pub k: u32,
    /// Mean over the days, 0 to 1.
    pub mean: f64,
    /// Each day's.
    pub by_day: Vec<f64>,
    /// The days (UTC), ascending.
    pub days: Vec<String>,
}

/// A card on one day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Card {
    pub(super) customer: u32,
    /// Its highest score of the day.
    pub(super) score: f64,
    /// Whether it had a fraud that day.
    pub(super) fraud: bool,
}

/// The cards of one day, highest score first, ties by customer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CardDay {
    pub(super) day: i64,
    pub(super) cards: Vec<Card>,
}

/// Every day's cards, days ascending; `None` without times or customers.
pub(super) fn card_days(sample: &Sample) -> Option<Vec<CardDay>> {
    let (days, customers) = (sample.days.as_ref()?, sample.customers.as_ref()?);
    let rows = days.iter().zip(&customers.of).zip(sample.scores.iter().zip(&sample.frauds));
    let mut rows: Vec<(i64, Card)> = rows
        .map(|((day, customer), (score, fraud))| {
            (*day, Card { customer: *customer, score: score + 0.0, fraud: *fraud })
        })
        .collect();
    rows.sort_unstable_by_key(|(day, card)| (*day, card.customer));
    let mut all: Vec<CardDay> = Vec::new();
    for (day, card) in rows {
        let today = match all.last_mut() {
            Some(today) if today.day == day => today,
            _ => {
                all.push(CardDay { day, cards: Vec::new() });
                let Some(today) = all.last_mut() else { continue };
                today
            }
        };
        match today.cards.last_mut() {
            Some(known) if known.customer == card.customer => {
                known.score = known.score.max(card.score);
                known.fraud |= card.fraud;
            }
            _ => today.cards.push(card),
        }
    }
    for day in &mut all {
        day.cards.sort_unstable_by(|a, b| b.score.total_cmp(&a.score).then(a.customer.cmp(&b.customer)));
    }
    Some(all)
}

/// Each day's precision. `unknown` is how many copies of each customer's card are not found yet: 1 each, or what a
/// resampling drew; copies of a card stand side by side and are found one by one.
pub(super) fn by_day<'a>(days: &'a [CardDay], k: u32, unknown: &'a mut [u32]) -> impl Iterator<Item = f64> + use<'a> {
    days.iter().map(move |day| {
        let (mut places, mut found) = (k, 0);
        for card in &day.cards {
            if places == 0 {
                break;
            }
            let Some(unknown) = unknown.get_mut(card.customer as usize) else { continue };
            let copies = places.min(*unknown);
            places -= copies;
            if card.fraud {
                found += copies;
                *unknown -= copies;
            }
        }
        f64::from(found) / f64::from(k)
    })
}

/// Card precision of a sample; `None` without times or customers.
pub(super) fn card_precision(sample: &Sample, k: u32) -> Option<CardPrecision> {
    let days = card_days(sample)?;
    let mut unknown = vec![1; sample.customers.as_ref()?.names.len()];
    let by_day: Vec<f64> = by_day(&days, k, &mut unknown).collect();
    Some(CardPrecision { k, mean: mean(&by_day), by_day, days: days.iter().map(|day| date(day.day)).collect() })
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / super::sample::real(values.len() as u64)
}
