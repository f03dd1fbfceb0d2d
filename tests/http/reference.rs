//! The real program with reference data: files that change while it serves, rates that stay, what is refused, and the same
//! features out of a file of payments.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::now;
use super::server::{Server, configuration, run};

const MERCHANTS: &str = "merchant_id,risk,onboarded_on,usual_amount,online_only\nm1,high,2020-01-01,12.5,true\n";

/// The lines of a configuration with the folder `data` and a copy beside it.
fn lines(folder: &Path) -> [String; 3] {
    let text = |name: &str| format!("{:?}", folder.join(name).display().to_string());
    [
        format!("reference.directory = {}", text("data")),
        format!("reference.copy = {}", text("copy.db")),
        "reference.refresh = \"100ms\"".to_owned(),
    ]
}

fn start(folder: &Path) -> Server {
    let lines = lines(folder);
    Server::start(folder, &lines.each_ref().map(String::as_str))
}

/// Writes a file beside and renames it, as whoever replaces one does.
fn put(folder: &Path, name: &str, text: &str) {
    let beside = folder.join("beside");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, folder.join("data").join(name)).unwrap();
}

/// A rate of the dollar, published the day before yesterday.
fn rates(rate: &str) -> String {
    let day = assay::base::clock::Millis(now() - 2 * 86_400_000).to_rfc3339();
    format!("published,currency,rate\n{},USD,{rate}\n", &day[..10])
}

/// 110 dollars in euro, as a new payment is converted; and the codes of its reasons.
fn dollars(server: &Server, id: &str) -> (f64, Vec<String>) {
    let mut client = server.client();
    let payment = json!({
        "transaction_id": id, "occurred_at": now(), "customer_id": "c-1", "terminal_id": "t-1", "merchant_id": "m1",
        "amount_minor": 11_000, "currency": "USD"
    });
    let answer = client.post("/predict", &payment);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let codes = answer.json()["reasons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["code"].as_str().unwrap().to_owned())
        .collect();
    let found = client.get(&format!("/decisions/{id}?features=true")).json();
    (found["features"]["amount"].as_f64().unwrap(), codes)
}

/// A series of /metrics.
fn series(server: &Server, name: &str) -> Option<i64> {
    let text = server.client().get("/metrics").text();
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

fn until(server: &Server, name: &str, holds: impl Fn(i64) -> bool) {
    let begun = Instant::now();
    while !series(server, name).is_some_and(&holds) {
        assert!(begun.elapsed().as_secs() < 180, "{name} is {:?}", series(server, name));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn files_are_read_again_while_it_serves_and_a_published_rate_stays_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    put(folder.path(), "merchants.csv", MERCHANTS);
    put(folder.path(), "rates.csv", &rates("1.10"));
    let server = start(folder.path());
    let (amount, codes) = dollars(&server, "a");
    assert!((amount - 100.0).abs() < 1e-9, "{amount}");
    assert!(!codes.iter().any(|code| code.contains("rate") || code.contains("reference")), "{codes:?}");
    let rows = "assay_reference_rows{table=\"merchants\"}";
    assert_eq!(series(&server, rows), Some(1));
    put(folder.path(), "merchants.csv", &format!("{MERCHANTS}m2,low,,,\n"));
    put(folder.path(), "rates.csv", &rates("2.20"));
    until(&server, rows, |rows| rows == 2);
    until(&server, "assay_rate_corrections_total", |corrections| corrections == 1);
    assert!((dollars(&server, "b").0 - 100.0).abs() < 1e-9);
    let told = server.stop();
    assert!(told.contains("the first one counts"), "{told}");
    let server = start(folder.path());
    assert!((dollars(&server, "c").0 - 100.0).abs() < 1e-9);
    // The source goes away: the last good value, and no other sign than its age.
    std::fs::rename(folder.path().join("data"), folder.path().join("gone")).unwrap();
    until(&server, "assay_reference_refreshes_total{outcome=\"failed\"}", |failed| failed > 0);
    until(&server, "assay_reference_age_seconds{table=\"merchants\"}", |age| age > 0);
    assert_eq!((series(&server, rows), series(&server, "assay_ready_state")), (Some(2), Some(1)));
    assert!((dollars(&server, "d").0 - 100.0).abs() < 1e-9);
    // And a start without it begins with the copy.
    drop(server.stop());
    let server = start(folder.path());
    assert!((dollars(&server, "e").0 - 100.0).abs() < 1e-9);
    assert_eq!(series(&server, rows), Some(2));
}

#[test]
fn what_is_wrong_with_the_files_ends_the_start_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let lines = lines(folder.path());
    let file = configuration(folder.path(), &lines.each_ref().map(String::as_str));
    let serve = || run(&["serve", "--config", file.to_str().unwrap()]);
    let ended = serve();
    assert!(!ended.status.success() && ended.errors.contains("has no file of merchants"), "{}", ended.errors);
    std::fs::create_dir(folder.path().join("data")).unwrap();
    put(folder.path(), "merchants.csv", &MERCHANTS.replace("risk", "class"));
    let ended = serve();
    assert!(!ended.status.success() && ended.errors.contains("there is no column \"risk\""), "{}", ended.errors);
}

#[test]
fn a_file_of_payments_gets_the_features_of_the_folder_it_is_given() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    put(folder.path(), "merchants.csv", MERCHANTS);
    put(folder.path(), "rates.csv", "published,currency,rate\n2019-12-31,USD,1.10\n");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let payments = r#"{"transaction_id":"a","occurred_at":"2020-01-03T12:00:00Z","customer_id":"c","terminal_id":"t","amount_minor":11000,"currency":"USD","merchant_id":"m1"}
{"transaction_id":"b","occurred_at":"2020-01-03T12:00:01Z","customer_id":"c","terminal_id":"t","amount_minor":1250,"currency":"EUR","merchant_id":"m2"}
"#;
    std::fs::write(path("payments.ndjson"), payments).unwrap();
    let features = |more: &[&str]| {
        let (input, output) = (path("payments.ndjson"), path("features.ndjson"));
        let ended = run(&[&["features", "--input", &input, "--output", &output], more].concat());
        let text = std::fs::read_to_string(output).unwrap_or_default();
        (ended, text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>())
    };
    let data = path("data");
    let (ended, rows) = features(&["--reference", &data]);
    assert!(ended.status.success() && ended.errors.contains("1 without a row of reference data"), "{}", ended.errors);
    let of = |row: &Value| {
        ["amount", "merchant_risk_class", "merchant_days_since_onboarding", "amount_to_merchant_usual"]
            .map(|name| row[name].as_f64().unwrap())
    };
    assert_eq!((of(&rows[0]), of(&rows[1])), ([100.0, 2.0, 2.0, 8.0], [12.5, 1.0, -1.0, 1.0]));
    // Tables that are not given have no columns, and one that is asked for is refused by name.
    assert!(rows[0].get("country_risk_class").is_none());
    let (ended, rows) = features(&[]);
    assert!(ended.status.success() && rows[0].get("merchant_risk_class").is_none(), "{}", ended.errors);
    let (ended, _) = features(&["--features", "merchant_risk_class"]);
    let told = ended.errors;
    assert!(!ended.status.success() && told.contains("\"merchants\"") && told.contains("--reference DIR"), "{told}");
}
