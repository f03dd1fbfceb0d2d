//! The form of a snapshot's file.
//!
//! ```text
//! "assayhis" │ format u32 │ part │ part … │ part
//! part = kind u8 │ length u32 │ stored length u32 │ checksum u64 │ bytes
//! ```
//!
//! Numbers have their least significant byte first. The first part is the header (`H`, JSON), then the shards (`S`), then
//! the end (`E`, JSON: how many shards, and counts): a file without one was cut. Bytes are compressed by zstd. The
//! checksum is XXH3 over the stored bytes, seeded with kind, place and length: a part that is changed, moved, doubled or
//! left out is seen.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;
use zstd::bulk::{Compressor, Decompressor};

use super::Refusal;
use crate::engine::snapshot::{Counts, Header};

/// The format that is written, and the newest that is read.
pub(super) const FORMAT: u32 = 1;
const MAGIC: &[u8; 8] = b"assayhis";
const HEADER: u8 = b'H';
const SHARD: u8 = b'S';
const END: u8 = b'E';
/// A third less on disk for half of the time that writing takes.
const LEVEL: i32 = 1;
/// Bytes of a part's head.
const HEAD: usize = 17;

/// The last part.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    shards: u64,
    counts: Counts,
}

/// A file that is being written.
pub(super) struct Writing<W> {
    to: W,
    compressor: Compressor<'static>,
    part: u64,
    stored: Vec<u8>,
}

impl<W: Write> Writing<W> {
    pub(super) fn begin(mut to: W, header: &Header) -> Result<Self, std::io::Error> {
        to.write_all(MAGIC)?;
        to.write_all(&FORMAT.to_le_bytes())?;
        let mut writing = Self { to, compressor: Compressor::new(LEVEL)?, part: 0, stored: Vec::new() };
        writing.part(HEADER, &serde_json::to_vec(header)?)?;
        Ok(writing)
    }

    pub(super) fn shard(&mut self, bytes: &[u8]) -> Result<(), std::io::Error> {
        self.part(SHARD, bytes)
    }

    pub(super) fn end(mut self, counts: Counts) -> Result<W, std::io::Error> {
        let end = End { shards: self.part - 1, counts };
        self.part(END, &serde_json::to_vec(&end)?)?;
        Ok(self.to)
    }

    fn part(&mut self, kind: u8, bytes: &[u8]) -> Result<(), std::io::Error> {
        let too_long = || std::io::Error::other("a part is longer than 4 GiB");
        let length = u32::try_from(bytes.len()).map_err(|_| too_long())?;
        self.stored.clear();
        self.stored.reserve(zstd::zstd_safe::compress_bound(bytes.len()));
        self.compressor.compress_to_buffer(bytes, &mut self.stored)?;
        let stored = u32::try_from(self.stored.len()).map_err(|_| too_long())?;
        self.to.write_all(&[kind])?;
        self.to.write_all(&length.to_le_bytes())?;
        self.to.write_all(&stored.to_le_bytes())?;
        self.to.write_all(&checksum(kind, self.part, length, &self.stored).to_le_bytes())?;
        self.to.write_all(&self.stored)?;
        self.part += 1;
        Ok(())
    }
}

/// A snapshot whose every byte was checked.
pub struct Opened {
    path: PathBuf,
    header: Header,
    end: End,
    bytes: u64,
    reading: Reading,
    given: u64,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Opened").field("path", &self.path).field("header", &self.header).finish_non_exhaustive()
    }
}

impl Opened {
    /// Opens a snapshot and checks all of it. Blocking.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn open(path: &Path) -> Result<Self, Refusal> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut reading = Reading::new(file, bytes)?;
        let header = serde_json::from_slice(&reading.document(HEADER)?).map_err(|_| Refusal::Damaged(0))?;
        let begin = reading.file.stream_position()?;
        let mut shards = 0;
        while reading.stored()? == SHARD {
            shards += 1;
        }
        let damaged = Refusal::Damaged(reading.part);
        let Some(end) = reading.is_end().then(|| reading.raw()).transpose()? else { return Err(damaged) };
        let end: End = serde_json::from_slice(&end).map_err(|_| Refusal::Damaged(reading.part))?;
        if end.shards != shards || reading.left != 0 {
            return Err(Refusal::Damaged(reading.part));
        }
        reading.back_to(begin, bytes)?;
        Ok(Self { path: path.to_owned(), header, end, bytes, reading, given: 0 })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says of itself.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What it holds.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.end.counts
    }

    /// Its shards.
    #[must_use]
    pub const fn shards(&self) -> u64 {
        self.end.shards
    }

    /// Its size.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fills `shard` with the next one, in place of what was there; `false` at the end.
    ///
    /// # Errors
    /// When the file changed since it was opened.
    pub fn next_shard(&mut self, shard: &mut Vec<u8>) -> Result<bool, Refusal> {
        if self.given == self.end.shards {
            return Ok(false);
        }
        if self.reading.stored()? != SHARD {
            return Err(Refusal::Damaged(self.reading.part));
        }
        self.reading.raw_into(shard)?;
        self.given += 1;
        Ok(true)
    }
}

