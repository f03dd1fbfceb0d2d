//! `golden.json`: rows with the scores they must get, and `baseline.json`: how features and scores were distributed in
//! training. In: text and the number of features. Out: checked values, or a sentence that names the key.

use serde::Deserialize;

use super::InferError;
use super::explain::Explanation;

/// Rows and the scores that were measured when the package was made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Golden {
    /// The features of a row in order, as whoever made the rows had them.
    pub(super) features: Vec<String>,
    /// How far a score may be from the expected one.
    pub(super) tolerance: f32,
    /// Rows of one value a feature.
    pub(super) inputs: Vec<Vec<f32>>,
    /// One score a row.
    pub(super) scores: Vec<f32>,
    /// Their explanations by the `shap` package; absent where it has no such method.
    pub(super) explanation: Option<GoldenExplanation>,
}

/// What the golden rows must be explained by, log-odds.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GoldenExplanation {
    /// How far a number may be from the expected one.
    pub(super) tolerance: f64,
    pub(super) baseline: f64,
    /// One raw margin a row.
    pub(super) margins: Vec<f64>,
    /// One contribution a feature, for every row.
    pub(super) contributions: Vec<Vec<f64>>,
}

/// Distributions of the training data: drift is measured against them, explanations start from the medians.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Baseline {
    /// In the manifest's order.
    pub(super) features: Vec<FeatureBaseline>,
    /// The scores of the same rows.
    pub(super) score: Histogram,
}

/// One feature's distribution.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureBaseline {
    pub(super) name: String,
    pub(super) mean: f64,
    pub(super) median: f64,
    /// Values at equally spaced ranks, minimum first and maximum last: not falling.
    pub(super) quantiles: Vec<f64>,
}

/// Counts between edges: one fewer than edges.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Histogram {
    pub(super) edges: Vec<f64>,
    pub(super) counts: Vec<u64>,
}

impl Golden {
    pub(super) fn parse(text: &str, features: &[String]) -> Result<Self, String> {
        let width = features.len();
        let golden: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Rows have no names: of two features that change places nothing else here would tell.
        let mut pairs = golden.features.iter().zip(features).enumerate();
        if let Some((place, (named, wanted))) = pairs.find(|(_, (named, wanted))| named != wanted) {
            return Err(format!(
                "features[{place}] is {named:?}, and the manifest's is {wanted:?}: the order is not one"
            ));
        }
        if golden.features.len() != width {
            return Err(format!("features are not {width}, as many as the manifest's"));
        }
        if !(golden.tolerance > 0.0 && golden.tolerance <= 1e-3) {
            return Err(format!("tolerance = {}: above 0 and at most 0.001 is allowed", golden.tolerance));
        }
        if golden.inputs.is_empty() || golden.inputs.len() != golden.scores.len() {
            return Err(format!(
                "{} inputs and {} scores: as many of both are needed",
                golden.inputs.len(),
                golden.scores.len()
            ));
        }
        if let Some(index) = golden.inputs.iter().position(|row| row.len() != width) {
            return Err(format!("inputs[{index}] has not {width} values, one a feature"));
        }
        if let Some(index) = golden.scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
            return Err(format!("scores[{index}] is not of 0 to 1"));
        }
        golden.explanation.as_ref().map_or(Ok(()), |explanation| explanation.check(golden.inputs.len(), width))?;
        Ok(golden)
    }

    /// Holds `scores`, one a row, against the expected ones.
    pub(super) fn compare(&self, scores: &[f32]) -> Result<(), InferError> {
        // Why not "further than": a score that is no number is neither near nor far.
        let near = |(expected, score): (&f32, &f32)| (expected - score).abs() <= self.tolerance;
        if scores.len() != self.scores.len() {
            return Err(InferError::Failed(format!("{} scores for {} golden rows", scores.len(), self.scores.len())));
        }
        match self.scores.iter().zip(scores).enumerate().find(|(_, pair)| !near(*pair)) {
            None => Ok(()),
            Some((index, (expected, score))) => Err(InferError::Failed(format!(
                "golden row {index} scores {score} and {expected} ± {} is expected",
                self.tolerance
            ))),
        }
    }
}

