//! Who came first within one millisecond: the ids of an entity's recent events, in the order of its events.
//!
//! Events are a set ordered by (time, transaction id). Blocks hold no ids; this list holds them as long as an event
//! may still arrive late (the lateness L), for two questions: is this event here already, and where among those of
//! the same millisecond does it belong. Ids in the form of a UUID take 16 bytes, others their own length.

use std::cmp::Ordering;

/// Ids in a chunk at most: an insertion rewrites one chunk.
const CHUNK: u16 = 64;
/// A record's head is at most a gap of ten bytes and a length.
const HEAD: usize = 11;
/// Rooms of a chunk, in bytes. No column of a block has these sizes, so that an allocator which
/// keeps sizes apart can give the pages of outgrown columns back.
const ROOMS: [usize; 5] = [48, 112, 224, 448, ROOM];
/// The most bytes of a chunk.
const ROOM: usize = 896;
/// Stands where a length would, for an id packed as a UUID.
const UUID: u8 = 0xFF;

/// The recent ids of one entity.
#[derive(Debug, Default)]
pub(super) struct Ties {
    pub(super) chunks: Vec<Chunk>,
}

/// The ids of some events one after the other.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) count: u16,
    /// A record an id: milliseconds since the one before as LEB128, length or [`UUID`], bytes.
    pub(super) bytes: Vec<u8>,
}

/// Where an id stands among those of its millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rank {
    /// Ids of the same time that are smaller.
    pub(super) smaller: usize,
    /// Whether the id itself is here.
    pub(super) present: bool,
}

impl Ties {
    pub(super) fn rank(&self, at: i64, id: &str) -> Rank {
        let mut rank = Rank { smaller: 0, present: false };
        let start = self.chunks.partition_point(|chunk| chunk.last < at);
        for chunk in self.chunks.iter().skip(start).take_while(|chunk| chunk.first <= at) {
            for record in chunk.records().filter(|record| record.at == at) {
                match record.compare(id) {
                    Ordering::Less => rank.smaller += 1,
                    Ordering::Equal => rank.present = true,
                    Ordering::Greater => {}
                }
            }
        }
        rank
    }

    /// Adds an id that is not here yet.
    pub(super) fn insert(&mut self, at: i64, id: &str) {
        // The last chunk that begins at or before `at`: its records stay in order of time; order within one
        // millisecond does not matter, `rank` compares.
        let place = self.chunks.partition_point(|chunk| chunk.first <= at);
        match place.checked_sub(1).and_then(|index| self.chunks.get_mut(index)) {
            Some(chunk) if at >= chunk.last && chunk.has_room(id) => chunk.append(at, id),
            Some(chunk) if at < chunk.last => {
                chunk.insert(at, id);
                if chunk.count > CHUNK {
                    let rest = chunk.halve();
                    self.chunks.insert(place, rest);
                }
            }
            _ => {
                self.chunks.reserve_exact(1);
                self.chunks.insert(place, Chunk::of(at, id));
            }
        }
    }

    /// Forgets the chunks that end before `horizon`.
    pub(super) fn forget_runs_before(&mut self, horizon: i64) {
        let gone = self.chunks.iter().take_while(|chunk| chunk.last < horizon).count();
        if gone > 0 {
            self.chunks.drain(..gone);
        }
    }

    /// Forgets the ids of events before `horizon`.
    pub(super) fn forget_before(&mut self, horizon: i64) {
        if self.chunks.first().is_none_or(|chunk| chunk.first >= horizon) {
            return;
        }
        self.forget_runs_before(horizon);
        if self.chunks.is_empty() {
            self.chunks = Vec::new();
        }
        if let Some(chunk) = self.chunks.first_mut() {
            chunk.forget_before(horizon);
        }
    }

    /// Bytes of the records, and bytes reserved.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let used = self.chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let reserved = self.chunks.iter().map(|chunk| chunk.bytes.capacity()).sum::<usize>();
        (used, reserved + self.chunks.capacity() * size_of::<Chunk>())
    }
}

