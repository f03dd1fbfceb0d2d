//! The ids of recent events as bytes: the packed records as they are.

use crate::features::history::bytes::{Bytes, put, put_time};
use crate::features::history::ties::{Chunk, Ties, room};

impl Ties {
    pub(super) fn write(&self, out: &mut Vec<u8>, base: i64) {
        put(out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            put_time(out, base, chunk.first);
            put_time(out, chunk.first, chunk.last);
            put(out, u64::from(chunk.count));
            put(out, chunk.bytes.len() as u64);
            out.extend_from_slice(&chunk.bytes);
        }
    }

    pub(super) fn read(bytes: &mut Bytes<'_>, base: i64) -> Option<Self> {
        let count = bytes.count()?;
        let mut chunks = Vec::with_capacity(count);
        for _ in 0..count {
            let first = bytes.time(base)?;
            let last = bytes.time(first)?;
            let count = u16::try_from(bytes.number()?).ok()?;
            let length = bytes.count()?;
            let records = bytes.take(length)?;
            let mut packed = Vec::with_capacity(room(length));
            packed.extend_from_slice(records);
            chunks.push(Chunk { first, last, count, bytes: packed });
        }
        Some(Self { chunks })
    }
}
