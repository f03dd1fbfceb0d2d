//! Export and import: a history as a sequence of shards, while events go on being inserted between one and the next.
//!
//! ```text
//! hold ─▶ (positions of the sources are read) ─▶ write, write, … ─▶ release
//! read, read, … ─▶ every event since those positions is inserted again
//! ```
//!
//! A shard holds some profiles as they are at its moment, so a history that is read from shards is no state that ever
//! was. It becomes one when everything since the positions is inserted again: what a profile holds already is there
//! once, because events and verdicts are sets. For that a held history
//!
//! - forgets nothing that could be reached when the hold began: no event, no id, no verdict;
//! - puts no event into tiles that stands by itself, and notes the ids of late ones that go there directly.
//!
//! Profiles are written from the last to the first: one that takes the place of another that went is then written
//! twice, never left out, and the later copy counts. A profile made meanwhile holds only what is inserted again.
//! Invariant: a history that was read and given everything since the positions gives every reading of the original, but
//! where tiles begin at another event both are approximate, each within the bound of tiles.
//! Bound: a hold ends by itself after [`HELD_EVENTS`] events, so that it keeps no more than those from going.

use thiserror::Error;

use super::History;
use super::bytes::{Bytes, put, put_time};
use super::entities::Entities;
use super::profile::Profile;
use crate::base::clock::Millis;
use crate::base::hash::HashKey;
use crate::base::money::Currency;
use crate::features::{Catalogue, HistoryOptions};

/// Of what a shard's bytes mean. Another one cannot be read.
const ENCODING: u32 = 1;
/// Weight of a shard, in events: less than a millisecond.
const SHARD: usize = 4_096;
/// Events inserted while a hold lasts, at most.
pub const HELD_EVENTS: usize = 2_000_000;

const HEAD: u8 = 0;
const PROFILES: u8 = 1;
const NEVER: i64 = i64::MIN;

/// A hold on a history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold {
    /// Which one: an export that let its hold go ends no later one's.
    number: u64,
    /// The newest event when it began.
    newest: Option<Millis>,
    /// Events that may still be inserted.
    left: usize,
}

/// How far an export is.
#[derive(Debug, Default)]
pub struct Walk {
    hold: u64,
    begun: bool,
    kind: usize,
    below: Option<usize>,
    /// Profiles written so far; one that was moved meanwhile counts twice.
    pub profiles: u64,
    /// Events written so far, once for each entity they belong to.
    pub events: u64,
}

/// The hold went before the export was done: too many events were inserted meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("more than {HELD_EVENTS} events came while the history was written; try again when there are fewer")]
pub struct Lapsed;

/// Why a shard cannot be read into this history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ImportError {
    /// It names a kind of entity that the history does not keep.
    #[error("a shard is of entity kind {0}, which this history does not keep")]
    Kind(u64),
    /// Its bytes are no shard.
    #[error("the bytes are no shard of a history")]
    Malformed,
}

/// The state's plan: what a history with these options keeps, and in which encoding. Histories of two plans cannot be
/// exchanged.
#[must_use]
pub fn plan_hash(catalogue: &Catalogue, options: &HistoryOptions, base: Currency) -> u64 {
    let HistoryOptions { lateness, exact_events, .. } = options;
    let text = format!("{ENCODING} {} {lateness} {exact_events} {:?}", base.code(), catalogue.kept());
    // No secret: the same plan has the same hash everywhere.
    HashKey::new(*b"plan of a state.").entity(&text)
}

/// Tells one hash key from another and names nobody: the keyed hash of a constant.
#[must_use]
pub fn key_check(key: &HashKey) -> u64 {
    key.entity("check of the key of a history")
}

impl History {
    /// Begins an export; `None` while another goes on.
    pub fn hold(&mut self) -> Option<Walk> {
        if self.hold.is_some() {
            return None;
        }
        self.holds += 1;
        self.hold = Some(Hold { number: self.holds, newest: self.newest, left: HELD_EVENTS });
        self.entities.iter_mut().for_each(Entities::hold);
        Some(Walk { hold: self.holds, ..Walk::default() })
    }

