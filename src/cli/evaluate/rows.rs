//! The rows of a file of scores, joined with the file that describes them, limited to the days asked for.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use compact_str::CompactString;

use super::columns::{CURRENCY, Columns};
use crate::base::clock::Millis;
use crate::base::money::Currency;
use crate::evaluation::{Amounts, Groups, Sample};
use crate::store::files::{Kind, Table, Values};

/// What frauds whose kind is not told are called.
const UNKNOWN_KIND: &str = "unknown";

/// Rows that count.
pub(super) struct Rows {
    scores: Table,
    /// The file that describes, and for each row of `scores` its row there.
    labels: Option<(Table, Vec<usize>)>,
    single: bool,
    /// Rows of `scores` that count, ascending.
    kept: Vec<usize>,
}

/// A column that was found, in the file that it was found in.
struct Found<'r> {
    rows: &'r Rows,
    table: &'r Table,
    name: &'r str,
    values: &'r Values,
    joined: bool,
}

impl Rows {
    /// Reads the file and, where named, the one that describes its rows. `ids` says that ids are needed anyway.
    ///
    /// # Errors
    /// Unreadable files, missing columns, ids that are empty, doubled or not described, days with no row.
    pub(super) fn read(path: &Path, columns: &Columns, ids: bool) -> Result<Self> {
        let scores = Table::read(path, &columns.wanted())?;
        let labels = columns.labels.as_ref().map(|path| Table::read(path, &columns.wanted())).transpose()?;
        if scores.column(&columns.score, Kind::Number).is_none() {
            return Err(scores.no_column(&columns.score)).context("scores (--score names their column)");
        }
        let single = matches!(scores.column(&columns.score, Kind::Number), Some(Values::Number { single: true, .. }));
        let labels = match labels {
            Some(labels) => {
                let at = described(&scores, &labels, &columns.id)?;
                Some((labels, at))
            }
            None => None,
        };
        if ids {
            by_id(&scores, &columns.id)?;
        }
        let mut rows = Self { kept: (0..scores.rows()).collect(), scores, labels, single };
        if columns.from.is_some() || columns.to.is_some() {
            let times = rows.times(columns)?.context("--from and --to need a column of times; --time names it")?;
            let kept = rows.kept.iter().zip(times).filter(|(_, time)| columns.counts(time.day()));
            rows.kept = kept.map(|(row, _)| *row).collect();
        }
        if rows.kept.is_empty() {
            bail!("{}: no row lies between --from and --to, or there is none at all", rows.scores.path().display());
        }
        Ok(rows)
    }

    /// The file of scores.
    pub(super) const fn table(&self) -> &Table {
        &self.scores
    }

    /// Rows that count, by their place in the file of scores.
    pub(super) fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// Limits the rows that count to these.
    pub(super) fn keep(&mut self, kept: Vec<usize>) {
        self.kept = kept;
    }

    /// A threshold as the scores are kept: next to 32-bit scores it is a 32-bit number, as in service.
    pub(super) fn in_precision_of_scores(&self, threshold: f64) -> f64 {
        #[expect(clippy::cast_possible_truncation, reason = "rounded to what the scores can be")]
        if self.single { f64::from(threshold as f32) } else { threshold }
    }

    /// The labels of the rows that count.
    pub(super) fn frauds(&self, columns: &Columns) -> Result<Vec<bool>> {
        let hint = "labels (--label names their column, --labels a file that has it)";
        self.find(&columns.label, Kind::Flag, true).context(hint)?.context(hint)?.flags()
    }

