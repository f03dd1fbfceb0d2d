//! A comparison as a file of this instance: JSON, written beside and renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;

use crate::engine::Kept;
use crate::engine::models::Comparisons;

/// See the module.
#[derive(Debug)]
pub struct ComparisonFile(pub PathBuf);

impl Comparisons for ComparisonFile {
    fn keep(&self, kept: &Kept) -> io::Result<()> {
        if let Some(folder) = self.0.parent() {
            fs::create_dir_all(folder)?;
        }
        let beside = self.0.with_extension("part");
        let mut file = BufWriter::new(File::create(&beside)?);
        serde_json::to_writer(&mut file, kept)?;
        file.flush()?;
        file.get_ref().sync_data()?;
        fs::rename(beside, &self.0)
    }

    fn kept(&self) -> io::Result<Option<Kept>> {
        match fs::read(&self.0) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
