use std::path::Path;

use arrow_array::RecordBatchReader as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn simulate(folder: &Path, name: &str, threads: usize, rows: Option<u64>) -> Vec<u8> {
    let command = Simulate {
        customers: 4_000,
        terminals: 500,
        days: rows.is_none().then_some(25),
        start: 20_454,
        seed: 11,
        rows,
        out: folder.join(name),
        labels: Some(folder.join("labels.ndjson")),
        currencies: vec![Currency::parse("EUR").unwrap(), Currency::parse("GBP").unwrap()],
        rates: Some(folder.join("rates.csv")),
        reference: Some(folder.join("reference")),
        threads,
    };
    command.run().unwrap();
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn bytes_are_the_same_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.ndjson", "a.csv", "a.parquet"] {
        let one = simulate(folder.path(), name, 1, None);
        let labels = std::fs::read(folder.path().join("labels.ndjson")).unwrap();
        assert!(one == simulate(folder.path(), name, 3, None), "{name}");
        assert!(labels == std::fs::read(folder.path().join("labels.ndjson")).unwrap(), "labels of {name}");
    }
}

#[test]
fn rows_cut_every_format_at_the_same_row() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 70_000;
    let text = String::from_utf8(simulate(folder.path(), "a.ndjson", 2, Some(rows))).unwrap();
    assert_eq!(text.lines().count(), 70_000);
    let csv = String::from_utf8(simulate(folder.path(), "a.csv", 2, Some(rows))).unwrap();
    assert_eq!(csv.lines().count(), 70_001);
    simulate(folder.path(), "a.parquet", 2, Some(rows));
    let file = std::fs::File::open(folder.path().join("a.parquet")).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    assert_eq!(reader.schema(), crate::simulate::schema());
    assert_eq!(reader.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 70_000);
    let ids = |text: &str| text.lines().filter_map(|line| line.get(19..36).map(str::to_owned)).collect::<Vec<_>>();
    let csv_ids: Vec<_> = csv.lines().skip(1).filter_map(|line| line.get(..17).map(str::to_owned)).collect();
    assert_eq!(ids(&text), csv_ids);
}

#[test]
fn verdicts_are_written_in_the_order_of_their_time_and_only_of_rows_written() {
    let folder = tempfile::tempdir().unwrap();
    let text = String::from_utf8(simulate(folder.path(), "a.ndjson", 2, None)).unwrap();
    let labels = std::fs::read_to_string(folder.path().join("labels.ndjson")).unwrap();
    let mut last = String::new();
    let mut count = 0;
    for line in labels.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let at = value["labelled_at"].as_str().unwrap().to_owned();
        assert!(at >= last);
        last = at;
        count += 1;
        if count % 50 == 0 {
            assert!(text.contains(value["transaction_id"].as_str().unwrap()));
        }
    }
    assert!(count > 500);
    assert!(std::fs::read_to_string(folder.path().join("rates.csv")).unwrap().contains(",GBP,0."));
}

#[test]
fn reference_data_has_a_row_of_whatever_is_paid_at() {
    let folder = tempfile::tempdir().unwrap();
    let text = String::from_utf8(simulate(folder.path(), "a.ndjson", 2, Some(5_000))).unwrap();
    let reference = crate::store::reference::read_folder(&folder.path().join("reference")).unwrap();
    let tables = reference.now();
    for line in text.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        for (table, field) in tables.iter().zip(["merchant_id", "product_id", "country", "currency"]) {
            let Some(key) = value[field].as_str() else { continue };
            assert!(table.find(key).value(0).is_some(), "{field} {key}");
        }
    }
    let rates = std::fs::read(folder.path().join("reference/rates.csv")).unwrap();
    assert_eq!(rates, std::fs::read(folder.path().join("rates.csv")).unwrap());
}

#[test]
fn what_cannot_be_written_is_refused_before_anything_is() {
    let folder = tempfile::tempdir().unwrap();
    assert!(Format::of(&folder.path().join("a.xml")).unwrap_err().to_string().contains(".parquet"));
    assert!(parse_day("2026-13-01").is_err() && parse_day("1969-12-31").is_err());
    assert_eq!(parse_day("2026-01-01"), Ok(20_454));
}