    /// The rows that count, and why columns are not used.
    ///
    /// # Errors
    /// A missing column, a cell that cannot be used, and whatever [`Sample`] refuses.
    pub(super) fn sample(&self, columns: &Columns) -> Result<(Sample, Vec<String>)> {
        let mut notes = Vec::new();
        let scores = scores_of(&self.scores, &columns.score, &self.kept)?;
        let file = || self.scores.path().display().to_string();
        let mut sample = Sample::new(scores, self.frauds(columns)?).with_context(file)?;
        if let Some(times) = self.times(columns)? {
            sample = sample.with_times(&times).with_context(file)?;
        }
        let (customer, given) = columns.customer();
        if let Some(found) = self.find(customer, Kind::Text, given)? {
            let names = found.texts()?;
            let names = names.iter().zip(&self.kept).map(|(name, row)| name.ok_or_else(|| found.empty(*row)));
            let names: Result<Vec<&str>> = names.collect();
            sample = sample.with_customers(Groups::of(names?)).with_context(file)?;
        }
        if let Some(amounts) = self.amounts(columns, &mut notes)? {
            sample = sample.with_amounts(amounts).with_context(file)?;
        }
        if let Some(name) = &columns.kind {
            let found = self.find(name, Kind::Text, true)?.context("kinds of fraud")?;
            let kinds = Groups::of(found.texts()?.into_iter().map(|kind| kind.unwrap_or(UNKNOWN_KIND)));
            sample = sample.with_kinds(kinds).with_context(file)?;
        }
        if let Some(name) = &columns.fold {
            let found = self.find(name, Kind::Text, true)?.context("folds")?;
            let names = found.texts()?;
            let names = names.iter().zip(&self.kept).map(|(name, row)| name.ok_or_else(|| found.empty(*row)));
            let names: Result<Vec<&str>> = names.collect();
            sample = sample.with_folds(Groups::of(names?)).with_context(file)?;
        }
        Ok((sample, notes))
    }

    fn times(&self, columns: &Columns) -> Result<Option<Vec<Millis>>> {
        let (name, given) = columns.time();
        let Some(found) = self.find(name, Kind::Time, given)? else { return Ok(None) };
        let Values::Time(cells) = found.values else { bail!("{name} was not read as times") };
        Ok(Some(found.each(cells)?))
    }

    fn amounts(&self, columns: &Columns, notes: &mut Vec<String>) -> Result<Option<Amounts>> {
        for (name, minor, given) in columns.amounts() {
            let Some(found) = self.find(name, Kind::Number, given)? else { continue };
            let mut currency = columns.currency;
            // An amount in the base currency is in one currency by what it is.
            if name != "base_amount_minor"
                && let Some(codes) = self.find(CURRENCY, Kind::Text, false)?
            {
                let Some(code) = codes.only()? else {
                    notes.push(format!("amounts: {name} is in several currencies, which cannot be added up; base_amount_minor (assay features --keep) can"));
                    return Ok(None);
                };
                currency = Currency::parse(code).with_context(|| format!("{CURRENCY} {code:?} is no ISO 4217 code"))?;
            }
            let Values::Number { cells, .. } = found.values else { bail!("{name} was not read as numbers") };
            let values = found.each(cells)?;
            let wrong = values.iter().zip(&self.kept).find(|(amount, _)| !(amount.is_finite() && **amount >= 0.0));
            if let Some((amount, row)) = wrong {
                return Err(found.fault(*row, format!("{amount} is no amount: a number of 0 or more")));
            }
            #[expect(clippy::cast_precision_loss, reason = "a power of ten of at most four digits")]
            let per_major = if minor { currency.minor_per_major() as f64 } else { 1.0 };
            return Ok(Some(Amounts { values, per_major }));
        }
        Ok(None)
    }

    /// The column, first in the file that describes. `needed`: an error where no file has it.
    fn find<'r>(&'r self, name: &'r str, kind: Kind, needed: bool) -> Result<Option<Found<'r>>> {
        let described = self.labels.as_ref().and_then(|(table, _)| Some((table, table.column(name, kind)?, true)));
        let own = || self.scores.column(name, kind).map(|values| (&self.scores, values, false));
        match described.or_else(own) {
            Some((table, values, joined)) => Ok(Some(Found { rows: self, table, name, values, joined })),
            None if needed => {
                let looked_in = self.labels.as_ref().map_or(&self.scores, |(table, _)| table);
                Err(looked_in.no_column(name).into())
            }
            None => Ok(None),
        }
    }
}

