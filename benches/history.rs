//! `observe` and `encode` of one transaction: on a full history with random entities, as an entity grows, and with features
//! of reference data.
//!
//! `ASSAY_HANDBOOK` names the folder with the handbook's transactions; without it the first group runs on simulated
//! payments and says so.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use assay::base::clock::Millis;
use assay::base::hash::HashKey;
use assay::base::money::{BaseAmount, Currency, RateQuality};
use assay::features::reference::{Content, Keyed, Reference, Rows as TableRows, Table};
use assay::features::{Catalogue, Event, History, HistoryOptions, Plan, Rows};
use assay::simulate::{Settings, World};
use assay::store::files::Source;
use assay::transaction::{Connector, Limits, Transaction, read_json};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use mimalloc::MiMalloc;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const LATENESS: i64 = 48 * 3_600_000;

fn catalogue() -> Catalogue {
    Catalogue::shipped(Currency::parse("EUR").unwrap()).unwrap()
}

fn history(catalogue: &Catalogue) -> History {
    let options = HistoryOptions { key: HashKey::new([9; 16]), lateness: LATENESS, exact_events: 65_536 };
    History::new(catalogue, options)
}

fn plans(catalogue: &Catalogue) -> [(&'static str, Plan); 2] {
    let names: Vec<_> = catalogue.names().take(15).map(str::to_owned).collect();
    [("15 features", catalogue.plan(&names).unwrap()), ("whole catalogue", catalogue.full_plan().unwrap())]
}

fn event(transaction: &Transaction) -> Event<'_> {
    Event { transaction, base: BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh } }
}

fn transactions() -> Vec<Transaction> {
    let Some(folder) = std::env::var_os("ASSAY_HANDBOOK").map(PathBuf::from) else {
        eprintln!("ASSAY_HANDBOOK names no folder: simulated payments instead");
        let world = World::new(&Settings {
            customers: 5_000,
            terminals: 10_000,
            seed: 1,
            currencies: vec![Currency::parse("EUR").unwrap()],
        })
        .unwrap();
        let payments = (20_000..20_130).flat_map(|day| world.day(day)).enumerate();
        return payments.filter_map(|(number, one)| world.transaction(&one, number.to_string().into())).collect();
    };
    let path = folder.join("transactions.parquet");
    let mut source = Source::open(&path, Connector::shipped("handbook").unwrap(), Limits::of_files()).unwrap();
    let chunks = std::iter::from_fn(|| Some(source.read().unwrap()).filter(|chunk| !chunk.is_empty()));
    chunks.flatten().map(Result::unwrap).collect()
}

/// Reads `make(0)`, `make(1)` … one after the other, each in a batch of one.
fn observe(
    bencher: &mut criterion::Bencher<'_>,
    history: &mut History,
    plan: &Plan,
    make: impl FnMut() -> Transaction,
) {
    let mut rows = Rows::new(plan.width());
    bencher.iter_batched(
        make,
        |transaction| {
            rows.reset(plan.width());
            history.observe(&[event(&transaction)], plan, &mut rows);
            black_box(rows.values().last().copied())
        },
        BatchSize::SmallInput,
    );
}

fn full_history(criterion: &mut Criterion) {
    let catalogue = catalogue();
    let transactions = transactions();
    let mut group = criterion.benchmark_group("observe and encode, full history");
    for (name, plan) in plans(&catalogue) {
        let mut history = history(&catalogue);
        for transaction in &transactions {
            history.insert(&event(transaction));
        }
        let mut random = Pcg64Mcg::seed_from_u64(1);
        let newest = history.stream_time().unwrap().0;
        let mut number = 0;
        // New transactions, a second apart, of customers and terminals chosen at random.
        let mut next = || {
            number += 1;
            let customer = &transactions[random.random_range(0..transactions.len())].customer_id;
            let mut made = transactions[random.random_range(0..transactions.len())].clone();
            made.transaction_id = format!("bench-{number}").into();
            made.customer_id = customer.clone();
            made.occurred_at = Millis(newest + number * 1_000);
            made
        };
        group.bench_function(name, |bencher| observe(bencher, &mut history, &plan, &mut next));
    }
    group.finish();
}

