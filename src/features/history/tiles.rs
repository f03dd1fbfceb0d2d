//! What a hot entity keeps of its older events: totals an hour, aligned to the epoch.
//!
//! A window edge among the tiles takes its tile's totals in proportion to the time covered: the count is wrong by less
//! than the events of that one tile, at each such edge. Distinct values are estimated with HyperLogLog (Flajolet,
//! Fusy, Gandouet, Meunier, 2007): 1,024 registers, standard error 1.04/√1024 = 3.25 %.

use std::collections::{BTreeSet, VecDeque};

use compact_str::CompactString;

use super::block::Totals;
use super::values::{ABSENT, Value};
use crate::base::clock::HOUR;

/// Length of a tile, milliseconds.
pub(super) const WIDTH: i64 = HOUR;
/// Of a sketch, a byte each.
pub(super) const REGISTERS: usize = 1024;

/// An hour of events.
#[derive(Debug)]
pub(super) struct Tile {
    /// Hours since the epoch.
    pub(super) hour: i64,
    /// Totals of the tiles before it.
    pub(super) before: Totals,
    pub(super) totals: Totals,
    pub(super) smallest: u64,
    pub(super) largest: u64,
    pub(super) sketches: Vec<Sketch>,
}

/// The tiles of one entity, by hour.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    pub(super) tiles: VecDeque<Tile>,
    /// Totals of every tile there was. Like those of blocks they only mean something as differences.
    pub(super) total: Totals,
    /// Time of the newest event among them.
    pub(super) newest: Option<i64>,
    /// Late events that went among the tiles while an export went on: should they come again, they are here.
    pub(super) noted: BTreeSet<(i64, CompactString)>,
}

impl Tiles {
    /// Adds an event that is no longer kept by itself.
    pub(super) fn add(&mut self, at: i64, amount: u64, values: &[Value]) {
        let hour = at.div_euclid(WIDTH);
        let place = self.tiles.partition_point(|tile| tile.hour < hour);
        if self.tiles.get(place).is_none_or(|tile| tile.hour != hour) {
            let sketches = values.iter().map(|_| Sketch::default()).collect();
            let before = self.tiles.get(place).map_or(self.total, |next| next.before);
            let tile = Tile { hour, before, totals: Totals::default(), smallest: u64::MAX, largest: 0, sketches };
            self.tiles.insert(place, tile);
        }
        self.total = self.total.plus(Totals::of(amount));
        for later in self.tiles.iter_mut().skip(place + 1) {
            later.before = later.before.plus(Totals::of(amount));
        }
        if let Some(tile) = self.tiles.get_mut(place) {
            tile.totals = tile.totals.plus(Totals::of(amount));
            tile.smallest = tile.smallest.min(amount);
            tile.largest = tile.largest.max(amount);
            for (sketch, value) in tile.sketches.iter_mut().zip(values) {
                sketch.add(value);
            }
        }
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
    }

    /// Whether the event (at, id) is known to be among them.
    pub(super) fn is_noted(&self, at: i64, id: &str) -> bool {
        !self.noted.is_empty() && self.noted.contains(&(at, CompactString::from(id)))
    }

    /// Totals of the events after `at`; the newest tile ends at `end`, where exact events begin.
    pub(super) fn after(&self, at: i64, end: i64) -> Totals {
        let hour = at.div_euclid(WIDTH);
        let place = self.tiles.partition_point(|tile| tile.hour < hour);
        let Some(tile) = self.tiles.get(place) else { return Totals::default() };
        let from_here = self.total.minus(tile.before);
        if tile.hour > hour {
            return from_here;
        }
        let (from, to) = (hour * WIDTH, ((hour + 1) * WIDTH).min(end).max(hour * WIDTH + 1));
        let left_out = part(tile.totals, ((at + 1).min(to) - from, to - from));
        from_here.minus(left_out)
    }

    /// Smallest and largest amount of the tiles that `(left, right]` touches.
    pub(super) fn extremes(&self, left: i64, right: i64) -> (u64, u64) {
        self.within(left, right)
            .fold((u64::MAX, 0), |(smallest, largest), tile| (smallest.min(tile.smallest), largest.max(tile.largest)))
    }

    /// The sketch of value `value` over the tiles that `(left, right]` touches.
    pub(super) fn sketch(&self, value: usize, left: i64, right: i64) -> Sketch {
        let mut all = Sketch::default();
        for sketch in self.within(left, right).filter_map(|tile| tile.sketches.get(value)) {
            all.merge(sketch);
        }
        all
    }

