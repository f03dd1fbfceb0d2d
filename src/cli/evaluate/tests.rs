//! The command on files: formats, joins, limits, and what it refuses.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;

use super::Evaluate;
use crate::store::files::{Column, Sink};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    evaluate: Evaluate,
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Runs the command and gives its figures, or what it says.
    fn run(&self, line: &str) -> Result<Value, String> {
        let json = self.0.path().join("figures.json");
        let words = line.split_whitespace().map(|word| {
            let file = self.0.path().join(word);
            if file.exists() { file.display().to_string() } else { word.to_owned() }
        });
        let line = ["evaluate".to_owned()].into_iter().chain(words);
        let line = line.chain(["--json".to_owned(), json.display().to_string()]);
        let line = Line::try_parse_from(line).map_err(|error| error.to_string())?;
        line.evaluate.run().map_err(|error| format!("{error:#}"))?;
        Ok(serde_json::from_str(&fs::read_to_string(json).unwrap()).unwrap())
    }

    fn refused(&self, line: &str, words: &[&str]) {
        let said = self.run(line).unwrap_err();
        for word in words {
            assert!(said.contains(word), "{line}: {word:?} is not in: {said}");
        }
    }
}

const SCORES: &str = "transaction_id,score\na,0.9\nb,0.2\nc,0.4\nd,0.1\n";
/// In another order, with a row that has no score.
const LABELS: &str = "transaction_id,is_fraud,occurred_at,customer_id,amount_minor,currency,kind
x,1,2026-01-05T00:00:00Z,9,500,EUR,card
d,0,2026-01-03T23:59:59Z,1,400,EUR,
c,1,2026-01-02 12:00:00,2,300,EUR,card
b,0,2026-01-01T00:00:00Z,1,200,EUR,
a,true,1767225600000,3,100,EUR,terminal
";

