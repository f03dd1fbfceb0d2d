//! The index of ids seen within the deduplication horizon L: what makes "one decision" cheap to hold.
//!
//! In: keyed hashes of ids. Out: what was decided, in 28 bytes an id:
//!
//! ```text
//! hash 12 │ fingerprint 6 │ score 4 (f32) │ second 4 (u32) │ model 1 │ flags 1
//! ```
//!
//! 256 shards of open addressing with linear probing; a slot is found by multiplying (`hash × slots / 2³²`), so a shard
//! may have any number of slots and grows by a quarter only: resident at most 28 / 0.68 ≈ 41 bytes an id. A deletion
//! moves its followers back, so there are no tombstones. An id is 96 bits of a keyed hash: among 10⁹ ids a false match
//! has a chance of about 10⁻¹¹.
//!
//! Invariant: an id whose second is not before the horizon's is found. Older ones leave when a sweep passes.

use crate::base::clock::{Millis, SECOND};

const ENTRY: usize = 28;
const SHARDS: usize = 256;
const FIRST_SLOTS: usize = 8;
/// Slots that each insertion looks over for expired ids: a round takes a twelfth of the ids held.
const SWEPT: usize = 16;
const OCCUPIED: u8 = 0x80;
const EMPTY: [u8; ENTRY] = [0; ENTRY];

/// What the index knows of an id.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    /// 48 bits over the required fields.
    pub(crate) fingerprint: u64,
    /// The score of the full decision; 0 before there is one.
    pub(crate) score: f32,
    /// When the transaction occurred, in whole seconds.
    pub(crate) second: u32,
    /// Which of the engine's models scored it.
    pub(crate) model: u8,
    /// Whether there is a full decision.
    pub(crate) decided: bool,
    /// Whether it was flagged.
    pub(crate) flagged: bool,
    /// Whether it was degraded.
    pub(crate) degraded: bool,
    /// Whether the first record in the shared log was seen; always false where the log is the instance's own.
    pub(crate) confirmed: bool,
}

impl Seen {
    /// A transaction without a full decision.
    pub(crate) const fn undecided(fingerprint: u64, second: u32) -> Self {
        Self {
            fingerprint,
            score: 0.0,
            second,
            model: u8::MAX,
            decided: false,
            flagged: false,
            degraded: false,
            confirmed: false,
        }
    }
}

/// The whole second of a moment, held to the range of `u32`. Monotonic: an earlier moment has no later second.
pub(crate) fn second_of(at: Millis) -> u32 {
    u32::try_from(at.0.div_euclid(SECOND).max(0)).unwrap_or(u32::MAX)
}

/// The index.
#[derive(Debug)]
pub(crate) struct Ids {
    shards: Vec<Shard>,
    swept: usize,
    held: Option<Held>,
}

/// While the index is being exported: ids from this second on stay, for so many insertions.
#[derive(Debug, Clone, Copy)]
struct Held {
    second: u32,
    left: usize,
}

#[derive(Debug, Default)]
struct Shard {
    slots: Vec<[u8; ENTRY]>,
    len: usize,
    swept: usize,
}