/// The smallest room for `bytes`.
pub(super) fn room(bytes: usize) -> usize {
    ROOMS.into_iter().find(|room| *room >= bytes).unwrap_or(bytes)
}

struct Record<'a> {
    at: i64,
    uuid: bool,
    bytes: &'a [u8],
    /// Length of the record with its head.
    length: usize,
}

impl Record<'_> {
    fn compare(&self, id: &str) -> Ordering {
        if self.uuid { unpack(self.bytes).as_slice().cmp(id.as_bytes()) } else { self.bytes.cmp(id.as_bytes()) }
    }
}

impl Chunk {
    fn of(at: i64, id: &str) -> Self {
        let mut chunk = Self { first: at, last: at, count: 0, bytes: Vec::new() };
        chunk.append(at, id);
        chunk
    }

    fn has_room(&self, id: &str) -> bool {
        self.count < CHUNK && self.bytes.len() + HEAD + id.len() <= ROOM
    }

    fn append(&mut self, at: i64, id: &str) {
        let needed = HEAD + id.len();
        if self.bytes.capacity() - self.bytes.len() < needed {
            self.bytes.reserve_exact(room(self.bytes.len() + needed) - self.bytes.len());
        }
        write(&mut self.bytes, at - self.last, id);
        self.last = at;
        self.count += 1;
    }

    fn insert(&mut self, at: i64, id: &str) {
        let mut place = 0;
        let mut previous = self.first;
        let mut next = None;
        for record in self.records() {
            if record.at > at {
                next = Some((record.at, record.length, record.uuid, record.bytes.to_vec()));
                break;
            }
            place += record.length;
            previous = record.at;
        }
        let mut replacement = Vec::new();
        write(&mut replacement, at - previous, id);
        let mut replaced = 0;
        if let Some((next_at, length, uuid, bytes)) = next {
            write_packed(&mut replacement, next_at - at, uuid, &bytes);
            replaced = length;
        }
        self.bytes.splice(place..place + replaced, replacement);
        self.last = self.last.max(at);
        self.count += 1;
    }

    fn halve(&mut self) -> Self {
        let all = std::mem::take(&mut self.bytes);
        let mut halves = [(Vec::new(), 0, 0, 0_u16), (Vec::new(), 0, 0, 0_u16)];
        let half = self.count / 2;
        for (index, record) in records(&all, self.first).enumerate() {
            let [low, high] = &mut halves;
            let (bytes, first, last, count) = if index < usize::from(half) { low } else { high };
            if *count == 0 {
                (*first, *last) = (record.at, record.at);
            }
            write_packed(bytes, record.at - *last, record.uuid, record.bytes);
            *last = record.at;
            *count += 1;
        }
        let [low, high] = halves.map(|(bytes, first, last, count)| Self { first, last, count, bytes });
        *self = low;
        high
    }

    fn forget_before(&mut self, horizon: i64) {
        let mut gone = 0;
        let mut count = 0;
        let mut kept = None;
        for record in self.records() {
            if record.at >= horizon {
                kept = Some((record.at, record.length, record.uuid, record.bytes.to_vec()));
                break;
            }
            gone += record.length;
            count += 1;
        }
        let Some((first, length, uuid, bytes)) = kept.filter(|_| gone > 0) else { return };
        let mut head = Vec::new();
        write_packed(&mut head, 0, uuid, &bytes);
        self.bytes.splice(..gone + length, head);
        if room(self.bytes.len()) < self.bytes.capacity() / 2 {
            self.bytes.shrink_to(room(self.bytes.len()));
        }
        self.first = first;
        self.count -= count;
    }

    fn records(&self) -> impl Iterator<Item = Record<'_>> {
        records(&self.bytes, self.first)
    }
}