    /// Ends an export, done or not. `false` when it had lapsed.
    pub fn release(&mut self, walk: &Walk) -> bool {
        let held = self.hold.is_some_and(|hold| hold.number == walk.hold);
        if held {
            self.let_go();
        }
        held
    }

    /// Appends the next shard to `shard`; `false` when there was none left.
    ///
    /// # Errors
    /// [`Lapsed`] when too many events came since [`History::hold`]: what was written is of no use.
    pub fn write(&self, walk: &mut Walk, shard: &mut Vec<u8>) -> Result<bool, Lapsed> {
        self.write_weighing(SHARD, walk, shard)
    }

    /// As [`History::write`], with shards of weight `most`.
    pub(super) fn write_weighing(&self, most: usize, walk: &mut Walk, shard: &mut Vec<u8>) -> Result<bool, Lapsed> {
        let hold = self.hold.filter(|hold| hold.number == walk.hold).ok_or(Lapsed)?;
        if !walk.begun {
            walk.begun = true;
            shard.push(HEAD);
            put_time(shard, 0, hold.newest.map_or(NEVER, |newest| newest.0));
            put(shard, self.entities.len() as u64);
            self.entities.iter().for_each(|entities| put_time(shard, 0, entities.held()));
            return Ok(true);
        }
        while let Some(entities) = self.entities.get(walk.kind) {
            let below = walk.below.unwrap_or(usize::MAX).min(entities.len());
            if below == 0 {
                (walk.kind, walk.below) = (walk.kind + 1, None);
                continue;
            }
            let base = hold.newest.map_or(0, |newest| newest.0);
            shard.push(PROFILES);
            put(shard, walk.kind as u64);
            put_time(shard, 0, base);
            let (below, profiles, events) = entities.write(below, most, base, shard);
            walk.below = Some(below);
            walk.profiles += profiles as u64;
            walk.events += events as u64;
            return Ok(true);
        }
        Ok(false)
    }

    /// Reads a shard in. The first of an export comes first; the history was empty before.
    ///
    /// # Errors
    /// See [`ImportError`]; the history is of no use then.
    pub fn read_shard(&mut self, shard: &[u8]) -> Result<(), ImportError> {
        let mut bytes = Bytes(shard);
        match bytes.byte() {
            Some(HEAD) => self.read_head(&mut bytes).ok_or(ImportError::Malformed),
            Some(PROFILES) => self.read_profiles(&mut bytes),
            _ => Err(ImportError::Malformed),
        }
    }

    /// Counts what is inserted while held; the hold ends when it is too much.
    pub(super) fn let_go_after(&mut self, events: usize) {
        if let Some(hold) = &mut self.hold {
            match hold.left.checked_sub(events) {
                Some(left) => hold.left = left,
                None => self.let_go(),
            }
        }
    }

    fn let_go(&mut self) {
        self.hold = None;
        self.entities.iter_mut().for_each(Entities::release);
    }

    fn read_head(&mut self, bytes: &mut Bytes<'_>) -> Option<()> {
        let newest = bytes.time(0)?;
        self.newest = (newest != NEVER).then_some(Millis(newest));
        if bytes.number()? != self.entities.len() as u64 {
            return None;
        }
        for entities in &mut self.entities {
            entities.begin(bytes.time(0)?);
        }
        bytes.is_empty().then_some(())
    }

    fn read_profiles(&mut self, bytes: &mut Bytes<'_>) -> Result<(), ImportError> {
        let kind = bytes.number().ok_or(ImportError::Malformed)?;
        let base = bytes.time(0).ok_or(ImportError::Malformed)?;
        let entities = usize::try_from(kind).ok().and_then(|kind| self.entities.get_mut(kind));
        let entities = entities.ok_or(ImportError::Kind(kind))?;
        while !bytes.is_empty() {
            entities.put(Profile::read(bytes, base).ok_or(ImportError::Malformed)?);
        }
        Ok(())
    }
}
