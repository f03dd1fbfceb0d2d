//! All entities of one kind (every customer, every terminal): found by keyed hash, swept as time moves on.

use hashbrown::HashTable;

use super::block::Moment;
use super::hashes::{self, Hashes};
use super::labels::Verdict;
use super::profile::{Keep, Own, Profile};
use super::reading::{self, AsOf, Found};
use super::values::{ABSENT, Value};
use crate::base::hash::HashKey;
use crate::features::Event;
use crate::features::catalogue::{EntityReads, Kept};
use crate::features::rows::Known;

/// One entity is looked over for what has passed its time at every this many insertions.
const SWEEP_EVERY: u32 = 4;

/// What writing a profile costs before its first event, in events.
const PROFILE_WEIGHT: usize = 16;

/// The entities of one kind.
#[derive(Debug)]
pub(super) struct Entities {
    /// Canonical name of the identifying field.
    pub(super) field: String,
    /// The columns of its identifier and of those it counts, among the hashes.
    own: usize,
    values: Vec<usize>,
    labels: bool,
    keep: Keep,
    index: HashTable<u32>,
    profiles: Vec<Profile>,
    newest: i64,
    /// While an export goes on, the newest event when it began: what a reading from then on can reach stays.
    held: Option<i64>,
    /// What is at and after it keeps its ids, whatever the time is.
    kept_from: Option<i64>,
    since_sweep: u32,
    swept: usize,
    found: Found,
}

impl Entities {
    pub(super) fn new(kept: &Kept, hashes: &Hashes, lateness: i64, exact: usize) -> Self {
        let mut values = [0; 8];
        for (reach, (_, longest)) in values.iter_mut().zip(&kept.values) {
            *reach = *longest;
        }
        let (amounts, width, reach) = (kept.amounts, kept.values.len(), kept.reach);
        Self {
            field: kept.entity.clone(),
            own: hashes.column(&kept.entity),
            values: kept.values.iter().map(|(field, _)| hashes.column(field)).collect(),
            labels: kept.labels,
            keep: Keep { amounts, width, values, reach, lateness, exact, noting: false },
            index: HashTable::new(),
            profiles: Vec::new(),
            newest: i64::MIN,
            held: None,
            kept_from: None,
            since_sweep: 0,
            swept: 0,
            found: Found::default(),
        }
    }

