//! `manifest.toml`: what a package says of its model. In: text. Out: a [`Manifest`] that keeps every rule below, or one
//! sentence that names the key. Unknown keys are refused, so a misspelt one cannot be lost.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::explain::Method;
use super::signature::{Contract, Dtype, Feed, Link, OutputShape};
use crate::base::clock::Millis;

/// The keys as they stand in the file; `models/train/document.py` writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// 1 to 64 of letters, digits, `.` `_` `-`.
    pub(super) name: String,
    /// Likewise.
    pub(super) version: String,
    /// When the package was made, RFC 3339.
    pub(super) created: String,
    /// SHA-256 of `model.onnx`, 64 lower-case hex digits.
    pub(super) sha256: String,
    /// Inputs, in order, by catalogue name.
    pub(super) features: Vec<String>,
    /// The graph's one input, where it takes every feature in order as f32; else `inputs`.
    input: Option<Input>,
    /// The graph's inputs; together they take each feature once.
    #[serde(default)]
    inputs: Vec<InputTable>,
    pub(super) output: Output,
    pub(super) threshold: Threshold,
    /// The last step from margin to score: the graph's own, or with `link = "logit"` done here.
    pub(super) calibration: Option<Calibration>,
    pub(super) explanation: Explanation,
    #[serde(rename = "training")]
    _training: Training,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    name: String,
    dtype: Dtype,
    /// In the input's order, by catalogue name.
    features: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    pub(super) name: String,
    pub(super) shape: OutputShape,
    /// The output with the raw margin before calibration, log-odds, `[N, 1]`; absent where the graph has none.
    pub(super) margin: Option<String>,
    #[serde(default)]
    pub(super) link: LinkName,
    /// Of `zipmap`, the key whose value is the probability of fraud.
    pub(super) positive: Option<String>,
}

/// What the values of the score's output are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LinkName {
    /// Scores: the graph ends in its own calibration.
    #[default]
    Identity,
    /// Raw margins, log-odds: calibration is done here.
    Logit,
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
    fn score(&self, margin: f64) -> f64 {
        sigmoid(self.slope * margin + self.intercept)
    }
}

/// The score that a raw margin means.
pub(super) fn probability(margin: f64, calibration: Option<Calibration>) -> f64 {
    calibration.map_or_else(|| sigmoid(margin), |calibration| calibration.score(margin))
}

/// 1 / (1 + e⁻ˣ).
fn sigmoid(x: f64) -> f64 {
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
        if Millis::parse_rfc3339(&self.created).is_none() {
            return Err(format!("created = {:?}: a time as RFC 3339 writes it is needed", self.created));
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
        check_features(&self.features)?;
        self.check_inputs()?;
        self.check_output()
    }

    fn check_inputs(&self) -> Result<(), String> {
        match (&self.input, self.inputs.as_slice()) {
            (Some(_), []) => return Ok(()),
            (Some(_), _) => return Err("input and inputs: one of the two is needed".to_owned()),
            (None, []) => return Err("input is missing: [input] or [[inputs]] name what takes the features".to_owned()),
            (None, _) => {}
        }
        let mut names = HashSet::new();
        let mut fed = HashSet::new();
        for InputTable { name, features, .. } in &self.inputs {
            if !names.insert(name) || features.is_empty() {
                return Err(format!("inputs: {name:?} stands twice or takes no feature"));
            }
            for feature in features {
                if !self.features.contains(feature) {
                    return Err(format!("inputs: {name:?} takes {feature:?}, which is not in features"));
                }
                if !fed.insert(feature) {
                    return Err(format!("inputs: {feature:?} is taken twice"));
                }
            }
        }
        match self.features.iter().find(|feature| !fed.contains(feature)) {
            Some(left) => Err(format!("inputs: no input takes {left:?}")),
            None => Ok(()),
        }
    }

    fn check_output(&self) -> Result<(), String> {
        let Output { shape, margin, link, positive, .. } = &self.output;
        if positive.is_some() && *shape != OutputShape::Zipmap {
            return Err(format!("output.positive is a key of maps, and output.shape is {:?}", shape.as_str()));
        }
        if *link == LinkName::Identity {
            return Ok(());
        }
        if margin.is_some() {
            return Err("output.margin: with output.link = \"logit\" the output is the margin itself".to_owned());
        }
        if matches!(shape, OutputShape::OneColumn | OutputShape::Flat) {
            return Ok(());
        }
        Err(format!("output.link = \"logit\" is for one margin a row, and output.shape is {:?}", shape.as_str()))
    }

    /// What a session that gives scores is held against.
    pub(super) fn contract(&self) -> Contract {
        let width = self.features.len();
        let place = |name: &String| self.features.iter().position(|feature| feature == name);
        let fed = |table: &InputTable| Feed {
            name: table.name.clone(),
            dtype: table.dtype,
            columns: table.features.iter().filter_map(place).collect(),
            flat: false,
        };
        Contract {
            width,
            inputs: match &self.input {
                Some(input) => vec![Feed::row(&input.name, Dtype::Float32, width)],
                None => self.inputs.iter().map(fed).collect(),
            },
            output: Some(self.output.name.clone()),
            shape: Some(self.output.shape),
            positive: self.output.positive.clone(),
            link: match self.output.link {
                LinkName::Identity => Link::Identity,
                LinkName::Logit => Link::Logit(self.calibration),
            },
        }
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
#[path = "manifest_tests.rs"]
pub(super) mod tests;
