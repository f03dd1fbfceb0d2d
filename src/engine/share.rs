//! A share of customers or transactions, the same ones every time: by a hash that anybody can compute.
//!
//! takes(id) = big-endian number of the first 8 bytes of SHA-256(salt + ":" + id) mod 10,000 < basis points
//!
//! The salt is the model's `name/version`: another canary takes other customers, and a share that grows keeps whom it has.

use sha2::{Digest as _, Sha256};

/// The whole: 10,000 basis points.
pub const ALL: u16 = 10_000;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    salt: String,
    basis_points: u16,
}

impl Share {
    /// `basis_points` of 10,000; more counts as all.
    #[must_use]
    pub fn new(salt: String, basis_points: u16) -> Self {
        Self { salt, basis_points: basis_points.min(ALL) }
    }

    /// How many of 10,000.
    #[must_use]
    pub const fn basis_points(&self) -> u16 {
        self.basis_points
    }

    /// Whether `id` is in it.
    #[must_use]
    pub fn takes(&self, id: &str) -> bool {
        match self.basis_points {
            0 => false,
            ALL => true,
            some => self.place(id) < some,
        }
    }

    /// Where `id` stands, 0 to 9,999.
    fn place(&self, id: &str) -> u16 {
        let digest = Sha256::new().chain_update(&self.salt).chain_update(":").chain_update(id).finalize();
        let number = digest.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        u16::try_from(number % u64::from(ALL)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(basis_points: u16) -> Share {
        Share::new("fraud/2".to_owned(), basis_points)
    }

    #[test]
    fn the_formula_is_the_documented_one() {
        // python3 -c 'import hashlib; print(int.from_bytes(hashlib.sha256(b"fraud/2:c-1").digest()[:8], "big") % 10000)'
        assert_eq!(share(1).place("c-1"), PLACE);
    }

    const PLACE: u16 = 2814;

    #[test]
    fn a_share_that_grows_keeps_whom_it_has_and_is_as_large_as_it_says() {
        let ids: Vec<String> = (0..20_000).map(|number| format!("customer-{number}")).collect();
        let (small, large) = (share(500), share(2_000));
        let taken = |share: &Share| ids.iter().filter(|id| share.takes(id)).count();
        assert!(ids.iter().all(|id| !small.takes(id) || large.takes(id)));
        // Five standard deviations of a binomial count.
        assert!((845..=1_155).contains(&taken(&small)), "{}", taken(&small));
        assert!((3_717..=4_283).contains(&taken(&large)), "{}", taken(&large));
        assert_eq!((taken(&share(0)), taken(&share(ALL))), (0, ids.len()));
    }

    #[test]
    fn another_version_takes_others() {
        let (one, other) = (share(1_000), Share::new("fraud/3".to_owned(), 1_000));
        let both = (0..20_000).map(|n| format!("c{n}")).filter(|id| one.takes(id) && other.takes(id)).count();
        assert!(both < 300, "{both} of about 200");
    }
}
