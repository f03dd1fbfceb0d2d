//! The report of a comparison, and what its JSON says besides the figures.

use serde::Serialize;

use super::report::{count, dash, four, line, notes, table};
use crate::evaluation::{Comparison, Difference, Differences, Unit};

/// A comparison with the names of what was compared.
#[derive(Debug, Serialize)]
pub(super) struct Named<'a> {
    /// File of A.
    pub(super) a: String,
    /// File of B.
    pub(super) b: String,
    /// Which way round: "B - A".
    pub(super) difference: &'static str,
    #[serde(flatten)]
    pub(super) comparison: &'a Comparison,
    /// What was left out and why.
    pub(super) notes: Vec<String>,
}

/// The report.
pub(super) fn report(named: &Named<'_>) -> String {
    let all = named.comparison;
    let mut text = String::new();
    line(&mut text, &format!("A  {}\nB  {}", named.a, named.b));
    line(&mut text, &format!("{} rows, {} frauds", count(all.rows), count(all.frauds)));
    let unit = match all.unit {
        Unit::Customer => "customers, each with all its rows",
        Unit::Day => "days, each with all its rows",
        Unit::Row => "rows",
    };
    let percent = 100.0 * all.confidence;
    line(
        &mut text,
        &format!(
            "B - A with {percent} % intervals: paired bootstrap, {} draws of {} {unit}; seed {}",
            count(all.bootstrap.into()),
            count(all.units),
            all.seed
        ),
    );
    let k = all.card_precision_k;
    block(&mut text, "All rows", &all.all, k);
    for fold in all.folds.iter().flatten() {
        let head = format!("Fold {} ({} rows, {} frauds)", fold.name, count(fold.rows), count(fold.frauds));
        block(&mut text, &head, &fold.differences, k);
    }
    if let Some(mean) = &all.mean {
        block(&mut text, "Mean over the folds", mean, k);
    }
    notes(&mut text, &named.notes);
    text
}

fn block(text: &mut String, head: &str, differences: &Differences, k: u32) {
    line(text, &format!("\n{head}"));
    let card = format!("card precision at {k}");
    let rows = [
        ("ROC AUC", Some(&differences.roc_auc)),
        ("average precision", Some(&differences.average_precision)),
        (card.as_str(), differences.card_precision.as_ref()),
    ];
    let told = rows.into_iter().filter_map(|(name, difference)| Some(row(name, difference?)));
    table(text, &["", "A", "B", "B - A", "low", "high", "the interval is"], told.collect());
}

fn row(name: &str, difference: &Difference) -> Vec<String> {
    let signed = |value: f64| format!("{value:+.4}");
    let mut verdict = difference.verdict().to_owned();
    if difference.undefined > 0 {
        verdict = format!("{verdict} ({} draws without a figure)", difference.undefined);
    }
    vec![
        name.to_owned(),
        four(difference.a),
        four(difference.b),
        signed(difference.difference),
        difference.low.map_or_else(dash, signed),
        difference.high.map_or_else(dash, signed),
        verdict,
    ]
}
