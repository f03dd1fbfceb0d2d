//! Which units a replicate has: its own stream of random numbers, named by seed and replicate.

use rand::{Rng as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

/// Draws as many units as `weights` has, with replacement; each weight becomes how often its unit was drawn.
pub(super) fn draw(seed: u64, replicate: u32, weights: &mut [u32]) {
    // The golden ratio's odd multiple takes neighbouring replicates far apart before the generator spreads the seed.
    let stream = u64::from(replicate).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut random = Pcg64Mcg::seed_from_u64(seed ^ stream);
    weights.fill(0);
    let units = weights.len() as u128;
    for _ in 0..weights.len() {
        // Lemire 2019, without the rejection: off by at most units / 2^64.
        let unit = usize::try_from((u128::from(random.next_u64()) * units) >> 64).unwrap_or_default();
        if let Some(weight) = weights.get_mut(unit) {
            *weight += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_has_all_its_units_and_is_named_by_seed_and_replicate() {
        let drawn = |seed, replicate| {
            let mut weights = vec![9; 1000];
            draw(seed, replicate, &mut weights);
            weights
        };
        assert_eq!(drawn(1, 0).iter().sum::<u32>(), 1000);
        assert_eq!(drawn(1, 0), drawn(1, 0));
        assert!(drawn(1, 0) != drawn(1, 1) && drawn(1, 0) != drawn(2, 0));
        // About 1/e of the units are not drawn.
        let absent: usize = (0..50).map(|number| drawn(3, number).iter().filter(|weight| **weight == 0).count()).sum();
        assert!((17_900..18_900).contains(&absent), "{absent}");
    }
}
