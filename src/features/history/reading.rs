//! Readings of one entity as of one event: each window edge is found once, each window is the difference of two.

use std::collections::HashSet;

use super::block::{ABSENT, Totals, Value};
use super::profile::{Own, Place, Profile};
use crate::features::catalogue::{EntityReads, Read, Statistic};

/// The event a reading is as of.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf<'a> {
    pub(super) at: i64,
    /// Where it stands among the entity's events.
    pub(super) own: Own,
    /// Its values of the counted identifiers.
    pub(super) values: &'a [Value],
}

/// A window edge.
#[derive(Debug, Clone, Copy)]
struct Edge {
    at: i64,
    place: Place,
    totals: Totals,
    /// Whether it falls among the tiles.
    tiled: bool,
}

/// Reads `reads` of `profile` into `out`, a value each; says whether an edge was approximate.
pub(super) fn read(profile: &Profile, reads: &EntityReads, as_of: AsOf<'_>, out: &mut Vec<f64>) -> bool {
    const MOST: usize = 16;
    let mut stack = [None::<Edge>; MOST];
    let mut heap = Vec::new();
    let edges: &mut [Option<Edge>] = if reads.edges.len() <= MOST {
        &mut stack
    } else {
        heap.resize(reads.edges.len(), None);
        &mut heap
    };
    let mut approximate = false;
    for (slot, distance) in edges.iter_mut().zip(&reads.edges) {
        let edge = edge(profile, reads, as_of, *distance);
        approximate |= edge.tiled;
        *slot = Some(edge);
    }
    let at = |index: usize| edges.get(index).copied().flatten();
    for read in &reads.reads {
        out.push(value(profile, as_of, read, at).unwrap_or_else(|| default(read)));
    }
    approximate
}

/// What a read gives where the entity has no history at all.
pub(super) const fn default(read: &Read) -> f64 {
    match read {
        Read::Count { default, .. }
        | Read::Money { default, .. }
        | Read::Distinct { default, .. }
        | Read::First { default, .. }
        | Read::Frauds { default, .. }
        | Read::Elapsed { default, .. } => *default,
    }
}

fn edge(profile: &Profile, reads: &EntityReads, as_of: AsOf<'_>, distance: i64) -> Edge {
    let at = as_of.at.saturating_sub(distance);
    let place = if distance == 0 { as_of.own.place } else { profile.upper_bound(at) };
    let mut totals = profile.totals(place, reads.money, reads.squares);
    let mut tiled = false;
    if let (Some(until), Some(tiles)) = (profile.tiles_until(), &profile.tiles)
        && at < until
    {
        totals = totals.minus(tiles.after(at, until));
        tiled = tiles.covers(at);
    }
    Edge { at, place, totals, tiled }
}

/// `None` where the window is empty (or, for `Elapsed`, nothing came before).
fn value(profile: &Profile, as_of: AsOf<'_>, read: &Read, at: impl Fn(usize) -> Option<Edge>) -> Option<f64> {
    let window = |left: usize, right: usize| Some((at(left)?, at(right)?));
    match read {
        Read::Count { left, right, .. } => {
            let (left, right) = window(*left, *right)?;
            count(left, right).map(f64::from)
        }
        Read::Money { statistic, left, right, scale, .. } => {
            let (left, right) = window(*left, *right)?;
            money(profile, *statistic, left, right).map(|value| value / scale)
        }
        Read::Distinct { value, left, right, .. } => {
            let (left, right) = window(*left, *right)?;
            count(left, right)?;
            Some(distinct(profile, *value, as_of.values.len(), left, right))
        }
        Read::First { value, left, .. } => first(profile, *value, as_of, at(*left)?),
        Read::Frauds { share, left, right, .. } => {
            let (left, right) = window(*left, *right)?;
            let count = count(left, right)?;
            let frauds = profile.labels.as_ref().map_or(0, |labels| labels.frauds(left.at, right.at, as_of.at));
            let frauds = f64::from(frauds.min(count));
            Some(if *share { frauds / f64::from(count) } else { frauds })
        }
        Read::Elapsed { within, .. } => {
            let behind = if as_of.own.present { profile.step_back(as_of.own.place) } else { as_of.own.place };
            let gap = as_of.at.checked_sub(profile.time_before(behind)?)?;
            #[expect(clippy::cast_precision_loss, reason = "a span of at most a year in milliseconds")]
            (gap < *within).then_some(gap as f64 / 1e3)
        }
    }
}

