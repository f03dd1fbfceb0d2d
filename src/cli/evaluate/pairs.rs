//! The scores of B for the rows of A, by transaction id.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};

use super::columns::Columns;
use super::rows::{Rows, by_id, ids, scores_of};
use crate::store::files::{Kind, Table, Values};

/// B's score of each row of A that counts. With `intersect`, rows that only one file has no longer count; without it
/// they are an error. Also what is to be told.
///
/// # Errors
/// What makes B unreadable, transactions that only one file has, and labels on which the files differ.
pub(super) fn pair(a: &mut Rows, b: &Path, columns: &Columns, intersect: bool) -> Result<(Vec<f64>, Vec<String>)> {
    let (time, _) = columns.time();
    let wanted = [
        (columns.score.as_str(), Kind::Number),
        (&columns.id, Kind::Text),
        (&columns.label, Kind::Flag),
        (time, Kind::Time),
    ];
    let b = Table::read(b, &wanted)?;
    let places = by_id(&b, &columns.id)?;
    let own = ids(a.table(), &columns.id)?;
    let id = |row: usize| own.get(row).and_then(Option::as_deref).unwrap_or_default();

    let in_b = |row: &usize| places.get(id(*row)).copied();
    let only_a: Vec<usize> = a.kept().iter().copied().filter(|row| in_b(row).is_none()).collect();
    let in_a: HashSet<&str> = a.kept().iter().map(|row| id(*row)).collect();
    let limited = columns.from.is_some() || columns.to.is_some();
    let times = match b.column(time, Kind::Time) {
        Some(Values::Time(times)) => Some(times),
        _ => None,
    };
    // A row of B counts when its day does; where B has no times, when A has the row at all on no other day.
    let everywhere: HashSet<&str> = own.iter().flatten().map(AsRef::as_ref).collect();
    let counts = |id: &str, row: usize| match times.and_then(|times| times.get(row).copied().flatten()) {
        _ if !limited => true,
        Some(time) => columns.counts(time.day()),
        None => !everywhere.contains(id),
    };
    let only_b: Vec<usize> =
        places.iter().filter(|(id, row)| !in_a.contains(*id) && counts(id, **row)).map(|(_, row)| *row).collect();

    let mut notes = Vec::new();
    if !only_a.is_empty() || !only_b.is_empty() {
        let told = format!("{} transactions are only in A, {} only in B", only_a.len(), only_b.len());
        if !intersect {
            let first = |rows: &[usize], table: &Table| rows.iter().min().map(|row| table.row_number(*row));
            let first_a = first(&only_a, a.table()).map(|row| format!("; the first of A is row {row}"));
            let first_b = first(&only_b, &b).map(|row| format!("; the first of B is row {row}"));
            bail!(
                "the files score different transactions: {told}{}{} (--intersect compares those that are in both)",
                first_a.unwrap_or_default(),
                first_b.unwrap_or_default()
            );
        }
        notes.push(format!("{told}: left out"));
    }
    let (kept, rows): (Vec<usize>, Vec<usize>) = a.kept().iter().filter_map(|row| Some((*row, in_b(row)?))).unzip();
    if kept.is_empty() {
        bail!("no transaction is in both files: is {:?} the same id in both?", columns.id);
    }
    a.keep(kept);
    let scores = scores_of(&b, &columns.score, &rows)?;
    if let Some(Values::Flag(labels)) = b.column(&columns.label, Kind::Flag) {
        let label = |row: &usize| labels.get(*row).copied().flatten();
        let differs =
            a.frauds(columns)?.iter().zip(&rows).find(|(own, row)| label(row) != Some(**own)).map(|(_, row)| *row);
        if let Some(row) = differs {
            return Err(b.cell_error(row, &columns.label, "its label is not that of A").into());
        }
    }
    Ok((scores, notes))
}
