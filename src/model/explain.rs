//! Why a row scored as it did: **baseline ablation**, a named approximation.
//!
//! contribution(i) = score(row) − score(row with feature i at its training median)
//!
//! In: a row, its score and the medians. Out: one contribution a feature, in the unit of the score. It sees one feature
//! at a time: of two that say the same, either alone may seem not to matter, and contributions do not add up to the score.
//! Features that stand at their median contribute 0 and cost nothing.

/// The features that differ from their median, and the rows in which each of those alone is at it.
#[derive(Debug, PartialEq)]
pub(super) struct Ablation {
    changed: Vec<usize>,
    /// Row-major, one row for each of `changed`.
    pub(super) rows: Vec<f32>,
}

impl Ablation {
    pub(super) fn new(row: &[f32], medians: &[f32]) -> Self {
        let (mut changed, mut rows) = (Vec::new(), Vec::new());
        for (index, (value, median)) in row.iter().zip(medians).enumerate() {
            if value.to_bits() == median.to_bits() {
                continue;
            }
            changed.push(index);
            rows.extend(row.iter().enumerate().map(|(at, kept)| if at == index { *median } else { *kept }));
        }
        Self { changed, rows }
    }

    /// One contribution for each of `width` features, from the `scores` of the rows.
    pub(super) fn contributions(&self, width: usize, score: f32, scores: &[f32]) -> Vec<f32> {
        let mut contributions = vec![0.0; width];
        for (index, without) in self.changed.iter().zip(scores) {
            if let Some(contribution) = contributions.get_mut(*index) {
                *contribution = score - without;
            }
        }
        contributions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_puts_one_feature_at_its_median() {
        let ablation = Ablation::new(&[1.0, 5.0, 3.0], &[0.0, 5.0, 9.0]);
        assert_eq!(ablation.rows, [0.0, 5.0, 3.0, 1.0, 5.0, 9.0]);
        assert_eq!(ablation.contributions(3, 0.75, &[0.5, 1.0]), [0.25, 0.0, -0.25]);
    }

    #[test]
    fn a_row_of_medians_needs_no_run() {
        let ablation = Ablation::new(&[1.0, 2.0], &[1.0, 2.0]);
        assert!(ablation.rows.is_empty());
        assert_eq!(ablation.contributions(2, 0.5, &[]), [0.0, 0.0]);
    }
}
