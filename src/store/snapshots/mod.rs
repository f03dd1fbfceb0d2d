//! Snapshots of the history in a folder: written whole or not at all, read with every byte checked.
//!
//! In: the engine's shards. Out: `history-<created_at>.snapshot`, a file that says from where on the sources have to be
//! read. It is written under another name, synced, renamed, and the folder synced; the newest few are kept. Which one is
//! read: the newest that is whole and of the same state; each that is refused is named with its reason. Every byte of it
//! is checked before the first shard is given, so that a damaged file costs a second and never half a start.
//! One process writes into a folder.

mod file;
#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use file::Opened;

use crate::base::clock::Millis;
use crate::engine::snapshot::{Counts, Shards, State};

const ENDING: &str = ".snapshot";
const UNFINISHED: &str = ".partial";

/// A folder of snapshots.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: PathBuf,
    keep: usize,
}

/// What a snapshot must be to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The engine's.
    pub state: State,
    /// Older ones are refused, wall time.
    pub not_before: Millis,
}

/// A snapshot that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenSnapshot {
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// What it holds.
    pub counts: Counts,
}

/// The newest usable snapshot, and those that were newer.
#[derive(Debug)]
pub struct Newest {
    /// `None` where there is none.
    pub opened: Option<Opened>,
    /// Those that were refused, the newest first.
    pub refused: Vec<Refused>,
}

/// A file that was refused.
#[derive(Debug, Error)]
#[error("{}: {reason}", .path.display())]
pub struct Refused {
    /// Which.
    pub path: PathBuf,
    /// Why.
    pub reason: Refusal,
}

/// Why a snapshot is not read.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It cannot be read at all.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It is something else.
    #[error("it is no snapshot of a history")]
    NoSnapshot,
    /// A later version wrote it.
    #[error("its format is {found}; this version reads up to {known}", found = .0, known = file::FORMAT)]
    NewerFormat(u32),
    /// It ends too early.
    #[error("it is cut off")]
    Cut,
    /// Its bytes are not those that were written.
    #[error("it is damaged: part {0} is not what was written")]
    Damaged(u64),
    /// Catalogue, options or base currency are other ones.
    #[error("it was taken with another catalogue of features, other options of history or another base currency")]
    OtherPlan,
    /// The key of history's hashes is another one.
    #[error("it was taken with another history.hash_key")]
    OtherKey,
    /// It was taken before this.
    #[error("it is too old: taken at {created_at}, wanted is {not_before} or later")]
    TooOld {
        /// When it was taken.
        created_at: Millis,
        /// The oldest that is wanted.
        not_before: Millis,
    },
}

/// Why a snapshot was not written.
#[derive(Debug, Error)]
pub enum WriteError<E> {
    /// The operating system says no.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// There were no more shards.
    #[error(transparent)]
    Shards(E),
}

impl Snapshots {
    /// The snapshots in `folder`, which is made when the first is written; the newest `keep`, at least one, are kept.
    #[must_use]
    pub fn new(folder: PathBuf, keep: usize) -> Self {
        Self { folder, keep: keep.max(1) }
    }

    /// Writes a snapshot and removes those that are not kept any more. Blocking.
    ///
    /// # Errors
    /// When it cannot be written or ends early; the earlier ones stay.
    pub fn write<S: Shards>(&self, shards: &mut S) -> Result<WrittenSnapshot, WriteError<S::Error>> {
        let io = |path: &Path| {
            let path = path.to_owned();
            |source| WriteError::Io { path, source }
        };
        fs::create_dir_all(&self.folder).map_err(io(&self.folder))?;
        let name = format!("history-{:013}", shards.header().created_at.0);
        let unfinished = self.folder.join(format!("{name}{UNFINISHED}"));
        let path = self.folder.join(format!("{name}{ENDING}"));
        let written = File::create(&unfinished)
            .map_err(io(&unfinished))
            .and_then(|file| fill(&unfinished, file, shards))
            .and_then(|counts| fs::rename(&unfinished, &path).map_err(io(&path)).map(|()| counts));
        let counts = written.inspect_err(|_| {
            // Why ignored: the error that is told is the first one.
            let _ = fs::remove_file(&unfinished);
        })?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(io(&self.folder))?;
        let bytes = fs::metadata(&path).map_err(io(&path))?.len();
        for old in self.files().map_err(io(&self.folder))?.into_iter().skip(self.keep) {
            fs::remove_file(&old).map_err(io(&old))?;
        }
        for left in self.named(UNFINISHED).map_err(io(&self.folder))? {
            fs::remove_file(&left).map_err(io(&left))?;
        }
        Ok(WrittenSnapshot { path, bytes, counts })
    }

    /// The newest snapshot that is whole and as `expected`. Blocking.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn newest(&self, expected: &Expected) -> Result<Newest, std::io::Error> {
        let mut refused = Vec::new();
        for path in self.files()? {
            match Opened::open(&path).and_then(|opened| fits(opened, expected)) {
                Ok(opened) => return Ok(Newest { opened: Some(opened), refused }),
                Err(reason) => refused.push(Refused { path, reason }),
            }
        }
        Ok(Newest { opened: None, refused })
    }

    /// All snapshots, the newest first.
    fn files(&self) -> Result<Vec<PathBuf>, std::io::Error> {
        self.named(ENDING)
    }

    fn named(&self, ending: &str) -> Result<Vec<PathBuf>, std::io::Error> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let moment = name.strip_prefix("history-").and_then(|name| name.strip_suffix(ending));
            if let Some(moment) = moment.and_then(|moment| moment.parse::<i64>().ok()) {
                found.push((moment, path));
            }
        }
        found.sort_by_key(|(moment, _)| std::cmp::Reverse(*moment));
        Ok(found.into_iter().map(|(_, path)| path).collect())
    }
}

fn fill<S: Shards>(path: &Path, file: File, shards: &mut S) -> Result<Counts, WriteError<S::Error>> {
    let io = |source| WriteError::Io { path: path.to_owned(), source };
    let mut writing = file::Writing::begin(BufWriter::with_capacity(1 << 20, file), shards.header()).map_err(io)?;
    let mut shard = Vec::new();
    while shards.next_shard(&mut shard).map_err(WriteError::Shards)? {
        writing.shard(&shard).map_err(io)?;
        shard.clear();
    }
    let counts = shards.counts();
    let mut file = writing.end(counts).map_err(io)?;
    file.flush().map_err(io)?;
    file.get_ref().sync_all().map_err(io)?;
    Ok(counts)
}

fn fits(opened: Opened, expected: &Expected) -> Result<Opened, Refusal> {
    let Expected { state, not_before } = *expected;
    let header = opened.header();
    match () {
        () if header.state.key != state.key => Err(Refusal::OtherKey),
        () if header.state.plan != state.plan => Err(Refusal::OtherPlan),
        () if header.created_at < not_before => Err(Refusal::TooOld { created_at: header.created_at, not_before }),
        () => Ok(opened),
    }
}
