//! Rates against what they promise: the last before the day, and the first of a day for ever.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

fn at(text: &str) -> Millis {
    Millis::parse_rfc3339(text).unwrap()
}

#[test]
fn converts_at_the_last_rate_before_the_day() {
    let text = "published,currency,rate\n2026-01-01,USD,1.10\n2026-01-02,USD,1.20\n2026-01-02,JPY,160\n";
    let rates = Rates::parse(currency("EUR"), text).unwrap();
    let noon = at("2026-01-02T12:00:00Z");
    // The rate of the 2nd is not known to be final on the 2nd: the 1st's counts.
    assert_eq!(rates.to_base(11_000, currency("USD"), noon), BaseAmount { minor: 10_000, rate: RateQuality::Fresh });
    assert_eq!(rates.to_base(1_600, currency("JPY"), at("2026-01-03T00:00:00Z")).minor, 1_000);
    assert_eq!(rates.to_base(1_600, currency("JPY"), noon).rate, RateQuality::Missing);
    assert_eq!(rates.to_base(12_000, currency("USD"), at("2026-01-06T23:59:59Z")).rate, RateQuality::Fresh);
    assert_eq!(rates.to_base(12_000, currency("USD"), at("2026-01-07T00:00:00Z")).rate, RateQuality::Stale);
}

#[test]
fn ties_round_to_even_and_a_file_contradicts_itself_nowhere() {
    assert_eq!([1, 3, 5, -1, -3].map(|odd| divide_half_even(odd, 2)), [0, 2, 2, 0, -2]);
    let again = "published,currency,rate\n2026-01-01,USD,1.10\n2026-01-01,USD,1.11\n";
    assert_eq!(Rates::parse(currency("EUR"), again).unwrap_err().line, 3);
}

#[test]
fn rates_are_printed_as_they_are_read() {
    for (text, printed) in [
        ("1.10", "1.100000000"),
        ("0.000000001", "0.000000001"),
        ("162", "162.000000000"),
        ("1.123456789000", "1.123456789"),
    ] {
        let rate = Rate::parse(text).unwrap();
        assert_eq!(rate.to_string(), printed);
        assert_eq!(Rate::parse(printed), Some(rate));
    }
    for wrong in ["", "0", "-1", "1e3", "1.1234567891", ".5", "9999999999999"] {
        assert_eq!(Rate::parse(wrong), None, "{wrong}");
    }
    let one = Publication::parse("2026-01-31", "USD", "1.1").unwrap();
    assert_eq!(Publication::parse(&one.date(), "USD", &one.rate.to_string()), Ok(one));
}

#[test]
fn a_correction_is_told_and_changes_nothing() {
    let rates = Rates::of_base(currency("EUR"));
    let first = Publication::parse("2026-01-01", "USD", "1.10").unwrap();
    let corrected = Publication::parse("2026-01-01", "USD", "1.25").unwrap();
    assert_eq!(rates.publish(&[first]), Outcome { new: 1, corrections: Vec::new() });
    assert_eq!(rates.publish(&[first]), Outcome::default());
    assert_eq!(rates.publish(&[corrected]), Outcome { new: 0, corrections: vec![corrected] });
    assert_eq!(rates.of_day(currency("USD"), first.day), Some(first.rate));
}

/// Publications of few days and currencies, so that many are corrections of others.
fn publications() -> impl Strategy<Value = Vec<Publication>> {
    let one = (0..3_usize, 0..6_i64, 1..400_i64).prop_map(|(code, day, rate)| Publication {
        currency: currency(["USD", "GBP", "JPY"][code]),
        day,
        rate: Rate(rate * 10_000_000),
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    /// What is known after any batches is, of each day, what came first; and an amount that was converted once is
    /// converted to the same for ever, whatever comes later for the days that were known then.
    #[test]
    fn the_first_publication_of_a_day_stays(batches in prop::collection::vec(publications(), 1..6)) {
        let rates = Rates::of_base(currency("EUR"));
        let mut first: HashMap<(Currency, i64), Rate> = HashMap::new();
        for batch in &batches {
            // Corrections of days that are known, alone: they move no amount.
            let convert = || -> Vec<BaseAmount> {
                let days = (0..8).flat_map(|day| ["USD", "GBP", "JPY"].map(|code| (day, currency(code))));
                days.map(|(day, code)| rates.to_base(123_457, code, Millis(day * DAY + 5))).collect()
            };
            let before = convert();
            let known = |one: &&Publication| first.contains_key(&(one.currency, one.day));
            let again: Vec<Publication> = batch.iter().filter(known).copied().collect();
            rates.publish(&again);
            prop_assert_eq!(before, convert());
            rates.publish(batch);
            for one in batch {
                first.entry((one.currency, one.day)).or_insert(one.rate);
            }
            for ((currency, day), rate) in &first {
                prop_assert_eq!(rates.of_day(*currency, *day), Some(*rate));
            }
        }
        prop_assert_eq!(rates.len(), first.len());
    }
}
