//! The numbers of one schedule: a seed names them all.

use rand::Rng as _;
use rand_pcg::Pcg64Mcg;

#[derive(Debug, Clone)]
pub(super) struct Dice(Pcg64Mcg);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        const GOLDEN: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;
        let mut dice = Self(Pcg64Mcg::new((u128::from(seed) + 1).wrapping_mul(GOLDEN)));
        for _ in 0..4 {
            dice.0.next_u64();
        }
        dice
    }

    /// Uniform in 0..n; 0 when n is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// Whether something happens that happens `percent` times of a hundred.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Place of one of `weights`, each as often as its share.
    pub(super) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut rest = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|weight| {
                let hit = rest < *weight;
                rest = rest.saturating_sub(*weight);
                hit
            })
            .unwrap_or_default()
    }
}
