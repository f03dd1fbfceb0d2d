//! Readings of one entity as of one event: each window edge is found once, each window is the difference of two; walks
//! and verdicts are gone through once for all that ask.

use super::block::Totals;
use super::labels::Frauds;
use super::profile::{Own, Place, Profile};
use super::values::Value;
use super::walk::walk;
use crate::features::catalogue::{Distance, EntityReads, FraudRead, Read, Statistic};

/// The event a reading is as of.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf<'a> {
    pub(super) at: i64,
    /// Where it stands among the entity's events.
    pub(super) own: Own,
    /// Its values of the counted identifiers.
    pub(super) values: &'a [Value],
    /// Its amount, minor units of the base currency.
    pub(super) amount: u64,
}

/// A window edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edge {
    pub(super) at: i64,
    pub(super) place: Place,
    totals: Totals,
    /// Whether it falls among the tiles.
    pub(super) tiled: bool,
}

impl Edge {
    /// Events between `left` and this edge.
    pub(super) const fn count_after(&self, left: &Self) -> u32 {
        match self.totals.count.wrapping_sub(left.totals.count) {
            // An interpolated left edge can lie beyond a right edge of the same tile by rounding.
            many if many > u32::MAX / 2 => 0,
            many => many,
        }
    }
}

/// What is found of one entity before its reads are put together; kept from one event to the next for its memory.
#[derive(Debug, Default)]
pub(super) struct Found {
    edges: Vec<Edge>,
    walked: Vec<Option<f64>>,
    frauds: Vec<Frauds>,
}

/// Reads `reads` of `profile` into `out`, a value each; says whether an edge was approximate.
pub(super) fn read(
    profile: &Profile,
    reads: &EntityReads,
    as_of: AsOf<'_>,
    found: &mut Found,
    out: &mut Vec<f64>,
) -> bool {
    let Found { edges, walked, frauds } = found;
    let approximate = find(profile, reads, as_of, edges);
    let edges: &[Edge] = edges;
    walked.clear();
    walked.resize(reads.parts, None);
    for one in &reads.walks {
        walk(profile, one, as_of, edges, walked);
    }
    frauds.clear();
    for (left, right) in &reads.frauds {
        let (left, right) = (edges.get(*left), edges.get(*right));
        frauds.push(left.zip(right).map_or(Frauds::NONE, |(left, right)| Frauds::of(left.at, right.at)));
    }
    if let Some(labels) = &profile.labels {
        labels.frauds(frauds, as_of.at);
    }
    for read in &reads.reads {
        let value = match read {
            Read::Walked { part, .. } => walked.get(*part).copied().flatten(),
            Read::Frauds { read, window, scale, .. } => {
                let edges =
                    reads.frauds.get(*window).and_then(|(left, right)| Some((edges.get(*left)?, edges.get(*right)?)));
                let frauds = frauds.get(*window);
                edges.zip(frauds).and_then(|(edges, frauds)| of_frauds(profile, as_of, *read, edges, frauds, *scale))
            }
            _ => value(profile, as_of, read, edges),
        };
        out.push(value.unwrap_or_else(|| read.default()));
    }
    approximate
}

/// Finds every edge, each from the one before it; says whether one falls among tiles.
fn find(profile: &Profile, reads: &EntityReads, as_of: AsOf<'_>, edges: &mut Vec<Edge>) -> bool {
    edges.clear();
    let mut approximate = false;
    let mut earlier = None;
    for distance in &reads.edges {
        let (at, place) = match distance.last {
            None if distance.back == 0 => (as_of.at, as_of.own.place),
            None => {
                let at = as_of.at.saturating_sub(distance.back);
                (at, profile.upper_bound(at))
            }
            Some((last, delay)) => {
                let known = |back| reads.edges.iter().position(|known| *known == Distance { back, last: None });
                let edge = |back| known(back).and_then(|index| edges.get(index));
                // Edges by time alone come first, so both are known.
                match (edge(distance.back), edge(delay)) {
                    (Some(left), Some(right)) => narrowed(profile, left, right, last),
                    _ => (as_of.at, as_of.own.place),
                }
            }
        };
        let totals = profile.totals_from(earlier, place, reads.money, reads.squares);
        earlier = Some((place, totals));
        let edge = edge_at(profile, at, place, totals);
        approximate |= edge.tiled;
        edges.push(edge);
    }
    approximate
}

