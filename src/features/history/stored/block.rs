//! Blocks and their columns of values as bytes.

use crate::features::history::block::{Amounts, Block, CAPACITY, Totals};
use crate::features::history::bytes::{Bytes, put, put_time};
use crate::features::history::values::{Value, Values};

const UNNEEDED: u8 = 0;
const FORGOTTEN: u8 = 1;
const NARROW: u8 = 2;
const WIDE: u8 = 3;

impl Block {
    pub(super) fn write(&self, out: &mut Vec<u8>, base: i64) {
        put(out, self.times.len() as u64);
        put_time(out, base, self.first);
        out.push(match &self.amounts {
            Amounts::Unneeded => UNNEEDED,
            Amounts::Forgotten => FORGOTTEN,
            Amounts::Narrow(_) => NARROW,
            Amounts::Wide(_) => WIDE,
        });
        let mut before = 0;
        for offset in &self.times {
            put(out, u64::from(offset.wrapping_sub(before)));
            before = *offset;
        }
        match &self.amounts {
            Amounts::Unneeded | Amounts::Forgotten => {}
            Amounts::Narrow(all) => all.iter().for_each(|amount| put(out, u64::from(*amount))),
            Amounts::Wide(all) => all.iter().for_each(|amount| put(out, *amount)),
        }
        self.values.write(out, self.times.len());
    }

    /// The next block, with `before` the totals of those before it.
    pub(super) fn read(bytes: &mut Bytes<'_>, base: i64, before: Totals) -> Option<Self> {
        let len = bytes.count().filter(|len| *len <= CAPACITY)?;
        let first = bytes.time(base)?;
        let form = bytes.byte()?;
        let mut times = Vec::with_capacity(len);
        let mut offset = 0_u32;
        for _ in 0..len {
            offset = offset.checked_add(u32::try_from(bytes.number()?).ok()?)?;
            times.push(offset);
        }
        let amounts = match form {
            UNNEEDED => Amounts::Unneeded,
            FORGOTTEN => Amounts::Forgotten,
            NARROW => {
                let mut all = Vec::with_capacity(len);
                for _ in 0..len {
                    all.push(u32::try_from(bytes.number()?).ok()?);
                }
                Amounts::Narrow(all)
            }
            WIDE => {
                let mut all = Vec::with_capacity(len);
                for _ in 0..len {
                    all.push(bytes.number()?);
                }
                Amounts::Wide(all)
            }
            _ => return None,
        };
        let values = Values::read(bytes, len)?;
        let mut block = Self { first, before, times, amounts, values, smallest: u64::MAX, largest: 0 };
        block.measure();
        Some(block)
    }
}

impl Values {
    fn write(&self, out: &mut Vec<u8>, len: usize) {
        out.push(self.present);
        let present = (0..8).filter_map(|identifier| self.column(identifier, len));
        present.for_each(|column| out.extend_from_slice(column.as_flattened()));
    }

    fn read(bytes: &mut Bytes<'_>, len: usize) -> Option<Self> {
        let present = bytes.byte()?;
        let cells = bytes.take(present.count_ones() as usize * len * size_of::<Value>())?;
        let (cells, _) = cells.as_chunks::<5>();
        Some(Self { cells: cells.into(), present, room: u8::try_from(len).ok()? })
    }
}
