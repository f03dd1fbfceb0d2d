//! Reference data of the simulated world: what whoever contracted the merchants knows of them, and of products, countries
//! and currencies, as the CSV files that docs/REFERENCE.md describes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::dice::{Dice, Purpose};
use super::places::{CATEGORIES, COUNTRIES};
use super::world::World;
use crate::base::clock::{DAY, Millis};

/// Products that are easily sold on.
const RESALE: [&str; 4] = ["electronics", "gift_card", "gaming", "jewellery"];
/// Usual amount of the commonest purses, major units of the first currency.
const PURSE: f64 = 25.0;

/// What is known of a merchant's terminals.
#[derive(Default)]
struct Merchant {
    terminals: f64,
    factors: f64,
    in_person: bool,
}

impl World {
    /// (file's name, CSV) of each table, of payments from the day `first` on.
    #[must_use]
    pub fn reference(&self, first: i64) -> Vec<(&'static str, String)> {
        vec![
            ("merchants.csv", self.merchants(first)),
            ("products.csv", products()),
            ("countries.csv", self.countries()),
            ("currencies.csv", currencies()),
        ]
    }

    fn merchants(&self, first: i64) -> String {
        let mut merchants: BTreeMap<u32, Merchant> = BTreeMap::new();
        for terminal in &self.terminals {
            let merchant = merchants.entry(terminal.merchant).or_default();
            merchant.terminals += 1.0;
            merchant.factors += terminal.category.factor;
            merchant.in_person |= !terminal.kind.is_remote();
        }
        let mut text = String::from("merchant_id,risk,onboarded_on,usual_amount,online_only\n");
        for (number, merchant) in merchants {
            let mut dice = Dice::of(self.seed, Purpose::Reference, u64::from(number), 0);
            let onboarded = date(first - i64::from(dice.count(30, 3_000)));
            let amount = PURSE * merchant.factors / merchant.terminals;
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(text, "m{number:06},{},{onboarded},{amount:.2},{}", risk(&mut dice), !merchant.in_person);
        }
        text
    }

    fn countries(&self) -> String {
        let mut text = String::from("country,risk\n");
        for (number, country) in (0_u64..).zip(COUNTRIES.iter().flat_map(|row| row.2)) {
            let mut dice = Dice::of(self.seed, Purpose::Reference, number, 1);
            let _ = writeln!(text, "{country},{}", risk(&mut dice));
        }
        text
    }
}

fn products() -> String {
    let mut text = String::from("product_id,resale\n");
    for category in CATEGORIES {
        let _ = writeln!(text, "{},{}", category.product, RESALE.contains(&category.product));
    }
    text
}

fn currencies() -> String {
    let mut text = String::from("currency,pegged\n");
    for (code, ..) in COUNTRIES {
        // The krone is held to the euro.
        let _ = writeln!(text, "{code},{}", code == "DKK");
    }
    text
}

fn risk(dice: &mut Dice) -> &'static str {
    match dice.unit() {
        share if share < 0.7 => "low",
        share if share < 0.95 => "medium",
        _ => "high",
    }
}

fn date(day: i64) -> String {
    let mut text = Millis(day * DAY).to_rfc3339();
    text.truncate(10);
    text
}
