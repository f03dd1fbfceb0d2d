//! The book of model changes as a file of this instance: one JSON object a line, on the disk before it counts.
//!
//! A line that a crash cut short at the end of the file was never answered: it is cut off at the next opening. A line that
//! is wrong elsewhere is a fault that a person must see.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::models::{Book, Change};
use crate::engine::ports::{LogError, Reading};

/// See the module.
#[derive(Debug, Clone)]
pub struct Journal {
    path: PathBuf,
    held: Arc<Mutex<Held>>,
    /// What the file says; nobody waits for the disk under this lock.
    changes: Arc<Mutex<Vec<Change>>>,
}

#[derive(Debug)]
struct Held {
    file: File,
    /// Where the last whole line ends.
    end: u64,
}

impl Journal {
    /// Opens or makes the file. Blocking.
    ///
    /// # Errors
    /// The system's, or the line that cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Two writers would cut each other's lines off. The lock goes with the process.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(io::Error::other("another instance has it open: each needs one of its own"));
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let mut changes = Vec::new();
        let lines = text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for (number, line) in lines.enumerate() {
            let change = serde_json::from_slice(line);
            changes
                .push(change.map_err(|error| io::Error::other(format!("line {} is no change: {error}", number + 1)))?);
        }
        let end = whole as u64;
        file.set_len(end)?;
        let held = Arc::new(Mutex::new(Held { file, end }));
        Ok(Self { path: path.to_owned(), held, changes: Arc::new(Mutex::new(changes)) })
    }

    fn write(&self, change: Change) -> io::Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = serde_json::to_vec(&change)?;
        line.push(b'\n');
        let end = held.end;
        if let Err(error) = held.append(&line) {
            // What was not told to be recorded must not be found later.
            let _cut = held.file.set_len(end);
            return Err(error);
        }
        held.end = end + line.len() as u64;
        self.known().push(change);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Vec<Change>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        // What an earlier failure left half written is overwritten.
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.set_len(self.end)?;
        self.file.write_all(line)?;
        self.file.sync_data()
    }
}

impl Book for Journal {
    fn record(&self, change: Change) -> Reading<'_, ()> {
        let (journal, path) = (self.clone(), self.path.display().to_string());
        Box::pin(async move {
            let written = tokio::task::spawn_blocking(move || journal.write(change)).await;
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            written.map_err(|error| LogError::Failed(format!("{path}: {error}")))
        })
    }

    fn changes(&self, most: usize) -> Reading<'_, Vec<Change>> {
        let changes = self.known();
        let newest = changes.iter().skip(changes.len().saturating_sub(most)).cloned().collect();
        drop(changes);
        Box::pin(std::future::ready(Ok(newest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Millis;
    use crate::engine::models::{Action, VersionId};
    use crate::model::Checks;

    fn change(number: i64) -> Change {
        let id = VersionId { name: "fraud".into(), version: number.to_string(), digest: "d".repeat(64) };
        Change {
            id: format!("1-{number}"),
            at: Millis(number),
            action: Action::Activated,
            by: "somebody".into(),
            why: "a line\nand another".into(),
            from: None,
            to: Some(id),
            basis_points: None,
            checks: Checks::default(),
        }
    }

    #[tokio::test]
    async fn changes_outlive_the_process_and_a_line_that_was_cut_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/models.journal");
        let journal = Journal::open(&path).unwrap();
        for number in 1..=3 {
            journal.record(change(number)).await.unwrap();
        }
        drop(journal);
        for cut in [1, 5, 40] {
            let whole = fs::metadata(&path).unwrap().len();
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&serde_json::to_vec(&change(9)).unwrap()[..cut]).unwrap();
            drop(file);
            let journal = Journal::open(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
            assert_eq!(journal.changes(2).await.unwrap(), [change(2), change(3)]);
        }
        let journal = Journal::open(&path).unwrap();
        journal.record(change(4)).await.unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().changes(9).await.unwrap(), (1..=4).map(change).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn two_instances_do_not_share_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.journal");
        let journal = Journal::open(&path).unwrap();
        let refused = Journal::open(&path).unwrap_err().to_string();
        assert!(refused.contains("another instance"), "{refused}");
        drop(journal);
        Journal::open(&path).unwrap();
    }

    #[tokio::test]
    async fn a_line_that_is_wrong_in_the_midst_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("models.journal");
        fs::write(&path, "{\"at\": 1}\n").unwrap();
        let fault = Journal::open(&path).unwrap_err().to_string();
        assert!(fault.contains("line 1"), "{fault}");
    }
}
