//! A run of an entity's events in order, kept as columns: times as 32-bit offsets, amounts in 32 bits where they fit,
//! counted values as 40-bit hashes. A block carries the totals of everything before it, so that a window is the
//! difference of two edges and each edge costs one binary search and one partial sum.

use std::ops::Range;

use super::values::{Value, Values};

/// Events in one block at most.
pub(super) const CAPACITY: usize = 128;
/// Room of a column at first; it doubles: few sizes of allocations leave few holes behind.
const ROOM: usize = 8;

/// Running totals from an entity's first event on. They wrap: only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) count: u32,
    pub(super) sum: u64,
    pub(super) squares: u128,
}

impl Totals {
    pub(super) fn of(amount: u64) -> Self {
        Self { count: 1, sum: amount, squares: u128::from(amount) * u128::from(amount) }
    }

    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_add(other.count),
            sum: self.sum.wrapping_add(other.sum),
            squares: self.squares.wrapping_add(other.squares),
        }
    }

    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            count: self.count.wrapping_sub(other.count),
            sum: self.sum.wrapping_sub(other.sum),
            squares: self.squares.wrapping_sub(other.squares),
        }
    }
}

/// One event as an entity keeps it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment<'a> {
    /// When, UTC milliseconds.
    pub(super) at: i64,
    /// Minor units of the base currency.
    pub(super) amount: u64,
    /// A value for each identifier that is counted.
    pub(super) values: &'a [Value],
}

/// Amounts of a block; absent where the catalogue needs none of this entity, or none so old any more.
#[derive(Debug)]
pub(super) enum Amounts {
    Unneeded,
    Forgotten,
    Narrow(Vec<u32>),
    Wide(Vec<u64>),
}

/// A run of events.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) first: i64,
    pub(super) before: Totals,
    pub(super) times: Vec<u32>,
    pub(super) amounts: Amounts,
    pub(super) values: Values,
    pub(super) smallest: u64,
    pub(super) largest: u64,
}

impl Block {
    /// An empty block whose first event will be at `first`, with `room` for that many events.
    pub(super) fn new(first: i64, before: Totals, amounts: bool, room: usize) -> Self {
        Self {
            first,
            before,
            times: Vec::with_capacity(room),
            amounts: if amounts { Amounts::Narrow(Vec::with_capacity(room)) } else { Amounts::Unneeded },
            values: Values::default(),
            smallest: u64::MAX,
            largest: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.times.len()
    }

    pub(super) const fn is_full(&self) -> bool {
        self.times.len() >= CAPACITY
    }

    /// Time of the first event.
    pub(super) const fn first(&self) -> i64 {
        self.first
    }

    /// Time of the last event; that of the first in an empty block.
    pub(super) fn last(&self) -> i64 {
        self.first + i64::from(self.times.last().copied().unwrap_or(0))
    }

    pub(super) fn time(&self, index: usize) -> Option<i64> {
        self.times.get(index).map(|offset| self.first + i64::from(*offset))
    }

    /// The smallest and the largest amount of the events `range`.
    pub(super) fn extremes(&self, range: Range<usize>) -> (u64, u64) {
        if range.len() == self.len() {
            return (self.smallest, self.largest);
        }
        match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => (0, 0),
            Amounts::Narrow(all) => {
                let (smallest, largest) = extremes(all.get(range).unwrap_or_default(), (u32::MAX, 0));
                if smallest > largest { (u64::MAX, 0) } else { (smallest.into(), largest.into()) }
            }
            Amounts::Wide(all) => extremes(all.get(range).unwrap_or_default(), (u64::MAX, 0)),
        }
    }

    /// Number of events before `at`.
    pub(super) fn lower_bound(&self, at: i64) -> usize {
        self.times.partition_point(|offset| self.first + i64::from(*offset) < at)
    }

    /// Number of events up to and including `at`.
    pub(super) fn upper_bound(&self, at: i64) -> usize {
        let Some(distance) = at.checked_sub(self.first).filter(|distance| *distance >= 0) else { return 0 };
        let Ok(distance) = u32::try_from(distance) else { return self.times.len() };
        self.times.partition_point(|offset| *offset <= distance)
    }

