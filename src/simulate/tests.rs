//! The simulated world as a whole.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow_array::Array as _;
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, TimestampMillisecondType};

use super::*;
use crate::base::clock::{DAY, Millis, SECOND};
use crate::base::money::{RateQuality, Rates};
use crate::transaction::Transaction;

const FIRST: i64 = 20_454;

fn world(customers: u32, terminals: u32, seed: u64, currencies: &[&str]) -> World {
    let currencies = currencies.iter().map(|code| Currency::parse(code).unwrap()).collect();
    World::new(&Settings { customers, terminals, seed, currencies }).unwrap()
}

fn transactions(world: &World, day: i64, payments: &[Payment]) -> Vec<Transaction> {
    let id = |number| payment_id(world.seed, day, number);
    (0..).zip(payments).map(|(number, payment)| world.transaction(payment, id(number)).unwrap()).collect()
}

#[test]
fn a_day_is_the_same_again_and_another_with_another_seed() {
    let days = |seed| {
        let world = world(300, 100, seed, &["EUR"]);
        // In another order: a day does not depend on those before it.
        let second = world.day(FIRST + 1);
        (world.day(FIRST), second)
    };
    let again = world(300, 100, 5, &["EUR"]);
    assert_eq!((again.day(FIRST), again.day(FIRST + 1)), days(5));
    assert_ne!(days(5), days(6));
}

#[test]
fn payments_are_in_time_order_within_their_day_and_ids_are_unique_and_sorted() {
    let world = world(2_000, 400, 1, &["EUR"]);
    let mut last = (Millis(i64::MIN), String::new());
    let mut ids = HashSet::new();
    for day in FIRST..FIRST + 20 {
        let payments = world.day(day);
        assert!(payments.len() > 1_000);
        for transaction in transactions(&world, day, &payments) {
            assert_eq!(transaction.occurred_at.day(), day);
            let key = (transaction.occurred_at, transaction.transaction_id.to_string());
            assert!(key > last);
            assert!(key.1.len() <= 20 && ids.insert(key.1.clone()), "{}", key.1);
            last = key;
        }
    }
}

