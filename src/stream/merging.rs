//! The thread on which the topics become one sequence: merge ▸ follow ▸ settle.
//!
//! ```text
//! channel ─▶ Merge ─▶ batch ─▶ verdict of Ownership ─▶ Follower (history, index, score, record) ─▶ positions
//!               ▲                                            │
//!               └── re-reads, and what had no decision yet ◀─┘
//! ```
//!
//! In: what readers and re-reads hand over. Out: calls of the follower, in merged order; positions of the reader, for
//! ownership, snapshots and metrics. While records wait for Kafka's acknowledgement as many as may, nothing is taken: the
//! channel fills, the readers stop, the backlog stays in Kafka.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::frontiers::Frontiers;
use super::input::{Input, Taken};
use super::item::{Item, Poison, Topic, What};
use super::lanes::Lanes;
use super::owners::{Owners, Refused, Settling};
use super::protocol::merge::{Merge, Next};
use super::protocol::ownership::{Reread, Verdict};
use super::reader::Read;
use super::reread::{Again, Rereading};
use super::state::State;
use crate::base::clock::{Clock, Millis};
use crate::engine::Engine;
use crate::engine::follow::{Followed, FollowedTransaction, Follower, Place};
use crate::engine::ports::Scorer;
use crate::ops::metrics::Metrics;

/// Items that are followed together: what keeps the ledger's lock for about a millisecond.
const BATCH: usize = 128;
/// Chunks that are taken before the next batch, at most.
const CHUNKS: usize = 32;
/// The pause while nothing more may be begun.
const NO_ROOM: Duration = Duration::from_millis(1);
/// The longest wait for something to arrive.
const IDLE: Duration = Duration::from_millis(5);
/// Items of all lanes beside which more transactions are taken: those that a held candidate waits for (`stream.settle`)
/// are among them.
const AHEAD: usize = 4_096;
/// A lane with more items is held, and goes on below the half of it.
const LANE: usize = 4_096;

/// See the module.
pub(super) struct Merging<S> {
    pub(super) engine: Engine<S>,
    pub(super) follower: Follower<S, Settling>,
    pub(super) lanes: Lanes,
    pub(super) merge: Merge<Item>,
    pub(super) input: Input,
    pub(super) owners: Arc<Owners>,
    pub(super) state: Arc<State>,
    pub(super) frontiers: Arc<Frontiers>,
    pub(super) rereading: Box<dyn Fn() -> Rereading + Send>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) began: Instant,
    pub(super) behind: Duration,
    /// Transactions that may wait for their decision's acknowledgement.
    pub(super) most_open: usize,
}

impl<S: Scorer> Merging<S> {
    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let mut wait = Duration::ZERO;
        while !self.state.is_stopping() {
            self.come_again();
            if !self.has_room() {
                std::thread::sleep(NO_ROOM);
                continue;
            }
            match self.input.wait(wait, self.wants_transactions()) {
                Ok(taken) => self.take(taken),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What else is there goes into the same batch.
            for _ in 0..CHUNKS {
                let Ok(taken) = self.input.ready(self.wants_transactions()) else { break };
                self.take(taken);
            }
            wait = self.round();
        }
    }

    /// Whether transactions are to be taken: few items wait, or the merge waits for just them. More of them would only fill
    /// lanes while it waits for something else.
    fn wants_transactions(&self) -> bool {
        let lanes = &self.lanes;
        self.merge.len() < AHEAD || lanes.of(Topic::Transactions).any(|lane| self.merge.awaits(lane))
    }

    /// Whether more may be begun: decisions wait for their acknowledgement, and the producer for Kafka.
    fn has_room(&self) -> bool {
        self.state.has_room() && self.owners.owned().transactions.outstanding() < self.most_open
    }

    fn take(&mut self, taken: Taken) {
        match taken {
            Taken::Read(Read::Items(items)) => {
                self.frontiers.note(items.iter().map(|(item, _)| item));
                for (item, read_at) in items {
                    self.metrics.stream_messages.up(item.topic.into());
                    let lane = self.lanes.lane(item.topic, item.partition);
                    self.merge.push(lane, read_at, item);
                    if self.merge.queued(lane) > LANE {
                        self.lanes.hold(lane, true);
                    }
                }
            }
            Taken::Read(Read::Ends(topic, partitions, seen_at)) => {
                for partition in partitions {
                    self.lanes.ended(topic, partition);
                    self.merge.at_end(self.lanes.lane(topic, partition), seen_at);
                }
            }
            Taken::Again(again) => self.reread(again),
        }
    }

    /// Follows one batch of what may be merged now; how long to wait before the next.
    fn round(&mut self) -> Duration {
        let mut batch = Vec::new();
        let mut wait = IDLE;
        let now = self.began.elapsed();
        let mut merged = Vec::with_capacity(BATCH);
        while merged.len() < BATCH {
            match self.merge.pop(now) {
                Next::Item(popped) => {
                    self.lanes.release(popped.lane, self.merge.queued(popped.lane), LANE / 2);
                    merged.push((popped.item, popped.late));
                }
                Next::Wait(until) => {
                    wait = until.map_or(IDLE, |until| until.saturating_sub(now).min(IDLE));
                    break;
                }
            }
        }
        if merged.len() == BATCH {
            wait = Duration::ZERO;
        }
        if merged.is_empty() {
            self.advance();
            self.tell_behind(None);
            return wait;
        }
        let newest = merged.iter().map(|(item, _)| item.taken_at).max();
        for (item, late) in merged {
            let (topic, partition, offset) = (item.topic, item.partition, item.offset);
            batch.extend(self.followed(item, late));
            self.lanes.merged(topic, partition, offset);
        }
        self.metrics.stream_batch.of((), batch.len());
        self.follower.follow(batch, self.clock.now());
        self.lanes.apply();
        self.advance();
        self.tell_behind(newest);
        wait
    }

