//! A package on disk: `manifest.toml`, `model.onnx`, `golden.json`, `baseline.json` in one folder, and `explanation.json`
//! where its method needs one. What else lies there (`report/`) is for people and not read.
//!
//! In: the folder. Out: a [`Package`] whose documents keep their rules and whose files have the manifest's hashes.
//! Invariant: the bytes that were hashed are the bytes that are loaded; a file is read once.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::ModelError;
use super::explain::Source;
use super::gate::{Checks, Gate};
use super::golden::{Baseline, Golden};
use super::manifest::{Calibration, Manifest};
use super::signature::{Contract, Link, OutputShape};
use crate::base::clock::Millis;

/// A model and what is known of it, read from a folder ([`Package::read`]) or a bare file ([`Package::bare`]).
#[derive(Debug, Clone)]
pub struct Package {
    /// Model name, e.g. `fraud`.
    pub name: String,
    /// Version, e.g. `1`.
    pub version: String,
    /// When it was made; of a bare file nobody says.
    pub created: Millis,
    /// SHA-256 of the model file, lower-case hex.
    pub sha256: String,
    /// Inputs, in order, by catalogue name.
    pub features: Vec<String>,
    /// Scores at or above it are flagged.
    pub threshold: f32,
    /// Where it lies.
    pub directory: PathBuf,
    pub(super) graph: Graph,
    /// Rows with known scores; a bare file has none.
    pub(super) golden: Option<Arc<Golden>>,
    /// The median of every feature; a bare file has none.
    pub(super) medians: Option<Arc<[f32]>>,
    /// Rows from all over the training data's range; a bare file has none.
    pub(super) probes: Arc<[Vec<f32>]>,
    /// How rows are explained; a bare file does not say.
    pub(super) explanation: Option<Arc<Source>>,
    /// How the margin becomes the score, where the manifest says.
    pub(super) calibration: Option<Calibration>,
}

/// The files that are read, by name.
pub const PACKAGE_FILES: [&str; 5] =
    ["baseline.json", "explanation.json", "golden.json", "manifest.toml", "model.onnx"];

/// The model file's bytes and what its session is held against.
#[derive(Clone)]
pub(super) struct Graph {
    pub(super) file: PathBuf,
    pub(super) bytes: Arc<[u8]>,
    /// Of the scores.
    pub(super) contract: Contract,
    /// The output with the raw margin, where it is another than the score's.
    pub(super) margin: Option<String>,
}

/// The files of a package's folder, each read once and at most.
pub(super) struct Files {
    directory: PathBuf,
    read: BTreeMap<&'static str, Arc<[u8]>>,
}

impl Files {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), read: BTreeMap::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn bytes(&mut self, name: &'static str) -> Result<Arc<[u8]>, ModelError> {
        if let Some(bytes) = self.read.get(name) {
            return Ok(Arc::clone(bytes));
        }
        let bytes = read_bytes(&self.path(name))?;
        self.read.insert(name, Arc::clone(&bytes));
        Ok(bytes)
    }

    fn document<T>(&mut self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, ModelError> {
        let (file, bytes) = (self.path(name), self.bytes(name)?);
        parse(text(&file, &bytes)?).map_err(|what| fault(&file, &what))
    }

    /// All that are there, by name.
    pub(super) fn all(mut self) -> Result<BTreeMap<&'static str, Arc<[u8]>>, ModelError> {
        for name in PACKAGE_FILES {
            if self.path(name).exists() {
                self.bytes(name)?;
            }
        }
        Ok(self.read)
    }
}

/// The most bytes of a file of a package.
const MOST_BYTES: u64 = 2 << 30;

impl fmt::Debug for Graph {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Graph({}, {} bytes)", self.file.display(), self.bytes.len())
    }
}