impl Ids {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Shard::default()).collect(), swept: 0, held: None }
    }

    /// What is known of the id with this keyed hash.
    pub(crate) fn get(&self, id: u128) -> Option<Seen> {
        self.shards.get(shard_of(id))?.find(&hash_of(id)).map(|(_, seen)| seen)
    }

    /// Enters or replaces an id, and lets some of those before `horizon` go.
    pub(crate) fn put(&mut self, id: u128, seen: &Seen, horizon: Millis) {
        let horizon = self.held_back(second_of(horizon));
        if let Some(shard) = self.shards.get_mut(shard_of(id)) {
            shard.put(&encode(&hash_of(id), seen), horizon);
        }
        self.sweep(horizon);
    }

    /// Second and hash of those whose first record was not seen in the shared log.
    pub(crate) fn unconfirmed(&self) -> impl Iterator<Item = (u32, [u8; 12])> {
        let entries = self.shards.iter().flat_map(|shard| &shard.slots).filter(|entry| is_occupied(entry));
        entries.filter_map(|entry| {
            let seen = decode(entry);
            let (hash, _) = entry.split_first_chunk::<12>()?;
            (!seen.confirmed).then_some((seen.second, *hash))
        })
    }

    /// Ids held, the expired that no sweep has reached included.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len).sum()
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        let slots: usize = self.shards.iter().map(|shard| shard.slots.capacity() * ENTRY).sum();
        slots + self.shards.capacity() * size_of::<Shard>()
    }

    /// From now on no id from `horizon` on is forgotten, for `insertions` at most.
    pub(crate) fn hold(&mut self, horizon: Millis, insertions: usize) {
        self.held = Some(Held { second: second_of(horizon), left: insertions });
    }

    /// Forgets again as time moves on.
    pub(crate) fn release(&mut self) {
        self.held = None;
    }

    /// Appends the entries of shard `number`, 0 to 255, as they are; how many, or `None` beyond the last shard.
    pub(crate) fn write_shard(&self, number: usize, out: &mut Vec<u8>) -> Option<usize> {
        let shard = self.shards.get(number)?;
        out.reserve(shard.len * ENTRY);
        shard.slots.iter().filter(|entry| is_occupied(entry)).for_each(|entry| out.extend_from_slice(entry));
        Some(shard.len)
    }

    /// Replaces shard `number` by what [`Ids::write_shard`] wrote; `None` where the bytes are no such entries.
    pub(crate) fn read_shard(&mut self, number: usize, bytes: &[u8]) -> Option<usize> {
        let (entries, rest) = bytes.as_chunks::<ENTRY>();
        if !rest.is_empty() || !entries.iter().all(is_occupied) {
            return None;
        }
        let needed = ((entries.len() + 1) * 100).div_ceil(85);
        let mut shard = Shard { slots: vec![EMPTY; needed.max(FIRST_SLOTS)], len: 0, swept: 0 };
        entries.iter().for_each(|entry| shard.place(entry));
        *self.shards.get_mut(number)? = shard;
        Some(entries.len())
    }

    /// Lets every id before `horizon` go at once.
    pub(crate) fn forget_before(&mut self, horizon: Millis) {
        let horizon = second_of(horizon);
        self.shards.iter_mut().for_each(|shard| shard.resize(horizon));
    }

    fn held_back(&mut self, horizon: u32) -> u32 {
        let Some(held) = &mut self.held else { return horizon };
        let second = held.second;
        match held.left.checked_sub(1) {
            Some(left) => held.left = left,
            None => self.held = None,
        }
        horizon.min(second)
    }

    fn sweep(&mut self, horizon: u32) {
        let Some(shard) = self.shards.get_mut(self.swept) else { return };
        if shard.sweep(SWEPT, horizon) {
            self.swept = (self.swept + 1) % SHARDS;
        }
    }
}

impl Shard {
    fn home(&self, hash: &[u8]) -> usize {
        let [a, b, c, d, ..] = *hash else { return 0 };
        let spread = u64::from(u32::from_le_bytes([a, b, c, d])) * self.slots.len() as u64;
        (spread >> 32) as usize
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 >= self.slots.len() { 0 } else { slot + 1 }
    }

    fn find(&self, hash: &[u8; 12]) -> Option<(usize, Seen)> {
        let mut slot = self.home(hash);
        loop {
            let entry = self.slots.get(slot)?;
            if !is_occupied(entry) {
                return None;
            }
            if entry.starts_with(hash) {
                return Some((slot, decode(entry)));
            }
            slot = self.next(slot);
        }
    }

    fn put(&mut self, entry: &[u8; ENTRY], horizon: u32) {
        if let Some((hash, _)) = entry.split_first_chunk::<12>()
            && let Some((slot, _)) = self.find(hash)
        {
            if let Some(place) = self.slots.get_mut(slot) {
                *place = *entry;
            }
            return;
        }
        if (self.len + 1) * 100 > self.slots.len() * 85 {
            self.resize(horizon);
        }
        self.place(entry);
    }

    fn place(&mut self, entry: &[u8; ENTRY]) {
        let mut slot = self.home(entry);
        while let Some(place) = self.slots.get_mut(slot) {
            if !is_occupied(place) {
                *place = *entry;
                self.len += 1;
                return;
            }
            slot = self.next(slot);
        }
    }