impl GoldenExplanation {
    fn check(&self, rows: usize, width: usize) -> Result<(), String> {
        if !(self.tolerance > 0.0 && self.tolerance <= 1e-3) {
            return Err(format!("explanation.tolerance = {}: above 0 and at most 0.001 is allowed", self.tolerance));
        }
        if (self.margins.len(), self.contributions.len()) != (rows, rows) {
            return Err(format!("explanation: margins and contributions of {rows} rows are needed"));
        }
        match self.contributions.iter().position(|row| row.len() != width) {
            Some(index) => Err(format!("explanation.contributions[{index}] has not {width} values, one a feature")),
            None => Ok(()),
        }
    }

    /// Holds an explanation against the expected one of golden row `index`.
    pub(super) fn compare(&self, index: usize, found: &Explanation, features: &[String]) -> Result<(), String> {
        let hold = |what: &str, found: f64, wanted: f64| {
            // Why not "further than": what is no number is neither near nor far.
            if (found - wanted).abs() <= self.tolerance {
                return Ok(());
            }
            Err(format!("{what} of golden row {index} is {found} and {wanted} ± {} is expected", self.tolerance))
        };
        hold("the baseline", found.baseline, self.baseline)?;
        hold("the margin", found.margin, self.margins.get(index).copied().unwrap_or(f64::NAN))?;
        let wanted = self.contributions.get(index).map_or(&[][..], Vec::as_slice);
        let pairs = found.contributions.iter().zip(wanted).zip(features);
        pairs
            .into_iter()
            .try_for_each(|((found, wanted), name)| hold(&format!("the contribution of {name:?}"), *found, *wanted))
    }
}

impl Baseline {
    pub(super) fn parse(text: &str, features: &[String]) -> Result<Self, String> {
        let baseline: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !baseline.features.iter().map(|feature| &feature.name).eq(features) {
            return Err("features are not the manifest's, in its order".to_owned());
        }
        if let Some(feature) = baseline.features.iter().find(|feature| !feature.is_sound()) {
            return Err(format!("features: {:?} has fewer than 2 quantiles, or they fall", feature.name));
        }
        let score = &baseline.score;
        if score.counts.is_empty() || score.edges.len() != score.counts.len() + 1 || !score.edges.is_sorted() {
            return Err("score: edges must rise and be one more than counts".to_owned());
        }
        Ok(baseline)
    }

    /// The median of every feature, in order.
    #[expect(clippy::cast_possible_truncation, reason = "a row holds f32: the model sees no more of a value")]
    pub(super) fn medians(&self) -> Vec<f32> {
        self.features.iter().map(|feature| feature.median as f32).collect()
    }

    /// Rows from all over the range that training saw: every feature at its lowest, its median and its highest, then mixed
    /// rows whose features stand at ranks of their own, always the same ones.
    #[expect(clippy::cast_possible_truncation, reason = "a row holds f32: the model sees no more of a value")]
    pub(super) fn probes(&self) -> Vec<Vec<f32>> {
        let at = |rank: &dyn Fn(usize) -> f64| -> Vec<f32> {
            self.features.iter().enumerate().map(|(place, feature)| feature.at(rank(place)) as f32).collect()
        };
        let corners = [0.0, 0.5, 1.0].map(|rank| at(&|_| rank));
        let mixed = (1..=MIXED_PROBES).map(|row| at(&|place| (row as f64 * step(place)).fract()));
        corners.into_iter().chain(mixed).collect()
    }
}

/// Rows of [`Baseline::probes`] besides the three corners.
const MIXED_PROBES: usize = 253;

/// An irrational step of a feature's own: the fractional parts of its multiples cover 0 to 1 evenly.
fn step(place: usize) -> f64 {
    (2.0 + place as f64).sqrt().fract().max(0.001) + std::f64::consts::FRAC_1_PI / 1000.0
}

impl FeatureBaseline {
    /// The value at a rank of 0 to 1.
    fn at(&self, rank: f64) -> f64 {
        let last = self.quantiles.len().saturating_sub(1);
        let place = (rank * last as f64).round() as usize;
        self.quantiles.get(place.min(last)).copied().unwrap_or(self.median)
    }

