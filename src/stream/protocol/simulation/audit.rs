//! What the destination keeps of completeness: the newest claim, the dead letters and what became of them; and what it shows.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::super::completeness::{Claim, is_settled};
use super::bug::Bug;
use super::postgres::Postgres;
use super::record::Rejected;

/// A place in the transactions.
pub(super) type Spot = (i32, i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    /// Sent again; the new message is there.
    Retried(Spot),
    Closed,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Letter {
    pub(super) at: i64,
    pub(super) state: State,
}

/// What had been in the logs, and read, when a claim was observed: for the judge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Messages appended before the ends of the transactions were asked for, and before those of the decisions were.
    pub(super) transactions: usize,
    pub(super) decisions: usize,
    /// Next offsets that the auditor's reader had read of the transactions.
    pub(super) read: Vec<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Whose session holds the lock.
    pub(super) auditor: Option<(usize, u64)>,
    pub(super) letters: BTreeMap<Spot, Letter>,
    /// The next offset of the dead letters.
    pub(super) next: i64,
    pub(super) claim: Option<(Claim, Seen)>,
    /// Transactions whose fallback was dismissed.
    pub(super) dismissed: BTreeSet<Rc<str>>,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct View {
    pub(super) decided: Option<i64>,
    pub(super) applied: Option<i64>,
}

impl Audit {
    /// A claim and every letter below the end that was asked for, at once.
    pub(super) fn keep(&mut self, claim: Claim, seen: Seen, letters: &[&Rejected], next: i64, committed: &[i64]) {
        for letter in letters {
            let one = Letter { at: letter.at, state: State::Open };
            self.letters.entry((letter.partition, letter.offset)).or_insert(one);
        }
        self.next = next;
        for letter in self.letters.values_mut() {
            if let State::Retried(spot) = letter.state
                && is_settled(spot, committed)
            {
                letter.state = State::Closed;
            }
        }
        self.claim = Some((claim, seen));
    }

    /// A letter was sent again, or dismissed; the auditor may not have seen it yet.
    pub(super) fn mark(&mut self, letter: &Rejected, state: State) {
        let known = self.letters.entry((letter.partition, letter.offset)).or_insert(Letter { at: letter.at, state });
        if known.state != State::Closed {
            known.state = state;
        }
    }
}

impl Postgres {
    pub(super) fn view(&self, bug: Option<Bug>) -> Option<View> {
        let (claim, _) = self.audit.claim.as_ref()?;
        let open = self.audit.letters.values().filter(|letter| letter.state != State::Closed).map(|letter| letter.at);
        let answered = self.fallbacks.values().filter(|fallback| {
            let id = &fallback.payment.id;
            !self.decisions.contains_key(&(Rc::clone(id), 0)) && !self.audit.dismissed.contains(id)
        });
        let answered = answered.map(|fallback| fallback.payment.at).filter(|_| bug != Some(Bug::FallbackDecides));
        let held = open.chain(answered).min().map_or(i64::MAX, |at| at - 1);
        let waiting = self.decisions.iter().filter(|((_, revision), stored)| *revision == 0 && !stored.applied);
        let waiting = waiting.map(|(_, stored)| stored.record.payment.at).min().map_or(i64::MAX, |at| at - 1);
        let waiting = if bug == Some(Bug::WaitingIgnored) { i64::MAX } else { waiting };
        let decided = claim.decided.until.map(|until| until.0.min(held));
        let applied = claim.delivered.until.map(|until| until.0.min(held).min(waiting));
        Some(View { decided, applied })
    }
}
