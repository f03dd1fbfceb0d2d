//! Shards that are written while events come, read, and given everything since: the same readings as the original's.

use proptest::prelude::*;

use super::export::{HELD_EVENTS, ImportError, Lapsed, key_check, plan_hash};
use super::tests::{catalogues, event, of_catalogue, row, transaction};
use super::*;
use crate::base::clock::SECOND;
use crate::base::money::Currency;
use crate::transaction::{Channel, Transaction};

/// For the catalogue of seconds, and for the shipped one.
const LATENESS: [i64; 2] = [20 * SECOND, 2 * crate::base::clock::DAY];
const START: i64 = 1_700_000_000_000;

/// What comes: a transaction, or a verdict on one.
#[derive(Debug, Clone)]
enum Coming {
    Event(Transaction),
    Verdict(EventLabel),
}

fn take(history: &mut History, coming: &Coming) {
    match coming {
        Coming::Event(transaction) => history.insert(&event(transaction)),
        Coming::Verdict(label) => history.label(label),
    }
}

/// A number between 0 and `below` that depends on `seed` and `index` alone.
fn drawn(seed: u64, index: usize, below: u64) -> i64 {
    let key = HashKey::new(u128::from(seed).to_le_bytes());
    (key.entity(&index.to_string()) % below).cast_signed()
}

/// So many transactions, `gap` apart on average, the share `late` of them late by up to the lateness; some doubled,
/// some judged. Entities come and go: each is busy for a while only.
fn comings(seed: u64, many: usize, gap: i64, late: u64, lateness: i64) -> Vec<Coming> {
    let mut all = Vec::new();
    let mut clock = START;
    for index in 0..many {
        clock += drawn(seed, index, 2 * gap.cast_unsigned() + 1);
        let draw = |what: usize, below: u64| drawn(seed ^ 0x5eed, index * 16 + what, below);
        let is_late = late > 0 && draw(0, late) == 0;
        let at = clock - if is_late { draw(1, lateness.cast_unsigned()) } else { 0 };
        let era = (index / 60) as u8 * 7;
        let (customer, terminal) = (era.wrapping_add(draw(2, 9) as u8), era.wrapping_add(draw(3, 5) as u8));
        // Times in steps make ties.
        // Where none is late, those of one moment come in their order, too.
        let id = format!("id-{:02}-{index:05}", if late > 0 { draw(4, 97) } else { 0 });
        let mut one = transaction(at / 50 * 50, &id, customer, terminal, draw(5, 70_000));
        one.merchant_id = (draw(6, 3) > 0).then(|| format!("m{}", draw(7, 4)).into());
        one.card_id = (draw(8, 3) > 0).then(|| format!("k{customer}{}", draw(9, 2)).into());
        one.country = Some(["DE", "FR"][draw(10, 2) as usize].into());
        one.channel = Some([Channel::Online, Channel::CardPresent][draw(11, 2) as usize]);
        let entities = ["customer_id", "terminal_id", "merchant_id", "card_id", "country", "channel"];
        let label = EventLabel {
            transaction_id: one.transaction_id.to_string(),
            occurred_at: one.occurred_at,
            entities: entities.iter().filter_map(|field| Some(((*field).into(), one.entity(field)?.into()))).collect(),
            base_minor: one.amount_minor,
            is_fraud: draw(12, 3) > 0,
            labelled_at: Millis(clock + draw(13, gap.cast_unsigned() * 20 + 1)),
        };
        all.push(Coming::Event(one.clone()));
        if draw(14, 8) == 0 {
            all.push(Coming::Event(one));
        }
        if draw(15, 4) == 0 {
            all.push(Coming::Verdict(label));
        }
    }
    all
}

/// Where an export begins and how much comes between two of its shards.
#[derive(Debug, Clone, Copy)]
struct Course {
    hold: usize,
    /// Read this much after the hold began.
    positions: usize,
    between: usize,
    weight: usize,
}

/// Gives `all` to `history`, which is exported meanwhile; the shards, and what comes again.
fn export<'a>(history: &mut History, all: &'a [Coming], course: Course) -> (Vec<Vec<u8>>, &'a [Coming]) {
    let mut coming = all.iter();
    let mut give = |history: &mut History, many: usize| coming.by_ref().take(many).for_each(|one| take(history, one));
    give(history, course.hold);
    let mut walk = history.hold().unwrap();
    give(history, course.positions);
    let mut shards = Vec::new();
    let mut shard = Vec::new();
    while history.write_weighing(course.weight, &mut walk, &mut shard).unwrap() {
        shards.push(std::mem::take(&mut shard));
        give(history, course.between);
    }
    assert!(history.release(&walk));
    give(history, usize::MAX);
    (shards, all.get(course.hold + course.positions..).unwrap_or_default())
}

