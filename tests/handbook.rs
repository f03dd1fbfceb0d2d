//! The main job on real input: features and scores of the Fraud Detection Handbook's transactions against those that
//! its authors published. The data is not part of this project: `ASSAY_HANDBOOK` names the folder that holds it, and
//! without it these tests say that they did not run.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int64Type, UInt8Type, UInt16Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use assay::store::files::{Column, Sink, Source};
use assay::transaction::{Connector, Limits, Transaction};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// The authors' columns and ours.
const COLUMNS: [(&str, &str); 15] = [
    ("TX_AMOUNT", "amount"),
    ("TX_DURING_WEEKEND", "is_weekend"),
    ("TX_DURING_NIGHT", "is_night"),
    ("CUSTOMER_ID_NB_TX_1DAY_WINDOW", "customer_tx_count_1d"),
    ("CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW", "customer_amount_mean_1d"),
    ("CUSTOMER_ID_NB_TX_7DAY_WINDOW", "customer_tx_count_7d"),
    ("CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW", "customer_amount_mean_7d"),
    ("CUSTOMER_ID_NB_TX_30DAY_WINDOW", "customer_tx_count_30d"),
    ("CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW", "customer_amount_mean_30d"),
    ("TERMINAL_ID_NB_TX_1DAY_WINDOW", "terminal_tx_count_1d"),
    ("TERMINAL_ID_RISK_1DAY_WINDOW", "terminal_fraud_share_1d"),
    ("TERMINAL_ID_NB_TX_7DAY_WINDOW", "terminal_tx_count_7d"),
    ("TERMINAL_ID_RISK_7DAY_WINDOW", "terminal_fraud_share_7d"),
    ("TERMINAL_ID_NB_TX_30DAY_WINDOW", "terminal_tx_count_30d"),
    ("TERMINAL_ID_RISK_30DAY_WINDOW", "terminal_fraud_share_30d"),
];
const TEN_MINUTES: i64 = 600_000;

/// The folder; `None` is said aloud.
fn handbook() -> Option<PathBuf> {
    let folder = std::env::var_os("ASSAY_HANDBOOK").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    if folder.is_none() {
        let line = "comparison with the handbook's data: ASSAY_HANDBOOK names no folder";
        eprintln!("NOT RUN: {line}");
        if let Some(path) = std::env::var_os("ASSAY_UNDONE") {
            let mut file = File::options().append(true).create(true).open(path).unwrap();
            writeln!(file, "{line}").unwrap();
        }
    }
    folder
}

fn assay(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_assay")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn names() -> String {
    COLUMNS.map(|(_, ours)| ours).join(",")
}

/// Whole columns of a Parquet file as numbers, by name.
fn columns(path: &Path, names: &[&str]) -> Vec<Vec<f64>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap().build().unwrap();
    let batches: Vec<RecordBatch> = reader.map(Result::unwrap).collect();
    let column = |name: &&str| batches.iter().flat_map(|batch| numbers(batch.column_by_name(name).unwrap())).collect();
    names.iter().map(column).collect()
}

