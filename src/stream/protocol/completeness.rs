//! Completeness: up to which time every transaction that was read has its full decision, and up to which its row.
//!
//! In: where Kafka says that groups and partitions are, asked in the order below, and what this instance's reader has read
//! of each partition ([`Frontier`]). Out: a [`Claim`], or none while the reader has not passed what was asked.
//!
//! ```text
//! 1 C     committed offsets of the owners        below C: a full decision or a dead letter is acknowledged
//! 2 X, E  a moment, then the ends of the transactions     nothing else had arrived at X
//! 3 R     ends of the dead letters               after C: every letter below C is below R
//! 4 T     ends of the decisions                  after C: every decision below C is below T
//! 5 D     committed offsets of the destination   below D: stored, its row completed or waiting
//! 6       the reader has passed T where D has not
//! ```
//!
//! A claim is kept together with every letter below R. What shows it takes the earliest of the claim, the letters that are
//! not closed and, for the rows, the decisions that wait. Invariant: no transaction that was read before the claim and
//! happened at or before its watermark is without a decision or a closed letter. Earlier is allowed, later never.

use std::collections::VecDeque;
use std::fmt;

use crate::base::clock::Millis;

/// Records of a chunk, while there are few of them.
const WIDTH: u32 = 256;
/// Chunks of a partition at most; of more, neighbours become one.
const MOST: usize = 4_096;

/// What was read of a partition: offsets in chunks, each with the earliest time in it.
///
/// Bounded: with many chunks neighbours are joined, which makes their earliest time earlier for some, and later for none.
#[derive(Debug, Clone)]
pub struct Frontier {
    /// The first offset that it knows of.
    from: i64,
    /// One past the last offset that was read.
    next: i64,
    newest: Option<Millis>,
    chunks: VecDeque<Chunk>,
    /// Records of the next chunk.
    width: u32,
    least_width: u32,
}

#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// One past its last offset.
    end: i64,
    records: u32,
    earliest: Millis,
}

impl Frontier {
    /// Of a partition that is read from `from` on.
    #[must_use]
    pub const fn new(from: i64) -> Self {
        Self::of_width(from, WIDTH)
    }

    /// With chunks of so many records.
    #[must_use]
    pub(super) const fn of_width(from: i64, width: u32) -> Self {
        Self { from, next: from, newest: None, chunks: VecDeque::new(), width, least_width: width }
    }

    /// A record that counts was read. What was read before changes nothing.
    pub fn note(&mut self, offset: i64, at: Millis) {
        if offset < self.next {
            return;
        }
        self.pass(offset + 1);
        self.newest = self.newest.max(Some(at));
        match self.chunks.back_mut() {
            Some(last) if last.records < self.width => {
                last.end = offset + 1;
                last.records += 1;
                last.earliest = last.earliest.min(at);
            }
            _ => self.chunks.push_back(Chunk { end: offset + 1, records: 1, earliest: at }),
        }
        if self.chunks.len() > MOST {
            self.join();
        }
    }

    /// Everything below `next` was read; what was not noted does not count.
    pub fn pass(&mut self, next: i64) {
        self.next = self.next.max(next);
    }

    /// Forgets the chunks that lie below an offset as a whole.
    pub fn forget(&mut self, below: i64) {
        while self.chunks.front().is_some_and(|chunk| chunk.end <= below) {
            self.chunks.pop_front();
        }
        if self.chunks.len() < MOST / 4 {
            self.width = (self.width / 2).max(self.least_width);
        }
    }

    /// Puts what was read of the offsets before its own in front: `earlier` has been read up to this one's first offset.
    pub fn precede(&mut self, earlier: Self) {
        if earlier.next < self.from || earlier.from >= self.from {
            return;
        }
        self.from = earlier.from;
        self.newest = self.newest.max(earlier.newest);
        let mut chunks = earlier.chunks;
        chunks.append(&mut self.chunks);
        self.chunks = chunks;
        while self.chunks.len() > MOST {
            self.join();
        }
    }

    /// The first offset that it knows of.
    #[must_use]
    pub const fn from(&self) -> i64 {
        self.from
    }

    /// One past the last offset that was read.
    #[must_use]
    pub const fn next(&self) -> i64 {
        self.next
    }

