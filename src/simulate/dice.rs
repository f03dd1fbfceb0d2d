//! Random numbers in streams of their own: (seed, purpose, a, b) names a stream, and it is always the same.

use rand::Rng as _;
use rand_pcg::Pcg64Mcg;

/// What a stream is for; part of its key, so that no two uses share numbers.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Town = 1,
    Terminal,
    Customer,
    Genuine,
    Campaign,
    Victims,
    Verdict,
    Rate,
    Live,
    Reference,
}

/// One stream.
#[derive(Debug, Clone)]
pub(super) struct Dice(Pcg64Mcg);

/// The finaliser of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

impl Dice {
    pub(super) fn of(seed: u64, purpose: Purpose, a: u64, b: u64) -> Self {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let key = mix(seed.wrapping_add(GOLDEN) ^ (purpose as u64).wrapping_mul(GOLDEN));
        let low = mix(key ^ a.wrapping_mul(GOLDEN).wrapping_add(1));
        let high = mix(low ^ b.wrapping_mul(GOLDEN).wrapping_add(2));
        Self(Pcg64Mcg::new((u128::from(high) << 64) | u128::from(mix(low ^ high))))
    }

    /// Uniform in [0, 1).
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit a double exactly")]
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    /// Uniform in 0..n (0 when n is 0).
    pub(super) fn below(&mut self, n: u32) -> u32 {
        let product = u64::from(n) * (self.0.next_u64() >> 32);
        u32::try_from(product >> 32).unwrap_or_default()
    }

    /// Uniform in [least, most).
    pub(super) fn between(&mut self, least: f64, most: f64) -> f64 {
        (most - least).mul_add(self.unit(), least)
    }

    /// Uniform in least..=most.
    pub(super) fn count(&mut self, least: u32, most: u32) -> u32 {
        least + self.below(most.saturating_sub(least).saturating_add(1))
    }

    /// Whether something of this probability happens.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Normal with mean 0 and deviation 1 (Box, Muller 1958).
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Exponential with this mean.
    pub(super) fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Poisson with this mean: Knuth's product of uniforms to 30, above it the normal approximation.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rounded, not negative; `as` saturates"
    )]
    pub(super) fn poisson(&mut self, mean: f64) -> u32 {
        if mean > 30.0 {
            return mean.sqrt().mul_add(self.normal(), mean).round().max(0.0) as u32;
        }
        let limit = (-mean).exp();
        let (mut product, mut count) = (self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// One of 0..n, low numbers more often than high ones: with `skew` 2, the first quarter half of the time.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..n by the min; `as` saturates")]
    pub(super) fn popular(&mut self, n: u32, skew: f64) -> u32 {
        ((f64::from(n) * self.unit().powf(skew)) as u32).min(n.saturating_sub(1))
    }

    /// One of `items`; `None` when there are none.
    pub(super) fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let place = self.below(u32::try_from(items.len()).unwrap_or(u32::MAX));
        items.get(place as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_stream() {
        let draw = |seed, purpose, a, b| Dice::of(seed, purpose, a, b).unit();
        assert_eq!(draw(1, Purpose::Town, 2, 3).to_bits(), draw(1, Purpose::Town, 2, 3).to_bits());
        let others = [draw(2, Purpose::Town, 2, 3), draw(1, Purpose::Rate, 2, 3), draw(1, Purpose::Town, 3, 2)];
        assert!(others.iter().all(|other| (other - draw(1, Purpose::Town, 2, 3)).abs() > 1e-12));
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut dice = Dice::of(7, Purpose::Live, 0, 0);
        let n = 200_000;
        let mean = |draws: Vec<f64>| draws.iter().sum::<f64>() / f64::from(n);
        let normal: Vec<f64> = (0..n).map(|_| dice.normal()).collect();
        assert!((mean(normal.iter().map(|value| value * value).collect()) - 1.0).abs() < 0.02);
        assert!(mean(normal).abs() < 0.02);
        for expected in [0.3, 4.0, 80.0] {
            let found = mean((0..n).map(|_| f64::from(dice.poisson(expected))).collect());
            assert!((found / expected - 1.0).abs() < 0.02, "{found} for {expected}");
        }
        assert!((mean((0..n).map(|_| dice.wait(3.0)).collect()) - 3.0).abs() < 0.05);
        assert!((0..1000).all(|_| dice.below(7) < 7 && (3..=5).contains(&dice.count(3, 5))));
    }
}
