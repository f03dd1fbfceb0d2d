//! Answers of the listener for commands, for a person. In: their JSON. Out: text.

use serde_json::Value;

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn key(id: &Value) -> String {
    format!("{}/{}", text(id, "name"), text(id, "version"))
}

/// A line a version, and one for what is none.
pub(super) fn list(answer: &Value) -> String {
    let versions = items(answer, "versions").map(|version| {
        let share = version.get("basis_points").map_or_else(String::new, |share| format!("  {share} of 10000"));
        let reason = version.get("reason").map_or_else(String::new, |_| format!("  {}", text(version, "reason")));
        let line =
            format!("{:<24} {:<10} {}{share}{reason}", key(version), text(version, "stage"), text(version, "created"));
        line.trim_end().to_owned()
    });
    let broken =
        items(answer, "broken").map(|one| format!("{:<24} no version  {}", text(one, "place"), text(one, "reason")));
    let lines: Vec<String> = versions.chain(broken).collect();
    if lines.is_empty() { "no version is known".to_owned() } else { lines.join("\n") }
}

/// One version and its gates.
pub(super) fn version(answer: &Value) -> String {
    let mut lines = vec![format!("{}  {}", key(answer), text(answer, "stage"))];
    if answer.get("reason").is_some() {
        lines.push(format!("  {}", text(answer, "reason")));
    }
    lines.push(format!("  digest {}  made {}", text(answer, "digest"), text(answer, "created")));
    for check in items(answer, "checks") {
        let line = format!("  {:<13} {:<8} {}", text(check, "gate"), text(check, "met"), text(check, "detail"));
        lines.push(line.trim_end().to_owned());
    }
    lines.join("\n")
}

/// A line a change, newest last.
pub(super) fn history(answer: &Value) -> String {
    let line = |change: &Value| {
        let of = |name: &str| change.get(name).filter(|id| id.is_object()).map_or_else(|| "-".to_owned(), key);
        let share = change.get("basis_points").map_or_else(String::new, |share| format!(" at {share} of 10000"));
        format!(
            "{}  {:<13} {} -> {}{share}  by {}: {}",
            text(change, "at"),
            text(change, "action"),
            of("from"),
            of("to"),
            text(change, "by"),
            text(change, "why")
        )
    };
    let lines: Vec<String> = items(answer, "changes").map(line).collect();
    if lines.is_empty() { "nothing was changed yet".to_owned() } else { lines.join("\n") }
}

/// The version that was active at a moment, by the one change that the answer tells.
pub(super) fn active(answer: &Value) -> Option<String> {
    let change = items(answer, "changes").last()?;
    let (to, since) = (change.get("to")?, text(change, "at"));
    let (by, why) = (text(change, "by"), text(change, "why"));
    Some(format!("{}  digest {}  active since {since}, by {by}: {why}", key(to), text(to, "digest")))
}

/// A comparison, a figure a line.
pub(super) fn comparison(answer: &Value) -> String {
    let figure = |name: &str, what: &str| {
        let value = answer.get(name).filter(|value| !value.is_null());
        format!("{:<12} {what}", value.map_or_else(|| "-".to_owned(), Value::to_string))
    };
    let label = |name: &str, what: &str| {
        let value = answer.get("labels").and_then(|labels| labels.get(name));
        format!("{:<12} {what}", value.map_or_else(|| "-".to_owned(), Value::to_string))
    };
    let lines = [
        format!("{} beside {} since {}", text(answer, "challenger"), text(answer, "champion"), text(answer, "since")),
        figure("compared", "transactions that both scored"),
        figure("dropped", "dropped because too many waited"),
        figure("failed", "without a score of the challenger"),
        figure("agreement", "share that both flag or neither"),
        figure("both_flagged", "flagged by both"),
        figure("champion_only", "flagged by the active version alone"),
        figure("challenger_only", "flagged by the challenger alone"),
        figure("mean_distance", "mean distance of the scores"),
        figure("largest_distance", "largest distance of the scores"),
        figure("shift", "population stability index of the scores"),
        label("labelled", "labelled since"),
        label("fraud", "of them fraud"),
        figure("champion_precision", "precision of the active version"),
        figure("challenger_precision", "precision of the challenger"),
        figure("champion_recall", "recall of the active version"),
        figure("challenger_recall", "recall of the challenger"),
    ];
    lines.join("\n")
}