const fn count(left: Edge, right: Edge) -> Option<u32> {
    match right.totals.count.wrapping_sub(left.totals.count) {
        0 => None,
        // An interpolated left edge can lie beyond a right edge of the same tile by rounding.
        many if many > u32::MAX / 2 => None,
        many => Some(many),
    }
}

/// In minor units.
#[expect(clippy::cast_precision_loss, reason = "the 53 bits of the result are all that a feature has")]
fn money(profile: &Profile, statistic: Statistic, left: Edge, right: Edge) -> Option<f64> {
    let many = u64::from(count(left, right)?);
    let totals = right.totals.minus(left.totals);
    Some(match statistic {
        Statistic::Sum => totals.sum as f64,
        Statistic::Mean => totals.sum as f64 / many as f64,
        Statistic::Std => {
            // n·Σx² − (Σx)² in integers: no cancellation.
            let spread = (u128::from(many).saturating_mul(totals.squares))
                .saturating_sub(u128::from(totals.sum).saturating_mul(u128::from(totals.sum)));
            (spread as f64).sqrt() / many as f64
        }
        Statistic::Min => extremes(profile, left, right).0 as f64,
        Statistic::Max => extremes(profile, left, right).1 as f64,
    })
}

fn extremes(profile: &Profile, left: Edge, right: Edge) -> (u64, u64) {
    let mut extremes = match &profile.tiles {
        Some(tiles) if left.tiled => tiles.extremes(left.at, right.at),
        _ => (u64::MAX, 0),
    };
    for (block, range) in profile.ranges(left.place, right.place) {
        let (smallest, largest) = if range.len() == block.len() {
            block.extremes()
        } else {
            range.fold((u64::MAX, 0), |(smallest, largest), index| {
                let amount = block.amount(index);
                (smallest.min(amount), largest.max(amount))
            })
        };
        extremes = (extremes.0.min(smallest), extremes.1.max(largest));
    }
    extremes
}

fn distinct(profile: &Profile, value: usize, width: usize, left: Edge, right: Edge) -> f64 {
    let ranges = || profile.ranges(left.place, right.place);
    let values =
        || ranges().flat_map(|(block, range)| block.values(range, width).iter().skip(value).step_by(width.max(1)));
    if let Some(tiles) = profile.tiles.as_ref().filter(|_| left.tiled) {
        let mut sketch = tiles.sketch(value, left.at, right.at);
        values().for_each(|value| sketch.add(value));
        return sketch.estimate().round();
    }
    const FEW: usize = 24;
    if ranges().map(|(_, range)| range.len()).sum::<usize>() <= FEW {
        let mut seen = [ABSENT; FEW];
        let mut many = 0;
        for value in values().filter(|value| **value != ABSENT) {
            let known = seen.get(..many).is_some_and(|seen| seen.contains(value));
            if !known && let Some(slot) = seen.get_mut(many) {
                *slot = *value;
                many += 1;
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "at most FEW")]
        return many as f64;
    }
    let seen: HashSet<&Value, hashbrown::DefaultHashBuilder> = values().filter(|value| **value != ABSENT).collect();
    #[expect(clippy::cast_precision_loss, reason = "at most the events kept exact")]
    return seen.len() as f64;
}

/// 1 where no event of the window before this one has its value, 0 where one has.
fn first(profile: &Profile, value: usize, as_of: AsOf<'_>, left: Edge) -> Option<f64> {
    let own = as_of.values.get(value).filter(|value| **value != ABSENT)?;
    let behind = if as_of.own.present { profile.step_back(as_of.own.place) } else { as_of.own.place };
    let width = as_of.values.len();
    let mut ranges = profile.ranges(left.place, behind).rev();
    let seen = ranges
        .any(|(block, range)| block.values(range, width).iter().skip(value).step_by(width).any(|value| value == own));
    Some(if seen { 0.0 } else { 1.0 })
}
