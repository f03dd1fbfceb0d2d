//! `permutation_shapley`: an estimate for any model. A coalition of features stands as in the row, the others at their
//! training medians. Along an ordering of the features, one after the other is put in; what each adds to the margin is
//! its contribution there, and the mean over orderings is its estimate (Štrumbelj and Kononenko 2014, "Explaining
//! prediction models and individual predictions with feature contributions").
//!
//! [`PAIRS`] fixed orderings are walked forwards and backwards: antithetic pairs, exact for a margin of terms of at most
//! two features each (Mitchell et al. 2022, "Sampling permutations for Shapley value estimation", section 3.1). Every walk
//! goes from the medians to the row, so contributions add up to the margin less that of the medians, whatever the error.
//! Features that stand at their median contribute 0 and cost nothing.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64Mcg;

use super::{Explanation, Method};
use crate::model::InferError;

/// Orderings; each is walked both ways, so twice as many permutations are averaged.
pub(in crate::model) const PAIRS: usize = 10;
/// Of the orderings: the same rows are explained alike for ever.
const SEED: u64 = 20_140_101;

/// Medians and the orderings of their features.
#[derive(Debug)]
pub(in crate::model) struct Permutation {
    medians: Vec<f32>,
    orders: Vec<Vec<usize>>,
}

impl Permutation {
    pub(super) fn new(medians: &[f32]) -> Self {
        let mut random = Pcg64Mcg::seed_from_u64(SEED);
        let mut order: Vec<usize> = (0..medians.len()).collect();
        let orders = (0..PAIRS).map(|_| {
            order.shuffle(&mut random);
            order.clone()
        });
        Self { orders: orders.collect(), medians: medians.to_vec() }
    }

    /// Explains a row; `margins` gives one margin for each of the rows it gets (row-major), all in one call.
    pub(super) fn explain(
        &self,
        row: &[f32],
        margins: impl FnOnce(&[f32]) -> Result<Vec<f64>, InferError>,
    ) -> Result<Explanation, InferError> {
        let changed = |index: &usize| {
            row.get(*index).map(|value| value.to_bits()) != self.medians.get(*index).map(|value| value.to_bits())
        };
        let forwards = self.orders.iter().map(|order| order.iter().copied().filter(changed).collect::<Vec<_>>());
        let walks: Vec<Vec<usize>> =
            forwards.flat_map(|order| [order.iter().rev().copied().collect(), order]).collect();
        // The ends of every walk are the same two rows.
        let mut rows = [&self.medians, row].concat();
        for walk in &walks {
            let mut at = self.medians.clone();
            for feature in walk.iter().take(walk.len().saturating_sub(1)) {
                put(&mut at, row, *feature);
                rows.extend_from_slice(&at);
            }
        }
        let margins = margins(&rows)?;
        let mut margins = margins.into_iter();
        let mut next = || margins.next().ok_or_else(|| InferError::Failed("the model gave too few margins".to_owned()));
        let (baseline, margin) = (next()?, next()?);
        let mut contributions = vec![0.0; row.len()];
        let share = 1.0 / walks.len().max(1) as f64;
        for walk in &walks {
            let mut before = baseline;
            for (place, feature) in walk.iter().enumerate() {
                let after = if place + 1 == walk.len() { margin } else { next()? };
                if let Some(contribution) = contributions.get_mut(*feature) {
                    *contribution += (after - before) * share;
                }
                before = after;
            }
        }
        Ok(Explanation { method: Method::PermutationShapley, baseline, margin, contributions })
    }
}

fn put(at: &mut [f32], row: &[f32], feature: usize) {
    if let Some((place, value)) = at.get_mut(feature).zip(row.get(feature)) {
        *place = *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 5;

    fn of(rows: &[f32], margin: impl Fn(&[f32]) -> f64) -> Result<Vec<f64>, InferError> {
        Ok(rows.chunks(WIDTH).map(margin).collect())
    }

    #[test]
    fn terms_of_two_features_are_exact() {
        // m = 1 + 2a + 3bc + d², medians 0: the term of two is shared.
        let margin = |row: &[f32]| {
            let [a, b, c, d, _] = row else { unreachable!() };
            f64::from(1.0 + 2.0 * a + 3.0 * b * c + d * d)
        };
        let explained = Permutation::new(&[0.0; WIDTH]).explain(&[1.0, 2.0, 4.0, 3.0, 7.0], |rows| of(rows, margin));
        let Explanation { baseline, margin, contributions, .. } = explained.unwrap();
        assert_eq!((baseline, margin), (1.0, 36.0));
        for (found, wanted) in contributions.iter().zip([2.0, 12.0, 12.0, 9.0, 0.0]) {
            assert!((found - wanted).abs() < 1e-12, "{contributions:?}");
        }
    }

    #[test]
    fn contributions_add_up_however_features_work_together() {
        let margin = |row: &[f32]| f64::from(row.iter().product::<f32>()) + f64::from(row[0]).sin();
        let permutation = Permutation::new(&[1.0; WIDTH]);
        let row = [2.0, 3.0, 1.0, 0.5, -4.0];
        let explained = permutation.explain(&row, |rows| of(rows, margin)).unwrap();
        assert!(explained.gap().abs() < 1e-12 && explained.margin == margin(&row));
        assert_eq!(explained.contributions[2], 0.0, "it stands at its median");
        assert_eq!(permutation.explain(&row, |rows| of(rows, margin)).unwrap(), explained, "the same for ever");
    }

    #[test]
    fn a_row_of_medians_has_nothing_to_explain() {
        let explained = Permutation::new(&[1.0; WIDTH]).explain(&[1.0; WIDTH], |rows| {
            assert_eq!(rows.len(), 2 * WIDTH);
            of(rows, |_| 0.75)
        });
        assert_eq!(explained.unwrap().contributions, [0.0; WIDTH]);
    }

    #[test]
    fn too_few_margins_are_a_fault() {
        let explained = Permutation::new(&[0.0; WIDTH]).explain(&[1.0; WIDTH], |_| Ok(vec![0.0; 3]));
        assert!(matches!(explained, Err(InferError::Failed(_))));
    }
}