    /// Whether an event at `at` can stand in this block: its offset fits.
    pub(super) fn reaches(&self, at: i64) -> bool {
        let (first, last) = (self.first.min(at), self.last().max(at));
        self.times.is_empty() || last.checked_sub(first).is_some_and(|span| u32::try_from(span).is_ok())
    }

    /// Totals from the entity's first event to the `index` first of this block; `squares` costs extra.
    pub(super) fn totals(&self, index: usize, money: bool, squares: bool) -> Totals {
        self.add(self.before, 0..index, money, squares)
    }

    /// `totals` and those of the events `range`.
    pub(super) fn add(&self, mut totals: Totals, range: Range<usize>, money: bool, squares: bool) -> Totals {
        totals.count = totals.count.wrapping_add(u32::try_from(range.len()).unwrap_or(u32::MAX));
        if money {
            totals.sum = totals.sum.wrapping_add(self.sum(range.clone()));
            if squares {
                totals.squares = totals.squares.wrapping_add(self.squares(range));
            }
        }
        totals
    }

    fn sum(&self, range: Range<usize>) -> u64 {
        match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => 0,
            Amounts::Narrow(all) => all.get(range).unwrap_or_default().iter().map(|amount| u64::from(*amount)).sum(),
            Amounts::Wide(all) => {
                all.get(range).unwrap_or_default().iter().fold(0, |sum, amount| sum.wrapping_add(*amount))
            }
        }
    }

    fn squares(&self, range: Range<usize>) -> u128 {
        // 128 squares below 2^56 stay below 2^63: the common case adds in 64 bits, which vectorises.
        let square = |amount: u64| u128::from(amount) * u128::from(amount);
        match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => 0,
            Amounts::Narrow(all) if self.largest < 1 << 28 => {
                let squares =
                    all.get(range).unwrap_or_default().iter().map(|amount| u64::from(*amount) * u64::from(*amount));
                u128::from(squares.sum::<u64>())
            }
            Amounts::Narrow(all) => {
                all.get(range).unwrap_or_default().iter().map(|amount| square(u64::from(*amount))).sum()
            }
            Amounts::Wide(all) => {
                all.get(range).unwrap_or_default().iter().fold(0, |sum, amount| sum.wrapping_add(square(*amount)))
            }
        }
    }

    pub(super) fn amount(&self, index: usize) -> u64 {
        match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => 0,
            Amounts::Narrow(all) => all.get(index).copied().map_or(0, u64::from),
            Amounts::Wide(all) => all.get(index).copied().unwrap_or(0),
        }
    }

    /// How many amounts of the events `range` equal `amount`, and how many are smaller.
    pub(super) fn compare(&self, range: Range<usize>, amount: u64) -> (u32, u32) {
        match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => (0, 0),
            Amounts::Narrow(all) => match u32::try_from(amount) {
                Ok(amount) => compare(all.get(range).unwrap_or_default(), amount),
                Err(_) => (0, u32::try_from(range.len()).unwrap_or(u32::MAX)),
            },
            Amounts::Wide(all) => compare(all.get(range).unwrap_or_default(), amount),
        }
    }

    /// Values of identifier `identifier` of all events; `None` where none has one.
    pub(super) fn column(&self, identifier: usize) -> Option<&[Value]> {
        self.values.column(identifier, self.len())
    }

    /// Forgets the values of identifier `identifier`.
    pub(super) fn forget_column(&mut self, identifier: usize) {
        self.values.forget(identifier, self.times.len());
    }

    /// Forgets the amounts of the events that are here; the totals behind them stay what they were.
    pub(super) fn forget_amounts(&mut self) {
        let all = self.totals(self.len(), true, true);
        self.before = Totals { count: self.before.count, ..all };
        self.amounts = Amounts::Forgotten;
    }

    /// Puts an event at place `index`; the caller keeps the order, [`Block::reaches`] and [`Block::is_full`].
    pub(super) fn insert(&mut self, index: usize, moment: Moment<'_>) {
        if self.times.is_empty() {
            self.first = moment.at;
        } else if moment.at < self.first {
            let shift = u32::try_from(self.first - moment.at).unwrap_or(u32::MAX);
            self.times.iter_mut().for_each(|offset| *offset = offset.saturating_add(shift));
            self.first = moment.at;
        }
        if matches!(self.amounts, Amounts::Forgotten) {
            // Those before count as 0: what they were is in the totals before the block.
            self.amounts = Amounts::Narrow(vec![0; self.times.len()]);
        }
        self.widen_for(moment.amount);
        let grow = self.times.len() == self.times.capacity();
        let growth = self.times.len().max(ROOM);
        let offset = u32::try_from(moment.at - self.first).unwrap_or(u32::MAX);
        if grow {
            self.times.reserve_exact(growth);
        }
        self.times.insert(index, offset);
        match &mut self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => {}
            Amounts::Narrow(all) => {
                if grow {
                    all.reserve_exact(growth);
                }
                all.insert(index, u32::try_from(moment.amount).unwrap_or(u32::MAX));
            }
            Amounts::Wide(all) => all.insert(index, moment.amount),
        }
        self.values.insert(index, self.times.len() - 1, self.times.capacity().min(CAPACITY), moment.values);
        self.smallest = self.smallest.min(moment.amount);
        self.largest = self.largest.max(moment.amount);
    }

    /// Moves the events from `index` on into a block of their own.
    pub(super) fn split_off(&mut self, index: usize) -> Self {
        let before = self.totals(index, true, true);
        let first = self.time(index).unwrap_or(self.first);
        let shift = u32::try_from(first - self.first).unwrap_or(u32::MAX);
        let values = self.values.split_off(index, self.len());
        let times = self.times.split_off(index).into_iter().map(|offset| offset.saturating_sub(shift)).collect();
        let amounts = match &mut self.amounts {
            Amounts::Unneeded => Amounts::Unneeded,
            Amounts::Forgotten => Amounts::Forgotten,
            Amounts::Narrow(all) => Amounts::Narrow(all.split_off(index)),
            Amounts::Wide(all) => Amounts::Wide(all.split_off(index)),
        };
        let mut rest = Self { first, before, times, amounts, values, smallest: u64::MAX, largest: 0 };
        rest.measure();
        self.measure();
        rest
    }

    /// Forgets the `count` first events; what remains keeps its running totals.
    pub(super) fn forget(&mut self, count: usize) {
        let rest = self.split_off(count.min(self.len()));
        *self = rest;
        self.times.shrink_to_fit();
        match &mut self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => {}
            Amounts::Narrow(all) => all.shrink_to_fit(),
            Amounts::Wide(all) => all.shrink_to_fit(),
        }
    }

    /// Bytes that the columns hold, without spare room; and with it.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let amounts = match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => (0, 0),
            Amounts::Narrow(all) => (all.len() * 4, all.capacity() * 4),
            Amounts::Wide(all) => (all.len() * 8, all.capacity() * 8),
        };
        let values = self.values.bytes(self.len());
        (self.times.len() * 4 + amounts.0 + values.0, self.times.capacity() * 4 + amounts.1 + values.1)
    }

    fn widen_for(&mut self, amount: u64) {
        if let Amounts::Narrow(all) = &self.amounts
            && u32::try_from(amount).is_err()
        {
            self.amounts = Amounts::Wide(all.iter().map(|amount| u64::from(*amount)).collect());
        }
    }

    /// Finds the smallest and the largest amount again.
    pub(super) fn measure(&mut self) {
        let mut extremes = (u64::MAX, 0);
        for index in 0..self.len() {
            let amount = self.amount(index);
            extremes = (extremes.0.min(amount), extremes.1.max(amount));
        }
        (self.smallest, self.largest) = extremes;
    }
}

fn extremes<T: Ord + Copy>(amounts: &[T], none: (T, T)) -> (T, T) {
    amounts.iter().fold(none, |(smallest, largest), one| (smallest.min(*one), largest.max(*one)))
}

fn compare<T: PartialOrd + Copy>(amounts: &[T], amount: T) -> (u32, u32) {
    let count =
        |(equal, smaller): (u32, u32), one: &T| (equal + u32::from(*one == amount), smaller + u32::from(*one < amount));
    amounts.iter().fold((0, 0), count)
}