    /// Lets the expired go; the slots become what the rest needs, one more and a quarter of room to grow.
    fn resize(&mut self, horizon: u32) {
        let live = |entry: &&[u8; ENTRY]| is_occupied(entry) && decode(entry).second >= horizon;
        let staying = self.slots.iter().filter(live).count();
        let needed = ((staying + 1) * 100).div_ceil(85);
        let slots = (needed + needed / 4).max(FIRST_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; slots]);
        (self.len, self.swept) = (0, 0);
        old.iter().filter(live).for_each(|entry| self.place(entry));
    }

    /// Looks over `count` slots; true when the round through this shard is complete.
    fn sweep(&mut self, count: usize, horizon: u32) -> bool {
        for _ in 0..count {
            match self.slots.get(self.swept) {
                None => {
                    self.swept = 0;
                    if self.slots.len() > FIRST_SLOTS && self.len * 2 < self.slots.len() {
                        self.resize(horizon);
                    }
                    return true;
                }
                // What moved into the place of the removed one is looked at next.
                Some(entry) if is_occupied(entry) && decode(entry).second < horizon => self.remove(self.swept),
                Some(_) => self.swept += 1,
            }
        }
        false
    }

    /// Empties a slot and moves back those after it that would not be found any more.
    fn remove(&mut self, slot: usize) {
        let (mut hole, mut after) = (slot, self.next(slot));
        while let Some(entry) = self.slots.get(after).copied().filter(is_occupied) {
            let home = self.home(&entry);
            // Does `home` lie cyclically in (hole, after]? Then the entry is found where it is.
            let reached = if hole <= after { hole < home && home <= after } else { hole < home || home <= after };
            if !reached {
                if let Some(place) = self.slots.get_mut(hole) {
                    *place = entry;
                }
                hole = after;
            }
            after = self.next(after);
        }
        if let Some(place) = self.slots.get_mut(hole) {
            *place = EMPTY;
        }
        self.len -= 1;
    }
}

/// The shard comes from other bits than the slot and the stored hash's first word.
fn shard_of(id: u128) -> usize {
    usize::from(id.to_le_bytes().last().copied().unwrap_or(0))
}

/// The part of an id's hash that the index keeps.
pub(crate) fn hash_of(id: u128) -> [u8; 12] {
    id.to_le_bytes().first_chunk().copied().unwrap_or_default()
}

fn is_occupied(entry: &[u8; ENTRY]) -> bool {
    entry.last().is_some_and(|flags| flags & OCCUPIED != 0)
}

fn encode(hash: &[u8; 12], seen: &Seen) -> [u8; ENTRY] {
    let flags = OCCUPIED
        | u8::from(seen.decided)
        | u8::from(seen.flagged) << 1
        | u8::from(seen.degraded) << 2
        | u8::from(seen.confirmed) << 3;
    let [f0, f1, f2, f3, f4, f5, ..] = seen.fingerprint.to_le_bytes();
    let [s0, s1, s2, s3] = seen.score.to_le_bytes();
    let [t0, t1, t2, t3] = seen.second.to_le_bytes();
    let [h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11] = *hash;
    [
        h0, h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11, f0, f1, f2, f3, f4, f5, s0, s1, s2, s3, t0, t1, t2, t3,
        seen.model, flags,
    ]
}

