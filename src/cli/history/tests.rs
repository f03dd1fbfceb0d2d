//! Histories out of a file and out of a real PostgreSQL: the same snapshot, and one that the service takes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build::{BuildHistory, Tally};
use super::show::Show;
use crate::app::key::hash_key;
use crate::base::clock::{DAY, FixedClock, HOUR, Millis};
use crate::base::money::Rates;
use crate::cli::testing::Server;
use crate::config::Config;
use crate::decision::{By, Policy, ReasonRules};
use crate::engine::ports::NoObserver;
use crate::engine::snapshot::ReadFrom;
use crate::engine::{Durability, Engine, EngineParts, Limits};
use crate::features::{Catalogue, HistoryOptions};
use crate::store::MemoryLog;
use crate::store::snapshots::{Expected, Opened, Snapshots};

const START: i64 = 1_767_225_600_000;
const ROWS: i64 = 3_000;
/// A row every 20 minutes: 41 days.
const GAP: i64 = HOUR / 3;

fn config(folder: &Path) -> Config {
    let key = folder.join("history.key").display().to_string();
    Config::parse(&format!("[history]\nhash_key_file = {key:?}\n"), std::iter::empty()).unwrap()
}

fn command(from: String, output: PathBuf) -> BuildHistory {
    BuildHistory {
        from,
        connector: "canonical".to_owned(),
        labels: None,
        config: None,
        output,
        keep: 2,
        rejected: None,
        postgres_url: None,
        view: None,
    }
}

/// Columns of row `number`: id, time, customer, terminal, amount, fraud or not.
fn row(number: i64) -> (String, i64, String, String, i64, bool) {
    let (customer, terminal) = (format!("c{}", number % 37), format!("t{}", number % 11));
    (format!("tx-{number:05}"), START + number * GAP, customer, terminal, 100 + number % 900, number % 50 == 0)
}

fn ndjson(numbers: impl Iterator<Item = i64>) -> String {
    let mut text = String::new();
    for number in numbers {
        let (id, at, customer, terminal, amount, fraud) = row(number);
        writeln!(
            text,
            r#"{{"transaction_id":"{id}","occurred_at":{at},"customer_id":"{customer}","terminal_id":"{terminal}","amount_minor":{amount},"currency":"EUR","is_fraud":{fraud}}}"#
        )
        .unwrap();
    }
    text
}

/// The shards of a snapshot, one after the other.
fn shards(path: &Path) -> Vec<Vec<u8>> {
    let mut opened = Opened::open(path).unwrap();
    let (mut all, mut shard) = (Vec::new(), Vec::new());
    while opened.next_shard(&mut shard).unwrap() {
        all.push(shard.clone());
    }
    all
}

/// An engine as the service makes it of this configuration, without a model.
fn engine(config: &Config) -> Engine {
    let base = config.money.base_currency;
    Engine::new(EngineParts {
        clock: Arc::new(FixedClock::new(Millis(START))),
        rates: Arc::new(Rates::of_base(base)),
        catalogue: Arc::new(Catalogue::shipped(base).unwrap()),
        history: HistoryOptions {
            key: hash_key(&config.history).unwrap(),
            lateness: i64::try_from(config.history.lateness.as_millis()).unwrap(),
            exact_events: config.history.exact_events,
        },
        log: Arc::new(MemoryLog::new()),
        model: None,
        policy: Policy::default(),
        limits: Limits::default(),
        reasons: ReasonRules { most: 3, by: By::Feature, hidden: Default::default() },
        durability: Durability::Queued,
        set_up: crate::engine::SetUp::Embedded,
        instance: 1,
        observer: Arc::new(NoObserver),
    })
    .unwrap()
}