#[test]
fn a_second_file_describes_rows_by_id() {
    let folder = Folder::new();
    folder.write("scores.csv", SCORES);
    folder.write("labels.csv", LABELS);
    let got = folder.run("scores.csv --labels labels.csv --kind kind --threshold 0.4 --review-cost 0.5").unwrap();
    assert_eq!((&got["rows"], &got["frauds"], &got["days"]), (&4.into(), &2.into(), &3.into()));
    assert_eq!((&got["first_day"], &got["last_day"]), (&"2026-01-01".into(), &"2026-01-03".into()));
    assert_eq!((&got["roc_auc"], &got["average_precision"]), (&1.0.into(), &1.0.into()));
    assert_eq!(got["at_threshold"]["amount_recall"], 1.0);
    // Two reviews; nothing is missed. Flagging the fraud of 3.00 alone would cost 0.5 + 1.
    assert_eq!(got["cost"]["best"]["cost"], 1.0);
    let kinds: Vec<_> = got["kinds"].as_array().unwrap().iter().map(|kind| kind["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["card", "terminal"]);
}

#[test]
fn days_are_limited_on_both_ends_inclusive() {
    let folder = Folder::new();
    folder.write("scores.csv", SCORES);
    folder.write("labels.csv", LABELS);
    let got = folder.run("scores.csv --labels labels.csv --from 2026-01-02 --to 2026-01-03").unwrap();
    assert_eq!((&got["rows"], &got["first_day"]), (&2.into(), &"2026-01-02".into()));
    folder.refused("scores.csv --labels labels.csv --from 2027-01-01", &["no row lies between"]);
    folder.refused("scores.csv --labels labels.csv --from 01.02.2026", &["a day such as"]);
    folder.write("timeless.csv", "score,is_fraud\n0.1,0\n0.2,1\n");
    folder.refused("timeless.csv --to 2026-01-01", &["--time"]);
}

#[test]
fn every_format_gives_the_same_figures() {
    let folder = Folder::new();
    let mut figures = Vec::new();
    for ending in ["parquet", "csv", "ndjson"] {
        let path = folder.0.path().join(format!("rows.{ending}"));
        let names = ["transaction_id", "score", "is_fraud", "occurred_at", "customer_id", "amount_minor"];
        let mut sink = Sink::create(&path, names.map(str::to_owned).to_vec()).unwrap();
        let rows = 0_i64..50;
        sink.write(vec![
            Column::Text(rows.clone().map(|row| Some(format!("t{row}"))).collect()),
            Column::Float(rows.clone().map(|row| (row * 37 % 50) as f64 / 49.0).collect()),
            Column::Flag(rows.clone().map(|row| Some(row % 5 == 0)).collect()),
            Column::Time(rows.clone().map(|row| 1_767_225_600_000 + row * 7_200_000).collect()),
            Column::Text(rows.clone().map(|row| Some(format!("c{}", row % 9))).collect()),
            Column::Whole(rows.map(|row| row * 11).collect()),
        ])
        .unwrap();
        sink.finish().unwrap();
        figures.push(folder.run(&format!("rows.{ending} --review-cost 2 --card-precision-k 3")).unwrap());
    }
    assert!(figures[0]["card_precision"]["mean"].as_f64().unwrap() > 0.0);
    assert_eq!(figures[0], figures[1]);
    assert_eq!(figures[0], figures[2]);
}

#[test]
fn a_threshold_next_to_32_bit_scores_is_a_32_bit_number() {
    let folder = Folder::new();
    let path = folder.0.path().join("single.parquet");
    let mut sink = Sink::create(&path, ["score", "is_fraud"].map(str::to_owned).to_vec()).unwrap();
    // 0.7 as 32 bits is below 0.7 as 64.
    sink.write(vec![Column::Single(vec![0.7, 0.1]), Column::Flag(vec![Some(true), Some(false)])]).unwrap();
    sink.finish().unwrap();
    assert!(f64::from(0.7_f32) < 0.7);
    assert_eq!(folder.run("single.parquet --threshold 0.7").unwrap()["at_threshold"]["flagged"], 1);
}

#[test]
fn amounts_in_several_currencies_are_not_added_up() {
    let folder = Folder::new();
    folder.write("one.csv", "score,is_fraud,amount_minor,currency\n0.1,0,100,JPY\n0.0,1,200,JPY\n");
    // Yen have no minor unit: the missed fraud costs 200.
    assert_eq!(folder.run("one.csv --review-cost 1000").unwrap()["cost"]["best"]["cost"], 200.0);
    folder.write("two.csv", "score,is_fraud,amount_minor,currency\n0.1,0,100,JPY\n0.2,1,200,EUR\n");
    let got = folder.run("two.csv --review-cost 1 --threshold 0.1").unwrap();
    assert!(got["cost"].is_null() && got["at_threshold"]["amount_recall"].is_null());
    assert!(got["notes"].to_string().contains("several currencies"));
    folder.write("major.csv", "score,is_fraud,amount\n0.1,0,1.5\n0.0,1,2.25\n");
    assert_eq!(folder.run("major.csv --review-cost 1000").unwrap()["cost"]["best"]["cost"], 2.25);
    folder.write("negative.csv", "score,is_fraud,amount\n0.1,0,1.5\n0.2,1,-1\n");
    folder.refused("negative.csv", &["negative.csv", "row 2", "amount", "-1"]);
}

#[test]
fn what_does_not_fit_together_is_named() {
    let folder = Folder::new();
    folder.write("scores.csv", SCORES);
    folder.write("labels.csv", LABELS);
    folder.write("more.csv", "transaction_id,score\na,0.9\nz,0.5\n");
    folder.refused("more.csv --labels labels.csv", &["more.csv", "row 2", "\"z\"", "labels.csv"]);
    folder.write("twice.csv", "transaction_id,score\na,0.9\nb,0.5\na,0.1\n");
    folder.refused("twice.csv --labels labels.csv", &["twice.csv", "row 3", "\"a\"", "row 1"]);
    folder.write("anonymous.csv", "transaction_id,score\na,0.9\n,0.5\n");
    folder.refused("anonymous.csv --labels labels.csv", &["anonymous.csv", "row 2", "no id"]);
    folder.refused("scores.csv --labels labels.csv --fold week", &["labels.csv", "\"week\"", "customer_id"]);
    folder.refused("scores.csv --labels labels.csv --customer card", &["\"card\""]);
    folder.refused("scores.csv --labels labels.csv --amount kind", &["labels.csv", "row 1", "kind", "no number"]);
    folder.refused("scores.csv", &["is_fraud", "--labels"]);
    folder.refused("absent.csv", &["absent.csv"]);
    folder.refused("", &["FILE"]);
    folder.write("folds.csv", "score,is_fraud,fold\n0.1,0,1\n0.2,1,1\n0.3,0,2\n");
    folder.refused("folds.csv --fold fold", &["folds.csv", "fold 2", "0 of 1 rows are frauds"]);
    folder.write("open.csv", "score,is_fraud,fold\n0.1,0,1\n0.2,1,\n");
    folder.refused("open.csv --fold fold", &["open.csv", "row 2", "fold", "empty"]);
}

#[test]
fn comparisons_are_by_id_and_need_the_same_transactions() {
    let folder = Folder::new();
    let a = "transaction_id,score,is_fraud\na,0.9,1\nb,0.2,0\nc,0.1,1\nd,0.3,0\n";
    folder.write("a.csv", a);
    // B in another order; it ranks both frauds on top.
    folder.write("b.csv", "transaction_id,score\nd,0.3\nc,0.8\nb,0.2\na,0.9\n");
    let got = folder.run("--compare a.csv b.csv --bootstrap 100").unwrap();
    assert_eq!((&got["all"]["roc_auc"]["a"], &got["all"]["roc_auc"]["b"]), (&0.5.into(), &1.0.into()));
    assert_eq!((&got["all"]["roc_auc"]["difference"], &got["difference"]), (&0.5.into(), &"B - A".into()));
    assert_eq!((&got["unit"], &got["bootstrap"]), (&"row".into(), &100.into()));
    assert!(got["all"]["card_precision"].is_null() && got["notes"].to_string().contains("too narrow"));
    let same = folder.run("--compare a.csv a.csv --bootstrap 100").unwrap();
    assert_eq!(same["all"]["roc_auc"]["difference"], 0.0);

    folder.write("other.csv", "transaction_id,score\na,0.9\nb,0.2\nc,0.8\nf,0.3\n");
    folder.refused("--compare a.csv other.csv", &["1 transactions are only in A, 1 only in B", "row 4", "--intersect"]);
    let got = folder.run("--compare a.csv other.csv --intersect --bootstrap 100").unwrap();
    assert!(got["rows"] == 3 && got["notes"].to_string().contains("left out"));
    folder.write("none.csv", "transaction_id,score\nx,0.9\n");
    folder.refused("--compare a.csv none.csv --intersect", &["no transaction is in both"]);
    folder.write("wrong.csv", "transaction_id,score,is_fraud\na,0.9,1\nb,0.2,1\nc,0.1,1\nd,0.3,0\n");
    folder.refused("--compare a.csv wrong.csv", &["wrong.csv", "row 2", "label"]);
    folder.refused("--compare a.csv b.csv --unit customer", &["customer"]);
    folder.refused("--compare a.csv", &["2 values"]);
    folder.refused("a.csv --seed 3", &["--compare"]);
    folder.refused("a.csv --compare a.csv b.csv", &["--compare"]);
}

/// Paths of every key, elements of lists under their list.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let path = format!("{path}/{name}");
                keys(member, &path, found);
                found.insert(path);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, found)),
        _ => {}
    }
}

