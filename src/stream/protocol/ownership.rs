//! Ownership: which transactions this instance scores, and how far it may commit.
//!
//! In: the assignment of the group, the positions of the reader that reads everything, the transactions it merges and
//! re-reads, and what became of them. Out: whether to score one, what to read again, and the positions to commit.
//!
//! ```text
//! assign ──▶ unripe: every live transaction is deferred
//!              │ the reader has passed the ends that the decisions had when ownership began
//!              ▼
//!            ripe:   committed ─── re-read ───▶ position ─── live ───▶
//! ```
//!
//! The position of a partition is how far the reader was when ownership became ripe. What lies between the committed
//! offset and it is read again and scored unless it is decided; what comes from it on is scored as it is merged. Every
//! decision that an earlier owner had acknowledged before it lost the partition is known by then, so a crash between
//! the acknowledgement of a decision and the commit of its offset is a skip.
//!
//! Invariants: an offset at or above the committed one is begun exactly once in an epoch, by the re-read or live. What is
//! committed never passes an offset that is not done, never goes back, and is of the running epoch.

use std::collections::BTreeMap;

use super::prefix::Prefix;

/// What to do with a transaction that the reader has merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Another instance scores its partition, or nobody does now.
    NotOwned,
    /// Its effects were acknowledged before, or it is begun already: nothing to do.
    Skip,
    /// It is not yet known what is decided. A re-read will bring it again.
    Defer,
    /// It is begun: score it unless it is decided; then [`Ownership::done`].
    Own,
}

/// A range of offsets that the owner reads again: `from..to` of a partition of the transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reread {
    /// Which partition.
    pub partition: i32,
    /// The first offset, the committed one.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
    /// The epoch it belongs to; when that is over the re-read is given up.
    pub epoch: u64,
}

/// See the module. One an instance.
#[derive(Debug, Default)]
pub struct Ownership {
    /// Epochs begun so far; the running one has this number.
    epochs: u64,
    /// One past the last live offset that was met, by partition, owned or not.
    met: BTreeMap<i32, i64>,
    assigned: Option<Assigned>,
}

#[derive(Debug)]
struct Assigned {
    decisions_end: Vec<i64>,
    ripe: bool,
    partitions: BTreeMap<i32, Owned>,
}

#[derive(Debug)]
struct Owned {
    committed: i64,
    /// What the last call of `commits` told, or the committed offset.
    told: i64,
    /// Where the re-read ends and live begins; meaningful once ripe.
    position: i64,
    reread: Option<Prefix>,
    reread_ended: bool,
    live: Prefix,
}

impl Ownership {
    /// Of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins an epoch and ends the one before; its number. `partitions` is the whole assignment: partition, and the
    /// group's committed offset or, where there is none, the partition's beginning. `decisions_end` holds the ends of the
    /// partitions of the decisions, asked for after the assignment was known.
    pub fn assign(&mut self, partitions: &[(i32, i64)], decisions_end: &[i64]) -> u64 {
        self.epochs += 1;
        let partitions = partitions.iter().map(|&(partition, committed)| (partition, Owned::from(committed))).collect();
        self.assigned = Some(Assigned { decisions_end: decisions_end.to_vec(), ripe: false, partitions });
        self.epochs
    }

    /// Ends the epoch: nothing is owned, and what is done later is not committed.
    pub fn revoke(&mut self) {
        self.assigned = None;
    }

    /// Where the reader is, by partition number: the next offset it will merge, everything below being applied. Of a
    /// partition that it has not read from, where it will begin; one that is missing counts as 0. Gives the re-reads that
    /// are due, once an epoch: when ownership becomes ripe.
    #[must_use = "a re-read that nobody reads loses its transactions"]
    pub fn advance(&mut self, decisions: &[i64], transactions: &[i64]) -> Vec<Reread> {
        let (epoch, met) = (self.epochs, &self.met);
        let Some(assigned) = self.assigned.as_mut().filter(|assigned| !assigned.ripe) else { return Vec::new() };
        let passed = |(partition, end): (usize, &i64)| decisions.get(partition).copied().unwrap_or_default() >= *end;
        assigned.ripe = assigned.decisions_end.iter().enumerate().all(passed);
        if !assigned.ripe {
            return Vec::new();
        }
        // Why what was met counts too: it was deferred, or met while another owned it, and is read again even where the
        // positions were taken before.
        let ripen = |(partition, owned): (&i32, &mut Owned)| {
            let reached = usize::try_from(*partition).ok().and_then(|place| transactions.get(place)).copied();
            owned.ripen(reached.max(met.get(partition).copied()).unwrap_or_default());
            let (from, to) = (owned.committed, owned.position);
            owned.reread.as_ref().map(|_| Reread { partition: *partition, from, to, epoch })
        };
        assigned.partitions.iter_mut().filter_map(ripen).collect()
    }

