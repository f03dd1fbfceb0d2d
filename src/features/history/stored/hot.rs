//! The tiles of a hot entity as bytes.

use std::collections::{BTreeSet, VecDeque};

use compact_str::CompactString;

use super::{put_totals, totals};
use crate::features::history::block::Totals;
use crate::features::history::bytes::{Bytes, put, put_signed, put_time};
use crate::features::history::tiles::{REGISTERS, Sketch, Tile, Tiles};

impl Tiles {
    pub(super) fn write(&self, out: &mut Vec<u8>, base: i64) {
        put(out, self.tiles.len() as u64);
        let mut before = 0;
        for tile in &self.tiles {
            put_signed(out, tile.hour.wrapping_sub(before));
            before = tile.hour;
            put_totals(out, tile.totals);
            put(out, tile.smallest);
            put(out, tile.largest);
            put(out, tile.sketches.len() as u64);
            for sketch in &tile.sketches {
                out.push(u8::from(!sketch.registers.is_empty()));
                out.extend_from_slice(&sketch.registers);
            }
        }
        put_time(out, base, self.newest.unwrap_or(base));
        put(out, self.noted.len() as u64);
        for (at, id) in &self.noted {
            put_time(out, base, *at);
            put(out, id.len() as u64);
            out.extend_from_slice(id.as_bytes());
        }
    }

    pub(super) fn read(bytes: &mut Bytes<'_>, base: i64) -> Option<Self> {
        let count = bytes.count()?;
        let mut tiles = VecDeque::with_capacity(count);
        let (mut hour, mut before) = (0_i64, Totals::default());
        for _ in 0..count {
            hour = hour.wrapping_add(bytes.signed()?);
            let totals = totals(bytes)?;
            let (smallest, largest) = (bytes.number()?, bytes.number()?);
            let many = bytes.count()?;
            let mut sketches = Vec::with_capacity(many);
            for _ in 0..many {
                let filled = bytes.byte()? != 0;
                let registers = bytes.take(if filled { REGISTERS } else { 0 })?.to_vec();
                sketches.push(Sketch { registers });
            }
            tiles.push_back(Tile { hour, before, totals, smallest, largest, sketches });
            before = before.plus(totals);
        }
        let newest = Some(bytes.time(base)?).filter(|_| !tiles.is_empty());
        let mut noted = BTreeSet::new();
        for _ in 0..bytes.count()? {
            let at = bytes.time(base)?;
            let length = bytes.count()?;
            let id = std::str::from_utf8(bytes.take(length)?).ok()?;
            noted.insert((at, CompactString::from(id)));
        }
        Some(Self { tiles, total: before, newest, noted })
    }
}
