//! Walks: what can only be known by looking at transactions one by one, each identifier once for all that ask.
//!
//! A walk goes back from a window's right edge and says something at each left edge it passes. It looks at the
//! window's newest [`WALK`] transactions and at no more: that is the meaning of what it counts, and its bound.

use super::profile::{Place, Profile};
use super::reading::{AsOf, Edge};
use super::values::{ABSENT, Value};
use crate::features::catalogue::{Column, Part, PartKind, WALK, Walk};

/// Slots of the set of values seen: twice what can be put in, for few events and for most.
const FEW: usize = 128;
const SOME: usize = 512;
const MOST: usize = 2 * WALK;

/// Fills `found` with what the walk's parts say, by their numbers; `None` where the part has nothing to say.
pub(super) fn walk(profile: &Profile, walk: &Walk, as_of: AsOf<'_>, edges: &[Edge], found: &mut [Option<f64>]) {
    let Some(right) = edges.get(walk.right) else { return };
    let Column::Value(identifier) = walk.column else {
        return amounts(profile, walk, as_of, right, edges, found);
    };
    if profile.tiles.is_none() && profile.blocks.iter().all(|block| block.column(identifier).is_none()) {
        return nobody(walk, as_of, identifier, right, edges, found);
    }
    let distinct = walk.parts.iter().rev().find(|part| part.kind == PartKind::Distinct);
    let events = distinct.and_then(|part| edges.get(part.left)).map_or(0, |left| right.count_after(left));
    match events as usize {
        0 => values::<1>(profile, walk, as_of, identifier, right, edges, found),
        1..=64 => values::<FEW>(profile, walk, as_of, identifier, right, edges, found),
        65..=256 => values::<SOME>(profile, walk, as_of, identifier, right, edges, found),
        _ => values::<MOST>(profile, walk, as_of, identifier, right, edges, found),
    }
}

/// Where no transaction of the entity names the identifier: nothing to walk over.
fn nobody(walk: &Walk, as_of: AsOf<'_>, identifier: usize, right: &Edge, edges: &[Edge], found: &mut [Option<f64>]) {
    let own = as_of.values.get(identifier).is_some_and(|value| *value != ABSENT);
    for part in &walk.parts {
        let any = edges.get(part.left).is_some_and(|left| right.count_after(left) > 0);
        let value = match part.kind {
            PartKind::Distinct => any.then_some(0.0),
            PartKind::Same => own.then_some(0.0),
            PartKind::First => own.then_some(1.0),
            PartKind::Rank => None,
        };
        put(found, part, value);
    }
}

/// A set of values, open addressing: they are hashes already.
struct Seen<const SLOTS: usize> {
    slots: [u64; SLOTS],
    many: u32,
}

impl<const SLOTS: usize> Seen<SLOTS> {
    fn insert(&mut self, value: Value) {
        let value = wide(value);
        if value == 0 || SLOTS < FEW {
            return;
        }
        // Half the slots stay empty, so this ends. Whether a value is new cannot be foretold, but that its slot is not
        // another's can: the one branch of the loop.
        let mut place = value as usize;
        while let Some(slot) = self.slots.get_mut(place % SLOTS) {
            let empty = *slot == 0;
            *slot |= if empty { value } else { 0 };
            self.many += u32::from(empty);
            if *slot == value {
                return;
            }
            place = place.wrapping_add(1);
        }
    }
}

/// A value as a number; 0 when absent.
const fn wide([a, b, c, d, e]: Value) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
}