struct Reading {
    file: BufReader<File>,
    left: u64,
    decompressor: Decompressor<'static>,
    /// The part that was read, and the one after it.
    part: u64,
    next: u64,
    kind: u8,
    length: u32,
    stored: Vec<u8>,
}

impl Reading {
    fn new(file: File, bytes: u64) -> Result<Self, Refusal> {
        let mut file = BufReader::with_capacity(1 << 20, file);
        let (mut magic, mut format) = ([0; 8], [0; 4]);
        let begun = file.read_exact(&mut magic).and_then(|()| file.read_exact(&mut format));
        match begun {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Refusal::NoSnapshot),
            begun => begun?,
        }
        match u32::from_le_bytes(format) {
            _ if magic != *MAGIC => return Err(Refusal::NoSnapshot),
            FORMAT => {}
            newer if newer > FORMAT => return Err(Refusal::NewerFormat(newer)),
            _ => return Err(Refusal::NoSnapshot),
        }
        let left = bytes.saturating_sub(12);
        let decompressor = Decompressor::new()?;
        Ok(Self { file, left, decompressor, part: 0, next: 0, kind: 0, length: 0, stored: Vec::new() })
    }

    /// Reads the next part as it is stored and checks it; its kind.
    fn stored(&mut self) -> Result<u8, Refusal> {
        let mut head = [0; HEAD];
        self.fill(HEAD as u64)?;
        self.file.read_exact(&mut head)?;
        let [kind, l0, l1, l2, l3, s0, s1, s2, s3, c0, c1, c2, c3, c4, c5, c6, c7] = head;
        let stored = u32::from_le_bytes([s0, s1, s2, s3]);
        (self.kind, self.length) = (kind, u32::from_le_bytes([l0, l1, l2, l3]));
        (self.part, self.next) = (self.next, self.next + 1);
        self.fill(u64::from(stored))?;
        self.stored.resize(stored as usize, 0);
        self.file.read_exact(&mut self.stored)?;
        let expected = u64::from_le_bytes([c0, c1, c2, c3, c4, c5, c6, c7]);
        if checksum(kind, self.part, self.length, &self.stored) != expected {
            return Err(Refusal::Damaged(self.part));
        }
        Ok(kind)
    }

    /// Counts bytes that are about to be read: no more than the file has.
    fn fill(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.left = self.left.checked_sub(bytes).ok_or(Refusal::Cut)?;
        Ok(())
    }

    fn is_end(&self) -> bool {
        self.kind == END
    }

    fn document(&mut self, kind: u8) -> Result<Vec<u8>, Refusal> {
        if self.stored()? != kind {
            return Err(Refusal::Damaged(self.part));
        }
        self.raw()
    }

    fn raw(&mut self) -> Result<Vec<u8>, Refusal> {
        let mut raw = Vec::new();
        self.raw_into(&mut raw)?;
        Ok(raw)
    }

    fn raw_into(&mut self, raw: &mut Vec<u8>) -> Result<(), Refusal> {
        raw.clear();
        raw.reserve(self.length as usize);
        let done = self.decompressor.decompress_to_buffer(&self.stored, raw);
        done.ok().filter(|length| *length == self.length as usize).map(drop).ok_or(Refusal::Damaged(self.part))
    }

    /// Goes back behind the header, which ends at `place`.
    fn back_to(&mut self, place: u64, bytes: u64) -> Result<(), Refusal> {
        self.file.seek(SeekFrom::Start(place))?;
        (self.left, self.part, self.next) = (bytes.saturating_sub(place), 0, 1);
        Ok(())
    }
}

fn checksum(kind: u8, part: u64, length: u32, stored: &[u8]) -> u64 {
    let seed = part << 40 ^ u64::from(kind) << 32 ^ u64::from(length);
    XxHash3_64::oneshot_with_seed(seed, stored)
}
