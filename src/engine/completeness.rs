//! Completeness: up to which time every transaction has its full decision, and up to which its row; and the port of who
//! keeps that where several instances work on one log.
//!
//! In: what an auditor observed ([`Round`]). Out: what anybody may ask ([`Completeness`]). docs/COMPLETENESS.md says what
//! each figure means, and what it rests on.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;

use serde::{Serialize, Serializer};

use super::delivery::DestinationError;
use super::ports::{Reading, Scorer};
use super::{Engine, EngineError, SetUp, TimeSource};
use crate::base::clock::{DAY, Millis};

/// What is complete, as of a moment. Times are of the payments unless it says otherwise; `None` is not known or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Completeness {
    /// When it was looked at, wall time; `None`: nobody has looked yet.
    #[serde(serialize_with = "text")]
    pub as_of: Option<Millis>,
    /// The last moment up to which every transaction that was read has its full decision.
    #[serde(serialize_with = "text")]
    pub watermark: Option<Millis>,
    /// What keeps it from being later, in words.
    pub held_by: String,
    /// The last moment up to which every such decision stands in its row.
    #[serde(serialize_with = "text")]
    pub applied_watermark: Option<Millis>,
    /// What keeps that from being later, in words.
    pub applied_held_by: String,
    /// Transactions without a full decision.
    pub undecided: u64,
    /// The earliest of them, or an earlier moment.
    #[serde(serialize_with = "text")]
    pub oldest_undecided: Option<Millis>,
    /// Decisions that wait for their row.
    pub waiting: u64,
    /// The earliest of them.
    #[serde(serialize_with = "text")]
    pub oldest_waiting: Option<Millis>,
    /// Dead letters that hold one of the two.
    pub open_letters: u64,
    /// The earliest of them.
    #[serde(serialize_with = "text")]
    pub oldest_open_letter: Option<Millis>,
}

impl Completeness {
    /// Whether every transaction of a day (UTC, days since the epoch) is decided, and whether its rows are completed.
    #[must_use]
    pub fn of_day(&self, day: i64) -> (bool, bool) {
        let last = Millis(day.saturating_add(1).saturating_mul(DAY).saturating_sub(1));
        let is_past = |watermark: Option<Millis>| watermark.is_some_and(|watermark| watermark >= last);
        (is_past(self.watermark), is_past(self.applied_watermark))
    }
}

/// RFC 3339, for people and for tools that compare dates.
#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn text<S: Serializer>(at: &Option<Millis>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Millis::to_rfc3339).serialize(serializer)
}

/// Which figure a dead letter holds while it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// Both: its message has no decision.
    Decided,
    /// That of the rows: a decision that the destination of the rows can never keep.
    Applied,
    /// None.
    Nothing,
}

impl Holds {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Applied => "applied",
            Self::Nothing => "nothing",
        }
    }
}

/// What is kept of a dead letter: where it came from, never what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The topic, partition and offset of its message.
    pub source: (String, i32, i64),
    /// The destination that refused it; empty where the stream did.
    pub destination: String,
    /// Its own partition and offset.
    pub place: (i32, i64),
    /// The code of its rejection.
    pub code: String,
    /// When its message happened or, where that is not known, was taken.
    pub at: Millis,
    /// Which figure it holds.
    pub holds: Holds,
}

/// What a person says of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It was sent again and stands there now: partition and offset of its source's topic.
    Retried(i32, i64),
    /// It needs no decision, and why.
    Dismissed(String),
}

/// The figures of an auditor's round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figures {
    /// The moment of the observation, wall time.
    pub as_of: Millis,
    /// Up to when all is decided; `None`: not known.
    pub watermark: Option<Millis>,
    /// Why no later.
    pub held_by: String,
    /// Up to when all is stored by the destination of the rows.
    pub stored: Option<Millis>,
    /// Why no later.
    pub stored_held_by: String,
    /// Messages without a decision.
    pub undecided: u64,
    /// The earliest of them, or an earlier moment.
    pub oldest: Option<Millis>,
}

/// What a round of the auditor writes, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Round {
    /// Dead letters that were read since the round before.
    pub letters: Vec<DeadLetter>,
    /// The next offsets of the dead letters, by partition.
    pub next: Vec<(i32, i64)>,
    /// What is settled: topics with the next offsets, below which every message that was sent again has its end.
    pub settled: Vec<(String, Vec<i64>)>,
    /// `None` where the letters were not read to the end that was asked for.
    pub figures: Option<Figures>,
}

