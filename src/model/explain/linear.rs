//! `linear_shap`: of a linear margin, contribution(i) = wᵢ (xᵢ − mean of i) is the exact Shapley value when features are
//! taken as independent (Lundberg and Lee 2017, "A unified approach to interpreting model predictions", corollary 1).

/// A linear margin: intercept + Σ wᵢ xᵢ, over raw values.
#[derive(Debug)]
pub(in crate::model) struct LinearShap {
    terms: Vec<(f64, f64)>,
    intercept: f64,
}

impl LinearShap {
    /// From a weight and a training mean a feature.
    ///
    /// # Errors
    /// Which of them is no finite number, or that they are not `width`.
    pub(super) fn new(weights: &[f64], means: &[f64], intercept: f64, width: usize) -> Result<Self, String> {
        let terms: Vec<_> = weights.iter().copied().zip(means.iter().copied()).collect();
        if terms.len() != width {
            return Err(format!("weights and means are {}, and the features {width}", terms.len()));
        }
        match terms.iter().position(|(weight, mean)| !(weight * mean).is_finite()) {
            _ if !intercept.is_finite() => Err(format!("intercept = {intercept} is no finite number")),
            Some(index) => Err(format!("weights[{index}] or means[{index}] is no finite number")),
            None => Ok(Self { terms, intercept }),
        }
    }

    /// The margin at the means.
    pub(super) fn baseline(&self) -> f64 {
        self.intercept + self.terms.iter().map(|(weight, mean)| weight * mean).sum::<f64>()
    }

    /// The margin of a row and its contributions.
    pub(super) fn explain(&self, row: &[f32]) -> (f64, Vec<f64>) {
        let terms = || self.terms.iter().zip(row.iter().map(|value| f64::from(*value)));
        let margin = self.intercept + terms().map(|((weight, _), value)| weight * value).sum::<f64>();
        (margin, terms().map(|((weight, mean), value)| weight * (value - mean)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contributions_are_weights_times_distances() {
        let linear = LinearShap::new(&[2.0, -1.0], &[1.0, 4.0], 0.5, 2).unwrap();
        assert_eq!(linear.baseline(), -1.5);
        assert_eq!(linear.explain(&[3.0, 4.0]), (2.5, vec![4.0, 0.0]));
        assert!(LinearShap::new(&[f64::NAN], &[1.0], 0.0, 1).is_err());
        assert!(LinearShap::new(&[1.0], &[1.0], f64::INFINITY, 1).is_err());
        assert!(LinearShap::new(&[1.0], &[1.0], 0.0, 2).is_err());
    }
}