fn import(into: &mut History, shards: &[Vec<u8>]) {
    shards.iter().for_each(|shard| into.read_shard(shard).unwrap());
}

fn readings(history: &History, plan: &Plan, of: &Transaction) -> Vec<f64> {
    let mut rows = Rows::new(plan.width());
    history.read(&[event(of)], plan, &mut rows);
    row(&rows)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn shards_and_what_came_since_give_the_same_readings(
        seed in any::<u64>(),
        many in 200_usize..700,
        (begin, positions) in (0.0..1.0, 0_usize..20),
        between in 0_usize..12,
        weight in prop_oneof![Just(1_usize), 1_usize..200],
        late in 0_u64..5,
        slow in any::<bool>(),
    ) {
        for (index, catalogue) in catalogues().iter().enumerate() {
            let lateness = LATENESS[index];
            // In a quick course the stream's time passes lateness and reach many times while shards are written.
            let gap = if slow { lateness / 200 } else { lateness / 15 };
            let all = comings(seed, many, gap, late, lateness);
            let course = Course { hold: (all.len() as f64 * begin) as usize, positions, between, weight };
            let (mut original, plan) = of_catalogue(catalogue, lateness, 1 << 16);
            let (shards, again) = export(&mut original, &all, course);
            let (mut restored, _) = of_catalogue(catalogue, lateness, 1 << 16);
            import(&mut restored, &shards);
            again.iter().for_each(|one| take(&mut restored, one));
            // What came between the hold and the positions does not come again: it is there, its time is not.
            prop_assert!(restored.stream_time() <= original.stream_time());
            prop_assert!(positions > 0 || restored.stream_time() == original.stream_time());
            let oldest = original.stream_time().unwrap().0 - lateness;
            for one in &all {
                if let Coming::Event(one) = one && one.occurred_at.0 >= oldest {
                    let (got, want) = (readings(&restored, &plan, one), readings(&original, &plan, one));
                    let wrong = got.iter().zip(&want).position(|(got, want)| got != want);
                    prop_assert!(
                        wrong.is_none(), "{:?} of {:?}: {:?}, {:?}", wrong.map(|index| &plan.names()[index]), one, got, want
                    );
                }
            }
        }
    }

    /// What was not decided yet when the process ended is decided again, as of its time: it must see the same.
    #[test]
    fn events_that_come_again_read_what_they_read_the_first_time(
        seed in any::<u64>(), begin in 0.0..0.9, between in 0_usize..12,
    ) {
        for (index, catalogue) in catalogues().iter().enumerate() {
            let lateness = LATENESS[index];
            let all = comings(seed, 400, lateness / 15, 0, lateness);
            let course = Course { hold: (all.len() as f64 * begin) as usize, positions: 0, between, weight: 1 };
            let (mut original, plan) = of_catalogue(catalogue, lateness, 1 << 16);
            let (shards, again) = export(&mut original, &all, course);
            // A third that saw everything in order and never was exported.
            let (mut plain, _) = of_catalogue(catalogue, lateness, 1 << 16);
            all.iter().take(course.hold).for_each(|one| take(&mut plain, one));
            let (mut restored, _) = of_catalogue(catalogue, lateness, 1 << 16);
            import(&mut restored, &shards);
            for one in again {
                take(&mut plain, one);
                take(&mut restored, one);
                if let Coming::Event(one) = one {
                    let (got, want) = (readings(&restored, &plan, one), readings(&plain, &plan, one));
                    // A verdict that had arrived by then may count earlier than it did: only what needs none is equal.
                    let same = plan.names().iter().zip(got.iter().zip(&want));
                    let wrong = same.filter(|(name, _)| !name.contains("fraud")).find(|(_, (got, want))| got != want);
                    prop_assert!(wrong.is_none(), "{:?}: {:?}", one, wrong);
                }
            }
        }
    }

    #[test]
    fn no_event_of_a_hot_entity_is_lost_or_doubled(
        seed in any::<u64>(), begin in 0.1..0.9, between in 0_usize..150, late in 0_u64..6,
    ) {
        const EXACT: usize = 150;
        let catalogue = &catalogues()[1];
        let (lateness, reach) = (LATENESS[1], catalogue.reach());
        let mut all = comings(seed, 1_500, lateness / 2_000, late, lateness);
        // What comes twice at once is kept from tiles by the engine's index of ids, not by them.
        let mut known = std::collections::HashSet::new();
        all.retain(|one| !matches!(one, Coming::Event(one) if !known.insert(one.transaction_id.clone())));
        for one in &mut all {
            if let Coming::Event(one) = one {
                (one.customer_id, one.terminal_id) = ("c".into(), "t".into());
            }
        }
        let course = Course { hold: (all.len() as f64 * begin) as usize, positions: 3, between, weight: 1 };
        let (mut original, plan) = of_catalogue(catalogue, lateness, EXACT);
        let (shards, again) = export(&mut original, &all, course);
        let (mut restored, _) = of_catalogue(catalogue, lateness, EXACT);
        import(&mut restored, &shards);
        again.iter().for_each(|one| take(&mut restored, one));
        let mut exact = of_catalogue(catalogue, lateness, 1 << 20).0;
        all.iter().for_each(|one| take(&mut exact, one));
        // Every event lies well within 30 days, so that the count has no edge among tiles.
        prop_assert!(reach > 30 * crate::base::clock::DAY);
        let end = transaction(original.stream_time().unwrap().0 + 1, "end", 0, 0, 1);
        let end = Transaction { customer_id: "c".into(), terminal_id: "t".into(), ..end };
        let column = plan.names().iter().position(|name| name == "customer_tx_count_30d").unwrap();
        let want = readings(&exact, &plan, &end)[column];
        prop_assert_eq!(readings(&restored, &plan, &end)[column], want);
        let seen = |history: &History| history.entities.iter().map(Entities::size).map(|size| size.0).sum::<usize>();
        prop_assert!(between > 10 || seen(&exact) > seen(&restored), "some are in tiles");
    }

    #[test]
    fn bytes_that_are_no_shard_are_refused(seed in any::<u64>(), cut in 0.0..1.0, flip in any::<u8>()) {
        let catalogue = &catalogues()[1];
        let mut original = of_catalogue(catalogue, LATENESS[1], 150).0;
        let all = comings(seed, 60, LATENESS[1] / 40, 3, LATENESS[1]);
        let course = Course { hold: all.len(), positions: 0, between: 0, weight: 100 };
        let (shards, _) = export(&mut original, &all, course);
        for shard in shards {
            let at = (shard.len() as f64 * cut) as usize;
            let into = || of_catalogue(catalogue, LATENESS[1], 150).0;
            // A shard that is cut between two profiles reads: how long it is, is for the file to know.
            let _ = into().read_shard(&shard[..at]);
            prop_assert_eq!(into().read_shard(&shard[..at.min(3)]), Err(ImportError::Malformed));
            let mut damaged = shard.clone();
            damaged[at] ^= flip;
            let _ = into().read_shard(&damaged);
        }
    }
}

