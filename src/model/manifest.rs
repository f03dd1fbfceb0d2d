//! `manifest.toml`: what a package says of its model. In: text. Out: a [`Manifest`] that keeps every rule below, or one
//! sentence that names the key. Unknown keys are refused, so a misspelt one cannot be lost.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

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
    #[serde(rename = "explanation")]
    _explanation: Explanation,
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

/// How contributions are computed: one way so far.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Explanation {
    #[serde(rename = "method")]
    _method: Method,
    #[serde(rename = "baseline")]
    _baseline: BaselineKind,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    BaselineAblation,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum BaselineKind {
    Median,
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
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(format!("sha256 = {:?}: 64 lower-case hex digits are needed", self.sha256));
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
method = "baseline_ablation"
baseline = "median"
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
            ("baseline_ablation", "guess", "guess"),
        ] {
            assert!(SAMPLE.contains(from), "{from}");
            let fault = Manifest::parse(&SAMPLE.replacen(from, to, 1)).unwrap_err();
            assert!(fault.contains(key), "{key}: {fault}");
        }
    }
}