#[test]
fn about_one_payment_in_a_hundred_is_fraud_and_every_kind_is_there() {
    let world = world(3_000, 600, 3, &["EUR"]);
    let (mut rows, mut kinds) = (0_u32, HashMap::new());
    for day in FIRST..FIRST + 60 {
        for payment in world.day(day) {
            rows += 1;
            if let Some(kind) = payment.fraud {
                *kinds.entry(kind).or_insert(0_u32) += 1;
            }
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(rows);
    assert!((0.008..0.012).contains(&share(kinds.values().sum())), "{kinds:?} of {rows}");
    for kind in FraudKind::ALL {
        let (found, meant) = (share(kinds[&kind]), kind.share());
        assert!((0.75..1.25).contains(&(found / meant)), "{kind}: {found} instead of {meant}");
    }
    let expected = world.payments_a_day() * 60.0;
    assert!((0.95..1.05).contains(&(f64::from(rows) / expected)), "{rows} instead of {expected}");
}

#[test]
fn frauds_look_like_their_kind() {
    let world = world(3_000, 600, 4, &["EUR"]);
    let payments: Vec<Payment> = (FIRST..FIRST + 30).flat_map(|day| world.day(day)).collect();
    let of = |kind| payments.iter().filter(move |payment| payment.fraud == Some(kind));
    let median = |mut values: Vec<i64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    let usual = median(payments.iter().filter(|payment| payment.fraud.is_none()).map(|p| p.amount_minor).collect());
    assert!(median(of(FraudKind::StolenCard).map(|p| p.amount_minor).collect()) > 3 * usual);
    let testing: Vec<&Payment> = of(FraudKind::CardTesting).collect();
    assert!(median(testing.iter().map(|p| p.amount_minor).collect()) <= 200);
    assert!(testing.iter().any(|p| p.amount_minor > 5 * usual), "the large payment after the tiny ones");
    assert!(testing.iter().all(|p| p.device >= 16), "from a device nobody owns");
    let gaps: Vec<i64> = testing
        .windows(2)
        .filter(|pair| pair[0].customer == pair[1].customer)
        .map(|pair| pair[1].at.0 - pair[0].at.0)
        .collect();
    assert!(median(gaps) < 30 * SECOND);
    let mut at_terminal = HashMap::new();
    of(FraudKind::CompromisedTerminal).for_each(|p| *at_terminal.entry(p.terminal).or_insert(0) += 1);
    let total: i32 = at_terminal.values().sum();
    assert!(total / i32::try_from(at_terminal.len()).unwrap() >= 15, "many at one terminal");
}

#[test]
fn verdicts_come_after_their_payment_and_mistakes_are_taken_back() {
    let world = world(5_000, 600, 5, &["EUR"]);
    let (mut frauds, mut noticed, mut mistakes) = (0_u32, 0_u32, 0_u32);
    for day in FIRST..FIRST + 20 {
        for (number, payment) in (0..).zip(world.day(day)) {
            let verdicts = world.verdicts(&payment, number);
            assert!(verdicts.iter().all(|verdict| verdict.labelled_at > payment.at));
            assert!(verdicts.iter().all(|verdict| verdict.labelled_at.0 <= payment.at.0 + 20 * DAY));
            assert!(verdicts.iter().all(|verdict| verdict.fraud_kind == payment.fraud));
            assert!(verdicts.is_sorted_by_key(|verdict| verdict.labelled_at));
            if payment.fraud.is_some() {
                frauds += 1;
                noticed += u32::from(verdicts.last().is_some_and(|verdict| verdict.is_fraud));
            } else if !verdicts.is_empty() {
                mistakes += 1;
                assert_eq!(verdicts.iter().map(|verdict| verdict.is_fraud).collect::<Vec<_>>(), [true, false]);
            }
        }
    }
    assert!((0.93..0.97).contains(&(f64::from(noticed) / f64::from(frauds))), "{noticed} of {frauds}");
    assert!(mistakes > 20);
}

#[test]
fn text_and_columns_hold_the_same_rows() {
    let world = world(400, 120, 6, &["EUR", "USD", "JPY", "KWD"]);
    let payments = world.day(FIRST);
    let expected = transactions(&world, FIRST, &payments);

    let truth: Vec<_> = payments.iter().map(|payment| payment.fraud.map(|kind| kind.to_string())).collect();
    assert!(truth.iter().any(Option::is_some));
    let mut kinds = Vec::new();
    let mut text = Vec::new();
    ndjson(&world, FIRST, &payments, &mut text);
    let from_json: Vec<Transaction> = String::from_utf8(text)
        .unwrap()
        .lines()
        .map(|line| {
            let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
            kinds.push(value["fraud_kind"].as_str().map(str::to_owned));
            value["occurred_at"] = Millis::parse_rfc3339(value["occurred_at"].as_str().unwrap()).unwrap().0.into();
            serde_json::from_value(value).unwrap()
        })
        .collect();
    assert_eq!(from_json, expected);
    assert_eq!(kinds, truth);

    let mut text = CSV_HEADER.as_bytes().to_vec();
    csv(&world, FIRST, &payments, &mut text);
    let mut reader = ::csv::Reader::from_reader(text.as_slice());
    let header = reader.headers().unwrap().clone();
    kinds.clear();
    let from_csv: Vec<Transaction> = reader
        .records()
        .map(|record| {
            let record = record.unwrap();
            kinds.push(Some(record[13].to_owned()).filter(|kind| !kind.is_empty()));
            let cells = header.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
            let object: serde_json::Map<String, serde_json::Value> = cells
                .map(|(name, cell)| {
                    let value = match name {
                        "occurred_at" => Millis::parse_rfc3339(cell).unwrap().0.into(),
                        "amount_minor" => cell.parse::<i64>().unwrap().into(),
                        "is_fraud" => cell.parse::<bool>().unwrap().into(),
                        _ => cell.into(),
                    };
                    (name.to_owned(), value)
                })
                .collect();
            serde_json::from_value(object.into()).unwrap()
        })
        .collect();
    assert_eq!(from_csv, expected);
    assert_eq!(kinds, truth);

    let batch = batch(&world, FIRST, &payments).unwrap();
    assert_eq!(batch.num_rows(), expected.len());
    let text = |name: &str, row: usize| {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    for (row, transaction) in expected.iter().enumerate() {
        let value = serde_json::to_value(transaction).unwrap();
        for name in [
            "transaction_id",
            "customer_id",
            "terminal_id",
            "currency",
            "merchant_id",
            "product_id",
            "country",
            "channel",
            "card_id",
            "device_id",
        ] {
            assert_eq!(
                text(name, row).as_deref(),
                value.get(name).and_then(|value| value.as_str()),
                "{name} of row {row}"
            );
        }
        assert_eq!(
            batch.column_by_name("amount_minor").unwrap().as_primitive::<Int64Type>().value(row),
            transaction.amount_minor
        );
        let times = batch.column_by_name("occurred_at").unwrap().as_primitive::<TimestampMillisecondType>();
        assert_eq!(times.value(row), transaction.occurred_at.0);
        assert_eq!(text("fraud_kind", row), truth[row]);
        assert_eq!(Some(batch.column_by_name("is_fraud").unwrap().as_boolean().value(row)), transaction.is_fraud);
    }
}

#[test]
fn foreign_amounts_fit_the_published_rates() {
    let world = world(4_000, 2_000, 8, &["EUR", "USD", "JPY"]);
    let text = world.rates(FIRST..FIRST + 10);
    assert_eq!(text, world.rates(FIRST..FIRST + 10));
    let rates = Rates::parse(Currency::parse("EUR").unwrap(), &text).unwrap();
    let mut yen = Vec::new();
    let mut euro = Vec::new();
    for day in FIRST..FIRST + 10 {
        for transaction in transactions(&world, day, &world.day(day)) {
            let base = rates.to_base(transaction.amount_minor, transaction.currency, transaction.occurred_at);
            assert_eq!(base.rate, RateQuality::Fresh);
            match transaction.currency.code() {
                "JPY" => yen.push(base.minor),
                "EUR" => euro.push(base.minor),
                _ => {}
            }
        }
    }
    yen.sort_unstable();
    euro.sort_unstable();
    assert!(yen.len() > 100 && euro.len() > yen.len());
    let ratio = |values: &[i64]| values[values.len() / 2];
    assert!((ratio(&yen) * 2 > ratio(&euro)) && (ratio(&euro) * 2 > ratio(&yen)), "the same purses in every currency");
}

#[test]
fn a_live_stream_pays_when_it_is_asked_and_its_ids_are_its_own() {
    let world = Arc::new(world(1_000, 200, 9, &["EUR"]));
    let run = |start| {
        let mut stream = Stream::new(Arc::clone(&world), Millis(start));
        (0..60_000).map(|number| stream.next_at(Millis(start + number * 5))).collect::<Vec<_>>()
    };
    let payments = run(1_700_000_000_000);
    assert!(payments.iter().zip(0..).all(|(payment, number)| payment.occurred_at.0 == 1_700_000_000_000 + number * 5));
    let frauds = u32::try_from(payments.iter().filter(|payment| payment.is_fraud == Some(true)).count()).unwrap();
    assert!((300..1_000).contains(&frauds), "{frauds} of 60,000");
    let ids: HashSet<_> =
        payments.iter().chain(&run(1_700_000_000_001)).map(|payment| payment.transaction_id.clone()).collect();
    assert_eq!(ids.len(), 120_000);
    assert!(ids.iter().all(|id| id.len() <= 20));
    assert_eq!(payments, run(1_700_000_000_000));
}

#[test]
fn impossible_worlds_are_refused_with_the_limit() {
    let settings = |customers, terminals, currencies: &[&str]| Settings {
        customers,
        terminals,
        seed: 1,
        currencies: currencies.iter().map(|code| Currency::parse(code).unwrap()).collect(),
    };
    let refused = |settings| World::new(&settings).unwrap_err().to_string();
    assert_eq!(refused(settings(0, 10, &["EUR"])), "customers = 0: must be 1 to 50000000");
    assert_eq!(refused(settings(1, 9, &["EUR"])), "terminals = 9: must be 10 to 50000000");
    assert!(
        refused(settings(1, 10, &["EUR", "ZMW"])).starts_with("no simulated country pays in ZMW; known are EUR, USD")
    );
    assert_eq!(refused(settings(1, 10, &[])), SimulateError::NoCurrency.to_string());
    // The smallest world lives.
    let smallest = world(1, 10, 1, &["EUR"]);
    assert!((FIRST..FIRST + 50).any(|day| !smallest.day(day).is_empty()));
}