#[test]
fn a_hold_ends_by_itself() {
    let (mut history, _) = of_catalogue(&catalogues()[0], LATENESS[0], 1 << 16);
    let one = transaction(START, "a", 0, 0, 1);
    history.insert(&event(&one));
    let mut walk = history.hold().unwrap();
    assert!(history.hold().is_none(), "one at a time");
    let mut shard = Vec::new();
    assert_eq!(history.write(&mut walk, &mut shard), Ok(true));
    history.let_go_after(HELD_EVENTS);
    assert_eq!(history.write(&mut walk, &mut shard), Ok(true));
    history.insert(&event(&one));
    assert_eq!(history.write(&mut walk, &mut shard), Err(Lapsed));
    assert!(history.hold.is_none() && history.hold().is_some());
    assert!(!history.release(&walk) && history.hold.is_some(), "it does not end the other's");
}

#[test]
fn plans_and_keys_are_told_apart() {
    let [small, shipped] = catalogues();
    let euro = Currency::parse("EUR").unwrap();
    let options = HistoryOptions { key: HashKey::new([1; 16]), lateness: 5, exact_events: 7 };
    let hash = plan_hash(&shipped, &options, euro);
    assert_eq!(hash, plan_hash(&shipped, &HistoryOptions { key: HashKey::new([2; 16]), ..options }, euro));
    for other in [
        plan_hash(&small, &options, euro),
        plan_hash(&shipped, &HistoryOptions { lateness: 6, ..options }, euro),
        plan_hash(&shipped, &HistoryOptions { exact_events: 8, ..options }, euro),
        plan_hash(&shipped, &options, Currency::parse("USD").unwrap()),
    ] {
        assert_ne!(hash, other);
    }
    assert_ne!(key_check(&HashKey::new([1; 16])), key_check(&HashKey::new([2; 16])));
}

#[test]
fn a_shard_of_another_kind_is_refused_by_its_kind() {
    let [small, shipped] = catalogues();
    let (mut original, _) = of_catalogue(&shipped, LATENESS[1], 150);
    let all = comings(1, 60, SECOND, 0, LATENESS[1]);
    let (shards, _) = export(&mut original, &all, Course { hold: 60, positions: 0, between: 0, weight: 100 });
    let mut into = of_catalogue(&small, LATENESS[0], 150).0;
    assert!(shards.iter().any(|shard| matches!(into.read_shard(shard), Err(ImportError::Kind(_)))));
}