    /// Inserts each event and reads `reads` as of it; `out` gets `reads.reads.len()` values an event.
    pub(super) fn observe(
        &mut self,
        events: &[Event<'_>],
        hashes: &Hashes,
        reads: Option<&EntityReads>,
        out: &mut Vec<f64>,
        known: &mut Vec<Known>,
    ) {
        let mut values = [ABSENT; 8];
        let mut found = std::mem::take(&mut self.found);
        for (event, row) in events.iter().zip(hashes.rows()) {
            let Some(id) = row.get(self.own).copied().flatten() else {
                absent(reads, out, known);
                continue;
            };
            let values = self.counted(row, &mut values);
            self.sweep();
            let place = self.place(id);
            let own = self.insert(place, event, values);
            if let (Some(reads), Some(profile)) = (reads, self.profiles.get(place)) {
                let as_of = as_of(event, own, values);
                known.push(read(profile, reads, as_of, &mut found, out));
            }
        }
        self.found = found;
    }

    /// Reads as of each event without inserting any.
    pub(super) fn read(
        &self,
        events: &[Event<'_>],
        hashes: &Hashes,
        reads: &EntityReads,
        out: &mut Vec<f64>,
        known: &mut Vec<Known>,
    ) {
        let mut values = [ABSENT; 8];
        let mut found = Found::default();
        for (event, row) in events.iter().zip(hashes.rows()) {
            let id = row.get(self.own).copied().flatten();
            let Some(profile) = id.and_then(|id| self.find(id)) else {
                absent(Some(reads), out, known);
                continue;
            };
            let values = self.counted(row, &mut values);
            let own = profile.find(event.transaction.occurred_at.0, &event.transaction.transaction_id);
            known.push(read(profile, reads, as_of(event, own, values), &mut found, out));
        }
    }

    /// Takes a verdict on an event of the entity with this identifier.
    pub(super) fn label(&mut self, key: &HashKey, id: &str, verdict: Verdict) {
        let horizon = self.newest.saturating_sub(self.keep.lateness).saturating_sub(self.keep.reach);
        if !self.labels || verdict.at <= horizon {
            return;
        }
        let place = self.place(key.entity(id));
        if let Some(profile) = self.profiles.get_mut(place) {
            profile.labels.get_or_insert_default().insert(verdict);
        }
    }

    /// Entities known.
    pub(super) const fn len(&self) -> usize {
        self.profiles.len()
    }

    /// Events kept one by one, bytes that say something, bytes reserved: a walk over every entity.
    pub(super) fn size(&self) -> (usize, usize, usize) {
        let table = self.profiles.capacity() * size_of::<Profile>() + self.index.capacity() * 5;
        self.profiles.iter().fold((0, 0, table), |(events, used, reserved), profile| {
            let (columns, room) = profile.bytes();
            (events + profile.exact(), used + columns, reserved + room)
        })
    }

    /// From now on nothing is forgotten that a reading can reach, and late events among tiles are noted.
    pub(super) fn hold(&mut self) {
        self.held = Some(self.newest);
    }

    /// Forgets again as time moves on.
    pub(super) fn release(&mut self) {
        self.held = None;
    }

    /// Keeps the order and the reach of events from `kept` on; `None` forgets as time moves.
    pub(super) const fn keep_from(&mut self, kept: Option<i64>) {
        self.kept_from = kept;
    }

    /// The newest event when the export began.
    pub(super) fn held(&self) -> i64 {
        self.held.unwrap_or(self.newest)
    }

    /// Takes up the time of a stored history.
    pub(super) fn begin(&mut self, newest: i64) {
        self.newest = newest;
    }

    /// Appends profiles from place `below` downwards until their weight is `most`, or all are written; the place
    /// below which the rest stands, and the profiles and events written. One heavy profile is written whole.
    pub(super) fn write(&self, below: usize, most: usize, base: i64, out: &mut Vec<u8>) -> (usize, usize, usize) {
        let (mut place, mut weight, mut many, mut events) = (below.min(self.profiles.len()), 0, 0, 0);
        while weight < most
            && let Some(next) = place.checked_sub(1)
            && let Some(profile) = self.profiles.get(next)
        {
            place = next;
            weight += PROFILE_WEIGHT + profile.weight();
            if !profile.is_empty() {
                profile.write(out, base);
                many += 1;
                events += profile.exact();
            }
        }
        (place, many, events)
    }

    /// Takes a stored profile in; one that is known gives way to it.
    pub(super) fn put(&mut self, profile: Profile) {
        let place = self.place(profile.key);
        if let Some(slot) = self.profiles.get_mut(place) {
            *slot = profile;
        }
    }

    /// What is forgotten is measured from here.
    fn past(&self) -> i64 {
        let held = self.held.map_or(self.newest, |held| held.min(self.newest));
        self.kept_from.map_or(held, |kept| held.min(kept.saturating_add(self.keep.lateness)))
    }

    /// While an export goes on no event is put into tiles that stands by itself: it could come again.
    fn keep(&self) -> Keep {
        match self.held {
            Some(_) => Keep { exact: usize::MAX, noting: true, ..self.keep },
            None => self.keep,
        }
    }

    fn insert(&mut self, place: usize, event: &Event<'_>, values: &[Value]) -> Own {
        let at = event.transaction.occurred_at.0;
        self.newest = self.newest.max(at);
        let (newest, past, keep) = (self.newest, self.past(), self.keep());
        let id = &event.transaction.transaction_id;
        let unreachable = at <= newest.saturating_sub(keep.lateness).saturating_sub(keep.reach);
        let Some(profile) = self.profiles.get_mut(place) else {
            return Own { place: super::profile::Place { block: 0, index: 0 }, present: false };
        };

        if unreachable {
            profile.find(at, id)
        } else {
            profile.forget_runs(past, &keep);
            let amount = event.base.minor.max(0).cast_unsigned();
            profile.insert(Moment { at, amount, values }, id, &keep)
        }
    }

    /// Now and then looks over the next entity; one with nothing left goes. Places change: call it before they are used.
    fn sweep(&mut self) {
        self.since_sweep += 1;
        if self.since_sweep < SWEEP_EVERY {
            return;
        }
        self.since_sweep = 0;
        self.swept = if self.swept + 1 < self.profiles.len() { self.swept + 1 } else { 0 };
        let last = self.profiles.len().saturating_sub(1);
        let past = self.past();
        let Some(profile) = self.profiles.get_mut(self.swept) else { return };
        profile.forget(past, &self.keep);
        if profile.is_empty() {
            let (gone, moved) = (profile.key, self.swept);
            self.profiles.swap_remove(moved);
            let place = |index: &u32| *index as usize;
            if let Ok(entry) = self.index.find_entry(gone, |index| place(index) == moved) {
                entry.remove();
            }
            if let Some(profile) = self.profiles.get(moved)
                && let Some(index) = self.index.find_mut(profile.key, |index| place(index) == last)
            {
                *index = u32::try_from(moved).unwrap_or(u32::MAX);
            }
        }
    }

    fn find(&self, id: u64) -> Option<&Profile> {
        let profiles = &self.profiles;
        let same = |index: &u32| profiles.get(*index as usize).is_some_and(|profile| profile.key == id);
        self.index.find(id, same).and_then(|index| profiles.get(*index as usize))
    }

    /// The place of the entity's profile; makes one.
    fn place(&mut self, id: u64) -> usize {
        let profiles = &self.profiles;
        let same = |index: &u32| profiles.get(*index as usize).is_some_and(|profile| profile.key == id);
        if let Some(index) = self.index.find(id, same) {
            return *index as usize;
        }
        let place = profiles.len();
        let hash = |index: &u32| profiles.get(*index as usize).map_or(id, |profile| profile.key);
        self.index.insert_unique(id, u32::try_from(place).unwrap_or(u32::MAX), hash);
        self.profiles.push(Profile::new(id));
        place
    }

    /// The values of the counted identifiers of one event.
    fn counted<'a>(&self, row: &[Option<u64>], values: &'a mut [Value; 8]) -> &'a [Value] {
        for (value, column) in values.iter_mut().zip(&self.values) {
            *value = hashes::value(row.get(*column).copied().flatten());
        }
        values.get(..self.values.len()).unwrap_or_default()
    }
}

fn as_of<'a>(event: &Event<'_>, own: Own, values: &'a [Value]) -> AsOf<'a> {
    AsOf { at: event.transaction.occurred_at.0, own, values, amount: event.base.minor.max(0).cast_unsigned() }
}

fn read(profile: &Profile, reads: &EntityReads, as_of: AsOf<'_>, found: &mut Found, out: &mut Vec<f64>) -> Known {
    let before = if as_of.own.present { profile.step_back(as_of.own.place) } else { as_of.own.place };
    let new = profile.time_before(before).is_none();
    Known { approximate: reading::read(profile, reads, as_of, found, out), new }
}

fn absent(reads: Option<&EntityReads>, out: &mut Vec<f64>, known: &mut Vec<Known>) {
    if let Some(reads) = reads {
        out.extend_from_slice(&reads.defaults);
        known.push(Known { approximate: false, new: true });
    }
}
