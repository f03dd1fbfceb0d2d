//! A history that is built from an archive instead of being lived through.
//!
//! In: transactions and verdicts in any order, as far back as there are any. Out: the shards of a snapshot. Its ids are
//! known and undecided: what was decided of them, the topics say. Ids are kept for the whole reach while it is built, so
//! that a row that stands twice counts once, however far apart the two stand.

use super::{Counts, Course, Header, ReadFrom, Shards, State};
use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Currency};
use crate::engine::fingerprint::{fingerprint_of, id_of};
use crate::engine::ids::{Seen, second_of};
use crate::engine::ledger::Ledger;
use crate::engine::{Label, Limits, SetUp, empty_ledger, event_label};
use crate::features::history::export::{Lapsed, key_check, plan_hash};
use crate::features::{Catalogue, Event, HistoryOptions};
use crate::transaction::{Rejection, Transaction};

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admitted {
    /// It is to be inserted.
    New,
    /// It was here before.
    Repeated,
    /// No window reaches it any more.
    OutOfReach,
}

/// See the module.
#[derive(Debug)]
pub struct Build {
    ledger: Ledger<()>,
    options: HistoryOptions,
    state: State,
}

/// What was built, shard by shard.
#[derive(Debug)]
pub struct Built {
    ledger: Ledger<()>,
    header: Header,
    course: Course,
}

impl Build {
    /// An empty history of what `catalogue` needs, with amounts in `base`.
    #[must_use]
    pub fn new(catalogue: &Catalogue, options: HistoryOptions, base: Currency, max_waiting_labels: usize) -> Self {
        let limits = Limits { max_open: 0, max_waiting_labels, ..Limits::default() };
        let ledger = empty_ledger(catalogue, options, limits, SetUp::Stack);
        let state = State { plan: plan_hash(catalogue, &options, base), key: key_check(&options.key) };
        Self { ledger, options, state }
    }

    /// Says whether a transaction is to be inserted, and remembers its id if so.
    ///
    /// # Errors
    /// `conflict` when its id came with other content.
    pub fn admit(&mut self, transaction: &Transaction) -> Result<Admitted, Rejection> {
        let newest = self.ledger.newest.max(Some(transaction.occurred_at)).unwrap_or_default();
        self.ledger.newest = Some(newest);
        let horizon = Millis(newest.0.saturating_sub(self.ledger.waiting.retention()));
        if transaction.occurred_at <= horizon {
            return Ok(Admitted::OutOfReach);
        }
        let id = id_of(self.options.key, &transaction.transaction_id);
        let fingerprint = fingerprint_of(self.options.key, transaction);
        match self.ledger.ids.get(id) {
            Some(seen) if seen.fingerprint == fingerprint => return Ok(Admitted::Repeated),
            Some(_) => return Err(Rejection::conflict(transaction)),
            None => {}
        }
        let second = second_of(transaction.occurred_at);
        let undecided = Seen::undecided(fingerprint, second);
        self.ledger.ids.put(id, &undecided, horizon);
        Ok(Admitted::New)
    }

    /// Inserts transactions that were admitted as new.
    pub fn insert(&mut self, events: &[Event<'_>]) {
        self.ledger.history.insert_all(events);
    }

    /// Takes a verdict on a transaction of this amount in the base currency. Idempotent.
    pub fn label(&mut self, transaction: &Transaction, base: BaseAmount, label: &Label) {
        self.ledger.history.label(&event_label(transaction, base, label));
    }

    /// Lets a verdict wait whose transaction is not among those built from; `false` when there is no room, or when its
    /// time has passed.
    pub fn wait(&mut self, label: Label) -> bool {
        let newest = self.ledger.newest.map_or(i64::MIN, |newest| newest.0);
        label.labelled_at.0 > newest.saturating_sub(self.ledger.waiting.retention()) && self.ledger.waiting.put(label)
    }

    /// The snapshot of it, begun at `created_at`. The topics must be read from the newest transaction's time less the
    /// lateness: what came later than that may be missing here.
    #[must_use]
    pub fn finish(self, created_at: Millis) -> Option<Built> {
        let Self { mut ledger, state, .. } = self;
        let (stream_time, horizon) = (ledger.newest, ledger.horizon());
        ledger.ids.forget_before(horizon);
        let course = Course::begin(&mut ledger)?;
        let (read_from, incomplete) = (ReadFrom::Moment(horizon), false);
        let header = Header { created_at, stream_time, read_from, state, incomplete, complete_from: None };
        Some(Built { ledger, header, course })
    }
}

impl Shards for Built {
    type Error = Lapsed;

    fn header(&self) -> &Header {
        &self.header
    }

    fn next_shard(&mut self, shard: &mut Vec<u8>) -> Result<bool, Lapsed> {
        self.course.next(&mut self.ledger, shard)
    }

    fn counts(&self) -> Counts {
        self.course.counts()
    }
}
