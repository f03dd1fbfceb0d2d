//! Gauss–Legendre quadrature on 0 to 1: ∫₀¹ p(t) dt = Σ wᵢ p(tᵢ), exact for polynomials of degree up to 2n − 1.
//!
//! Nodes are the roots of the Legendre polynomial Pₙ, found by Newton's method from Tricomi's approximation (Davis and
//! Rabinowitz, Methods of Numerical Integration, 2nd edition, section 2.7); every node lies inside and every weight is positive.

use std::f64::consts::PI;

/// The `count` (1 or more) nodes with their weights, ascending.
pub(super) fn gauss_legendre(count: u32) -> Vec<(f64, f64)> {
    let n = f64::from(count);
    let mut found: Vec<(f64, f64)> = (0..count)
        .map(|index| {
            let mut x = (PI * (f64::from(index) + 0.75) / (n + 0.5)).cos();
            // Newton doubles the digits a step: 16 are there after five from this start.
            for _ in 0..8 {
                let (value, slope) = legendre(count, x);
                x -= value / slope;
            }
            let (_, slope) = legendre(count, x);
            // From -1..1 to 0..1.
            (0.5 + 0.5 * x, 1.0 / ((1.0 - x * x) * slope * slope))
        })
        .collect();
    found.reverse();
    found
}

/// Pₙ and its derivative at `x`, by (k + 1) Pₖ₊₁ = (2k + 1) x Pₖ − k Pₖ₋₁.
fn legendre(n: u32, x: f64) -> (f64, f64) {
    let (mut before, mut now) = (1.0, x);
    for k in 1..n {
        let k = f64::from(k);
        (before, now) = (now, ((2.0 * k + 1.0) * x * now - k * before) / (k + 1.0));
    }
    (now, f64::from(n) * (x * now - before) / (x * x - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_up_to_the_degree_are_exact() {
        for count in [1, 2, 4, 8, 12, 64] {
            let nodes = gauss_legendre(count);
            assert!(nodes.iter().all(|(at, weight)| (0.0..1.0).contains(at) && *weight > 0.0));
            assert!(nodes.is_sorted());
            for degree in 0..2 * count {
                let power = i32::try_from(degree).unwrap();
                let sum: f64 = nodes.iter().map(|(at, weight)| weight * at.powi(power)).sum();
                assert!((sum * f64::from(degree + 1) - 1.0).abs() < 1e-13, "{count} nodes, degree {degree}: {sum}");
            }
        }
    }

    #[test]
    fn two_nodes_are_the_known_ones() {
        let half = 0.5 / 3.0_f64.sqrt();
        let [(a, v), (b, w)] = gauss_legendre(2)[..] else { panic!("two") };
        assert!((a - 0.5 + half).abs() < 1e-15 && (b - 0.5 - half).abs() < 1e-15);
        assert!((v - 0.5).abs() < 1e-15 && (w - 0.5).abs() < 1e-15);
    }
}
