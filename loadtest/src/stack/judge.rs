//! What the topic of decisions and the table hold, against what they must. Pure: records and rows in, a verdict out.
//!
//! The decision on a payment is its first full record of revision 0, in the order of its partition. Everything is judged
//! by that: its features and score against files made from the same payments, the row and the document against it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Serialize;

use super::documents::Kept;
use super::record::Seen;
use super::table::Completed;

/// Scores may differ by what batches of another size do to the last bits.
const SCORE_TOLERANCE: f32 = 1e-6;
/// Differences that are told one by one.
const TOLD: usize = 20;

/// What a file says of the payments: features by name, scores, each in the order of the payments.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    pub(crate) features: HashMap<String, Vec<f64>>,
    pub(crate) scores: Option<Vec<f32>>,
    /// Ids whose features may differ.
    pub(crate) exempt: HashSet<String>,
}

/// The first full record of a payment.
#[derive(Debug, Clone)]
struct First {
    partition: i32,
    record: String,
    score: Option<f32>,
    flagged: bool,
    model_version: String,
    /// Hash of its features, names and values.
    features: u64,
}

/// Judges records, rows and documents.
pub(crate) struct Judge {
    numbers: HashMap<String, usize>,
    expected: Expected,
    firsts: Vec<Option<First>>,
    seen_rows: Vec<bool>,
    /// Whether documents are looked at, and whose were seen.
    seen_documents: Option<Vec<bool>>,
    verdict: Verdict,
}

/// What was found.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    pub(crate) payments: u64,
    /// Payments with a full record.
    pub(crate) decided: u64,
    /// Later full records of a decided payment: they lost, as they must.
    pub(crate) superseded: u64,
    /// The same record once more.
    pub(crate) repeated: u64,
    /// Records without a decision; the stream decides later.
    pub(crate) fallbacks: u64,
    /// Records of other payments, such as those that were on the topic before.
    pub(crate) foreign: u64,
    /// Payments without a full record.
    pub(crate) lost: u64,
    /// Payments with full records in two partitions: two firsts.
    pub(crate) doubled: u64,
    /// Payments whose features are not those of the file.
    pub(crate) features_differ: u64,
    /// Of those exempted, the ones that differ.
    pub(crate) exempt_differ: u64,
    /// Payments whose score is not that of the file.
    pub(crate) scores_differ: u64,
    /// Payments whose row is not there.
    pub(crate) rows_missing: u64,
    /// Rows that are not completed.
    pub(crate) rows_open: u64,
    /// Rows of which some columns are completed and others are not.
    pub(crate) rows_half: u64,
    /// Rows that show something else than the first record.
    pub(crate) rows_differ: u64,
    /// Payments without a document, where documents are looked at.
    pub(crate) documents_missing: u64,
    /// Documents that show something else than the first record.
    pub(crate) documents_differ: u64,
    /// The first of what is wrong, in words.
    pub(crate) told: Vec<String>,
}

impl Judge {
    /// Of payments in this order.
    pub(crate) fn new(ids: impl IntoIterator<Item = String>, expected: Expected) -> Self {
        let mut numbers = HashMap::new();
        let mut count = 0;
        for id in ids {
            // A payment that stands twice in a file is one payment: its first row's.
            numbers.entry(id).or_insert(count);
            count += 1;
        }
        let verdict = Verdict { payments: numbers.len() as u64, ..Verdict::default() };
        Self {
            numbers,
            expected,
            firsts: vec![None; count],
            seen_rows: vec![false; count],
            seen_documents: None,
            verdict,
        }
    }

    /// The next record of a partition.
    pub(crate) fn record(&mut self, partition: i32, seen: &Seen) {
        let Some(&number) = self.numbers.get(&seen.transaction_id) else {
            self.verdict.foreign += 1;
            return;
        };
        if seen.revision != Some(0) {
            self.verdict.fallbacks += u64::from(seen.revision.is_none());
            return;
        }
        let Some(place) = self.firsts.get_mut(number) else { return };
        match place {
            Some(first) if first.partition != partition => {
                self.verdict.doubled += 1;
                let text = format!("{} has first records in {} and {partition}", seen.transaction_id, first.partition);
                self.tell(text);
            }
            Some(first) if first.record == seen.record => self.verdict.repeated += 1,
            Some(_) => self.verdict.superseded += 1,
            None => {
                *place = Some(First {
                    partition,
                    record: seen.record.clone(),
                    score: seen.score,
                    flagged: seen.flagged,
                    model_version: seen.model_version.clone(),
                    features: hash(seen.names.iter().zip(seen.features.iter().copied())),
                });
                self.verdict.decided += 1;
                self.compare(number, seen);
            }
        }
    }

