//! Tables of the simulated world: countries by currency, categories of sellers, daily rhythms.

/// Currency, its price for one euro on an ordinary day, its countries.
pub(super) const COUNTRIES: [(&str, f64, &[&str]); 18] = [
    ("EUR", 1.0, &["DE", "FR", "ES", "IT", "NL", "AT"]),
    ("USD", 1.09, &["US"]),
    ("GBP", 0.85, &["GB"]),
    ("CHF", 0.95, &["CH", "LI"]),
    ("JPY", 162.0, &["JP"]),
    ("SEK", 11.3, &["SE"]),
    ("NOK", 11.6, &["NO"]),
    ("DKK", 7.46, &["DK"]),
    ("PLN", 4.3, &["PL"]),
    ("CZK", 25.1, &["CZ"]),
    ("HUF", 395.0, &["HU"]),
    ("CAD", 1.49, &["CA"]),
    ("AUD", 1.65, &["AU"]),
    ("BRL", 6.0, &["BR"]),
    ("INR", 91.0, &["IN"]),
    ("MXN", 20.5, &["MX"]),
    ("TRY", 38.0, &["TR"]),
    ("KWD", 0.335, &["KW"]),
];

/// What a seller sells: product, its usual amount against the customer's own, and whether thieves like it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Category {
    pub(super) product: &'static str,
    pub(super) factor: f64,
}

/// Categories, the commonest first.
pub(super) const CATEGORIES: [Category; 14] = [
    Category { product: "groceries", factor: 0.9 },
    Category { product: "restaurant", factor: 0.8 },
    Category { product: "fuel", factor: 1.3 },
    Category { product: "clothing", factor: 1.4 },
    Category { product: "pharmacy", factor: 0.6 },
    Category { product: "household", factor: 1.5 },
    Category { product: "transport", factor: 0.35 },
    Category { product: "subscription", factor: 0.3 },
    Category { product: "books", factor: 0.5 },
    Category { product: "electronics", factor: 3.0 },
    Category { product: "gift_card", factor: 1.1 },
    Category { product: "travel", factor: 4.5 },
    Category { product: "gaming", factor: 0.5 },
    Category { product: "jewellery", factor: 5.0 },
];

/// Daily rhythms: how often an hour of the day is paid in, against the others.
const RHYTHMS: [[u8; 24]; 4] = [
    // Office: before work, at noon, after work.
    [1, 0, 0, 0, 0, 1, 4, 9, 8, 5, 5, 8, 14, 11, 6, 6, 8, 14, 16, 13, 9, 6, 3, 2],
    // At home in the day.
    [1, 0, 0, 0, 0, 1, 2, 4, 8, 13, 15, 13, 9, 8, 9, 10, 10, 9, 8, 6, 5, 4, 2, 1],
    // Evenings.
    [4, 2, 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9, 11, 13, 15, 15, 12, 8],
    // Nights.
    [13, 11, 9, 7, 5, 4, 4, 4, 3, 2, 2, 3, 4, 5, 5, 5, 6, 7, 8, 9, 11, 12, 13, 14],
];

/// The four rhythms as tables of 256 hours, drawn from uniformly.
pub(super) fn rhythms() -> Vec<[u8; 256]> {
    RHYTHMS
        .iter()
        .map(|weights| {
            let total: u32 = weights.iter().map(|&weight| u32::from(weight)).sum();
            let mut table = [0; 256];
            let (mut hour, mut passed) = (0_u8, 0_u32);
            let mut rest = weights.iter();
            let mut current = rest.next().copied().map_or(0, u32::from);
            for (place, slot) in (0_u32..).zip(table.iter_mut()) {
                while place * total >= (passed + current) * 256 {
                    passed += current;
                    let Some(&next) = rest.next() else { break };
                    current = u32::from(next);
                    hour += 1;
                }
                *slot = hour;
            }
            table
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::money::Currency;

    #[test]
    fn tables_are_of_known_currencies_and_whole_days() {
        assert!(COUNTRIES.iter().all(|(code, rate, _)| Currency::parse(code).is_some() && *rate > 0.0));
        for (table, weights) in rhythms().iter().zip(RHYTHMS) {
            assert!(table.is_sorted());
            assert!(table.iter().all(|&hour| hour < 24 && weights[usize::from(hour)] > 0));
            let noons = table.iter().filter(|&&hour| hour == 18).count();
            assert!((8..=40).contains(&noons), "{noons}");
        }
    }
}
