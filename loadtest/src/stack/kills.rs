//! When which instance is killed: gaps of a range, drawn from a seed. Pure.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

/// An endless schedule of (time since the start, instance from 0).
#[derive(Debug)]
pub(crate) struct Kills {
    dice: Pcg64Mcg,
    instances: usize,
    gap: (u64, u64),
    at: u64,
}

impl Kills {
    /// Gaps of `least` to `most`; of `instances` any may be next.
    pub(crate) fn new(seed: u64, instances: usize, least: Duration, most: Duration) -> Self {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX / 4).max(1);
        let gap = (millis(least), millis(most).max(millis(least)));
        Self { dice: Pcg64Mcg::seed_from_u64(seed), instances: instances.max(1), gap, at: 0 }
    }
}

impl Iterator for Kills {
    type Item = (Duration, usize);

    fn next(&mut self) -> Option<Self::Item> {
        self.at += self.dice.random_range(self.gap.0..=self.gap.1);
        Some((Duration::from_millis(self.at), self.dice.random_range(0..self.instances)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_keep_their_range_and_every_instance_has_its_turn() {
        let kills = |seed| Kills::new(seed, 3, Duration::from_secs(20), Duration::from_secs(30)).take(200);
        let all: Vec<_> = kills(7).collect();
        let mut before = Duration::ZERO;
        for (at, instance) in &all {
            assert!((20_000..=30_000).contains(&(*at - before).as_millis()) && *instance < 3);
            before = *at;
        }
        assert!((0..3).all(|instance| all.iter().filter(|(_, one)| *one == instance).count() > 30));
        assert_eq!(all, kills(7).collect::<Vec<_>>());
        assert_ne!(all, kills(8).collect::<Vec<_>>());
    }
}
