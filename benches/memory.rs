//! What a large history costs: 100 M events of 1 M customers at 100,000 terminals over 30 days, then a terminal with
//! 5 M events. Prints bytes an event and entity, encoded and resident, and the time of an observation.
//!
//! `ASSAY_EVENTS` sets another number of events, with as many an entity.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark fails by panicking, and prints its figures"
)]

use std::fmt::Write as _;
use std::time::Instant;

use assay::base::clock::Millis;
use assay::base::hash::HashKey;
use assay::base::money::{BaseAmount, Currency, RateQuality};
use assay::features::catalogue::SHIPPED;
use assay::features::{Catalogue, Event, History, HistoryOptions, Rows};
use assay::ops::process::Process;
use assay::transaction::{Connector, Limits, Transaction, read_json};
use mimalloc::MiMalloc;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const START: i64 = 1_700_000_000_000;
const DAY: i64 = 86_400_000;
/// Events of a customer and of a terminal.
const OF_CUSTOMER: u64 = 100;
const OF_TERMINAL: u64 = 1_000;
const OPTIONS: HistoryOptions = HistoryOptions { key: HashKey::new([9; 16]), lateness: 2 * DAY, exact_events: 65_536 };

fn main() {
    let events = std::env::var("ASSAY_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000_000);
    many_entities(events);
    hot_terminal();
}

fn many_entities(events: u64) {
    let catalogue = Catalogue::shipped(euro()).unwrap();
    let plan = catalogue.full_plan().unwrap();
    let before = resident();
    let mut history = History::new(&catalogue, OPTIONS);
    let mut random = Pcg64Mcg::seed_from_u64(1);
    let mut batch: Vec<Transaction> = (0..4_096).map(|_| template()).collect();
    let at = |number: u64| START + (number * 30 * DAY as u64 / events) as i64;
    let begun = Instant::now();
    let mut number = 0;
    while number < events {
        for one in &mut batch {
            fill(one, number, at(number), events, &mut random);
            number += 1;
        }
        history.insert_all(&batch.iter().map(event).collect::<Vec<_>>());
    }
    let filled = begun.elapsed();
    let grown = resident() - before;
    let mut rows = Rows::new(plan.width());
    let mut nanos = Vec::new();
    for _ in 0..200_000 {
        let one = &mut batch[0];
        fill(one, number, at(number), events, &mut random);
        number += 1;
        rows.reset(plan.width());
        let begun = Instant::now();
        history.observe(&[event(one)], &plan, &mut rows);
        nanos.push(begun.elapsed().as_nanos());
    }
    nanos.sort_unstable();
    let size = history.size();
    let each = size.events as f64;
    println!("events times entities {}, entities {}, filled in {filled:.0?}", size.events, size.entities);
    println!("encoded  {:.2} bytes an event and entity", size.encoded_bytes as f64 / each);
    println!("reserved {:.2} bytes an event and entity", size.reserved_bytes as f64 / each);
    println!("resident {:.2} bytes an event and entity", grown as f64 / each);
    let mean = nanos.iter().sum::<u128>() / nanos.len() as u128;
    let (half, most) = (nanos[nanos.len() / 2], nanos[nanos.len() * 99 / 100]);
    println!("observe and encode, whole catalogue: mean {mean} ns, p50 {half} ns, p99 {most} ns");
}

/// Evenly spread over 30 days, so that what a window should hold is known.
fn hot_terminal() {
    const EVENTS: u64 = 5_000_000;
    let groups =
        SHIPPED.split("[[").filter(|entry| entry.starts_with("group]]") && entry.contains("name = \"terminal_"));
    let entries = SHIPPED.split("[[").filter(|entry| entry.contains("entity = \"terminal_id\""));
    let terminals: String = groups.chain(entries).map(|entry| format!("[[{entry}")).collect();
    let catalogue = Catalogue::parse(&terminals, euro()).unwrap();
    let plan = catalogue.full_plan().unwrap();
    let mut history = History::new(&catalogue, OPTIONS);
    let mut random = Pcg64Mcg::seed_from_u64(2);
    let mut one = template();
    let mut next = |number: u64| {
        fill(&mut one, number, START + (number * 30 * DAY as u64 / EVENTS) as i64, EVENTS, &mut random);
        one.terminal_id = "hot".into();
        one.clone()
    };
    for number in 0..EVENTS {
        history.insert(&event(&next(number)));
    }
    let mut rows = Rows::new(plan.width());
    let begun = Instant::now();
    for number in EVENTS..EVENTS + 10_000 {
        rows.reset(plan.width());
        history.observe(&[event(&next(number))], &plan, &mut rows);
    }
    let took = begun.elapsed() / 10_000;
    let (values, marks) = rows.row(0).unwrap();
    let reserved = history.size().reserved_bytes;
    println!("a terminal with {EVENTS} events: {reserved} bytes, approximate: {}, observe {took:?}", marks.approximate);
    let windows = [("_count_1h", 1.0 / 24.0), ("_count_1d", 1.0), ("_count_7d", 7.0)];
    for (part, days) in windows {
        for (name, value) in plan.names().iter().zip(values).filter(|(name, _)| name.contains(&format!("tx{part}"))) {
            let expected = EVENTS as f64 / 30.0 * days;
            println!("{name}: {value} of {expected:.0}: {:+.4} %", (value / expected - 1.0) * 100.0);
        }
    }
}

fn euro() -> Currency {
    Currency::parse("EUR").unwrap()
}

fn event(transaction: &Transaction) -> Event<'_> {
    Event { transaction, base: BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh } }
}

fn template() -> Transaction {
    let text =
        br#"{"transaction_id":"x","occurred_at":0,"customer_id":"c","terminal_id":"t","amount_minor":1,"currency":"EUR"}"#;
    read_json(text, &Connector::shipped("canonical").unwrap(), &Limits::default()).unwrap().transaction
}

/// A payment whose id is a UUID, of a random customer at a random terminal, all uniform.
fn fill(one: &mut Transaction, number: u64, at: i64, events: u64, random: &mut Pcg64Mcg) {
    let noise: u64 = random.random();
    one.transaction_id.clear();
    let _ = write!(one.transaction_id, "{:08x}-{:04x}-4000-8000-{number:012x}", noise >> 32, noise & 0xffff);
    one.occurred_at = Millis(at + (noise % 97) as i64);
    one.customer_id.clear();
    let _ = write!(one.customer_id, "customer-{}", random.random_range(0..events / OF_CUSTOMER));
    one.terminal_id.clear();
    let _ = write!(one.terminal_id, "terminal-{}", random.random_range(0..events / OF_TERMINAL));
    one.amount_minor = random.random_range(100..50_000);
}

/// Resident bytes of this process.
fn resident() -> u64 {
    Process::resident_of(std::process::id()).unwrap_or_default()
}
