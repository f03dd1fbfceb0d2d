//! A package as the bytes of its files: what tells it from every other one, and a copy that nobody else changes.
//!
//! In: a folder. Out: [`Contents`], only when the package is whole: every document is read and the hashes are right.
//!
//! digest = SHA-256 of a line `<SHA-256 of the file>  <name>\n` for each file, in the order of their names: what
//! `sha256sum` of the files prints, hashed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use super::ModelError;
use super::gate::Checks;
use super::package::{Files, Package, sha256};
use crate::base::clock::Millis;

/// See the module.
#[derive(Debug, Clone)]
pub struct Contents {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When the package was made.
    pub created: Millis,
    /// See the module; 64 hex digits.
    pub digest: String,
    files: BTreeMap<&'static str, Arc<[u8]>>,
}

impl Contents {
    /// Reads a package that is whole.
    ///
    /// # Errors
    /// The first thing that is wrong, in one sentence.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        let mut files = Files::of(directory);
        let Package { name, version, created, .. } = Package::of(&mut files, &mut Checks::default())?;
        let files = files.all()?;
        let lines: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).collect();
        Ok(Self { name, version, created, digest: sha256(lines.as_bytes()), files })
    }

    /// Writes the files into a new folder and brings them to the disk.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        for (name, bytes) in &self.files {
            let mut file = File::create(directory.join(name))?;
            file.write_all(bytes)?;
            file.sync_all()?;
        }
        File::open(directory)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_copy_is_the_same_package_and_any_other_byte_another() {
        let folder = testing::tree_package(|_| {});
        let contents = Contents::read(folder.path()).unwrap();
        let copy = folder.path().join("copy");
        contents.write(&copy).unwrap();
        assert_eq!(Contents::read(&copy).unwrap().digest, contents.digest);
        let manifest = copy.join("manifest.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, format!("{text}\n# said again\n")).unwrap();
        assert_ne!(Contents::read(&copy).unwrap().digest, contents.digest);
    }

    #[test]
    fn what_is_not_whole_is_no_package() {
        for name in ["manifest.toml", "model.onnx", "golden.json", "baseline.json", "explanation.json"] {
            let folder = testing::tree_package(|_| {});
            let file = folder.path().join(name);
            let bytes = fs::read(&file).unwrap();
            fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
            let fault = Contents::read(folder.path()).unwrap_err().to_string();
            assert!(fault.contains(name), "{name}: {fault}");
        }
    }
}
