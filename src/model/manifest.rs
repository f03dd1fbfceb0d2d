//! `manifest.toml`: what a package says of its model. In: text. Out: a [`Manifest`] that keeps every rule below, or one
//! sentence that names the key. Unknown keys are refused, so a misspelt one cannot be lost.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::explain::Method;

/// The keys as they stand in the file; `models/train/document.py` writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// 1 to 64 of letters, digits, `.` `_` `-`.
    pub(super) name: String,
    /// Likewise.
    pub(super) version: String,
    /// When the package was made, RFC 3339.
    #[serde(rename = "created")]
    _created: String,
    /// SHA-256 of `model.onnx`, 64 lower-case hex digits.
    pub(super) sha256: String,
    /// Inputs, in order, by catalogue name.
    pub(super) features: Vec<String>,
    pub(super) input: Input,
    pub(super) output: Output,
    pub(super) threshold: Threshold,
    /// The last step of the graph, where it is one.
    pub(super) calibration: Option<Calibration>,
    pub(super) explanation: Explanation,
    #[serde(rename = "training")]
    _training: Training,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Input {
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) shape: OutputShape,
    /// The output with the raw margin before calibration, log-odds, `[N, 1]`; absent where the graph has none.
    pub(super) margin: Option<String>,
}

/// Shape of the output that holds the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputShape {
    /// `[N, 2]`: the second column is the probability of fraud.
    TwoColumns,
    /// `[N, 1]`.
    OneColumn,
    /// `[N]`.
    Flat,
}

impl OutputShape {
    /// Values a row.
    pub(super) const fn columns(self) -> usize {
        match self {
            Self::TwoColumns => 2,
            Self::OneColumn | Self::Flat => 1,
        }
    }

    /// As the manifest writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TwoColumns => "two_columns",
            Self::OneColumn => "one_column",
            Self::Flat => "flat",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Threshold {
    /// Scores at or above it are flagged; 0 to 1.
    pub(super) value: f32,
    /// How it was chosen, in a sentence.
    #[serde(rename = "chosen")]
    _chosen: String,
}

/// How the margin becomes a probability: score = sigmoid(slope · margin + intercept) (Platt 1999).
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Calibration {
    #[serde(rename = "method")]
    _method: CalibrationMethod,
    /// Above 0: a higher margin is a higher score.
    pub(super) slope: f64,
    pub(super) intercept: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CalibrationMethod {
    Platt,
}

impl Calibration {
    /// The score of a margin, 0 to 1.
    pub(super) fn score(&self, margin: f64) -> f64 {
        sigmoid(self.slope * margin + self.intercept)
    }
}

/// 1 / (1 + e⁻ˣ).
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// How contributions are computed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Explanation {
    pub(super) method: Method,
    /// SHA-256 of `explanation.json`; absent with `permutation_shapley`, which needs no such file.
    pub(super) sha256: Option<String>,
}

/// For people and reports: kept in the file, checked for its keys, used by nobody here.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    #[serde(rename = "data")]
    _data: String,
    #[serde(rename = "parameters")]
    _parameters: BTreeMap<String, toml::Value>,
    #[serde(rename = "figures")]
    _figures: BTreeMap<String, toml::Value>,
}

impl Manifest {
    /// Reads and checks; the fault names the key.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().replace('\n', " "))?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        for (key, value) in [("name", &self.name), ("version", &self.version)] {
            if !is_word(value) {
                return Err(format!("{key} = {value:?}: 1 to 64 of letters, digits, '.', '_' and '-' are allowed"));
            }
        }
        let hashes = [("sha256", Some(&self.sha256)), ("explanation.sha256", self.explanation.sha256.as_ref())];
        for (key, hash) in hashes {
            if let Some(hash) = hash.filter(|hash| !is_hash(hash)) {
                return Err(format!("{key} = {hash:?}: 64 lower-case hex digits are needed"));
            }
        }
        let method = self.explanation.method;
        match (method == Method::PermutationShapley, &self.explanation.sha256) {
            (false, None) => {
                return Err(format!("explanation.sha256 is missing: {} needs explanation.json", method.as_str()));
            }
            (true, Some(_)) => {
                return Err(format!("explanation.sha256: {} has no explanation.json", method.as_str()));
            }
            _ => {}
        }
        if let Some(Calibration { slope, intercept, .. }) = self.calibration
            && !(slope > 0.0 && slope.is_finite() && intercept.is_finite())
        {
            return Err(format!(
                "calibration.slope = {slope}, intercept = {intercept}: a slope above 0 and finite numbers are allowed"
            ));
        }
        if !(0.0..=1.0).contains(&self.threshold.value) {
            return Err(format!("threshold.value = {}: 0 to 1 is allowed", self.threshold.value));
        }
        check_features(&self.features)
    }
}

/// At least one feature, none twice, none empty.
pub(super) fn check_features(features: &[String]) -> Result<(), String> {
    let mut seen = HashSet::new();
    if features.is_empty() {
        return Err("features is empty: a model needs at least one input".to_owned());
    }
    match features.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        Some(name) => Err(format!("features names {name:?} twice or not at all")),
        None => Ok(()),
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('.')
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::model) const SAMPLE: &str = r#"
name = "tiny"
version = "1"
created = "2026-01-01T00:00:00Z"
sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
features = ["a", "b", "c"]
[input]
name = "input"
[output]
name = "probabilities"
shape = "two_columns"
[threshold]
value = 0.5
chosen = "by hand"
[explanation]
method = "permutation_shapley"
[training]
data = "none"
parameters = { trees = 1 }
figures = { auc = 0.5 }
"#;

    #[test]
    fn the_sample_is_read() {
        let manifest = Manifest::parse(SAMPLE).unwrap();
        assert_eq!(manifest.features, ["a", "b", "c"]);
        assert_eq!(manifest.output.shape, OutputShape::TwoColumns);
    }

    #[test]
    fn a_fault_names_its_key() {
        for (from, to, key) in [
            ("name = \"tiny\"", "name = \"tiny\"\nnmae = 1", "nmae"),
            ("name = \"tiny\"", "name = \"../x\"", "name"),
            ("value = 0.5", "value = 1.5", "threshold.value"),
            ("value = 0.5", "value = nan", "threshold.value"),
            ("\"c\"]", "\"a\"]", "features"),
            ("[\"a\", \"b\", \"c\"]", "[]", "features"),
            ("two_columns", "three_columns", "three_columns"),
            ("version = \"1\"", "", "version"),
            ("sha256 = \"0", "sha256 = \"G", "sha256"),
            ("permutation_shapley", "baseline_ablation", "baseline_ablation"),
            ("permutation_shapley", "tree_shap", "explanation.sha256"),
            ("permutation_shapley\"", "permutation_shapley\"\nsha256 = \"ab\"", "explanation.sha256"),
            (
                "permutation_shapley\"",
                &format!("permutation_shapley\"\nsha256 = \"{}\"", "a".repeat(64)),
                "explanation.sha256",
            ),
            (
                "[training]",
                "[calibration]\nmethod = \"platt\"\nslope = -1\nintercept = 0\n[training]",
                "calibration.slope",
            ),
            ("[training]", "[calibration]\nmethod = \"isotonic\"\nslope = 1\nintercept = 0\n[training]", "isotonic"),
        ] {
            assert!(SAMPLE.contains(from), "{from}");
            let fault = Manifest::parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(fault.contains(key), "{key}: {fault}");
        }
    }
}