impl<'r> Found<'r> {
    /// The row of this column's own file that belongs to a row of the scores.
    fn place(&self, row: usize) -> usize {
        let at = self.rows.labels.as_ref().filter(|_| self.joined).map(|(_, at)| at);
        at.map_or(row, |at| at.get(row).copied().unwrap_or(usize::MAX))
    }

    fn fault(&self, row: usize, rule: impl Into<String>) -> anyhow::Error {
        self.table.cell_error(self.place(row), self.name, rule).into()
    }

    fn empty(&self, row: usize) -> anyhow::Error {
        self.fault(row, "it is empty; every row needs a value here")
    }

    /// The cells of the rows that count, none of them empty.
    fn each<T: Copy>(&self, cells: &[Option<T>]) -> Result<Vec<T>> {
        let cell = |row: &usize| cells.get(self.place(*row)).copied().flatten().ok_or_else(|| self.empty(*row));
        self.rows.kept.iter().map(cell).collect()
    }

    fn flags(&self) -> Result<Vec<bool>> {
        let Values::Flag(cells) = self.values else { bail!("{} was not read as truth values", self.name) };
        self.each(cells)
    }

    fn texts(&self) -> Result<Vec<Option<&'r str>>> {
        let Values::Text(cells) = self.values else { bail!("{} was not read as text", self.name) };
        let cell = |row: &usize| cells.get(self.place(*row)).and_then(Option::as_deref);
        Ok(self.rows.kept.iter().map(cell).collect())
    }

    /// The one text that all rows have; `None` where they differ.
    fn only(&self) -> Result<Option<&'r str>> {
        let texts = self.texts()?;
        let first = texts.first().copied().flatten();
        Ok(first.filter(|_| texts.iter().all(|text| *text == first)))
    }
}

/// The scores of these rows, each 0 to 1.
pub(super) fn scores_of(table: &Table, name: &str, kept: &[usize]) -> Result<Vec<f64>> {
    let Some(Values::Number { cells, .. }) = table.column(name, Kind::Number) else {
        return Err(table.no_column(name)).context("scores (--score names their column)");
    };
    let score = |row: &usize| match cells.get(*row).copied().flatten() {
        Some(score) if (0.0..=1.0).contains(&score) => Ok(score),
        Some(score) => {
            let rule = format!("the score is {score}; a score is a number from 0 to 1");
            Err(table.cell_error(*row, name, rule).into())
        }
        None => Err(table.cell_error(*row, name, "there is no score").into()),
    };
    kept.iter().map(score).collect()
}

/// The row of each id.
pub(super) fn by_id<'t>(table: &'t Table, name: &str) -> Result<HashMap<&'t str, usize>> {
    let mut rows = HashMap::with_capacity(table.rows());
    for (row, id) in ids(table, name)?.iter().enumerate() {
        let Some(id) = id.as_deref() else { return Err(table.cell_error(row, name, "there is no id").into()) };
        if let Some(earlier) = rows.insert(id, row) {
            let rule = format!("{id:?} stands in row {} too; an id has one row", table.row_number(earlier));
            return Err(table.cell_error(row, name, rule).into());
        }
    }
    Ok(rows)
}

/// The ids of a file.
pub(super) fn ids<'t>(table: &'t Table, name: &str) -> Result<&'t [Option<CompactString>]> {
    match table.column(name, Kind::Text) {
        Some(Values::Text(cells)) => Ok(cells),
        _ => Err(table.no_column(name)).context("ids (--id names their column)"),
    }
}

/// For each row of `scores`, the row of `labels` with its id.
fn described(scores: &Table, labels: &Table, id: &str) -> Result<Vec<usize>> {
    by_id(scores, id)?;
    let rows = by_id(labels, id)?;
    let place = |(row, own): (usize, &Option<CompactString>)| {
        let own = own.as_deref().unwrap_or_default();
        rows.get(own).copied().ok_or_else(|| {
            let rule = format!("{own:?} has no row in {}", labels.path().display());
            scores.cell_error(row, id, rule).into()
        })
    };
    ids(scores, id)?.iter().enumerate().map(place).collect()
}
