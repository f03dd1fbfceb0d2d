//! The counted identifiers of a block's events: 40-bit hashes, a column an identifier, all in one allocation.
//!
//! An identifier that no event of the block names has no column and costs nothing. The caller keeps `len`, the number
//! of events, and `room`, for how many there is space.

/// A 40-bit keyed hash of an identifier's value; all zero when the transaction has none. Two of n different values
/// fall together with a probability of about n² / 2⁴¹.
pub(super) type Value = [u8; 5];

/// No value.
pub(super) const ABSENT: Value = [0; 5];

/// Columns of hashes.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// The columns, one after the other.
    pub(super) cells: Box<[Value]>,
    /// Which identifiers have a column, a bit each.
    pub(super) present: u8,
    /// Of a column.
    pub(super) room: u8,
}

impl Values {
    /// The hashes of identifier `identifier`; `None` where no event of the block has one.
    pub(super) fn column(&self, identifier: usize, len: usize) -> Option<&[Value]> {
        let (present, room) = self.head();
        let bit = 1_u8.checked_shl(u32::try_from(identifier).ok()?)?;
        if present & bit == 0 {
            return None;
        }
        let start = (present & (bit - 1)).count_ones() as usize * room;
        self.cells.get(start..start + len)
    }

    /// Puts the values of one event, an identifier each, at place `index` of `len` events; `room` is for one more at least.
    pub(super) fn insert(&mut self, index: usize, len: usize, room: usize, values: &[Value]) {
        let bits = (0..8_u8).zip(values).filter(|(_, value)| **value != ABSENT);
        let wanted = bits.fold(0_u8, |bits, (identifier, _)| bits | 1 << identifier);
        let (mut present, mut have) = self.head();
        if wanted & !present != 0 || present != 0 && have <= len {
            self.lay_out(present | wanted, room, len, 0);
            (present, have) = self.head();
        }
        let present = (0..8_u8).zip(values).filter(|(identifier, _)| present & 1 << identifier != 0);
        for (column, (_, value)) in present.enumerate() {
            let start = column * have;
            if let Some(cells) = self.cells.get_mut(start + index..=start + len) {
                cells.rotate_right(1);
                if let Some(cell) = cells.first_mut() {
                    *cell = *value;
                }
            }
        }
    }

    /// Moves the values from `index` on, of `len` events, to a block of their own.
    pub(super) fn split_off(&mut self, index: usize, len: usize) -> Self {
        let (present, room) = self.head();
        let mut rest = Self { cells: self.cells.clone(), ..*self };
        rest.lay_out(present, len.saturating_sub(index), len - index, index);
        self.lay_out(present, room, index, 0);
        rest
    }

    /// Forgets one identifier.
    pub(super) fn forget(&mut self, identifier: usize, len: usize) {
        let (present, room) = self.head();
        if let Some(bit) = u32::try_from(identifier).ok().and_then(|identifier| 1_u8.checked_shl(identifier))
            && present & bit != 0
        {
            self.lay_out(present & !bit, room, len, 0);
        }
    }

    /// Bytes of `len` events, and bytes reserved.
    pub(super) fn bytes(&self, len: usize) -> (usize, usize) {
        (self.head().0.count_ones() as usize * len * size_of::<Value>(), self.cells.len() * size_of::<Value>())
    }

    fn head(&self) -> (u8, usize) {
        (self.present, usize::from(self.room))
    }

    /// Columns for `present` with `room` each, which hold what stands at `from` and after it, `len` events.
    fn lay_out(&mut self, present: u8, room: usize, len: usize, from: usize) {
        let room = room.max(len);
        let columns = present.count_ones() as usize;
        let old = std::mem::take(self);
        if columns == 0 || room == 0 {
            return;
        }
        let mut cells = Vec::with_capacity(columns * room);
        for identifier in (0..8_usize).filter(|identifier| present & 1 << identifier != 0) {
            let end = cells.len() + room;
            if let Some(column) = old.column(identifier, from + len) {
                cells.extend_from_slice(column.get(from..).unwrap_or_default());
            }
            cells.resize(end, ABSENT);
        }
        let room = u8::try_from(room).unwrap_or(u8::MAX);
        *self = Self { cells: cells.into_boxed_slice(), present, room };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn columns_hold_what_rows_would(
            events in prop::collection::vec((0_usize..200, 0_u8..4, 0_u8..4, 0_u8..4), 1..100),
            cut in 0_usize..100,
            gone in 0_usize..3,
        ) {
            let (mut values, mut rows) = (Values::default(), Vec::<[Value; 3]>::new());
            for (place, a, b, c) in &events {
                // Every identifier is absent now and then; the third begins late.
                let third = if rows.len() < 20 { 0 } else { *c };
                let row = [[*a; 5], [*b; 5], [third; 5]];
                let (index, len) = (place % (rows.len() + 1), rows.len());
                values.insert(index, len, (len + 1).next_multiple_of(8), &row);
                rows.insert(index, row);
            }
            let same = |values: &Values, rows: &[[Value; 3]], skipped: Option<usize>| {
                (0..3).all(|one| {
                    let want: Vec<Value> = rows.iter().map(|row| if skipped == Some(one) { ABSENT } else { row[one] }).collect();
                    let got = values.column(one, rows.len());
                    got.map_or(want.iter().all(|value| *value == ABSENT), |got| got == want)
                })
            };
            prop_assert!(same(&values, &rows, None));
            let cut = cut.min(rows.len());
            let rest = values.split_off(cut, rows.len());
            let (head, tail) = rows.split_at(cut);
            prop_assert!(same(&values, head, None) && same(&rest, tail, None));
            values.forget(gone, cut);
            prop_assert!(same(&values, head, Some(gone)));
            prop_assert!(values.column(gone, cut).is_none());
        }
    }
}