#[test]
fn evaluation_md_shows_every_key() {
    let folder = Folder::new();
    folder.write("scores.csv", SCORES);
    let labels = "transaction_id,is_fraud,occurred_at,customer_id,amount_minor,kind,fold
a,1,2026-01-01T00:00:00Z,1,100,card,1
b,0,2026-01-01T00:00:00Z,2,200,,1
c,1,2026-01-02T00:00:00Z,3,300,card,2
d,0,2026-01-02T00:00:00Z,4,400,,2
";
    folder.write("labels.csv", labels);
    let flags = "--kind kind --fold fold --threshold 0.4 --review-cost 0.5 --alerts-per-day 1";
    let one = folder.run(&format!("scores.csv --labels labels.csv {flags}")).unwrap();
    let two = folder.run("--compare scores.csv scores.csv --labels labels.csv --fold fold").unwrap();
    let blocks = include_str!("../../../docs/EVALUATION.md").split("```json").skip(1);
    let shown: Vec<Value> =
        blocks.map(|text| serde_json::from_str(text.split("```").next().unwrap()).unwrap()).collect();
    assert_eq!(shown.len(), 2);
    for (got, shown) in [one, two].iter().zip(&shown) {
        let [mut there, mut told] = [BTreeSet::new(), BTreeSet::new()];
        keys(got, "", &mut there);
        keys(shown, "", &mut told);
        // What the page does not write out again: the alerts of a fold, and a comparison's figures after the first.
        there.retain(|key| {
            let figure = key
                .split('/')
                .rev()
                .nth(1)
                .is_some_and(|name| name.starts_with("roc_auc") || name.ends_with("_precision"));
            told.contains(key) || !(key.starts_with("/folds/alerts/") || figure && key.matches('/').count() == 3)
        });
        assert_eq!(there, told);
    }
}

