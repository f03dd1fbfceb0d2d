//! What is judged: rows with a score and a verdict each, and what else is known of them, as columns of one length.
//!
//! Invariant: there is at least one row, at least one fraud and one legitimate row, and every score is in 0..=1.

use thiserror::Error;

use super::groups::Groups;
use crate::base::clock::{DAY, Millis};

/// The most rows that are judged at once.
pub const MAX_ROWS: usize = 1 << 30;
/// The most kinds of fraud, and the most folds: each costs a pass over the rows.
pub const MAX_GROUPS: usize = 1_000;

/// Why rows cannot be judged.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Fault {
    /// No rows, or more than [`MAX_ROWS`].
    #[error("{0} rows; 1 to {MAX_ROWS} can be judged")]
    Rows(usize),
    /// Columns of different lengths.
    #[error("{column} has {found} values for {rows} rows")]
    Length {
        /// Which column.
        column: &'static str,
        /// Its values.
        found: usize,
        /// The rows there are.
        rows: usize,
    },
    /// A score that is no probability.
    #[error("row {row}: the score is {score}; a score is a number from 0 to 1")]
    Score {
        /// 1-based.
        row: usize,
        /// What stands there.
        score: f64,
    },
    /// Only frauds, or none: nothing can be ranked above something else.
    #[error("{of}: {frauds} of {rows} rows are frauds; the figures need at least one fraud and one legitimate row")]
    OneClass {
        /// "all rows", or which fold.
        of: String,
        /// Frauds among them.
        frauds: usize,
        /// The rows.
        rows: usize,
    },
    /// More kinds or folds than [`MAX_GROUPS`].
    #[error("{found} different values of {column}; at most {MAX_GROUPS} can be told apart")]
    Groups {
        /// Which column.
        column: &'static str,
        /// Different values.
        found: usize,
    },
    /// The resampling unit has no column.
    #[error("rows cannot be drawn by {unit}: {missing}")]
    Unit {
        /// The unit.
        unit: &'static str,
        /// What is not there.
        missing: &'static str,
    },
    /// A figure that is always there is not: a fault of the program.
    #[error("a figure is missing; this is a fault of the program")]
    NoFigure,
}

/// Amounts of the rows, and how many of their unit make one of the unit in which figures are given.
#[derive(Debug, Clone, PartialEq)]
pub struct Amounts {
    /// One a row, finite, ≥ 0.
    pub values: Vec<f64>,
    /// 100 for euro cents, 1 for amounts that are in major units already.
    pub per_major: f64,
}

/// Rows to judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub(super) scores: Vec<f64>,
    pub(super) frauds: Vec<bool>,
    pub(super) days: Option<Vec<i64>>,
    pub(super) customers: Option<Groups>,
    pub(super) amounts: Option<Amounts>,
    pub(super) kinds: Option<Groups>,
    pub(super) folds: Option<Groups>,
}

impl Sample {
    /// Scores (probabilities of fraud, 0 to 1; the higher, the more suspicious) and verdicts.
    ///
    /// # Errors
    /// No rows or too many, lengths that differ, a score outside 0..=1, or only one class.
    pub fn new(scores: Vec<f64>, frauds: Vec<bool>) -> Result<Self, Fault> {
        let rows = scores.len();
        if rows == 0 || rows > MAX_ROWS {
            return Err(Fault::Rows(rows));
        }
        check_length("the verdict", frauds.len(), rows)?;
        check_scores(&scores)?;
        check_classes("all rows", &frauds)?;
        Ok(Self { scores, frauds, days: None, customers: None, amounts: None, kinds: None, folds: None })
    }

    /// Adds when each row happened.
    ///
    /// # Errors
    /// When there is not one a row; so for all that follow.
    pub fn with_times(mut self, times: &[Millis]) -> Result<Self, Fault> {
        check_length("the time", times.len(), self.len())?;
        self.days = Some(times.iter().map(|time| time.day()).collect());
        Ok(self)
    }

    /// Adds whose each row is: the card, as the handbook calls it.
    ///
    /// # Errors
    /// When there is not one a row.
    pub fn with_customers(mut self, customers: Groups) -> Result<Self, Fault> {
        check_length("the customer", customers.of.len(), self.len())?;
        self.customers = Some(customers);
        Ok(self)
    }

    /// Adds how much each row moved.
    ///
    /// # Errors
    /// When there is not one a row.
    pub fn with_amounts(mut self, amounts: Amounts) -> Result<Self, Fault> {
        check_length("the amount", amounts.values.len(), self.len())?;
        self.amounts = Some(amounts);
        Ok(self)
    }

    /// Adds the kind of fraud; what legitimate rows have there is not looked at.
    ///
    /// # Errors
    /// When there is not one a row, or more than [`MAX_GROUPS`].
    pub fn with_kinds(mut self, kinds: Groups) -> Result<Self, Fault> {
        check_groups("the kind", &kinds, self.len())?;
        self.kinds = Some(kinds);
        Ok(self)
    }

