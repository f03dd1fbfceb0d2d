//! Numbers as bytes, as a stored history has them: LEB128 in groups of seven bits, signed ones in zigzag.
//!
//! Reading takes what is there and nothing more: whatever the bytes are, it ends, allocates in proportion to them, and
//! says `None` where they are no such number.

/// Appends a number.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that may be negative.
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, (value << 1 ^ value >> 63).cast_unsigned());
}

/// Appends the moment `at`, as its distance from `base`.
pub(super) fn put_time(out: &mut Vec<u8>, base: i64, at: i64) {
    put_signed(out, at.wrapping_sub(base));
}

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn time(&mut self, base: i64) -> Option<i64> {
        Some(base.wrapping_add(self.signed()?))
    }

    /// Eight bytes, the least significant first.
    pub(super) fn whole(&mut self) -> Option<u64> {
        let bytes = self.take(8)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    /// How many things of at least one byte follow.
    pub(super) fn count(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok().filter(|count| *count <= self.0.len())
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(plain in any::<u64>(), signed in any::<i64>(), base in any::<i64>(), small in 0_u64..300) {
            let mut out = Vec::new();
            put(&mut out, plain);
            put_signed(&mut out, signed);
            put_time(&mut out, base, signed);
            put(&mut out, small);
            let mut bytes = Bytes(&out);
            prop_assert_eq!((bytes.number(), bytes.signed()), (Some(plain), Some(signed)));
            prop_assert_eq!((bytes.time(base), bytes.number()), (Some(signed), Some(small)));
            prop_assert!(bytes.is_empty() && bytes.number().is_none());
        }

        #[test]
        fn whatever_the_bytes_are_reading_ends(noise in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut bytes = Bytes(&noise);
            while bytes.number().is_some() {}
            prop_assert!(Bytes(&noise).count().is_none_or(|count| count <= noise.len()));
        }
    }
}