impl Package {
    /// Reads and checks a package directory: all its files, the hashes, the manifest's keys.
    ///
    /// # Errors
    /// The first thing that is wrong, in one sentence that names the file and the key.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        Self::read_checked(directory, &mut Checks::default())
    }

    /// Likewise; `checks` says how the gates `package` and `hash` were met.
    ///
    /// # Errors
    /// As [`Package::read`].
    pub fn read_checked(directory: &Path, checks: &mut Checks) -> Result<Self, ModelError> {
        Self::of(&mut Files::of(directory), checks)
    }

    /// Likewise, of files whose bytes somebody else needs too.
    pub(super) fn of(files: &mut Files, checks: &mut Checks) -> Result<Self, ModelError> {
        let mut documents = || {
            let manifest = files.document("manifest.toml", Manifest::parse)?;
            let golden = files.document("golden.json", |text| Golden::parse(text, &manifest.features))?;
            let baseline = files.document("baseline.json", |text| Baseline::parse(text, &manifest.features))?;
            Ok((manifest, golden, baseline, files.bytes("model.onnx")?))
        };
        let (manifest, golden, baseline, bytes) = checks.hold(Gate::Package, documents())?;
        let file = files.path("model.onnx");
        let mut hashes = || {
            hold_hash(&file, &bytes, "sha256", &manifest.sha256)?;
            explanation(files, &manifest)
        };
        let explanation = checks.hold(Gate::Hash, hashes())?;
        let contract = manifest.contract();
        Ok(Self {
            name: manifest.name,
            version: manifest.version,
            created: Millis::parse_rfc3339(&manifest.created).unwrap_or_default(),
            sha256: manifest.sha256,
            features: manifest.features,
            threshold: manifest.threshold.value,
            directory: files.directory.clone(),
            graph: Graph { file, bytes, contract, margin: manifest.output.margin },
            golden: Some(Arc::new(golden)),
            medians: Some(baseline.medians().into()),
            probes: baseline.probes().into(),
            explanation: Some(Arc::new(explanation)),
            calibration: manifest.calibration,
        })
    }

    /// The median of every feature in training, in order; empty for a bare file.
    #[must_use]
    pub fn medians(&self) -> &[f32] {
        self.medians.as_deref().unwrap_or_default()
    }

    /// What a session that gives raw margins is held against; `None` where the graph has no such output.
    pub(super) fn margin_contract(&self) -> Option<Contract> {
        let Graph { contract, margin, .. } = &self.graph;
        if contract.link != Link::Identity {
            return Some(Contract { link: Link::Identity, ..contract.clone() });
        }
        let (output, shape) = (Some(margin.clone()?), Some(OutputShape::OneColumn));
        Some(Contract { output, shape, positive: None, ..contract.clone() })
    }
}

/// What `explanation.json` says, where the method needs it.
fn explanation(files: &mut Files, manifest: &Manifest) -> Result<Source, ModelError> {
    let (method, width) = (manifest.explanation.method, manifest.features.len());
    let Some(wanted) = &manifest.explanation.sha256 else { return Ok(Source::Permutation) };
    let file = files.path("explanation.json");
    let bytes = files.bytes("explanation.json")?;
    hold_hash(&file, &bytes, "explanation.sha256", wanted)?;
    Source::parse(text(&file, &bytes)?, method, width).map_err(|what| fault(&file, &what))
}

fn hold_hash(file: &Path, bytes: &[u8], key: &str, wanted: &str) -> Result<(), ModelError> {
    let found = sha256(bytes);
    if found == wanted {
        return Ok(());
    }
    let what = format!("its SHA-256 is {found}, and manifest.toml says {key} = {wanted:?}: one of the two was changed");
    Err(fault(file, &what))
}

/// Reads a file of at most [`MOST_BYTES`]; the fault is a sentence.
pub(super) fn read_bytes(file: &Path) -> Result<Arc<[u8]>, ModelError> {
    let failed = |error: io::Error| fault(file, &format!("cannot be read: {error}"));
    let about = fs::metadata(file).map_err(failed)?;
    // A pipe or a device would never end.
    if !about.is_file() {
        return Err(fault(file, "is no file"));
    }
    if about.len() > MOST_BYTES {
        return Err(fault(file, &format!("has {} bytes, and {MOST_BYTES} are the most", about.len())));
    }
    fs::read(file).map(Into::into).map_err(failed)
}

/// Lower-case hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn fault(file: &Path, what: &str) -> ModelError {
    ModelError::Package(format!("{}: {what}", file.display()))
}

fn text<'a>(file: &Path, bytes: &'a [u8]) -> Result<&'a str, ModelError> {
    std::str::from_utf8(bytes).map_err(|error| fault(file, &format!("is not UTF-8: {error}")))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_package_is_read_whole() {
        let folder = testing::package();
        let package = Package::read(folder.path()).unwrap();
        assert_eq!((package.name.as_str(), package.version.as_str()), ("tiny", "1"));
        assert_eq!(package.features, ["a", "b", "c"]);
        assert_eq!(package.medians.as_deref(), Some([0.0, 1.0, 2.0].as_slice()));
    }

    #[test]
    fn every_file_is_needed_and_named_in_the_fault() {
        for name in ["manifest.toml", "model.onnx", "golden.json", "baseline.json"] {
            let folder = testing::package();
            fs::remove_file(folder.path().join(name)).unwrap();
            let fault = Package::read(folder.path()).unwrap_err().to_string();
            assert!(fault.contains(name), "{name}: {fault}");
        }
    }

    #[test]
    fn a_changed_model_or_explanation_is_refused() {
        for name in ["model.onnx", "explanation.json"] {
            let folder = testing::tree_package(|_| {});
            let file = folder.path().join(name);
            let mut bytes = fs::read(&file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(&file, bytes).unwrap();
            let fault = Package::read(folder.path()).unwrap_err().to_string();
            assert!(fault.contains(name) && fault.contains("SHA-256"), "{fault}");
            fs::remove_file(file).unwrap();
            assert!(Package::read(folder.path()).unwrap_err().to_string().contains(name));
        }
    }
}
