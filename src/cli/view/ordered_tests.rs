//! Ranges of a view: what is settled, and pages of a real PostgreSQL.

use std::fmt::Write as _;

use super::*;
use crate::cli::testing::Server;
use crate::transaction::{Connector, Limits, read_json};

#[test]
fn a_range_in_seconds_begins_with_the_first_second_that_is_not_before_it() {
    assert_eq!(Scale::Seconds.from(Millis(2_000)), 2);
    assert_eq!(Scale::Seconds.from(Millis(2_001)), 3);
    assert_eq!(Scale::Seconds.from(Millis(-1)), 0);
    assert_eq!(Scale::Moment.from(Millis(2)), 2_000);
}

#[test]
fn rows_of_the_newest_millisecond_wait_for_the_others_of_it() {
    let row = |id: &str, at: i64| {
        let text = format!(
            r#"{{"transaction_id":"{id}","occurred_at":{at},"customer_id":"c","terminal_id":"t","amount_minor":1,"currency":"EUR"}}"#
        );
        read_json(text.as_bytes(), &Connector::shipped("canonical").unwrap(), &Limits::default()).unwrap().transaction
    };
    let ids = |some: &[Transaction]| some.iter().map(|one| one.transaction_id.to_string()).collect::<Vec<_>>();
    // By the microsecond z was before y, and k before b.
    let mut held = vec![row("z", 1), row("y", 1), row("k", 2)];
    assert_eq!(ids(&settled(&mut held, false)), ["y", "z"]);
    held.push(row("b", 2));
    assert!(settled(&mut held, false).is_empty());
    assert_eq!(ids(&settled(&mut held, true)), ["b", "k"]);
}

const AT: i64 = 1_767_225_600_000;

/// Row `number`: three a millisecond, by the microsecond in the opposite order of their ids.
fn row(number: i64) -> (i64, String) {
    let micros = (AT + number / 3 * 5) * 1_000 + number % 3 * 7;
    (micros, format!("tx-{}-{:02}", number / 3, 9 - number % 3))
}

/// (milliseconds, id) of what is read of a range.
fn read_range(url: &str, view: &str, connector: &str, page: i64, range: [i64; 2]) -> Result<Vec<(i64, String)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connector = Connector::parse(connector).unwrap();
        let view = View::open(url, view, connector, Limits::of_files()).await?;
        let mut ordered = Ordered::new(view, page).await?;
        ordered.seek(Millis(range[0]), Millis(range[1]));
        let mut read = Vec::new();
        loop {
            let page = ordered.next().await?;
            assert!(page.rejected.is_empty());
            read.extend(page.transactions.iter().map(|one| (one.occurred_at.0, one.transaction_id.to_string())));
            if page.ended {
                return Ok(read);
            }
        }
    })
}

#[test]
fn a_range_comes_in_the_order_of_time_and_id_whatever_the_page_and_the_time_counts_in() {
    let server = Server::start();
    let mut sql = String::from(
        "CREATE TABLE t (id text PRIMARY KEY, at timestamptz, ms bigint, s bigint, told text);
         CREATE VIEW v AS SELECT id AS transaction_id, at, ms, s, told, 'c' AS customer_id, 't' AS terminal_id,
             5 AS amount_minor, 'EUR' AS currency FROM t;
         CREATE VIEW hidden AS SELECT * FROM v;
         CREATE ROLE reader LOGIN; GRANT SELECT ON v TO reader; INSERT INTO t VALUES ",
    );
    for number in 0..60 {
        let ((micros, id), comma) = (row(number), if number > 0 { "," } else { "" });
        let (ms, s) = (micros / 1_000, AT / 1_000 + number / 3);
        write!(sql, "{comma}('{id}', timestamptz 'epoch' + {micros} * interval '1 microsecond', {ms}, {s}, '2026')")
            .unwrap();
    }
    server.run(&sql).unwrap();
    let connector = |column: &str, unit: &str| {
        format!("name = \"test\"\nunmapped = \"same_name\"\n[fields.occurred_at]\nfrom = \"{column}\"\n{unit}")
    };
    let url = server.url("reader");
    let mut all: Vec<(i64, String)> = (0..60).map(row).map(|(micros, id)| (micros / 1_000, id)).collect();
    all.sort();
    for page in [1, 2, 3, 4, 7, 59, 60, 61, 1_000] {
        let read = read_range(&url, "v", &connector("at", ""), page, [0, i64::from(i32::MAX) * 1_000]).unwrap();
        assert_eq!(read, all, "pages of {page}");
    }
    // From the first moment on, up to the last one, which is not of it.
    let within =
        |from: i64, to: i64| -> Vec<_> { all.iter().filter(|(at, _)| (from..to).contains(at)).cloned().collect() };
    for (from, to) in [(AT + 5, AT + 20), (AT + 4, AT + 21), (AT + 6, AT + 6), (AT + 6, AT + 16)] {
        for column in ["at", "ms"] {
            let read = read_range(&url, "v", &connector(column, ""), 4, [from, to]).unwrap();
            assert_eq!(read, within(from, to), "{column} of {from} to {to}");
        }
    }
    let seconds = read_range(&url, "v", &connector("s", "unit = \"s\""), 4, [AT + 1, AT + 3_000]).unwrap();
    assert_eq!(seconds.iter().map(|(at, _)| at - AT).collect::<Vec<_>>(), [1_000, 1_000, 1_000, 2_000, 2_000, 2_000]);
    let told = read_range(&url, "v", &connector("told", ""), 4, [0, 1]).unwrap_err().to_string();
    assert!(told.contains("\"told\" is text"), "{told}");
    let told = format!("{:#}", read_range(&url, "hidden", &connector("at", ""), 4, [0, 1]).unwrap_err());
    assert!(told.contains("--view hidden") && told.contains("permission denied"), "{told}");
}