fn numbers(array: &dyn Array) -> Vec<f64> {
    match array.data_type() {
        DataType::Float64 => array.as_primitive::<Float64Type>().values().to_vec(),
        DataType::Float32 => array.as_primitive::<Float32Type>().values().iter().map(|one| f64::from(*one)).collect(),
        DataType::Int64 => array.as_primitive::<Int64Type>().values().iter().map(|one| *one as f64).collect(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().values().iter().map(|one| f64::from(*one)).collect(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().values().iter().map(|one| f64::from(*one)).collect(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().values().iter().map(|one| f64::from(*one)).collect(),
        DataType::Utf8 => array.as_string::<i32>().iter().map(|one| one.unwrap().parse().unwrap()).collect(),
        other => panic!("{other}"),
    }
}

/// Compares a file of our features with the authors' own, ties exempt; each id must stand there `times` times.
fn compare(folder: &Path, ours: &Path, times: usize) {
    let ties: HashSet<i64> =
        serde_json::from_reader(File::open(folder.join("tied_transaction_ids.json")).unwrap()).unwrap();
    let ids = columns(ours, &["transaction_id"]).remove(0);
    let mut places: HashMap<i64, Vec<usize>> = HashMap::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        places.entry(*id as i64).or_default().push(place);
    }
    let theirs = folder.join("features.parquet");
    let want_ids = columns(&theirs, &["TRANSACTION_ID"]).remove(0);
    assert!(want_ids.len() > 1_100_000);
    for (column, name) in COLUMNS {
        let (want, got) = (columns(&theirs, &[column]).remove(0), columns(ours, &[name]).remove(0));
        let money = name.contains("amount");
        let mut wrong = 0;
        for (id, want) in want_ids.iter().zip(want).filter(|(id, _)| !ties.contains(&(**id as i64))) {
            let places = &places[&(*id as i64)];
            assert_eq!(places.len(), times);
            let equal = |got: f64| if money { (got - want).abs() <= 1e-9 } else { got == want };
            wrong += usize::from(!places.iter().all(|place| equal(got[*place])));
        }
        assert_eq!(wrong, 0, "{name}: rows that differ");
    }
}

#[test]
fn features_equal_the_authors_own_on_every_row() {
    let Some(folder) = handbook() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (input, output) = (folder.join("transactions.parquet"), scratch.path().join("features.parquet"));
    let (from, to) = (input.to_str().unwrap(), output.to_str().unwrap());
    assay(&["features", "--connector", "handbook", "--input", from, "--output", to, "--features", &names()]);
    compare(&folder, &output, 1);
}

#[test]
fn complete_features_are_the_same_in_any_order_and_doubled() {
    let Some(folder) = handbook() else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (shuffled, output) = (scratch.path().join("shuffled.parquet"), scratch.path().join("features.parquet"));
    shuffle(&folder.join("transactions.parquet"), &shuffled);
    let (from, to) = (shuffled.to_str().unwrap(), output.to_str().unwrap());
    assay(&["features", "--input", from, "--output", to, "--features", &names(), "--lateness", "10m"]);
    compare(&folder, &output, 2);
}

/// Writes each row twice, in a random order inside each span of ten minutes.
fn shuffle(from: &Path, to: &Path) {
    let mut random = Pcg64Mcg::seed_from_u64(7);
    let columns =
        ["transaction_id", "occurred_at", "customer_id", "terminal_id", "amount_minor", "currency", "is_fraud"];
    let mut sink = Sink::create(to, columns.map(str::to_owned).to_vec()).unwrap();
    let mut source = Source::open(from, Connector::shipped("handbook").unwrap(), Limits::of_files()).unwrap();
    let mut span: Vec<Transaction> = Vec::new();
    let mut write = |span: &mut Vec<Transaction>| {
        for index in (1..span.len()).rev() {
            span.swap(index, random.random_range(0..=index));
        }
        sink.write(table(span)).unwrap();
        span.clear();
    };
    loop {
        let chunk = source.read().unwrap();
        if chunk.is_empty() {
            break;
        }
        for transaction in chunk.into_iter().map(Result::unwrap) {
            let next = transaction.occurred_at.0.div_euclid(TEN_MINUTES);
            if span.first().is_some_and(|first| first.occurred_at.0.div_euclid(TEN_MINUTES) != next) {
                write(&mut span);
            }
            span.push(transaction.clone());
            span.push(transaction);
        }
    }
    write(&mut span);
    sink.finish().unwrap();
}

fn table(rows: &[Transaction]) -> Vec<Column> {
    let text = |of: fn(&Transaction) -> &str| Column::Text(rows.iter().map(|row| Some(of(row).to_owned())).collect());
    vec![
        text(|row| &row.transaction_id),
        Column::Whole(rows.iter().map(|row| row.occurred_at.0).collect()),
        text(|row| &row.customer_id),
        text(|row| &row.terminal_id),
        Column::Whole(rows.iter().map(|row| row.amount_minor).collect()),
        text(|row| row.currency.code()),
        Column::Flag(rows.iter().map(|row| row.is_fraud).collect()),
    ]
}

#[test]
fn scores_equal_those_given_but_for_rows_at_a_split() {
    let Some(folder) = handbook() else { return };
    let scratch = tempfile::tempdir().unwrap();
    for (model, column) in [("xgb.onnx", "score_xgb"), ("mlp.onnx", "score_mlp")] {
        let (model, input) = (folder.join(model), folder.join("transactions.parquet"));
        let output = scratch.path().join("scores.parquet");
        let (model, from, to) = (model.to_str().unwrap(), input.to_str().unwrap(), output.to_str().unwrap());
        let files = ["--input", from, "--output", to, "--connector", "handbook"];
        assay(&[&["score", "--model", model, "--features-in", &names()], &files[..]].concat());
        let mut got = columns(&output, &["transaction_id", "score"]).into_iter();
        let got: HashMap<i64, f64> =
            got.next().unwrap().into_iter().map(|id| id as i64).zip(got.next().unwrap()).collect();
        let given = columns(&folder.join("scores_2018-07-25_to_31.parquet"), &["TRANSACTION_ID", column]);
        let rows = given[0].iter().zip(&given[1]);
        let apart = rows.filter(|(id, want)| (got[&(**id as i64)] - **want).abs() > 1e-5).count();
        assert!(given[0].len() > 67_000 && apart <= 3, "{column}: {apart} rows differ");
    }
}