/// Keeps claims of completeness and what became of dead letters. One process at a time may write rounds.
pub trait Claims: Send + Sync + Debug + 'static {
    /// Tries to become the one that writes rounds, or finds that this process is; the next offsets of the dead letters then.
    /// `None`: another process is.
    fn lead(&self) -> impl Future<Output = Result<Option<BTreeMap<i32, i64>>, DestinationError>> + Send;

    /// Keeps a round.
    ///
    /// # Errors
    /// Nothing was written; whether this process still leads is to be asked again.
    fn keep(&self, round: &Round) -> impl Future<Output = Result<(), DestinationError>> + Send;

    /// What is complete now.
    fn completeness(&self) -> Reading<'_, Completeness>;
}

impl<S: Scorer> Engine<S> {
    /// What is complete now; `allow_late` is how late a transaction may arrive, milliseconds.
    ///
    /// # Errors
    /// `Unavailable` when whoever keeps it does not answer in time.
    pub async fn completeness(&self, allow_late: i64) -> Result<Completeness, EngineError> {
        let core = &self.core;
        let now = core.clock.now();
        if core.set_up == SetUp::Stack {
            return self.within(core.log.completeness(now)).await;
        }
        // Looked at before the log: what is answered later is in one of the two by then.
        let (upto, open) = {
            let ledger = core.ledger();
            let newest = match core.limits.time {
                TimeSource::Wall => Some(now),
                TimeSource::Stream => ledger.newest,
            };
            let first = ledger.open.values().map(|open| open.transaction.occurred_at).min();
            let upto = newest.map(|newest| newest.0.saturating_sub(allow_late));
            let first = first.map(|first| first.0.saturating_sub(1));
            (upto.map(|upto| upto.min(first.unwrap_or(i64::MAX))).unwrap_or(i64::MIN), ledger.open.len())
        };
        // What is queued may be what the ledger no longer holds.
        self.within(core.log.flush()).await?;
        let mut found = self.within(core.log.completeness(Millis(upto))).await?;
        found.undecided = found.undecided.max(open as u64);
        found.as_of = Some(now);
        Ok(found)
    }
}

impl Completeness {
    /// That of a log that decides by itself, without rows of others: up to `upto`, or before the oldest that it holds
    /// undecided.
    #[must_use]
    pub fn of_log(upto: Millis, undecided: u64, oldest: Option<Millis>) -> Self {
        let before = oldest.map(|oldest| Millis(oldest.0.saturating_sub(1)));
        let known = (upto.0 > i64::MIN).then_some(upto);
        let watermark = known.map(|upto| before.map_or(upto, |before| before.min(upto)));
        let held_by = match (known, before) {
            (None, _) => "no transaction has come yet".to_owned(),
            (Some(upto), Some(before)) if before <= upto => "a transaction without a full decision".to_owned(),
            _ => {
                "nothing: what happened since may still arrive (completeness.allow_late) or is being decided".to_owned()
            }
        };
        Self {
            as_of: None,
            watermark,
            held_by: held_by.clone(),
            applied_watermark: watermark,
            applied_held_by: held_by,
            undecided,
            oldest_undecided: oldest,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_complete_when_its_last_millisecond_is() {
        let of = |watermark| Completeness { watermark: Some(Millis(watermark)), ..Completeness::default() }.of_day(1);
        assert_eq!(of(2 * DAY - 2), (false, false));
        assert_eq!(of(2 * DAY - 1), (true, false));
        assert_eq!(Completeness::default().of_day(-5), (false, false), "what is not known is not complete");
    }

    #[test]
    fn what_is_undecided_holds_the_log() {
        let of = |upto, oldest: Option<i64>| Completeness::of_log(Millis(upto), 0, oldest.map(Millis)).watermark;
        assert_eq!(of(50, None), Some(Millis(50)));
        assert_eq!(of(50, Some(50)), Some(Millis(49)));
        assert_eq!(of(50, Some(90)), Some(Millis(50)));
        assert_eq!(of(i64::MIN, None), None);
    }

    #[test]
    fn times_are_written_for_people() {
        let written = serde_json::to_value(Completeness { as_of: Some(Millis(0)), ..Completeness::default() }).unwrap();
        assert_eq!(
            (written["as_of"].as_str(), written["watermark"].is_null()),
            (Some("1970-01-01T00:00:00.000Z"), true)
        );
    }
}
