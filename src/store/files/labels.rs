//! Verdicts out of an NDJSON file, in the shape of `POST /labels`.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use super::{FileError, io};
use crate::base::clock::Millis;
use crate::engine::Label;

#[derive(Deserialize)]
struct Line {
    transaction_id: String,
    is_fraud: bool,
    labelled_at: Moment,
    #[serde(default)]
    source: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Moment {
    Millis(i64),
    Text(String),
}

/// Every verdict of the file, in its order; blank lines are skipped, keys besides the four ignored.
///
/// # Errors
/// When the file cannot be read, or the first line that is no verdict, by number.
pub fn read_labels(path: &Path) -> Result<Vec<Label>, FileError> {
    let mut labels = Vec::new();
    for (index, line) in BufReader::new(File::open(path).map_err(io(path))?).lines().enumerate() {
        let line = line.map_err(io(path))?;
        if line.trim().is_empty() {
            continue;
        }
        let broken = |rule: String| {
            let text = format!("line {}: not a label: {rule}", index + 1);
            FileError::Io { path: path.to_owned(), source: std::io::Error::other(text) }
        };
        let Line { transaction_id, is_fraud, labelled_at, source } =
            serde_json::from_str(&line).map_err(|error| broken(error.to_string()))?;
        let labelled_at = match labelled_at {
            Moment::Millis(millis) => Millis(millis),
            Moment::Text(text) => Millis::parse_rfc3339(&text)
                .ok_or_else(|| broken("labelled_at must be RFC 3339 or integer milliseconds".to_owned()))?,
        };
        labels.push(Label { transaction_id, is_fraud, labelled_at, source });
    }
    Ok(labels)
}
