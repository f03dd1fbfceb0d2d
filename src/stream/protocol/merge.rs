//! The k-way merge: records of many lanes become one sequence by (time, kind, id). A lane is one partition of one topic.
//!
//! In: records lane by lane in the order of their offsets, and the news that a lane is at its end. Out: the next record,
//! or until when to wait for it.
//!
//! ```text
//! candidate   the smallest of the lanes' heads
//! pops        when every other lane has a head, is at its end, or is absent;
//!             while a lane is empty, not before it was seen at its end at candidate.read_at + settle or later
//! absent      a lane that is empty and not known to be at its end, patience after it began to hold up;
//!             until it pushes or is at its end again. What pops meanwhile is late
//! ```
//!
//! Invariant: records of a lane leave in the order in which they came; a lane need not be sorted by time, its head alone
//! competes. So an id's first record in its partition stays first here.
//!
//! The heads play a tournament: a tree of winners over the lanes, replayed from one leaf to the root.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use super::Moment;
use crate::base::clock::Millis;

/// What a record is, in the order in which records of one time are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A verdict, at the time when it was given.
    Label,
    /// A decision, at its transaction's time.
    Decision,
    /// A transaction.
    Transaction,
}

/// What the merge orders by: (at, kind, id).
pub trait Timed {
    /// The record's own time.
    fn at(&self) -> Millis;
    /// What it is.
    fn kind(&self) -> Kind;
    /// The transaction it is about.
    fn id(&self) -> &str;
}

/// How long the merge waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeOptions {
    /// While a lane is empty, a record is held until that lane is seen at its end so long after the record was read: what
    /// was sent before it may still be on its way in a lane that looked empty. Zero holds none, and an end lasts until
    /// something comes.
    pub settle: Duration,
    /// How long a lane that should have more may hold up the others.
    pub patience: Duration,
}

/// A record whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Popped<T> {
    /// Where it came from.
    pub lane: usize,
    /// The record.
    pub item: T,
    /// Whether a lane that should have had more was not waited for any longer.
    pub late: bool,
}

/// What [`Merge::pop`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next<T> {
    /// The next record.
    Item(Popped<T>),
    /// None yet: ask again at this moment, or earlier when something arrives. `None`: only when something arrives.
    Wait(Option<Moment>),
}

/// See the module.
#[derive(Debug)]
pub struct Merge<T> {
    options: MergeOptions,
    lanes: Vec<Lane<T>>,
    /// A complete binary tree without its leaves: place 1 is the root, the children of n are 2n and 2n + 1, the leaf of a
    /// lane would be `width + lane`. Each place names the lane that won there.
    winners: Vec<usize>,
    width: usize,
    len: usize,
    /// Lanes without a head.
    empty: usize,
    /// Of those, the ones that are neither at their end nor absent.
    awaited: usize,
    /// Of those, the absent ones.
    absent: usize,
}

#[derive(Debug)]
struct Lane<T> {
    queue: VecDeque<(Moment, T)>,
    /// Nothing was left when the reader looked last, then, and nothing came since.
    at_end: Option<Moment>,
    /// Meaningful while the queue is empty.
    gap: Gap,
}

/// What an empty lane means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    /// It should have more: empty since, and holding up a candidate since.
    Awaited { empty: Moment, holding: Option<Moment> },
    /// It is at its end.
    Ended,
    /// It was waited for long enough.
    Absent,
}

impl<T: Timed> Merge<T> {
    /// `lanes` empty lanes, none at its end.
    #[must_use]
    pub fn new(lanes: usize, options: MergeOptions) -> Self {
        let (winners, width) = (Vec::new(), 0);
        let mut merge = Self { options, lanes: Vec::new(), winners, width, len: 0, empty: 0, awaited: 0, absent: 0 };
        merge.widen(lanes);
        merge
    }

    /// The next record of a lane, taken at `read_at`. A lane that is not there yet is added, and those before it.
    pub fn push(&mut self, lane: usize, read_at: Moment, item: T) {
        self.widen(lane.saturating_add(1));
        let Some(held) = self.lanes.get_mut(lane) else { return };
        held.at_end = None;
        held.queue.push_back((read_at, item));
        self.len += 1;
        if held.queue.len() == 1 {
            let gap = held.gap;
            self.leave(gap);
            self.empty -= 1;
            self.replay(lane);
        }
    }

    /// The reader has taken everything that was there when it looked, at `seen_at`. Until the next `push` to the lane it
    /// holds up nobody but, with `settle`, a candidate that had not settled then; and it is not absent. A lane that is not there yet is added, and those before it.
    pub fn at_end(&mut self, lane: usize, seen_at: Moment) {
        self.widen(lane.saturating_add(1));
        let Some(held) = self.lanes.get_mut(lane) else { return };
        held.at_end = held.at_end.max(Some(seen_at));
        if held.queue.is_empty() {
            let gap = std::mem::replace(&mut held.gap, Gap::Ended);
            self.leave(gap);
        }
    }

    /// The reader cannot look at a lane (its broker does not answer): whether it is at its end is no longer known, and it
    /// is waited for from `since` on. A lane that has a head, or is not at its end, stays as it is.
    pub fn doubt(&mut self, lane: usize, since: Moment) {
        let Some(held) = self.lanes.get_mut(lane) else { return };
        if held.at_end.take().is_some() && held.queue.is_empty() {
            held.gap = Gap::Awaited { empty: since, holding: None };
            self.awaited += 1;
        }
    }

