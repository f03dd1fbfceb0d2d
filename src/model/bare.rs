//! A model that is a file alone. In: an .onnx file, its inputs in order, a threshold. Out: a [`Package`] without golden
//! rows and baseline: nothing vouches for its scores, and contributions cannot be given.

use std::path::Path;
use std::sync::Arc;

use super::ModelError;
use super::manifest::check_features;
use super::package::{Graph, Package, fault, read_bytes, sha256};
use super::signature::Contract;
use crate::base::clock::Millis;

/// Hex digits of the hash that make a bare file's version.
const VERSION_DIGITS: usize = 12;

impl Package {
    /// Takes a bare .onnx file with one input `[N, features.len()]` of float32, float64 or int64. Its name is the file's
    /// without the ending, its version the first 12 hex digits of its SHA-256. The score is the output `probabilities`,
    /// else the only one of floats, else the only sequence of maps (its key 1).
    ///
    /// # Errors
    /// The file cannot be read, no feature or one twice, or a threshold outside 0 to 1: one sentence.
    pub fn bare(path: &Path, features: Vec<String>, threshold: f32) -> Result<Self, ModelError> {
        check_features(&features).map_err(|what| fault(path, &what))?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(fault(path, &format!("threshold = {threshold}: 0 to 1 is allowed")));
        }
        let bytes = read_bytes(path)?;
        let contract = Contract { width: features.len(), ..Contract::default() };
        let sha256 = sha256(&bytes);
        Ok(Self {
            name: path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default(),
            version: sha256.chars().take(VERSION_DIGITS).collect(),
            created: Millis::default(),
            sha256,
            features,
            threshold,
            directory: path.parent().map(Path::to_owned).unwrap_or_default(),
            graph: Graph { file: path.to_owned(), bytes, contract, margin: None },
            golden: None,
            medians: None,
            probes: Arc::default(),
            explanation: None,
            calibration: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn its_version_is_its_hash() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("some.onnx");
        std::fs::write(&file, b"abc").unwrap();
        let package = Package::bare(&file, names(&["a"]), 0.5).unwrap();
        // SHA-256 of "abc": FIPS 180-2, appendix B.1.
        assert_eq!((package.name.as_str(), package.version.as_str()), ("some", "ba7816bf8f01"));
    }

    #[test]
    fn faults_are_sentences() {
        let none = Path::new("/nowhere/some.onnx");
        for (features, threshold, said) in [
            (names(&[]), 0.5, "features"),
            (names(&["a", "a"]), 0.5, "\"a\""),
            (names(&["a"]), f32::NAN, "threshold"),
            (names(&["a"]), 0.5, "read"),
        ] {
            let fault = Package::bare(none, features, threshold).unwrap_err().to_string();
            assert!(fault.contains("some.onnx") && fault.contains(said), "{said}: {fault}");
        }
    }
}