    /// Adds the fold that each row was scored in.
    ///
    /// # Errors
    /// When there is not one a row, more than [`MAX_GROUPS`], or a fold with one class only.
    pub fn with_folds(mut self, folds: Groups) -> Result<Self, Fault> {
        check_groups("the fold", &folds, self.len())?;
        self.folds = Some(folds);
        for (name, rows) in self.fold_rows() {
            let frauds: Vec<bool> = rows.iter().filter_map(|row| self.frauds.get(*row).copied()).collect();
            check_classes(&format!("fold {name}"), &frauds)?;
        }
        Ok(self)
    }

    /// Rows.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "there is always a row")]
    pub fn len(&self) -> usize {
        self.scores.len()
    }

    /// Whether customers are known.
    #[must_use]
    pub const fn has_customers(&self) -> bool {
        self.customers.is_some()
    }

    /// Days (UTC, counted from 1970-01-01) on which there is a row, ascending; `None` without times.
    #[must_use]
    pub fn days(&self) -> Option<Vec<i64>> {
        let mut days = self.days.clone()?;
        days.sort_unstable();
        days.dedup();
        Some(days)
    }

    /// Each fold's name and rows; none without folds.
    pub(super) fn fold_rows(&self) -> Vec<(&str, Vec<usize>)> {
        let Some(folds) = &self.folds else { return Vec::new() };
        let mut rows: Vec<(&str, Vec<usize>)> = folds.names.iter().map(|name| (name.as_str(), Vec::new())).collect();
        for (row, fold) in folds.of.iter().enumerate() {
            if let Some((_, of_fold)) = rows.get_mut(*fold as usize) {
                of_fold.push(row);
            }
        }
        rows.retain(|(_, rows)| !rows.is_empty());
        rows
    }

    /// These rows alone, without their folds. Customers keep their numbers.
    pub(super) fn pick(&self, rows: &[usize]) -> Self {
        Self {
            scores: picked(&self.scores, rows),
            frauds: picked(&self.frauds, rows),
            days: self.days.as_ref().map(|days| picked(days, rows)),
            customers: self.customers.as_ref().map(|groups| picked_groups(groups, rows)),
            amounts: self
                .amounts
                .as_ref()
                .map(|amounts| Amounts { values: picked(&amounts.values, rows), per_major: amounts.per_major }),
            kinds: self.kinds.as_ref().map(|groups| picked_groups(groups, rows)),
            folds: None,
        }
    }
}

/// The day as `2018-08-14`.
#[must_use]
pub fn date(day: i64) -> String {
    Millis(day.saturating_mul(DAY)).to_rfc3339().chars().take_while(|letter| *letter != 'T').collect()
}

fn picked<T: Copy>(values: &[T], rows: &[usize]) -> Vec<T> {
    rows.iter().filter_map(|row| values.get(*row).copied()).collect()
}

fn picked_groups(groups: &Groups, rows: &[usize]) -> Groups {
    Groups { names: groups.names.clone(), of: picked(&groups.of, rows) }
}

pub(super) fn check_length(column: &'static str, found: usize, rows: usize) -> Result<(), Fault> {
    if found == rows { Ok(()) } else { Err(Fault::Length { column, found, rows }) }
}

pub(super) fn check_scores(scores: &[f64]) -> Result<(), Fault> {
    // Not a number is in no range.
    let wrong = scores.iter().position(|score| !(0.0..=1.0).contains(score));
    wrong.map_or(Ok(()), |at| Err(Fault::Score { row: at + 1, score: scores.get(at).copied().unwrap_or(f64::NAN) }))
}

fn check_groups(column: &'static str, groups: &Groups, rows: usize) -> Result<(), Fault> {
    check_length(column, groups.of.len(), rows)?;
    let found = groups.names.len();
    if found > MAX_GROUPS { Err(Fault::Groups { column, found }) } else { Ok(()) }
}

fn check_classes(of: &str, frauds: &[bool]) -> Result<(), Fault> {
    let rows = frauds.len();
    let count = frauds.iter().filter(|fraud| **fraud).count();
    if count > 0 && count < rows { Ok(()) } else { Err(Fault::OneClass { of: of.to_owned(), frauds: count, rows }) }
}

/// A count as a float.
#[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
pub(super) const fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_judged_is_refused() {
        let new = |scores: &[f64], frauds: &[bool]| Sample::new(scores.to_vec(), frauds.to_vec()).map(|_| ());
        assert_eq!(new(&[], &[]), Err(Fault::Rows(0)));
        assert!(matches!(new(&[0.1, f64::NAN], &[true, false]), Err(Fault::Score { row: 2, .. })));
        assert_eq!(new(&[1.1, 0.0], &[true, false]), Err(Fault::Score { row: 1, score: 1.1 }));
        assert!(matches!(new(&[0.1, 0.2], &[true, true]), Err(Fault::OneClass { frauds: 2, rows: 2, .. })));
        assert!(matches!(new(&[0.1, 0.2], &[true]), Err(Fault::Length { found: 1, rows: 2, .. })));
        let sample = Sample::new(vec![0.1, 0.2, 0.3], vec![true, false, false]).unwrap();
        let fault = sample.with_folds(Groups::of(["1", "1", "2"])).unwrap_err();
        assert_eq!(fault, Fault::OneClass { of: "fold 2".to_owned(), frauds: 0, rows: 1 });
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(date(17_757), "2018-08-14");
    }
}