fn edge_at(profile: &Profile, at: i64, place: Place, mut totals: Totals) -> Edge {
    let mut tiled = false;
    if let (Some(until), Some(tiles)) = (profile.tiles_until(), &profile.tiles)
        && at < until
    {
        totals = totals.minus(tiles.after(at, until));
        tiled = tiles.covers(at);
    }
    Edge { at, place, totals, tiled }
}

/// The left edge of the `last` newest events of a window: before the oldest of them and those of its millisecond.
fn narrowed(profile: &Profile, left: &Edge, right: &Edge, last: u32) -> (i64, Place) {
    let place = profile.back(right.place, last).filter(|place| *place > left.place);
    match place.and_then(|place| profile.time_at(place)) {
        Some(time) if time - 1 > left.at => (time - 1, profile.upper_bound(time - 1)),
        _ => (left.at, left.place),
    }
}

/// `None` where the window is empty (or, for `Elapsed`, nothing came before).
fn value(profile: &Profile, as_of: AsOf<'_>, read: &Read, edges: &[Edge]) -> Option<f64> {
    let window = |left: usize, right: usize| Some((edges.get(left)?, edges.get(right)?));
    match read {
        Read::Count { left, right, .. } => {
            let (left, right) = window(*left, *right)?;
            Some(right.count_after(left)).filter(|count| *count > 0).map(f64::from)
        }
        Read::Money { statistic, left, right, scale, .. } => {
            let (left, right) = window(*left, *right)?;
            money(profile, *statistic, left, right).map(|value| value / scale)
        }
        Read::SinceFirst { left, right, .. } => {
            let (left, right) = window(*left, *right)?;
            if right.count_after(left) == 0 {
                return None;
            }
            let tiles = profile.tiles.as_ref().filter(|_| left.place == Place { block: 0, index: 0 });
            let first = match tiles.and_then(|tiles| tiles.oldest()) {
                Some(oldest) => Some(oldest.max(left.at)),
                None => profile.time_at(left.place),
            };
            first.map(|first| seconds(as_of.at.saturating_sub(first)))
        }
        Read::Elapsed { within, .. } => {
            let behind = if as_of.own.present { profile.step_back(as_of.own.place) } else { as_of.own.place };
            let gap = as_of.at.checked_sub(profile.time_before(behind)?)?;
            (gap < *within).then(|| seconds(gap))
        }
        Read::Walked { .. } | Read::Frauds { .. } => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a span of at most years in milliseconds")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1e3
}

/// Of the frauds known of a window. Without a fraud, counts and shares are 0, the rest has nothing to say.
#[expect(clippy::cast_precision_loss, reason = "the 53 bits of the result are all that a feature has")]
fn of_frauds(
    profile: &Profile,
    as_of: AsOf<'_>,
    read: FraudRead,
    (left, right): (&Edge, &Edge),
    frauds: &Frauds,
    scale: f64,
) -> Option<f64> {
    let events = right.count_after(left);
    let share = |of: u32| f64::from(frauds.count.min(of)) / f64::from(of.max(1));
    match read {
        FraudRead::Count | FraudRead::Share if events == 0 => None,
        FraudRead::Count => Some(f64::from(frauds.count.min(events))),
        FraudRead::Share => Some(share(events)),
        _ if frauds.count == 0 => None,
        FraudRead::ShareSinceFirst => {
            let before = profile.count_until(frauds.first - 1);
            Some(share(right.totals.count.wrapping_sub(before).max(1).min(events.max(1))))
        }
        FraudRead::SinceFirst => Some(seconds(as_of.at.saturating_sub(frauds.first))),
        FraudRead::Since => Some(seconds(as_of.at.saturating_sub(frauds.last))),
        FraudRead::AmountMean => Some(frauds.sum as f64 / f64::from(frauds.count) / scale),
        FraudRead::AmountMin => Some(frauds.smallest as f64 / scale),
    }
}

/// In minor units.
#[expect(clippy::cast_precision_loss, reason = "the 53 bits of the result are all that a feature has")]
fn money(profile: &Profile, statistic: Statistic, left: &Edge, right: &Edge) -> Option<f64> {
    let many = u64::from(right.count_after(left));
    if many == 0 {
        return None;
    }
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

fn extremes(profile: &Profile, left: &Edge, right: &Edge) -> (u64, u64) {
    let mut extremes = match &profile.tiles {
        Some(tiles) if left.tiled => tiles.extremes(left.at, right.at),
        _ => (u64::MAX, 0),
    };
    for (block, range) in profile.ranges(left.place, right.place) {
        let (smallest, largest) = block.extremes(range);
        extremes = (extremes.0.min(smallest), extremes.1.max(largest));
    }
    extremes
}