#[test]
fn a_comparison_is_limited_to_days() {
    let folder = Folder::new();
    let rows = |kept: &[usize]| {
        let all = ["a,0.9,1,2026-01-01T00:00:00Z", "b,0.1,0,2026-01-01T09:00:00Z", "c,0.5,0,2026-01-02T00:00:00Z"];
        kept.iter().fold("transaction_id,score,is_fraud,occurred_at\n".to_owned(), |text, row| text + all[*row] + "\n")
    };
    folder.write("a.csv", &rows(&[0, 1, 2]));
    folder.write("b.csv", &rows(&[1, 0]));
    folder.refused("--compare a.csv b.csv", &["1 transactions are only in A"]);
    assert_eq!(folder.run("--compare a.csv b.csv --to 2026-01-01 --bootstrap 50").unwrap()["rows"], 2);
    assert_eq!(folder.run("--compare b.csv a.csv --to 2026-01-01 --bootstrap 50").unwrap()["rows"], 2);
}

#[test]
fn reports_are_written_for_every_figure() {
    let folder = Folder::new();
    folder.write("scores.csv", SCORES);
    folder.write("labels.csv", LABELS);
    let line = "evaluate scores.csv --labels labels.csv --kind kind --threshold 0.4 --review-cost 0.5";
    let words = line.split(' ').map(|word| {
        if word.ends_with(".csv") { folder.0.path().join(word).display().to_string() } else { word.to_owned() }
    });
    let Evaluate { file, columns, .. } = Line::try_parse_from(words).unwrap().evaluate;
    let rows = super::Rows::read(Path::new(&file.unwrap()), &columns, false).unwrap();
    let (sample, _) = rows.sample(&columns).unwrap();
    let options = crate::evaluation::Options {
        threshold: Some(0.4),
        alerts_a_day: vec![1],
        card_precision_k: std::num::NonZeroU32::MIN,
        review_cost: Some(0.5),
        bins: std::num::NonZeroUsize::MIN,
        binning: crate::evaluation::Binning::Width,
        curve_points: 0,
    };
    let text = super::report::report("scores.csv", &crate::evaluation::evaluate(&sample, &options));
    let expected = [
        "4 rows, 2 frauds (50.000 %)",
        "ROC AUC",
        "1.000000",
        "card precision at 1",
        "terminal",
        "cheapest",
        "Left out",
        "folds",
    ];
    for word in expected {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}
