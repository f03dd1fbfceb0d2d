//! A folder of versions: each a folder with a package, named as one likes. Or one package alone.
//!
//! Who publishes a version writes it beside (a name that begins with a dot is not looked at) and renames it. A folder that
//! is not whole is no version: it is told, and read again once any of its files changes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::copies::{Copies, found};
use crate::engine::models::{Found, Look, Registry, VersionId};
use crate::model::Contents;

/// The most versions that are looked at.
const MOST: usize = 10_000;

/// Names, sizes and times of a folder's files: what tells that one of them changed.
type Signature = Vec<(String, u64, Option<SystemTime>)>;

/// See the module.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    copies: Copies,
    /// What was seen, and of which files.
    seen: Mutex<BTreeMap<PathBuf, (Signature, Look)>>,
}

impl Folder {
    /// The versions in `path`.
    #[must_use]
    pub fn new(path: PathBuf, copies: Copies) -> Self {
        Self { path, copies, seen: Mutex::default() }
    }

    /// Whether it is one package alone rather than a folder of them.
    #[must_use]
    pub fn is_one_package(&self) -> bool {
        self.path.join("manifest.toml").exists()
    }

    /// The package that stands for the folder where one is needed and nothing runs: the one package, the version that is
    /// `wanted`, or else the newest.
    ///
    /// # Errors
    /// One sentence. Blocking.
    pub fn package(&self, wanted: Option<&VersionId>) -> Result<PathBuf, String> {
        if self.is_one_package() {
            return Ok(self.path.clone());
        }
        let mut whole: Vec<Found> = self.look()?.into_iter().filter_map(Look::whole).collect();
        if let Some(id) = wanted {
            let found = whole.into_iter().find(|found| found.id == *id).or_else(|| self.recall(id));
            let none = || format!("{}, which is active, is not in {}", id.key(), self.path.display());
            return found.map(|found| found.directory).ok_or_else(none);
        }
        whole.sort_by_key(|found| (found.created, found.id.key()));
        whole.pop().map(|found| found.directory).ok_or_else(|| format!("{} has no version", self.path.display()))
    }

    fn places(&self) -> Result<Vec<PathBuf>, String> {
        if self.is_one_package() {
            return Ok(vec![self.path.clone()]);
        }
        let failed = |error: std::io::Error| format!("{} cannot be read: {error}", self.path.display());
        let mut places = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && entry.path().is_dir() {
                places.push(entry.path());
            }
        }
        places.sort();
        places.truncate(MOST);
        Ok(places)
    }

    fn look_at(&self, place: &Path) -> Look {
        let looked = Contents::read(place).map_err(|error| error.to_string());
        let found = looked.and_then(|contents| {
            // Whoever names one package keeps it; a copy would be of use to nobody.
            if self.is_one_package() { Ok(found(&contents, place.to_owned())) } else { self.copies.keep(&contents) }
        });
        match found {
            Ok(found) => Look::Whole(found),
            Err(reason) => Look::Broken { place: place.display().to_string(), reason },
        }
    }
}

impl Registry for Folder {
    fn look(&self) -> Result<Vec<Look>, String> {
        let places = self.places()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|place, _| places.contains(place));
        for place in places {
            let signature = signature_of(&place);
            if seen.get(&place).is_none_or(|(known, _)| *known != signature) {
                let look = self.look_at(&place);
                seen.insert(place, (signature, look));
            }
        }
        Ok(seen.values().map(|(_, look)| look.clone()).collect())
    }

    fn recall(&self, id: &VersionId) -> Option<Found> {
        // Whoever names one package wants that one and no other.
        if self.is_one_package() { None } else { self.copies.recall(id) }
    }

    fn tidy(&self, kept: &HashSet<String>) {
        self.copies.tidy(kept);
    }
}

fn signature_of(place: &Path) -> Signature {
    let Ok(entries) = fs::read_dir(place) else { return Vec::new() };
    let mut signature: Signature = entries
        .flatten()
        .filter_map(|entry| {
            // Of the file itself, where a link leads to it.
            let metadata = fs::metadata(entry.path()).ok().filter(fs::Metadata::is_file)?;
            Some((entry.file_name().to_string_lossy().into_owned(), metadata.len(), metadata.modified().ok()))
        })
        .collect();
    signature.sort();
    signature
}
