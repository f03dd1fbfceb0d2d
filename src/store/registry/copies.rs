//! This instance's own copies of packages: `<folder>/<digest>/`, written beside and then renamed.
//!
//! Invariant: a folder of that name holds the package of that digest; one that does not (a disk that lied) is not given out.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::engine::models::{Found, VersionId};
use crate::model::Contents;

/// How old something unfinished is that nobody finishes any more, and a copy that nobody needs.
const UNFINISHED: Duration = Duration::from_secs(3_600);
const UNNEEDED: Duration = Duration::from_secs(86_400);

/// See the module.
#[derive(Debug, Clone)]
pub struct Copies {
    folder: PathBuf,
}

impl Copies {
    /// In `folder`, which is made with the first copy.
    #[must_use]
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Keeps a copy; where there is one already, that one.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn keep(&self, contents: &Contents) -> Result<Found, String> {
        let directory = self.folder.join(&contents.digest);
        let whole = Contents::read(&directory).is_ok_and(|copy| copy.digest == contents.digest);
        if !whole {
            let failed = |error: io::Error| format!("{} cannot be written: {error}", directory.display());
            self.write(contents, &directory).map_err(failed)?;
        }
        Ok(found(contents, directory))
    }

    /// The copy of a version.
    pub(super) fn recall(&self, id: &VersionId) -> Option<Found> {
        // A digest from the record names one folder and nothing else.
        let directory = is_digest(&id.digest).then(|| self.folder.join(&id.digest))?;
        let contents = Contents::read(&directory).ok()?;
        let found = found(&contents, directory);
        (found.id == *id).then_some(found)
    }

    /// A new folder beside the copies, for what is not whole yet.
    pub(super) fn beside(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.folder.join(format!(".{name}.{}", std::process::id()));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Removes what was left unfinished an hour ago and more, and copies of a day ago and more that are not `kept`.
    pub(super) fn tidy(&self, kept: &HashSet<String>) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let age = entry.metadata().and_then(|about| about.modified()).ok().and_then(|at| at.elapsed().ok());
            let is_older_than = |least: Duration| age.is_some_and(|age| age > least);
            let unfinished = name.starts_with('.') && is_older_than(UNFINISHED);
            let unneeded = is_digest(&name) && !kept.contains(&name) && is_older_than(UNNEEDED);
            if (unfinished || unneeded)
                && let Err(error) = fs::remove_dir_all(entry.path())
            {
                tracing::warn!(place = %entry.path().display(), %error, "an old copy of a version cannot be removed");
            }
        }
    }

    fn write(&self, contents: &Contents, directory: &PathBuf) -> io::Result<()> {
        let beside = self.folder.join(format!(".{}.{}", contents.digest, std::process::id()));
        for old in [&beside, directory] {
            if old.exists() {
                fs::remove_dir_all(old)?;
            }
        }
        contents.write(&beside)?;
        fs::rename(&beside, directory)?;
        fs::File::open(&self.folder)?.sync_all()
    }
}

fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The version of a package that lies there.
pub(super) fn found(contents: &Contents, directory: PathBuf) -> Found {
    let Contents { name, version, digest, created, .. } = contents;
    let id = VersionId { name: name.clone(), version: version.clone(), digest: digest.clone() };
    Found { id, created: *created, directory }
}