    /// The earliest time at or after an offset, or an earlier one.
    fn earliest(&self, from: i64) -> Option<Millis> {
        self.chunks.iter().filter(|chunk| chunk.end > from).map(|chunk| chunk.earliest).min()
    }

    /// Makes one of every two neighbours.
    fn join(&mut self) {
        let mut joined: VecDeque<Chunk> = VecDeque::with_capacity(self.chunks.len() / 2 + 1);
        for (place, chunk) in std::mem::take(&mut self.chunks).into_iter().enumerate() {
            match joined.back_mut() {
                Some(last) if place % 2 == 1 => {
                    last.end = chunk.end;
                    last.records = last.records.saturating_add(chunk.records);
                    last.earliest = last.earliest.min(chunk.earliest);
                }
                _ => joined.push_back(chunk),
            }
        }
        self.chunks = joined;
        self.width = self.width.saturating_mul(2);
    }
}

/// What Kafka said of a partition: how far its group has committed, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The next offset of the group.
    pub committed: i64,
    /// The next offset of the partition.
    pub end: i64,
}

/// What a claim rests on: see the module.
#[derive(Debug)]
pub struct Observed<'a> {
    /// X: the moment before the ends of the transactions were asked for.
    pub at: Millis,
    /// How late a transaction may arrive without being late, milliseconds.
    pub allow_late: i64,
    /// C and E of each partition of the transactions, and what was read of it.
    pub transactions: Vec<(Part, &'a Frontier)>,
    /// D and T of each partition of the decisions, and what was read of it.
    pub decisions: Vec<(Part, &'a Records)>,
}

/// What was read of a partition of the decisions.
#[derive(Debug, Clone)]
pub struct Records {
    /// Full records of revision 0.
    pub full: Frontier,
    /// Fallbacks.
    pub fallbacks: Frontier,
}

/// What keeps a figure from being later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Nothing: all that had arrived is decided, and what happened since may still arrive.
    Arrivals,
    /// A message of this partition, from this offset on, has no decision yet.
    Undecided(usize, i64),
    /// This partition has messages that the reader has not read yet.
    Unread(usize),
    /// Of this partition it is not known what stands before the reader's beginning.
    Unknown(usize),
    /// A fallback in this partition of the decisions has not reached the destination yet.
    Fallback(usize),
    /// Decisions of this partition have not reached the destination yet.
    Undelivered(usize),
    /// Of this partition of the decisions it is not known what stands before the reader's beginning.
    UnknownDecisions(usize),
}

impl fmt::Display for Hold {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arrivals => {
                formatter.write_str("nothing: what happened since may still arrive (completeness.allow_late)")
            }
            Self::Undecided(partition, offset) => {
                write!(formatter, "partition {partition} of the transactions: no decision yet from offset {offset} on")
            }
            Self::Unread(partition) => {
                write!(formatter, "partition {partition} of the transactions: the reader is behind")
            }
            Self::Unknown(partition) => {
                write!(
                    formatter,
                    "partition {partition} of the transactions: not read yet from the committed offset on"
                )
            }
            Self::Fallback(partition) => {
                write!(formatter, "partition {partition} of the decisions: a fallback is on its way to PostgreSQL")
            }
            Self::Undelivered(partition) => {
                write!(formatter, "partition {partition} of the decisions: decisions are on their way to PostgreSQL")
            }
            Self::UnknownDecisions(partition) => {
                write!(formatter, "partition {partition} of the decisions: not read yet from PostgreSQL's offset on")
            }
        }
    }
}

/// A time up to which something holds, and what keeps it from being later. `None`: not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The last moment for which it holds.
    pub until: Option<Millis>,
    /// Why no later.
    pub hold: Hold,
}

impl Mark {
    /// The earlier of two; what is not known is earlier than everything.
    fn earlier(self, other: Self) -> Self {
        if other.until < self.until { other } else { self }
    }

    /// Just before `at`.
    const fn before(at: Millis, hold: Hold) -> Self {
        Self { until: Some(Millis(at.0.saturating_sub(1))), hold }
    }
}

/// What holds as of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// X.
    pub as_of: Millis,
    /// Of decisions.
    pub decided: Mark,
    /// Of decisions that are stored at the destination.
    pub delivered: Mark,
    /// Messages of the transactions without a decision: offsets between committed and end.
    pub undecided: u64,
    /// The earliest time of those that were read, or an earlier one.
    pub oldest: Option<Millis>,
}