    /// A first record with the files.
    fn compare(&mut self, number: usize, seen: &Seen) {
        let id = &seen.transaction_id;
        if !self.expected.features.is_empty() {
            let in_file = |name: &str| self.expected.features.get(name).and_then(|column| column.get(number)).copied();
            let pairs = seen.names.iter().zip(&seen.features);
            let differs = |(name, value): &(&String, &f64)| in_file(name) != Some(**value);
            let short = seen.features.len() < self.expected.features.len();
            let first = pairs.into_iter().find(differs);
            if short || first.is_some() {
                let text = first.map_or_else(
                    || format!("{id} has {} features", seen.features.len()),
                    |(name, value)| format!("{id}: {name} is {value}, in the file {:?}", in_file(name)),
                );
                if self.expected.exempt.contains(id) {
                    self.verdict.exempt_differ += 1;
                    return;
                }
                self.verdict.features_differ += 1;
                self.tell(text);
            }
        }
        let expected = self.expected.scores.as_ref().and_then(|scores| scores.get(number)).copied();
        if let Some(expected) = expected
            && !self.expected.exempt.contains(id)
            && seen.score.is_none_or(|score| (score - expected).abs() > SCORE_TOLERANCE)
        {
            self.verdict.scores_differ += 1;
            self.tell(format!("{id}: the score is {:?}, in the file {expected}", seen.score));
        }
    }

    /// The row of a payment.
    pub(crate) fn row(&mut self, id: &str, row: &Completed) {
        let Some(&number) = self.numbers.get(id) else { return };
        if let Some(seen) = self.seen_rows.get_mut(number) {
            *seen = true;
        }
        if row.is_half() {
            self.verdict.rows_half += 1;
            self.tell(format!("{id}: the row is half completed: {row:?}"));
        } else if row.score.is_none() {
            self.verdict.rows_open += 1;
            self.tell(format!("{id}: the row is not completed"));
        } else if let Some(first) = self.firsts.get(number).and_then(Option::as_ref) {
            let of_first = Completed {
                score: first.score,
                model_version: Some(first.model_version.clone()),
                flagged: Some(first.flagged),
                revision: Some(0),
            };
            if *row != of_first {
                self.verdict.rows_differ += 1;
                self.tell(format!("{id}: the row shows {row:?}, the first record {of_first:?}"));
            }
        }
    }

    /// From now on documents are looked at: one that is missing is a fault.
    pub(crate) fn look_at_documents(&mut self) {
        self.seen_documents = Some(vec![false; self.firsts.len()]);
    }

    /// A document of the destination mongodb. Its key is the payment's id: none has two.
    pub(crate) fn document(&mut self, kept: &Kept) {
        let Some(&number) = self.numbers.get(&kept.transaction_id) else { return };
        if let Some(seen) = self.seen_documents.as_mut().and_then(|seen| seen.get_mut(number)) {
            *seen = true;
        }
        let Some(first) = self.firsts.get(number).and_then(Option::as_ref) else { return };
        let same = kept.record == first.record
            && kept.revision == 0
            && kept.score == first.score
            && kept.flagged == first.flagged
            && kept.model_version == first.model_version
            && hash(kept.features.iter().map(|(name, value)| (name, *value))) == first.features;
        if !same {
            self.verdict.documents_differ += 1;
            self.tell(format!("{}: the document is {kept:?}, the first record {first:?}", kept.transaction_id));
        }
    }

    fn tell(&mut self, text: String) {
        if self.verdict.told.len() < TOLD {
            self.verdict.told.push(text);
        }
    }

    /// When all records and rows were seen.
    pub(crate) fn verdict(mut self) -> Verdict {
        let lost = || self.numbers.iter().filter(|(_, number)| self.firsts.get(**number).is_some_and(Option::is_none));
        self.verdict.lost = lost().count() as u64;
        let unseen = |number: &&usize| self.seen_rows.get(**number) == Some(&false);
        self.verdict.rows_missing = self.numbers.values().filter(unseen).count() as u64;
        if let Some(seen) = &self.seen_documents {
            let unseen = |number: &&usize| seen.get(**number) == Some(&false);
            self.verdict.documents_missing = self.numbers.values().filter(unseen).count() as u64;
        }
        if self.verdict.lost > 0 {
            let some: Vec<&str> = lost().map(|(id, _)| id.as_str()).take(5).collect();
            let text = format!("lost, among others: {}", some.join(", "));
            self.verdict.told.push(text);
        }
        self.verdict
    }
}

/// Of features in their order, to the bit.
fn hash<'a>(features: impl Iterator<Item = (&'a String, f64)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    features.for_each(|(name, value)| (name, value.to_bits()).hash(&mut hasher));
    hasher.finish()
}

impl Verdict {
    /// Nothing is lost, doubled, half-written or other than it must be.
    pub(crate) fn is_clean(&self) -> bool {
        let wrong = [
            self.lost,
            self.doubled,
            self.features_differ,
            self.scores_differ,
            self.rows_missing,
            self.rows_open,
            self.rows_half,
            self.rows_differ,
            self.documents_missing,
            self.documents_differ,
        ];
        wrong.iter().all(|count| *count == 0)
    }

    pub(crate) fn line(&self) -> String {
        let mut line = format!(
            "{} payments, {} decided; lost {}, doubled {}; features differ {} (exempt {}), scores differ {}; rows missing {}, open {}, half {}, other than the first record {}; documents missing {}, other than the first record {}; superseded {}, repeated {}, fallbacks {}, of other payments {}",
            self.payments,
            self.decided,
            self.lost,
            self.doubled,
            self.features_differ,
            self.exempt_differ,
            self.scores_differ,
            self.rows_missing,
            self.rows_open,
            self.rows_half,
            self.rows_differ,
            self.documents_missing,
            self.documents_differ,
            self.superseded,
            self.repeated,
            self.fallbacks,
            self.foreign
        );
        for told in &self.told {
            line.push_str("\n  ");
            line.push_str(told);
        }
        line
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
