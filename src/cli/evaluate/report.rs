//! The report of one score, for a person to read: a block a question, shares with four digits.

use std::fmt::Write as _;

use crate::evaluation::{AtThreshold, Caught, Cost, CostPoint, Evaluation, Figures, Fold, Kind};

/// Days whose card precision is written one by one.
const DAYS_TOLD: usize = 31;

/// The report; `name` is the file's.
pub(super) fn report(name: &str, all: &Evaluation) -> String {
    let mut text = String::new();
    let share = 100.0 * ratio(all.frauds, all.rows);
    line(&mut text, &format!("{name}: {} rows, {} frauds ({share:.3} %)", count(all.rows), count(all.frauds)));
    if let (Some(days), Some(first), Some(last)) = (all.days, &all.first_day, &all.last_day) {
        line(&mut text, &format!("{days} days with rows, {first} to {last} (UTC)"));
    }
    line(&mut text, "\nRanking");
    figure(&mut text, "ROC AUC", all.roc_auc);
    figure(&mut text, "average precision", all.average_precision);
    if let Some(cards) = &all.card_precision {
        figure(&mut text, &format!("card precision at {}", cards.k), cards.mean);
        if cards.by_day.len() <= DAYS_TOLD {
            let days: Vec<String> = cards.by_day.iter().map(|day| format!("{day:.2}")).collect();
            line(&mut text, &format!("    by day: {}", days.join(" ")));
        }
    }
    line(&mut text, "\nProbabilities");
    figure(&mut text, "Brier score", all.brier);
    figure(&mut text, "log loss (nats)", all.log_loss);
    figure(&mut text, "expected calibration error", all.calibration.expected_error);
    let head = ["scores above", "up to", "rows", "mean score", "fraud rate"];
    let bins = all.calibration.bins.iter();
    let bins =
        bins.map(|bin| vec![six(bin.from), six(bin.to), count(bin.rows), six(bin.mean_score), six(bin.fraud_rate)]);
    table(&mut text, &head, bins.collect());
    alerts(&mut text, all);
    if let Some(at) = &all.at_threshold {
        line(&mut text, "\nAt the threshold");
        let mut row = vec![six(at.threshold), count(at.flagged), a_day(at)];
        row.extend(caught(&at.caught));
        table(
            &mut text,
            &["threshold", "flagged", "a day", "precision", "recall", "false positives", "amount recall"],
            vec![row],
        );
    }
    if let Some(of_cost) = &all.cost {
        cost(&mut text, of_cost);
    }
    if let Some(kinds) = &all.kinds {
        by_kind(&mut text, kinds);
    }
    if let Some(folds) = &all.folds {
        by_fold(&mut text, folds, all.mean.as_ref(), all.spread.as_ref());
    }
    notes(&mut text, &all.notes);
    text
}

/// What was left out and why, as the report's last block.
pub(super) fn notes(text: &mut String, notes: &[String]) {
    if !notes.is_empty() {
        line(text, "\nLeft out");
        notes.iter().for_each(|note| line(text, &format!("  {note}")));
    }
}

/// Right-aligned columns, two spaces apart.
pub(super) fn table(text: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let columns = all.iter().map(Vec::len).max().unwrap_or_default();
    let width =
        |column: usize| all.iter().filter_map(|row| row.get(column)).map(|cell: &String| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in &all {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("  {cell:>width$}"));
        line(text, cells.collect::<String>().trim_end());
    }
}

pub(super) fn line(text: &mut String, words: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "{words}");
}

/// Four digits: what a share is read to.
pub(super) fn four(value: f64) -> String {
    format!("{value:.4}")
}

/// With a space between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut spaced = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == first {
            spaced.push(' ');
        }
        spaced.push(digit);
    }
    spaced
}

fn alerts(text: &mut String, all: &Evaluation) {
    let Some(alerts) = &all.alerts else { return };
    line(text, "\nBy alerts a day (at most that many on average; tied scores are flagged together or not at all)");
    let rows = alerts.iter().map(|at| {
        let mut row = vec![count(at.a_day), at.threshold.map_or_else(|| "none".to_owned(), six), count(at.flagged)];
        row.extend(caught(&at.caught));
        row
    });
    let head = ["a day", "threshold", "flagged", "precision", "recall", "false positives", "amount recall"];
    table(text, &head, rows.collect());
}