    /// The reader has merged this transaction and applied it to the history.
    pub fn meet(&mut self, partition: i32, offset: i64) -> Verdict {
        let met = self.met.entry(partition).or_default();
        *met = (*met).max(offset.saturating_add(1));
        let Some(assigned) = &mut self.assigned else { return Verdict::NotOwned };
        let Some(owned) = assigned.partitions.get_mut(&partition) else { return Verdict::NotOwned };
        if offset < owned.committed {
            return Verdict::Skip;
        }
        if !assigned.ripe || offset < owned.position {
            return Verdict::Defer;
        }
        if owned.live.begin(offset) { Verdict::Own } else { Verdict::Skip }
    }

    /// A transaction of a [`Reread`], in the order of the offsets. True: it is begun, score it unless it is decided;
    /// then [`Ownership::done`]. False: nothing to do.
    pub fn reread(&mut self, partition: i32, offset: i64, epoch: u64) -> bool {
        let Some(owned) = self.owned(partition, epoch) else { return false };
        let inside = offset >= owned.committed && offset < owned.position && !owned.reread_ended;
        inside && owned.reread.as_mut().is_some_and(|reread| reread.begin(offset))
    }

    /// Everything of the re-read was given to [`Ownership::reread`].
    pub fn reread_ended(&mut self, partition: i32, epoch: u64) {
        if let Some(owned) = self.owned(partition, epoch) {
            owned.reread_ended = true;
            owned.close_reread();
        }
    }

    /// The decision or the dead letter of a transaction that was begun is acknowledged, or it was decided already.
    /// Ignored when the epoch is over.
    pub fn done(&mut self, partition: i32, offset: i64, epoch: u64) {
        let Some(owned) = self.owned(partition, epoch) else { return };
        match &mut owned.reread {
            Some(reread) if offset < owned.position => {
                reread.done(offset);
                owned.close_reread();
            }
            _ => owned.live.done(offset),
        }
    }

    /// Positions that moved since the last call, by partition; empty when nothing is assigned.
    pub fn commits(&mut self) -> Vec<(i32, i64)> {
        let Some(assigned) = &mut self.assigned else { return Vec::new() };
        let moved = |(partition, owned): (&i32, &mut Owned)| {
            let position = owned.reread.as_ref().unwrap_or(&owned.live).position();
            let moved = position > owned.told;
            owned.told = owned.told.max(position);
            moved.then_some((*partition, position))
        };
        assigned.partitions.iter_mut().filter_map(moved).collect()
    }

    /// A commit failed and may be tried again in the same epoch: the next [`Ownership::commits`] tells every position
    /// that is past the assignment's.
    pub fn tell_again(&mut self) {
        let Some(assigned) = &mut self.assigned else { return };
        for owned in assigned.partitions.values_mut() {
            owned.told = owned.committed;
        }
    }

    /// The running epoch; `None` when nothing is assigned.
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.assigned.as_ref().map(|_| self.epochs)
    }

    /// Whether the reader has passed the ends that the decisions had when ownership began.
    #[must_use]
    pub fn is_ripe(&self) -> bool {
        self.assigned.as_ref().is_some_and(|assigned| assigned.ripe)
    }

    /// Transactions begun and not done.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.assigned.iter().flat_map(|assigned| assigned.partitions.values()).map(Owned::outstanding).sum()
    }

    fn owned(&mut self, partition: i32, epoch: u64) -> Option<&mut Owned> {
        let running = self.epochs == epoch;
        self.assigned.as_mut().filter(|_| running)?.partitions.get_mut(&partition)
    }
}

impl Owned {
    fn from(committed: i64) -> Self {
        let live = Prefix::new(committed);
        let (told, position) = (committed, committed);
        Self { committed, told, position, reread: None, reread_ended: false, live }
    }

    /// `reached`: how far the reader is, or has met.
    fn ripen(&mut self, reached: i64) {
        self.position = reached.max(self.committed);
        self.live = Prefix::new(self.position);
        self.reread = (self.position > self.committed).then(|| Prefix::new(self.committed));
    }

    fn close_reread(&mut self) {
        if self.reread_ended && self.reread.as_ref().is_some_and(|reread| reread.outstanding() == 0) {
            self.reread = None;
        }
    }

    fn outstanding(&self) -> usize {
        self.live.outstanding() + self.reread.as_ref().map_or(0, Prefix::outstanding)
    }
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