fn values<const SLOTS: usize>(
    profile: &Profile,
    walk: &Walk,
    as_of: AsOf<'_>,
    identifier: usize,
    right: &Edge,
    edges: &[Edge],
    found: &mut [Option<f64>],
) {
    let own = as_of.values.get(identifier).copied().filter(|value| *value != ABSENT).map(wide);
    let mut seen = Seen::<SLOTS> { slots: [0; SLOTS], many: 0 };
    // Distinct parts stand behind `counting` no more: the rest of the walk only compares.
    let mut counting = walk.parts.iter().filter(|part| part.kind == PartKind::Distinct).count();
    let only_first = walk.parts.iter().all(|part| part.kind == PartKind::First);
    let (mut upto, mut rest, mut same) = (right.place, WALK, 0_u32);
    if right.place == as_of.own.place && as_of.own.present {
        // The transaction itself is a value among the others, and no earlier one.
        upto = profile.step_back(upto);
        rest -= 1;
        for (block, range) in profile.ranges(upto, right.place) {
            let column = block.column(identifier).and_then(|column| column.get(range));
            column.unwrap_or_default().iter().for_each(|value| seen.insert(*value));
        }
    }
    for part in &walk.parts {
        let Some(left) = edges.get(part.left) else { continue };
        for (block, range) in profile.ranges(left.place, upto).rev() {
            let range = range.end.saturating_sub(rest).max(range.start)..range.end;
            rest -= range.len();
            let Some(column) = block.column(identifier).and_then(|column| column.get(range)) else { continue };
            if let Some(own) = own {
                same += column.iter().map(|value| u32::from(wide(*value) == own)).sum::<u32>();
            }
            if counting > 0 {
                column.iter().for_each(|value| seen.insert(*value));
            }
            if rest == 0 || only_first && same > 0 {
                break;
            }
        }
        upto = upto.min(left.place);
        let value = match part.kind {
            PartKind::Distinct => {
                counting -= 1;
                distinct(profile, identifier, (left, right), rest, seen.many)
            }
            PartKind::Same => own.map(|_| f64::from(same)),
            PartKind::First => own.map(|_| if same == 0 { 1.0 } else { 0.0 }),
            PartKind::Rank => None,
        };
        put(found, part, value);
    }
}

/// The number of values; with older events in tiles and fewer than [`WALK`] kept one by one, the estimate of all.
fn distinct(profile: &Profile, identifier: usize, window: (&Edge, &Edge), rest: usize, many: u32) -> Option<f64> {
    let (left, right) = window;
    if right.count_after(left) == 0 {
        return None;
    }
    let Some(tiles) = profile.tiles.as_ref().filter(|_| left.tiled && rest > 0) else { return Some(f64::from(many)) };
    let mut sketch = tiles.sketch(identifier, left.at, right.at);
    for (block, range) in profile.ranges(left.place, right.place) {
        let column = block.column(identifier).and_then(|column| column.get(range));
        column.unwrap_or_default().iter().for_each(|value| sketch.add(value));
    }
    Some(sketch.estimate().round())
}

fn amounts(profile: &Profile, walk: &Walk, as_of: AsOf<'_>, right: &Edge, edges: &[Edge], found: &mut [Option<f64>]) {
    let own = right.place == as_of.own.place && as_of.own.present;
    let mut upto: Place = if own { profile.step_back(right.place) } else { right.place };
    let mut rest = WALK - usize::from(own);
    let (mut equal, mut smaller, mut others) = (0, 0, 0);
    for part in &walk.parts {
        let Some(left) = edges.get(part.left) else { continue };
        for (block, range) in profile.ranges(left.place, upto).rev() {
            let range = range.end.saturating_sub(rest).max(range.start)..range.end;
            rest -= range.len();
            others += u32::try_from(range.len()).unwrap_or(u32::MAX);
            let (same, less) = block.compare(range, as_of.amount);
            equal += same;
            smaller += less;
            if rest == 0 {
                break;
            }
        }
        upto = upto.min(left.place);
        let value = match part.kind {
            PartKind::Rank => (others > 0).then(|| f64::from(smaller) / f64::from(others)),
            PartKind::Same => Some(f64::from(equal)),
            PartKind::Distinct | PartKind::First => None,
        };
        put(found, part, value);
    }
}

fn put(found: &mut [Option<f64>], part: &Part, value: Option<f64>) {
    if let Some(slot) = found.get_mut(part.number) {
        *slot = value;
    }
}
