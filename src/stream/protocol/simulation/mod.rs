//! The protocol under faults, without a server: seeds name schedules of events over simulated logs, groups and a
//! destination, with the real merge, prefix and ownership in every instance.
//!
//! In: a seed and, to see that the schedules find it, a planted fault. Out: every invariant that does not hold at the end,
//! when all is healed and at rest; what is compared is the logs alone, counted anew (`judge`).
//!
//! `ASSAY_SIMULATION_SEED=17` runs schedule 17 alone, `ASSAY_LONG=1` ten times as many.

mod audit;
mod auditor;
mod bug;
mod complete;
mod dice;
mod group;
mod history;
mod judge;
mod kafka;
mod line;
mod memory;
mod node;
mod postgres;
mod reader;
mod record;
mod recount;
mod tally;
mod traffic;
mod world;
mod writer;

use std::env;
use std::ops::Range;

use bug::{BUGS, Bug};
use tally::Tally;
use world::World;

/// Events of a schedule before it is healed; after each, every instance does up to four steps of its work.
const EVENTS: usize = 260;
/// Schedules in which a planted fault must be found.
const MOST_SCHEDULES: u64 = 500;

/// Runs one schedule: what it counted, and every invariant that does not hold.
fn run(seed: u64, bug: Option<Bug>) -> (Tally, Vec<String>) {
    let mut world = World::new(seed, bug);
    for _ in 0..EVENTS {
        world.event();
    }
    let unrest = world.rest().map(|what| format!("it does not come to rest: {what}"));
    complete::end(&mut world);
    let mut faults = judge::end(&mut world);
    faults.extend(unrest);
    (world.tally, faults)
}

/// The seeds to run, and whether someone asked for one alone.
fn seeds() -> (Range<u64>, bool) {
    if let Ok(seed) = env::var("ASSAY_SIMULATION_SEED") {
        let seed = seed.parse().expect("ASSAY_SIMULATION_SEED is a number");
        return (seed..seed + 1, true);
    }
    let long = env::var_os("ASSAY_LONG").is_some_and(|value| !value.is_empty());
    (0..if long { 10_000 } else { 1_000 }, false)
}

#[test]
fn every_schedule_keeps_every_invariant() {
    let (seeds, alone) = seeds();
    let schedules = seeds.end - seeds.start;
    let mut sum = Tally::default();
    for seed in seeds {
        let (tally, faults) = run(seed, None);
        assert!(faults.is_empty(), "schedule {seed} (alone: ASSAY_SIMULATION_SEED={seed}):\n{}", faults.join("\n"));
        sum.add(tally);
    }
    println!("{schedules} schedules of {EVENTS} events");
    for (what, count) in sum.counts() {
        println!("{count:>9} {what}");
        assert!(alone || count >= schedules as usize / 25, "the schedules hardly reach {what}: {count}");
    }
}

#[test]
fn every_planted_fault_is_found() {
    for bug in BUGS {
        let found = (0..MOST_SCHEDULES).find_map(|seed| Some((seed, run(seed, Some(bug)).1.into_iter().next()?)));
        let (seed, fault) = found.unwrap_or_else(|| panic!("{bug:?} is not found in {MOST_SCHEDULES} schedules"));
        println!("{bug:?} is found by schedule {seed}: {fault}");
    }
}

#[test]
fn the_document_names_every_planted_fault() {
    let document = include_str!("../../../../docs/PROTOCOL.md");
    for bug in BUGS {
        assert!(document.contains(&format!("`{bug:?}`")), "docs/PROTOCOL.md does not name {bug:?}");
    }
}

#[test]
fn a_seed_names_one_schedule() {
    let outcome = |seed| format!("{:?}", run(seed, None).0);
    assert_eq!(outcome(3), outcome(3));
    assert_ne!(outcome(3), outcome(4));
}