fn cost(text: &mut String, cost: &Cost) {
    line(text, &format!("\nCost (a review {:.2}, a missed fraud its amount)", cost.review));
    let row = |name: &str, point: &CostPoint| {
        let threshold = point.threshold.map_or_else(|| "none".to_owned(), six);
        vec![
            name.to_owned(),
            threshold,
            point.alerts_a_day.map_or_else(dash, |day| format!("{day:.1}")),
            format!("{:.2}", point.cost),
        ]
    };
    let ends = [
        ("nothing flagged", cost.points.first()),
        ("cheapest", Some(&cost.best)),
        ("everything flagged", cost.points.last()),
    ];
    let rows = ends.into_iter().filter_map(|(name, point)| Some(row(name, point?)));
    table(text, &["", "threshold", "alerts a day", "cost"], rows.collect());
}

fn by_kind(text: &mut String, kinds: &[Kind]) {
    line(text, "\nBy kind of fraud (its frauds against all legitimate rows)");
    let recalls = kinds.first().and_then(|kind| kind.recall_at_alerts.as_deref()).unwrap_or_default();
    let at: Vec<String> = recalls.iter().map(|recall| format!("recall at {}", recall.a_day)).collect();
    let mut head = vec!["kind", "frauds", "mean score", "ROC AUC", "average precision", "recall at threshold"];
    head.extend(at.iter().map(String::as_str));
    let rows = kinds.iter().map(|kind| {
        let mut row = vec![kind.kind.clone(), count(kind.frauds), four(kind.mean_score), four(kind.roc_auc)];
        row.extend([four(kind.average_precision), kind.recall_at_threshold.map_or_else(dash, four)]);
        row.extend(kind.recall_at_alerts.iter().flatten().map(|recall| four(recall.recall)));
        row
    });
    table(text, &head, rows.collect());
}

fn by_fold(text: &mut String, folds: &[Fold], mean: Option<&Figures>, spread: Option<&Figures>) {
    line(text, "\nBy fold");
    let three = |figures: &Figures| {
        [four(figures.roc_auc), four(figures.average_precision), figures.card_precision.map_or_else(dash, four)]
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for fold in folds {
        let mut row = vec![fold.name.clone(), count(fold.rows), count(fold.frauds)];
        row.extend(three(&fold.figures));
        rows.push(row);
    }
    for (name, figures) in [("mean", mean), ("standard deviation", spread)] {
        if let Some(figures) = figures {
            let mut row = vec![name.to_owned(), String::new(), String::new()];
            row.extend(three(figures));
            rows.push(row);
        }
    }
    table(text, &["fold", "rows", "frauds", "ROC AUC", "average precision", "card precision"], rows);
}

fn caught(caught: &Caught) -> [String; 4] {
    [
        caught.precision.map_or_else(dash, four),
        four(caught.recall),
        format!("{:.6}", caught.false_positive_rate),
        caught.amount_recall.map_or_else(dash, four),
    ]
}

fn figure(text: &mut String, name: &str, value: f64) {
    line(text, &format!("  {name:<30}{value:.6}"));
}

fn a_day(at: &AtThreshold) -> String {
    at.alerts_a_day.map_or_else(dash, |day| format!("{day:.1}"))
}

fn six(value: f64) -> String {
    format!("{value:.6}")
}

/// What stands where there is no figure.
pub(super) fn dash() -> String {
    "–".to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "for a person to read")]
fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!(
            [0, 12, 999, 1_000, 67_240, 1_234_567].map(count),
            ["0", "12", "999", "1 000", "67 240", "1 234 567"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let mut text = String::new();
        table(&mut text, &["a", "long"], vec![vec!["123".into(), "–".into()]]);
        assert_eq!(text, "    a  long\n  123     –\n");
    }
}