impl Claim {
    /// The claim; `None` while the reader has not passed the ends of the decisions.
    #[must_use]
    pub fn of(observed: &Observed<'_>) -> Option<Self> {
        let start = Millis(observed.at.0.saturating_sub(observed.allow_late));
        let mut decided = Mark { until: Some(start), hold: Hold::Arrivals };
        let (mut undecided, mut oldest) = (0_u64, None::<Millis>);
        for (partition, (part, frontier)) in observed.transactions.iter().enumerate() {
            decided = decided.earlier(reached(partition, *part, frontier, observed));
            let (open, first) = (part.end.saturating_sub(part.committed), frontier.earliest(part.committed));
            // The last offsets may be no messages.
            let is_void = frontier.from <= part.committed && frontier.next >= part.end && first.is_none();
            if let Ok(open @ 1..) = u64::try_from(open)
                && !is_void
            {
                undecided = undecided.saturating_add(open);
                oldest = oldest.into_iter().chain(first).min();
            }
        }
        let mut delivered = Mark { until: Some(Millis(i64::MAX)), hold: Hold::Arrivals };
        for (partition, (part, records)) in observed.decisions.iter().enumerate() {
            let fallbacks = on_its_way(*part, &records.fallbacks)?;
            decided = decided.earlier(fallbacks.mark(Hold::Fallback(partition), partition));
            let full = on_its_way(*part, &records.full)?;
            delivered = delivered.earlier(full.mark(Hold::Undelivered(partition), partition));
        }
        let delivered = decided.earlier(delivered);
        Some(Self { as_of: observed.at, decided, delivered, undecided, oldest })
    }
}

/// Up to when a partition of the transactions is decided.
fn reached(partition: usize, part: Part, frontier: &Frontier, observed: &Observed<'_>) -> Mark {
    let allowed = |at: Millis| Some(Millis(at.0.saturating_sub(observed.allow_late)));
    if part.committed >= part.end {
        return Mark { until: allowed(observed.at), hold: Hold::Arrivals };
    }
    if frontier.from > part.committed {
        return Mark { until: None, hold: Hold::Unknown(partition) };
    }
    // What is not read yet is, in a partition that is in the order of time, not before what was.
    let rest = if frontier.next >= part.end {
        Mark { until: allowed(observed.at), hold: Hold::Arrivals }
    } else {
        // Another one of the newest millisecond may be among the rest.
        let newest = frontier.newest.map(|newest| Millis(newest.min(observed.at).0.saturating_sub(1)));
        Mark { until: newest.and_then(allowed), hold: Hold::Unread(partition) }
    };
    match frontier.earliest(part.committed) {
        None => rest,
        Some(oldest) => rest.earlier(Mark::before(oldest, Hold::Undecided(partition, part.committed))),
    }
}

/// What of a partition of the decisions has not reached the destination.
enum OnItsWay {
    Nothing,
    From(Millis),
    Unknown,
}

impl OnItsWay {
    const fn mark(&self, hold: Hold, partition: usize) -> Mark {
        match self {
            Self::Nothing => Mark { until: Some(Millis(i64::MAX)), hold: Hold::Arrivals },
            Self::From(at) => Mark::before(*at, hold),
            Self::Unknown => Mark { until: None, hold: Hold::UnknownDecisions(partition) },
        }
    }
}

/// `None`: the reader has not passed the end.
fn on_its_way(part: Part, frontier: &Frontier) -> Option<OnItsWay> {
    if part.committed >= part.end {
        return Some(OnItsWay::Nothing);
    }
    if frontier.from > part.committed {
        return Some(OnItsWay::Unknown);
    }
    if frontier.next < part.end {
        return None;
    }
    Some(frontier.earliest(part.committed).map_or(OnItsWay::Nothing, OnItsWay::From))
}

/// Whether a letter that was sent again is closed: the new message, at this place, has its decision or a letter of its own.
#[must_use]
pub fn is_settled((partition, offset): (i32, i64), committed: &[i64]) -> bool {
    usize::try_from(partition).ok().and_then(|place| committed.get(place)).is_some_and(|committed| *committed > offset)
}

#[cfg(test)]
#[path = "completeness_tests.rs"]
mod tests;