    fn is_sound(&self) -> bool {
        let (Some(first), Some(last)) = (self.quantiles.first(), self.quantiles.last()) else { return false };
        let inside = |value: f64| (*first..=*last).contains(&value);
        self.quantiles.len() >= 2 && self.quantiles.is_sorted() && inside(self.median) && self.mean.is_finite()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str =
        r#"{"features": ["a", "b"], "tolerance": 1e-5, "inputs": [[1, 2], [3, 4]], "scores": [0.25, 0.75]}"#;
    fn names() -> [String; 2] {
        ["a", "b"].map(str::to_owned)
    }

    const BASELINE: &str = r#"{"features": [{"name": "a", "mean": 1, "median": 2, "quantiles": [0, 2, 9]}],
        "score": {"edges": [0, 0.5, 1], "counts": [3, 1]}}"#;

    #[test]
    fn golden_scores_are_held_within_the_tolerance() {
        let golden = Golden::parse(GOLDEN, &names()).unwrap();
        assert_eq!(golden.compare(&[0.25, 0.750_005]), Ok(()));
        assert!(golden.compare(&[0.25, 0.7501]).is_err());
        assert!(golden.compare(&[0.25, f32::NAN]).is_err());
        assert!(golden.compare(&[0.25]).is_err());
    }

    #[test]
    fn golden_explanations_are_held_number_by_number() {
        let golden = GoldenExplanation {
            tolerance: 1e-5,
            baseline: -2.0,
            margins: vec![1.0],
            contributions: vec![vec![4.0, -1.0]],
        };
        let found = |baseline: f64, margin: f64, contributions: [f64; 2]| Explanation {
            method: super::super::explain::Method::TreeShap,
            baseline,
            margin,
            contributions: contributions.to_vec(),
        };
        let features = ["a", "b"].map(String::from);
        let held = |explanation: &Explanation| golden.compare(0, explanation, &features);
        assert_eq!(held(&found(-2.0, 1.000_009, [4.0, -0.999_991])), Ok(()));
        for (wrong, said) in [
            (found(-2.1, 1.0, [4.0, -1.0]), "baseline"),
            (found(-2.0, f64::NAN, [4.0, -1.0]), "margin"),
            (found(-2.0, 1.0, [4.0, -1.0001]), "\"b\""),
        ] {
            let fault = held(&wrong).unwrap_err();
            assert!(fault.contains(said), "{said}: {fault}");
        }
        assert!(golden.compare(1, &found(-2.0, 1.0, [4.0, -1.0]), &features).is_err(), "no such row");
    }

    #[test]
    fn golden_faults_name_their_key() {
        for (from, to, key) in [
            ("[\"a\", \"b\"]", "[\"b\", \"a\"]", "features[0]"),
            ("[\"a\", \"b\"]", "[\"a\"]", "features are not 2"),
            ("\"features\": [\"a\", \"b\"], ", "", "features"),
            ("1e-5", "0", "tolerance"),
            ("1e-5", "0.5", "tolerance"),
            ("[3, 4]", "[3]", "inputs[1]"),
            ("0.75]", "1.75]", "scores[1]"),
            (", 0.75]", "]", "1 scores"),
            ("\"tolerance\"", "\"more\": 1, \"tolerance\"", "more"),
            (
                "\"tolerance\"",
                "\"explanation\": {\"tolerance\": 1e-5, \"baseline\": 0, \"margins\": [0], \"contributions\": []}, \"tolerance\"",
                "explanation",
            ),
            (
                "\"tolerance\"",
                "\"explanation\": {\"tolerance\": 1e-5, \"baseline\": 0, \"margins\": [0, 1], \"contributions\": [[0, 0], [1]]}, \"tolerance\"",
                "explanation.contributions[1]",
            ),
        ] {
            let fault = Golden::parse(&GOLDEN.replacen(from, to, 1), &names()).unwrap_err();
            assert!(fault.contains(key), "{key}: {fault}");
        }
    }

    #[test]
    fn baseline_faults_name_their_key() {
        let features = ["a".to_owned()];
        assert_eq!(Baseline::parse(BASELINE, &features).unwrap().medians(), [2.0]);
        for (from, to, key) in [
            ("\"a\"", "\"b\"", "features"),
            ("[0, 2, 9]", "[0, 9, 2]", "quantiles"),
            ("\"median\": 2", "\"median\": 10", "quantiles"),
            ("[3, 1]", "[3]", "score"),
            ("\"mean\"", "\"maen\"", "maen"),
        ] {
            let fault = Baseline::parse(&BASELINE.replacen(from, to, 1), &features).unwrap_err();
            assert!(fault.contains(key), "{key}: {fault}");
        }
    }
}
