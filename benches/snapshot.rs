//! A snapshot of a history of 1.3 M simulated payments: its size, how long it takes to write, to check and to read, and
//! for how long a shard holds the engine's lock while payments go on.
//!
//! `ASSAY_CUSTOMERS` sets another number of customers; each pays about twice a day for 39 days.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking, and prints its figures")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay::base::clock::{FixedClock, Millis};
use assay::base::hash::HashKey;
use assay::base::money::{Currency, Rates};
use assay::decision::{By, Policy, ReasonRules, Source};
use assay::engine::ports::NoObserver;
use assay::engine::snapshot::{Admitted, Build, ReadFrom};
use assay::engine::{Durability, Engine, EngineParts, Label, Limits, Received, SetUp, TimeSource};
use assay::features::{Catalogue, Event, HistoryOptions};
use assay::simulate::{Settings, World};
use assay::store::MemoryLog;
use assay::store::snapshots::{Expected, Opened, Snapshots};
use assay::transaction::Transaction;
use mimalloc::MiMalloc;

/// As in the program.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const DAY: i64 = 86_400_000;
const FIRST: i64 = 20_000;
const DAYS: i64 = 39;

fn main() {
    let customers = std::env::var("ASSAY_CUSTOMERS").ok().and_then(|text| text.parse().ok()).unwrap_or(17_300);
    let euro = Currency::parse("EUR").unwrap();
    let settings = Settings { customers, terminals: customers * 2, seed: 1, currencies: vec![euro] };
    let world = World::new(&settings).unwrap();
    let catalogue = Catalogue::shipped(euro).unwrap();
    let options = HistoryOptions { key: HashKey::new([9; 16]), lateness: 2 * DAY, exact_events: 65_536 };
    let rates = Rates::of_base(euro);

    let mut build = Build::new(&catalogue, options, euro, 100_000);
    let (mut payments, mut verdicts, mut last) = (0_u64, 0_u64, None);
    for day in FIRST..FIRST + DAYS {
        let all: Vec<(Transaction, bool)> = world
            .day(day)
            .iter()
            .enumerate()
            .filter_map(|(number, one)| {
                // As an OLTP would name them.
                let id = format!("{:08x}-{:04x}-4{:03x}-8a1b-{:012x}", number * 2_654_435, day, number % 4096, number);
                Some((world.transaction(one, id.into())?, one.fraud.is_some()))
            })
            .collect();
        for chunk in all.chunks(2_048) {
            let base = |one: &Transaction| rates.to_base(one.amount_minor, one.currency, one.occurred_at);
            let new: Vec<_> = chunk.iter().filter(|(one, _)| build.admit(one).unwrap() == Admitted::New).collect();
            let events: Vec<_> = new.iter().map(|(one, _)| Event { transaction: one, base: base(one) }).collect();
            build.insert(&events);
            payments += events.len() as u64;
            for (one, _) in new.iter().filter(|(_, fraud)| *fraud) {
                let labelled_at = Millis(one.occurred_at.0 + 3 * DAY);
                let (transaction_id, source) = (one.transaction_id.to_string(), "chargeback".to_owned());
                build.label(one, base(one), &Label { transaction_id, is_fraud: true, labelled_at, source });
                verdicts += 1;
            }
            last = new.last().map(|(one, _)| one.clone()).or(last);
        }
    }
    println!("{payments} payments of {customers} customers in {DAYS} days, {verdicts} frauds labelled");

    let folder = std::env::temp_dir().join(format!("assay-bench-{}", std::process::id()));
    let snapshots = Snapshots::new(folder.clone(), 2);
    let mut built = build.finish(Millis(1)).unwrap();
    let begun = Instant::now();
    let written = snapshots.write(&mut built).unwrap();
    report("written (compressed, synced)", begun.elapsed(), written.bytes, payments);
    println!("holds {:?}", written.counts);

    let engine = engine(&catalogue, options, &rates);
    let expected = Expected { state: engine.state(), not_before: Millis(0) };
    let begun = Instant::now();
    let mut opened = snapshots.newest(&expected).unwrap().opened.unwrap();
    report("checked", begun.elapsed(), opened.bytes(), payments);
    let header = opened.header().clone();
    let restored = engine.restore(&header, |shard| opened.next_shard(shard)).unwrap();
    report("restored", restored.took, opened.bytes(), payments);
    println!("opened and restored: {:.2?}", begun.elapsed());
    raw(opened.path());
    engine_snapshot(&engine, &snapshots, last.unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

/// A snapshot of the running engine while one thread decides payments one after the other.
fn engine_snapshot(engine: &Engine, snapshots: &Snapshots, template: Transaction) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    engine.take_requests();
    let done = Arc::new(AtomicBool::new(false));
    let deciding = {
        let (engine, done) = (engine.clone(), Arc::clone(&done));
        runtime.spawn(async move {
            let (mut took, mut number) = (Vec::new(), 0_i64);
            while !done.load(Ordering::SeqCst) {
                number += 1;
                let mut one = template.clone();
                one.transaction_id = format!("live-{number}").into();
                one.occurred_at = Millis(one.occurred_at.0 + number);
                let (now, at) = (one.occurred_at, Instant::now());
                let deadline = Duration::from_secs(5);
                let received = Received { now, at, deadline, source: Source::Predict, explain: false };
                // Without a model there is no decision; the payment is in history all the same.
                let _ = engine.decide(one, received).await;
                took.push(at.elapsed());
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            took.sort_unstable();
            took
        })
    };
    std::thread::sleep(Duration::from_millis(300));
    let mut taken = engine.snapshot(Millis(2), None, || ReadFrom::Moment(Millis(0))).unwrap();
    let begun = Instant::now();
    let written = snapshots.write(&mut taken).unwrap();
    println!(
        "of the running engine: {:.2?}, {} MB, longest hold of the lock {:.0?}",
        begun.elapsed(),
        written.bytes / 1_000_000,
        taken.longest_hold()
    );
    done.store(true, Ordering::SeqCst);
    let took = runtime.block_on(deciding).unwrap();
    let at = |share: usize| took.get(took.len().saturating_sub(1) * share / 1000).copied().unwrap_or_default();
    println!("{} decisions beside it: p50 {:.0?}, p99 {:.0?}, most {:.0?}", took.len(), at(500), at(990), at(1000));
}

/// What compression costs and saves.
fn raw(path: &Path) {
    let mut opened = Opened::open(path).unwrap();
    let (mut shard, mut bytes, mut all) = (Vec::new(), 0, Vec::new());
    let begun = Instant::now();
    while opened.next_shard(&mut shard).unwrap() {
        bytes += shard.len();
        all.push(shard.clone());
    }
    println!("uncompressed {:.1} MB; read without being taken in {:.2?}", bytes as f64 / 1e6, begun.elapsed());
    for level in [1, 3] {
        let begun = Instant::now();
        let packed: Vec<_> = all.iter().map(|shard| zstd::bulk::compress(shard, level).unwrap()).collect();
        let took = begun.elapsed();
        let size = packed.iter().map(Vec::len).sum::<usize>();
        let begun = Instant::now();
        for (shard, packed) in all.iter().zip(&packed) {
            assert_eq!(zstd::bulk::decompress(packed, shard.len()).unwrap().len(), shard.len());
        }
        println!(
            "zstd {level}: {:.1} MB, packed in {took:.2?}, unpacked in {:.2?}",
            size as f64 / 1e6,
            begun.elapsed()
        );
    }
}

fn report(what: &str, took: Duration, bytes: u64, payments: u64) {
    let each = bytes as f64 / payments as f64;
    println!("{what}: {took:.2?}, {:.1} MB, {each:.1} bytes a payment", bytes as f64 / 1e6);
}

fn engine(catalogue: &Catalogue, history: HistoryOptions, rates: &Rates) -> Engine {
    let parts = EngineParts {
        clock: Arc::new(FixedClock::new(Millis(FIRST * DAY))),
        rates: Arc::new(rates.clone()),
        catalogue: Arc::new(catalogue.clone()),
        history,
        log: Arc::new(MemoryLog::new()),
        model: None,
        policy: Policy::default(),
        limits: Limits { time: TimeSource::Stream, ..Limits::default() },
        reasons: ReasonRules { most: 3, by: By::Feature, hidden: Default::default() },
        durability: Durability::Queued,
        set_up: SetUp::Embedded,
        instance: 1,
        observer: Arc::new(NoObserver),
    };
    Engine::new(parts).unwrap()
}