fn decode(entry: &[u8; ENTRY]) -> Seen {
    let [_, _, _, _, _, _, _, _, _, _, _, _, f0, f1, f2, f3, f4, f5, s0, s1, s2, s3, t0, t1, t2, t3, model, flags] =
        *entry;
    Seen {
        fingerprint: u64::from_le_bytes([f0, f1, f2, f3, f4, f5, 0, 0]),
        score: f32::from_le_bytes([s0, s1, s2, s3]),
        second: u32::from_le_bytes([t0, t1, t2, t3]),
        model,
        decided: flags & 1 != 0,
        flagged: flags & 2 != 0,
        degraded: flags & 4 != 0,
        confirmed: flags & 8 != 0,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::base::hash::HashKey;

    const KEY: HashKey = HashKey::new([7; 16]);
    const START: Millis = Millis(i64::MIN);

    fn seen(number: u32) -> Seen {
        Seen {
            fingerprint: u64::from(number) << 13 & 0xffff_ffff_ffff,
            score: number as f32 / 1e6,
            second: number,
            model: (number % 251) as u8,
            decided: number.is_multiple_of(2),
            flagged: number.is_multiple_of(3),
            degraded: number.is_multiple_of(5),
            confirmed: number.is_multiple_of(7),
        }
    }

    #[test]
    fn an_id_costs_at_most_48_bytes_at_every_size_up_to_a_million() {
        let mut ids = Ids::new();
        for number in 0..1_000_000_u32 {
            ids.put(KEY.wide(&number.to_le_bytes()), &seen(number), START);
            if number >= 200_000 && number % 10_000 == 0 {
                assert!(ids.bytes() <= 48 * ids.len(), "{} bytes for {}", ids.bytes(), ids.len());
            }
        }
        assert_eq!(ids.len(), 1_000_000);
        println!("{:.1} bytes an id", ids.bytes() as f64 / 1e6);
        for number in (0..1_000_000_u32).step_by(997) {
            assert_eq!(ids.get(KEY.wide(&number.to_le_bytes())), Some(seen(number)));
        }
    }

    #[test]
    fn shards_come_back_and_a_held_index_forgets_nothing_from_its_horizon_on() {
        let mut ids = Ids::new();
        let put = |ids: &mut Ids, number: u32, horizon: u32| {
            ids.put(KEY.wide(&number.to_le_bytes()), &seen(number), Millis(i64::from(horizon) * SECOND));
        };
        (0..20_000_u32).for_each(|number| put(&mut ids, number, 0));
        ids.hold(Millis(10_000 * SECOND), 30_000);
        let (mut read, mut shard) = (Ids::new(), Vec::new());
        let mut next = 20_000;
        for number in 0.. {
            shard.clear();
            let Some(many) = ids.write_shard(number, &mut shard) else { break };
            assert_eq!(read.read_shard(number, &shard), Some(many));
            // Between two shards come more than all that were there, each with a later horizon.
            (next..next + 100).for_each(|more| put(&mut ids, more, more));
            next += 100;
        }
        let known = |ids: &Ids, number: u32| ids.get(KEY.wide(&number.to_le_bytes())) == Some(seen(number));
        assert!((10_000..20_000).all(|number| known(&read, number) && known(&ids, number)));
        assert!(ids.len() < 37_000, "those before the horizon go: {}", ids.len());
        (next..next + 60_000).for_each(|more| put(&mut ids, more, more));
        assert!(ids.len() < 20_000, "a hold ends by itself: {}", ids.len());
        assert_eq!(read.read_shard(0, &[0; ENTRY]), None);
        assert_eq!(read.read_shard(0, &[0xff; ENTRY + 1]), None);
        assert_eq!(read.read_shard(SHARDS, &[]), None);
        read.forget_before(Millis(15_000 * SECOND));
        assert!(known(&read, 15_000) && !known(&read, 14_999));
    }

    #[test]
    fn memory_follows_the_horizon_down() {
        let mut ids = Ids::new();
        for number in 0..200_000_u32 {
            // 1,000 ids live at any time.
            let horizon = Millis((i64::from(number) - 1_000) * SECOND);
            ids.put(KEY.wide(&number.to_le_bytes()), &seen(number), horizon);
        }
        assert!(ids.len() < 3_000 && ids.bytes() < 200_000, "{} ids, {} bytes", ids.len(), ids.bytes());
    }

    #[test]
    fn seconds_are_monotonic_and_held_to_range() {
        assert_eq!([-1, 999, 1_000, i64::MAX, i64::MIN].map(|at| second_of(Millis(at))), [0, 0, 1, u32::MAX, 0]);
    }

    proptest! {
        /// Few hashes in few shards, so that runs wrap around, collide and move back.
        #[test]
        fn agrees_with_a_map(
            steps in proptest::collection::vec((0_u32..6, 0_u32..40, 0_u32..1_000, 0_u32..1_000), 1..400)
        ) {
            let (mut ids, mut oracle, mut horizon) = (Ids::new(), HashMap::new(), 0_u32);
            for (high, low, second, forward) in steps {
                let id = u128::from(low).wrapping_mul(0xffff_fff1) & 0xffff_ffff | u128::from(high) << 120
                    | u128::from(low) << 64;
                horizon = horizon.max(forward / 4);
                let entry = Seen { second, ..seen(low) };
                ids.put(id, &entry, Millis(i64::from(horizon) * SECOND));
                oracle.insert(id, entry);
                for (id, entry) in &oracle {
                    let found = ids.get(*id);
                    if entry.second >= horizon {
                        prop_assert_eq!(found, Some(*entry));
                    } else {
                        prop_assert!(found.is_none_or(|found| found == *entry));
                    }
                }
                prop_assert!(ids.len() <= oracle.len());
            }
        }
    }
}