    /// Records of a lane that wait for their turn: what a reader bounds by leaving the lane alone.
    #[must_use]
    pub fn queued(&self, lane: usize) -> usize {
        self.lanes.get(lane).map_or(0, |lane| lane.queue.len())
    }

    /// Whether a lane holds up the others: it has no head, is not at its end, and patience lasts.
    #[must_use]
    pub fn awaits(&self, lane: usize) -> bool {
        self.lanes.get(lane).is_some_and(|lane| lane.queue.is_empty() && matches!(lane.gap, Gap::Awaited { .. }))
    }

    /// Records of all lanes that wait for their turn.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no record waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lanes that count as absent.
    #[must_use]
    pub const fn absent(&self) -> usize {
        self.absent
    }

    /// The next record, or until when to wait for it. O(log lanes) for a record, O(lanes) for a wait; allocates nothing.
    pub fn pop(&mut self, now: Moment) -> Next<T> {
        let lane = self.winner(1);
        let Some(read_at) = self.lanes.get(lane).and_then(|lane| lane.queue.front()).map(|(read_at, _)| *read_at)
        else {
            return Next::Wait(None);
        };
        if self.empty > 0 && !self.options.settle.is_zero() {
            let settled = read_at.saturating_add(self.options.settle);
            if now < settled {
                return Next::Wait(Some(settled));
            }
            self.look_again(settled, now);
        }
        let patient = if self.awaited > 0 { self.wait_for_lanes(read_at, now) } else { now };
        if now < patient {
            return Next::Wait(Some(patient));
        }
        let late = self.absent > 0;
        let Some(held) = self.lanes.get_mut(lane) else { return Next::Wait(None) };
        let Some((_, item)) = held.queue.pop_front() else { return Next::Wait(None) };
        self.len -= 1;
        if held.queue.is_empty() {
            held.gap = if held.at_end.is_some() { Gap::Ended } else { Gap::Awaited { empty: now, holding: None } };
            self.awaited += usize::from(held.at_end.is_none());
            self.empty += 1;
        }
        self.replay(lane);
        Next::Item(Popped { lane, item, late })
    }

    /// An end that was seen before `settled` no longer counts: the lane is waited for until it is seen again.
    fn look_again(&mut self, settled: Moment, now: Moment) {
        for lane in 0..self.lanes.len() {
            let old = |lane: &Lane<T>| lane.queue.is_empty() && lane.at_end.is_some_and(|seen_at| seen_at < settled);
            if self.lanes.get(lane).is_some_and(old) {
                self.doubt(lane, now);
            }
        }
    }

    /// Until when the awaited lanes may hold up a candidate read at `read_at`; those whose time is over become absent.
    ///
    /// Why it begins once: a row of ever smaller candidates would otherwise put off the end of patience for ever.
    fn wait_for_lanes(&mut self, read_at: Moment, now: Moment) -> Moment {
        let mut until = now;
        for lane in &mut self.lanes {
            let Gap::Awaited { empty, holding } = lane.gap else { continue };
            if !lane.queue.is_empty() {
                continue;
            }
            let begun = empty.max(read_at);
            let since = holding.map_or(begun, |since| since.min(begun));
            let over = since.saturating_add(self.options.patience);
            if now < over {
                lane.gap = Gap::Awaited { empty, holding: Some(since) };
                until = until.max(over);
            } else {
                lane.gap = Gap::Absent;
                self.awaited -= 1;
                self.absent += 1;
            }
        }
        until
    }

    /// An empty lane is no longer what `gap` says.
    fn leave(&mut self, gap: Gap) {
        match gap {
            Gap::Awaited { .. } => self.awaited -= 1,
            Gap::Absent => self.absent -= 1,
            Gap::Ended => {}
        }
    }

    fn widen(&mut self, lanes: usize) {
        let before = self.lanes.len();
        if lanes <= before {
            return;
        }
        let gap = Gap::Awaited { empty: Moment::ZERO, holding: None };
        self.lanes.resize_with(lanes, || Lane { queue: VecDeque::new(), at_end: None, gap });
        self.empty += lanes - before;
        self.awaited += lanes - before;
        self.width = lanes.next_power_of_two().max(2);
        self.winners = vec![0; self.width];
        for place in (1..self.width).rev() {
            self.play(place);
        }
    }

    /// Plays the matches between a lane and the root.
    fn replay(&mut self, lane: usize) {
        let mut place = (self.width + lane) / 2;
        while place > 0 {
            self.play(place);
            place /= 2;
        }
    }

    fn play(&mut self, place: usize) {
        let (left, right) = (self.winner(2 * place), self.winner(2 * place + 1));
        let winner = if self.beats(right, left) { right } else { left };
        if let Some(won) = self.winners.get_mut(place) {
            *won = winner;
        }
    }

    /// The lane that won at a place; of a leaf, its own.
    fn winner(&self, place: usize) -> usize {
        self.winners.get(place).copied().unwrap_or_else(|| place.saturating_sub(self.width))
    }

    /// Whether the head of `right` comes before that of `left`, a lane with a lower number.
    fn beats(&self, right: usize, left: usize) -> bool {
        let head = |lane: usize| self.lanes.get(lane).and_then(|lane| lane.queue.front()).map(|(_, item)| item);
        match (head(right), head(left)) {
            (Some(right), Some(left)) => before(right, left),
            (right, _) => right.is_some(),
        }
    }
}

fn before<T: Timed>(one: &T, other: &T) -> bool {
    (one.at(), one.kind()).cmp(&(other.at(), other.kind())).then_with(|| one.id().cmp(other.id())) == Ordering::Less
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