fn records(bytes: &[u8], first: i64) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    let mut at = first;
    std::iter::from_fn(move || {
        let whole = rest.len();
        let mut gap = 0_i64;
        for shift in (0..63).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            gap |= i64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let (length, after) = rest.split_first()?;
        let uuid = *length == UUID;
        let (bytes, after) = after.split_at_checked(if uuid { 16 } else { usize::from(*length) })?;
        rest = after;
        at += gap;
        Some(Record { at, uuid, bytes, length: whole - rest.len() })
    })
}

fn write(target: &mut Vec<u8>, gap: i64, id: &str) {
    match pack(id) {
        Some(uuid) => write_packed(target, gap, true, &uuid),
        // Ids are at most 64 bytes by the schema.
        None => write_packed(target, gap, false, id.as_bytes()),
    }
}

fn write_packed(target: &mut Vec<u8>, gap: i64, uuid: bool, bytes: &[u8]) {
    let mut gap = gap.max(0).cast_unsigned();
    while gap >= 0x80 {
        target.push((gap & 0x7F) as u8 | 0x80);
        gap >>= 7;
    }
    target.push(gap as u8);
    target.push(if uuid { UUID } else { bytes.len() as u8 });
    target.extend_from_slice(bytes);
}

/// The 16 bytes of a UUID in its canonical lower-case form, the only one whose text comes back the same.
fn pack(id: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = id.as_bytes().try_into().ok()?;
    let mut digits = [0_u8; 32];
    let mut place = digits.iter_mut();
    for (index, byte) in text.iter().enumerate() {
        match (index, byte) {
            (8 | 13 | 18 | 23, b'-') => {}
            (8 | 13 | 18 | 23, _) => return None,
            (_, b'0'..=b'9') => *place.next()? = byte - b'0',
            (_, b'a'..=b'f') => *place.next()? = byte - b'a' + 10,
            _ => return None,
        }
    }
    let (pairs, _) = digits.as_chunks::<2>();
    let mut packed = [0; 16];
    for (to, [high, low]) in packed.iter_mut().zip(pairs) {
        *to = high << 4 | low;
    }
    Some(packed)
}

fn unpack(bytes: &[u8]) -> [u8; 36] {
    let mut text = [b'-'; 36];
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xF]);
    let places = text.iter_mut().enumerate().filter(|(index, _)| ![8, 13, 18, 23].contains(index));
    for ((_, place), digit) in places.zip(digits) {
        *place = if digit < 10 { b'0' + digit } else { b'a' + digit - 10 };
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn uuids_take_sixteen_bytes_and_come_back() {
        let id = "0fd4c1c2-9a7b-4b1e-8f00-00a1b2c3d4e5";
        assert_eq!(unpack(&pack(id).unwrap()).as_slice(), id.as_bytes());
        assert_eq!(pack("0FD4C1C2-9A7B-4B1E-8F00-00A1B2C3D4E5"), None);
        assert_eq!(pack("0fd4c1c2-9a7b-4b1e-8f00-00a1b2c3d4e-"), None);
    }

    proptest! {
        #[test]
        fn ranks_like_a_sorted_set(
            events in prop::collection::vec((0_i64..400, "[a-c]{1,2}|[0-9a-f]{8}-1111-4111-8111-0123456789ab"), 1..300),
            horizon in 0_i64..400,
        ) {
            let mut ties = Ties::default();
            let mut set = BTreeSet::new();
            for (at, id) in &events {
                prop_assert_eq!(ties.rank(*at, id).present, set.contains(&(*at, id.clone())));
                if set.insert((*at, id.clone())) {
                    ties.insert(*at, id);
                }
            }
            ties.forget_before(horizon);
            set.retain(|(at, _)| *at >= horizon);
            for (at, id) in &events {
                let smaller = set.iter().filter(|(other, name)| other == at && name < id).count();
                prop_assert_eq!(ties.rank(*at, id), Rank { smaller, present: set.contains(&(*at, id.clone())) });
            }
        }
    }
}