    /// What is followed of an item, and what it settles by itself.
    fn followed(&mut self, item: Item, late: bool) -> Option<Followed> {
        let Item { topic, partition, offset, taken_at, what, .. } = item;
        let (verdict, epoch) = {
            let mut owned = self.owners.owned();
            match owned.of(topic) {
                Some(ownership) => (ownership.meet(partition, offset), ownership.epoch().unwrap_or(0)),
                None => (Verdict::NotOwned, 0),
            }
        };
        if late {
            self.metrics.merge_timeouts.up(());
        }
        let place = (verdict == Verdict::Own).then_some(Place { partition, offset, epoch });
        self.settled(topic, place, (what, taken_at), late, false)
    }

    fn settled(
        &self,
        topic: Topic,
        place: Option<Place>,
        (what, taken_at): (What, Millis),
        late: bool,
        again: bool,
    ) -> Option<Followed> {
        match what {
            What::Transaction(transaction, original) => {
                let place = place.map(|place| (place, original));
                Some(Followed::Transaction(FollowedTransaction { transaction, place, taken_at, again, late }))
            }
            What::Fact(fact) => {
                // Its effect is in this process's memory only, and comes again with the topic.
                if let Some(place) = place {
                    self.owners.settle(topic, place);
                }
                Some(*fact)
            }
            What::Poison(poison) => {
                let Poison { original, rejection, at } = *poison;
                match place {
                    Some(place) => self.owners.bury(&Refused { topic, place, original, rejection, at }),
                    None if topic == Topic::Decisions => {
                        tracing::error!(%rejection, "a record of the decisions cannot be read: it is passed over");
                    }
                    None => {}
                }
                None
            }
        }
    }

    /// Re-read items: scored, or passed over when they are decided.
    fn reread(&mut self, again: Again) {
        match again {
            Again::Items(topic, epoch, items) => {
                let mut batch = Vec::with_capacity(items.len());
                for item in items {
                    let Item { partition, offset, taken_at, what, .. } = item;
                    let begun = self
                        .owners
                        .owned()
                        .of(topic)
                        .is_some_and(|ownership| ownership.reread(partition, offset, epoch));
                    // A fact was followed in its time.
                    let place = Place { partition, offset, epoch };
                    if begun {
                        let followed = self.settled(topic, Some(place), (what, taken_at), false, true);
                        batch.extend(followed.filter(|followed| matches!(followed, Followed::Transaction(_))));
                    }
                }
                for batch in chunks(batch) {
                    self.follower.follow(batch, self.clock.now());
                }
            }
            Again::End(topic, epoch, partition) => {
                if let Some(ownership) = self.owners.owned().of(topic) {
                    ownership.reread_ended(partition, epoch);
                }
            }
        }
    }

    /// Transactions that had no decision when they came.
    fn come_again(&mut self) {
        self.owners.bury_again(Instant::now());
        let due = self.owners.due(Instant::now(), BATCH);
        if !due.is_empty() {
            self.follower.follow(due.into_iter().map(Followed::Transaction).collect(), self.clock.now());
        }
    }

    /// Tells ownership where the reader is, and starts the re-reads that are due.
    fn advance(&mut self) {
        let mut due: Vec<(Topic, Vec<Reread>)> = Vec::new();
        {
            let positions = self.lanes.positions();
            let mut owned = self.owners.owned();
            let ranges = owned.transactions.advance(&positions.decisions, &positions.transactions);
            due.push((Topic::Transactions, ranges));
            due.push((Topic::Labels, owned.labels.advance(&[], &positions.labels)));
        }
        for (topic, ranges) in due {
            if ranges.is_empty() {
                continue;
            }
            tracing::info!(?topic, ?ranges, "re-reads what the owner before may have left undecided");
            if let Err(error) = (self.rereading)().start(topic, ranges) {
                tracing::error!(%error, "a re-read could not be started: what it would read stays uncommitted");
            }
        }
        self.state.reached(&self.lanes, |lane| self.merge.queued(lane) == 0);
    }

    /// Whether the reader is behind: nothing waits, or what was merged last was taken by Kafka a moment ago.
    fn tell_behind(&self, newest: Option<Millis>) {
        let behind = match newest {
            None => !self.merge.is_empty() && self.state.is_behind(),
            Some(taken_at) => {
                self.state.set_merged_at(taken_at);
                let age = self.clock.now().0.saturating_sub(taken_at.0).max(0).unsigned_abs();
                Duration::from_millis(age) > self.behind
            }
        };
        if self.state.set_behind(behind) {
            self.engine.set_behind(behind);
        }
    }
}

/// Batches of a list.
fn chunks(mut list: Vec<Followed>) -> impl Iterator<Item = Vec<Followed>> {
    std::iter::from_fn(move || {
        let rest = list.split_off(list.len().min(BATCH));
        let batch = std::mem::replace(&mut list, rest);
        (!batch.is_empty()).then_some(batch)
    })
}
