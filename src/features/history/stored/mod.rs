//! Profiles as bytes: what a stored history consists of.
//!
//! ```text
//! profile  key 8 │ blocks │ ties │ flags │ tiles? │ verdicts?
//! block    events, first time, amounts' form, columns present │ gaps │ amounts │ values, a column an identifier
//! ```
//!
//! Times are distances from a base that the caller keeps. Running totals are not stored: only their differences mean
//! anything, so they begin at nothing again.
//! Invariant: a profile that was read gives every reading that the written one gave.

mod block;
mod hot;
mod recent;

use super::block::{Block, Totals};
use super::bytes::{Bytes, put, put_signed, put_time};
use super::labels::{Labels, Verdict};
use super::profile::Profile;
use super::ties::Ties;
use super::tiles::Tiles;

const TILES: u8 = 1;
const LABELS: u8 = 2;

impl Profile {
    /// Appends everything kept of the entity.
    pub(super) fn write(&self, out: &mut Vec<u8>, base: i64) {
        out.extend_from_slice(&self.key.to_le_bytes());
        put(out, self.blocks.len() as u64);
        self.blocks.iter().for_each(|block| block.write(out, base));
        self.ties.write(out, base);
        out.push(if self.tiles.is_some() { TILES } else { 0 } | if self.labels.is_some() { LABELS } else { 0 });
        if let Some(tiles) = &self.tiles {
            tiles.write(out, base);
        }
        if let Some(labels) = &self.labels {
            labels.write(out, base);
        }
    }

    /// The next profile; `None` where the bytes are none.
    pub(super) fn read(bytes: &mut Bytes<'_>, base: i64) -> Option<Self> {
        let mut profile = Self::new(bytes.whole()?);
        let count = bytes.count()?;
        profile.blocks.reserve_exact(count);
        for _ in 0..count {
            let block = Block::read(bytes, base, profile.total)?;
            profile.total = block.totals(block.len(), true, true);
            profile.exact += block.len();
            profile.blocks.push(block);
        }
        profile.ties = Ties::read(bytes, base)?;
        let flags = bytes.byte()?;
        if flags & TILES != 0 {
            profile.tiles = Some(Box::new(Tiles::read(bytes, base)?));
        }
        if flags & LABELS != 0 {
            profile.labels = Some(Box::new(Labels::read(bytes, base)?));
        }
        Some(profile)
    }
}

impl Labels {
    fn write(&self, out: &mut Vec<u8>, base: i64) {
        put(out, self.verdicts.len() as u64);
        for verdict in &self.verdicts {
            put_time(out, base, verdict.at);
            out.extend_from_slice(&verdict.id.to_le_bytes());
            put_signed(out, verdict.labelled_at.wrapping_sub(verdict.at));
            out.push(u8::from(verdict.is_fraud));
            put(out, verdict.amount);
        }
    }

    fn read(bytes: &mut Bytes<'_>, base: i64) -> Option<Self> {
        let count = bytes.count()?;
        let mut verdicts = Vec::with_capacity(count);
        for _ in 0..count {
            let at = bytes.time(base)?;
            verdicts.push(Verdict {
                at,
                id: bytes.whole()?,
                labelled_at: at.wrapping_add(bytes.signed()?),
                is_fraud: bytes.byte()? != 0,
                amount: bytes.number()?,
            });
        }
        Some(Self { verdicts })
    }
}

fn put_totals(out: &mut Vec<u8>, totals: Totals) {
    put(out, u64::from(totals.count));
    put(out, totals.sum);
    put(out, totals.squares as u64);
    put(out, (totals.squares >> 64) as u64);
}

fn totals(bytes: &mut Bytes<'_>) -> Option<Totals> {
    let (count, sum) = (u32::try_from(bytes.number()?).ok()?, bytes.number()?);
    let (low, high) = (bytes.number()?, bytes.number()?);
    Some(Totals { count, sum, squares: u128::from(low) | u128::from(high) << 64 })
}