    /// Forgets the hours that ended at or before `horizon`, the sketches of those before `sketches`, and which events
    /// before `late` are among them.
    pub(super) fn forget_until(&mut self, horizon: i64, sketches: i64, late: i64) {
        if !self.noted.is_empty() {
            self.noted = self.noted.split_off(&(late, CompactString::default()));
        }
        while self.tiles.front().is_some_and(|tile| (tile.hour + 1) * WIDTH <= horizon) {
            self.tiles.pop_front();
        }
        for tile in self.tiles.iter_mut().take_while(|tile| (tile.hour + 1) * WIDTH <= sketches) {
            tile.sketches = Vec::new();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tiles.is_empty()
    }

    /// When the oldest tile begins.
    pub(super) fn oldest(&self) -> Option<i64> {
        self.tiles.front().map(|tile| tile.hour * WIDTH)
    }

    /// Whether `at` lies after the beginning of the oldest tile.
    pub(super) fn covers(&self, at: i64) -> bool {
        self.tiles.front().is_some_and(|tile| at >= tile.hour * WIDTH)
    }

    pub(super) fn bytes(&self) -> usize {
        let sketches: usize = self.tiles.iter().map(|tile| tile.sketches.len() * (REGISTERS + 24)).sum();
        self.tiles.capacity() * size_of::<Tile>() + sketches
    }

    fn within(&self, left: i64, right: i64) -> impl Iterator<Item = &Tile> {
        let touched = move |tile: &&Tile| (tile.hour + 1) * WIDTH - 1 > left && tile.hour * WIDTH <= right;
        self.tiles.iter().filter(touched)
    }
}

/// `share` = (numerator, denominator) of `totals`, rounded down.
fn part(totals: Totals, share: (i64, i64)) -> Totals {
    let (numerator, denominator) = (share.0.max(0).cast_unsigned(), share.1.max(1).cast_unsigned());
    let wide = |value: u64| {
        let part = u128::from(value) * u128::from(numerator) / u128::from(denominator);
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    Totals {
        count: u32::try_from(wide(u64::from(totals.count))).unwrap_or(u32::MAX),
        sum: wide(totals.sum),
        squares: (totals.squares / u128::from(denominator)).saturating_mul(u128::from(numerator)),
    }
}

/// HyperLogLog of 1,024 registers over 40-bit hashes.
#[derive(Debug, Default)]
pub(super) struct Sketch {
    pub(super) registers: Vec<u8>,
}

impl Sketch {
    pub(super) fn add(&mut self, value: &Value) {
        if *value == ABSENT {
            return;
        }
        let [a, b, c, d, e] = value.map(u64::from);
        // The values are hashes already: ten bits choose the register, thirty give the rank.
        let bits = a | b << 8 | c << 16 | d << 24 | e << 32;
        let rank = ((bits >> 10 | 1 << 30).trailing_zeros() + 1) as u8;
        if self.registers.is_empty() {
            self.registers = vec![0; REGISTERS];
        }
        if let Some(register) = self.registers.get_mut((bits & 0x3FF) as usize) {
            *register = rank.max(*register);
        }
    }

    fn merge(&mut self, other: &Self) {
        if self.registers.is_empty() {
            self.registers.clone_from(&other.registers);
        }
        for (mine, theirs) in self.registers.iter_mut().zip(&other.registers) {
            *mine = (*mine).max(*theirs);
        }
    }

    /// The estimate of how many different values were added.
    pub(super) fn estimate(&self) -> f64 {
        if self.registers.is_empty() {
            return 0.0;
        }
        let registers = 1024.0_f64;
        let sum: f64 = self.registers.iter().map(|rank| (-f64::from(*rank)).exp2()).sum();
        let raw = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / sum;
        let zeros = self.registers.iter().filter(|rank| **rank == 0).count();
        if raw <= 2.5 * registers && zeros > 0 {
            #[expect(clippy::cast_precision_loss, reason = "at most 1,024")]
            return registers * (registers / zeros as f64).ln();
        }
        raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sketches_estimate_within_four_standard_errors() {
        let key = crate::base::hash::HashKey::new([7; 16]);
        for many in [10_u32, 1_000, 50_000] {
            let mut sketch = Sketch::default();
            for id in (0..many).chain(0..many) {
                let [a, b, c, d, e, ..] = key.entity(&id.to_string()).to_le_bytes();
                sketch.add(&[a, b, c, d, e]);
            }
            let error = sketch.estimate() / f64::from(many) - 1.0;
            assert!(error.abs() < 4.0 * 0.0325, "{many}: {error}");
        }
    }
}
