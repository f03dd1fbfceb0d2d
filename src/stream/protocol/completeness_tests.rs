use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const AT: Millis = Millis(10_000);

fn frontier(from: i64, records: &[(i64, i64)]) -> Frontier {
    let mut frontier = Frontier::of_width(from, 2);
    records.iter().for_each(|&(offset, at)| frontier.note(offset, Millis(at)));
    frontier
}

fn records(from: i64) -> Records {
    Records { full: Frontier::new(from), fallbacks: Frontier::new(from) }
}

fn part(committed: i64, end: i64) -> Part {
    Part { committed, end }
}

fn decided(part: Part, frontier: &Frontier) -> (Option<i64>, Hold) {
    let transactions = vec![(part, frontier)];
    let claim = Claim::of(&Observed { at: AT, allow_late: 100, transactions, decisions: Vec::new() }).unwrap();
    (claim.decided.until.map(|until| until.0), claim.decided.hold)
}

fn delivered(part: Part, records: &Records) -> Option<(Mark, Mark)> {
    let transactions = Vec::new();
    let claim = Claim::of(&Observed { at: AT, allow_late: 0, transactions, decisions: vec![(part, records)] })?;
    Some((claim.decided, claim.delivered))
}

#[test]
fn a_partition_is_decided_up_to_what_is_not() {
    let read = frontier(0, &[(0, 5_000), (1, 4_000), (2, 9_990), (3, 6_000)]);
    assert_eq!(decided(part(4, 4), &read), (Some(9_900), Hold::Arrivals));
    // Nothing was read, and nothing is there.
    assert_eq!(decided(part(7, 7), &frontier(0, &[])), (Some(9_900), Hold::Arrivals));
    assert_eq!(decided(part(2, 4), &read), (Some(5_999), Hold::Undecided(0, 2)));
    // In its chunk stands an earlier one that is decided: earlier is allowed.
    assert_eq!(decided(part(1, 4), &read), (Some(3_999), Hold::Undecided(0, 1)));
    // More is there than was read, or all that is there was read before it was asked for.
    assert_eq!(decided(part(4, 9), &read), (Some(9_889), Hold::Unread(0)));
    assert_eq!(decided(part(3, 9), &read), (Some(5_999), Hold::Undecided(0, 3)));
    assert_eq!(decided(part(0, 2), &frontier(0, &[])), (None, Hold::Unread(0)));
    // What stands before the reader's beginning is not known.
    assert_eq!(decided(part(2, 9), &frontier(5, &[(6, 9_000)])), (None, Hold::Unknown(0)));
    // The last offsets are no messages.
    let mut ended = frontier(0, &[(0, 5_000)]);
    assert_eq!(decided(part(1, 2), &ended), (Some(4_899), Hold::Unread(0)));
    ended.pass(2);
    assert_eq!(decided(part(1, 2), &ended), (Some(9_900), Hold::Arrivals));
    // A time ahead of the clock claims nothing.
    assert_eq!(decided(part(1, 9), &frontier(0, &[(0, 99_000)])), (Some(9_899), Hold::Unread(0)));
}

#[test]
fn what_is_on_its_way_to_the_destination_holds_its_own_figure() {
    let mut read = records(0);
    read.full.note(0, Millis(7_000));
    read.fallbacks.pass(1);
    read.fallbacks.note(1, Millis(6_000));
    read.full.pass(2);
    let holds = |(decided, delivered): (Mark, Mark)| {
        [(decided.until.unwrap().0, decided.hold), (delivered.until.unwrap().0, delivered.hold)]
    };
    let both = delivered(part(0, 2), &read).map(holds);
    assert_eq!(both, Some([(5_999, Hold::Fallback(0)), (5_999, Hold::Fallback(0))]));
    assert_eq!(delivered(part(2, 2), &read).map(holds), Some([(10_000, Hold::Arrivals); 2]));
    assert_eq!(delivered(part(0, 3), &read), None, "the reader has not passed the end");
    assert_eq!(delivered(part(3, 3), &read).map(holds), Some([(10_000, Hold::Arrivals); 2]));
    let mut later = records(5);
    later.full.pass(9);
    later.fallbacks.pass(9);
    assert_eq!(delivered(part(4, 9), &later).unwrap().0, Mark { until: None, hold: Hold::UnknownDecisions(0) });
    later.full.note(9, Millis(3));
    later.fallbacks.pass(10);
    let (decided, applied) = delivered(part(9, 10), &later).unwrap();
    assert_eq!((decided.until, applied), (Some(AT), Mark { until: Some(Millis(2)), hold: Hold::Undelivered(0) }));
}

#[test]
fn what_was_read_before_is_put_in_front() {
    let mut read = frontier(5, &[(5, 9_000), (7, 8_000)]);
    let mut earlier = frontier(2, &[(2, 3_000), (3, 4_000)]);
    read.precede(earlier.clone());
    assert_eq!(read.from(), 5, "offset 4 was not read");
    earlier.pass(5);
    read.precede(earlier);
    assert_eq!((read.from(), read.next()), (2, 8));
    assert_eq!(decided(part(2, 8), &read), (Some(2_999), Hold::Undecided(0, 2)));
    assert_eq!(decided(part(5, 8), &read), (Some(7_999), Hold::Undecided(0, 5)));
}

#[test]
fn a_letter_that_was_sent_again_waits_for_its_new_place() {
    assert!(!is_settled((1, 7), &[9, 7]) && is_settled((1, 7), &[0, 8]));
    assert!(!is_settled((2, 7), &[9, 9]) && !is_settled((-1, 7), &[9, 9]));
}

#[test]
fn memory_is_bounded_and_the_chunks_become_small_again() {
    let mut frontier = Frontier::of_width(0, 1);
    for offset in 0..3 * i64::try_from(MOST).unwrap() {
        frontier.note(offset, Millis(offset));
        assert!(frontier.chunks.len() <= MOST);
    }
    assert_eq!(frontier.width, 4);
    assert_eq!(frontier.earliest(0), Some(Millis(0)));
    frontier.forget(3 * i64::try_from(MOST).unwrap());
    frontier.forget(i64::MAX);
    assert_eq!((frontier.width, frontier.chunks.len()), (1, 0));
}

proptest! {
    /// Never later than a recount says; the same where a chunk has one record.
    #[test]
    fn it_is_never_later_than_a_recount(
        width in 1_u32..6,
        from in 0_i64..5,
        records in prop::collection::vec((0_i64..3, 0_i64..1_000), 0..60),
        forget in prop::collection::vec(0_i64..130, 0..4),
        committed in 0_i64..130,
    ) {
        let (mut frontier, mut all) = (Frontier::of_width(from, width), BTreeMap::new());
        let mut offset = from;
        for (gap, at) in records {
            offset += gap;
            frontier.note(offset, Millis(at));
            all.insert(offset, at);
            offset += 1;
        }
        for below in forget {
            frontier.forget(below.min(committed));
        }
        let expected = all.range(committed..).map(|(_, at)| *at).min();
        let found = frontier.earliest(committed).map(|at| at.0);
        if width == 1 {
            prop_assert_eq!(found, expected);
        } else {
            prop_assert!(expected.is_none() || found.is_some_and(|found| Some(found) <= expected));
        }
    }
}