fn growth(criterion: &mut Criterion) {
    let catalogue = catalogue();
    let mut group = criterion.benchmark_group("observe and encode, events of the entity in 30 days");
    for (name, plan) in plans(&catalogue) {
        for events in [10_i64, 100, 1_000, 10_000, 100_000] {
            let mut history = history(&catalogue);
            let gap = 30 * 86_400_000 / events;
            let mut number = 0;
            let mut next = || {
                number += 1;
                payment(number, 1_700_000_000_000 + number * gap)
            };
            for _ in 0..events {
                history.insert(&event(&next()));
            }
            let id = BenchmarkId::new(name, events);
            group.bench_function(id, |bencher| observe(bencher, &mut history, &plan, &mut next));
        }
    }
    group.finish();
}

/// A payment of one customer, at one of forty terminals.
fn payment(number: i64, at: i64) -> Transaction {
    let (terminal, amount) = (number % 40, number % 9_973);
    let text = format!(
        r#"{{"transaction_id":"b-{number}","occurred_at":{at},"customer_id":"c","terminal_id":"t{terminal}","amount_minor":{amount},"currency":"EUR"}}"#
    );
    let connector = Connector::shipped("canonical").unwrap();
    read_json(text.as_bytes(), &connector, &Limits::default()).unwrap().transaction
}

/// Merchants of the tables below, as many as one machine holds easily.
const MERCHANTS: u32 = 1_000_000;

fn merchants(whole: bool) -> Table {
    let mut rows = TableRows::new(4);
    let cache = Keyed::new(u64::from(MERCHANTS) * 2);
    for number in 0..MERCHANTS {
        let (key, row) = (format!("m{number:06}"), [1.0, 20_000.0, f64::from(number % 97), 0.0]);
        if whole {
            rows.push(key.into(), row).unwrap();
        } else {
            cache.put(key.into(), Some(Arc::from(row)));
        }
    }
    let content = if whole { Content::Whole(Arc::new(rows)) } else { Content::Keyed(Arc::new(cache)) };
    Table { content, stale: false }
}

/// A look-up alone, and what four features of merchants add to a row of fifteen others.
fn reference(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reference data, a million merchants");
    let names: Vec<String> = catalogue().names().take(15).map(str::to_owned).collect();
    let of_merchants = [
        "merchant_risk_class",
        "merchant_days_since_onboarding",
        "amount_to_merchant_usual",
        "merchant_is_online_only",
    ];
    let all: Vec<String> = names.iter().cloned().chain(of_merchants.map(str::to_owned)).collect();
    let mut random = Pcg64Mcg::seed_from_u64(2);
    let connector = Connector::shipped("canonical").unwrap();
    let mut number = 0_i64;
    let mut next = || {
        number += 1;
        let (merchant, at) = (random.random_range(0..MERCHANTS), 1_700_000_000_000 + number * 1_000);
        let text = format!(
            r#"{{"transaction_id":"b-{number}","occurred_at":{at},"customer_id":"c{}","terminal_id":"t","amount_minor":1250,"currency":"EUR","merchant_id":"m{merchant:06}"}}"#,
            number % 5_000
        );
        read_json(text.as_bytes(), &connector, &Limits::default()).unwrap().transaction
    };
    for (name, whole) in [("held whole", true), ("by key", false)] {
        let table = merchants(whole);
        group.bench_function(format!("look-up, {name}"), |bencher| {
            bencher.iter_batched(
                || next().merchant_id.unwrap(),
                |key| black_box(table.find(&key).value(2)),
                BatchSize::SmallInput,
            );
        });
        let reference = Arc::new(Reference::new(vec![true, false, false, false]));
        reference.put(vec![table, Table::default(), Table::default(), Table::default()]);
        let catalogue = catalogue().with_reference(reference);
        for (features, names) in [("15 features", &names), ("and four of merchants", &all)] {
            let plan = catalogue.plan(names).unwrap();
            let mut history = history(&catalogue);
            group.bench_function(format!("{features}, {name}"), |bencher| {
                observe(bencher, &mut history, &plan, &mut next)
            });
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30);
    targets = full_history, growth, reference
}
criterion_main!(benches);