#[test]
fn a_history_out_of_a_file_is_one_that_the_service_starts_from() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (file, labels) = (folder.path().join("tx.ndjson"), folder.path().join("labels.ndjson"));
    // Twice over, the second time backwards.
    fs::write(&file, ndjson((0..ROWS).chain((0..ROWS).rev()))).unwrap();
    let verdict =
        |id: &str, at: i64| format!("{{\"transaction_id\":\"{id}\",\"is_fraud\":true,\"labelled_at\":{at}}}\n");
    let newest = START + (ROWS - 1) * GAP;
    let lines = [
        verdict("tx-02999", newest + 5),
        verdict("tx-02999", newest + 9),
        verdict("to-come", newest),
        verdict("gone", 0),
    ];
    fs::write(&labels, lines.concat()).unwrap();
    let output = folder.path().join("snapshots");
    let build = BuildHistory { labels: Some(labels), ..command(file.display().to_string(), output.clone()) };
    let (written, tally) = build.build(&config).unwrap();

    // 37 days of windows and 2 of lateness are in reach; at the file's turn the rest has passed.
    let reach = 39 * DAY / GAP;
    let Tally { rows, repeated, out_of_reach, rejected, labels, waiting, unmatched, .. } = tally;
    assert_eq!((rows, rejected, labels, waiting, unmatched), (2 * ROWS as u64, 0, 2, 1, 1));
    assert_eq!((repeated, out_of_reach), (reach as u64, (ROWS - reach) as u64));
    let engine = engine(&config);
    let expected = Expected { state: engine.state(), not_before: Millis(0) };
    let mut opened = Snapshots::new(output, 2).newest(&expected).unwrap().opened.unwrap();
    let header = opened.header().clone();
    assert_eq!(header.stream_time, Some(Millis(newest)));
    assert_eq!(header.read_from, ReadFrom::Moment(Millis(newest - 2 * DAY)));
    let restored = engine.restore(&header, |shard| opened.next_shard(shard)).unwrap();
    // Ids within the lateness, the one at its edge included.
    assert_eq!((restored.counts.ids, restored.counts.waiting_labels), (2 * DAY as u64 / GAP as u64 + 1, 1));
    let kinds = Catalogue::shipped(config.money.base_currency).unwrap();
    let named = kinds.kept().iter().filter(|kept| ["customer_id", "terminal_id"].contains(&&*kept.entity)).count();
    assert_eq!(named, 2);
    assert_eq!((restored.counts.entities, written.counts.entities), (37 + 11, 37 + 11));
    assert!(restored.counts.events >= reach as u64, "{restored:?}");

    let told = Show { file: written.path }.document().unwrap();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["counts"]["ids"], restored.counts.ids);
    assert_eq!(told["read_from"]["moment"], newest - 2 * DAY);
}

#[test]
fn what_is_wrong_is_told_by_row_and_option() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let file = folder.path().join("tx.ndjson");
    let other = ndjson(0..1).replace("c0", "c9");
    fs::write(&file, ndjson(0..2) + &other + "{}\n").unwrap();
    let output = folder.path().join("snapshots");
    let told = command(file.display().to_string(), output.clone()).build(&config).unwrap_err().to_string();
    assert!(told.contains("row 3") && told.contains("--rejected"), "{told}");
    assert!(!output.exists());
    let rejected = folder.path().join("rejected.ndjson");
    let collecting = BuildHistory { rejected: Some(rejected.clone()), ..command(file.display().to_string(), output) };
    let (_, tally) = collecting.build(&config).unwrap();
    assert_eq!((tally.rows, tally.rejected), (4, 2));
    assert_eq!(fs::read_to_string(rejected).unwrap().lines().count(), 2);
    let told = command("postgres".to_owned(), folder.path().to_owned()).build(&config).unwrap_err().to_string();
    assert!(told.contains("--postgres-url") && told.contains("--view"), "{told}");
}

#[test]
fn a_view_of_postgres_gives_the_same_history_as_a_file_with_a_role_that_may_only_read_it() {
    let server = Server::start();
    let mut sql = String::from(
        "CREATE SCHEMA pay;
         CREATE TABLE pay.ment (id text PRIMARY KEY, at timestamptz, who text, place text, cents bigint, bad boolean);
         CREATE VIEW pay.\"For scoring\" AS SELECT id AS transaction_id, at AS occurred_at, who AS customer_id,
             place AS terminal_id, cents AS amount_minor, 'EUR' AS currency, bad AS is_fraud FROM pay.ment ORDER BY at;
         CREATE ROLE reader LOGIN;
         GRANT USAGE ON SCHEMA pay TO reader;
         GRANT SELECT ON pay.\"For scoring\" TO reader;
         INSERT INTO pay.ment VALUES ",
    );
    for number in 0..ROWS {
        let (id, at, customer, terminal, amount, fraud) = row(number);
        let comma = if number > 0 { "," } else { "" };
        write!(sql, "{comma}('{id}', to_timestamp({at} / 1000.0), '{customer}', '{terminal}', {amount}, {fraud})")
            .unwrap();
    }
    server.run(&sql).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let of_view = BuildHistory {
        postgres_url: Some(server.url("reader")),
        view: Some("pay.For scoring".to_owned()),
        ..command("postgres".to_owned(), folder.path().join("view"))
    };
    let (from_view, tally) = of_view.build(&config).unwrap();
    assert_eq!((tally.rows, tally.rejected, tally.repeated), (ROWS as u64, 0, 0));
    assert!(tally.labels > 0);
    let file = folder.path().join("tx.ndjson");
    fs::write(&file, ndjson(0..ROWS)).unwrap();
    let (from_file, _) = command(file.display().to_string(), folder.path().join("file")).build(&config).unwrap();
    assert_eq!(from_view.counts, from_file.counts);
    assert_eq!(shards(&from_view.path), shards(&from_file.path));

    let beyond = BuildHistory { view: Some("pay.ment".to_owned()), ..of_view };
    let told = format!("{:#}", beyond.build(&config).unwrap_err());
    assert!(told.contains("--view pay.ment") && told.contains("permission denied"), "{told}");
    drop(server);
    let told = format!("{:#}", beyond.build(&config).unwrap_err());
    assert!(told.contains("PostgreSQL cannot be reached"), "{told}");
}
