//! Configuration, rights, the payments' table, migrations.

use assay::base::secret::Secret;
use assay::engine::delivery::{Destination, DestinationError};
use assay::store::PostgresStore;
use assay::store::postgres::{Fourth, MIGRATIONS, PostgresError, PostgresOptions, RowTable, Tls};

use crate::place::{Place, row_table};
use crate::records::decided;

fn faults(error: PostgresError) -> Vec<String> {
    let PostgresError::Faults(faults) = error else { unreachable!("{error}") };
    faults
}

/// Asserts that exactly these faults were told, each holding its words.
fn assert_told(told: &[String], expected: &[&str]) {
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for words in expected {
        assert!(told.iter().any(|fault| fault.contains(words)), "{words:?} is not in {told:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_has_exactly_the_rights_it_needs() {
    for fourth in [Fourth::Revision("revision".into()), Fourth::Time("decided_at".into()), Fourth::None] {
        let place = Place::fourth(fourth.clone()).await;
        place.pay(&["a"]).await;
        let store = place.store();
        store.prepare().await.unwrap();
        assert_eq!(store.write(&[decided("a", 0.5)]).await.unwrap().applied, 1);
        store.look_after().await.unwrap();
        // What the role may on the table, as the catalogue says: the key and the revision are read, four are written.
        let rights = format!(
            "SELECT string_agg(privilege_type || ' ' || column_name, ',' ORDER BY privilege_type, column_name)
               FROM information_schema.column_privileges WHERE grantee = '{}' AND table_name = 'payments'",
            place.role
        );
        let rights: String = place.one(&rights).await.get(0);
        let (read, written) = match &fourth {
            Fourth::None => (",SELECT id", ""),
            Fourth::Revision(_) => (",SELECT id,SELECT revision", ",UPDATE revision"),
            Fourth::Time(_) => (",SELECT decided_at,SELECT id", ",UPDATE decided_at"),
        };
        let mut all: Vec<&str> = ["UPDATE fraud_score", "UPDATE is_flagged", "UPDATE model_version"].to_vec();
        all.extend(read.split(',').chain(written.split(',')).filter(|part| !part.is_empty()));
        all.sort_unstable();
        assert_eq!(rights, all.join(","), "{fourth:?}");
        let table = format!(
            "SELECT count(*) FROM information_schema.table_privileges WHERE grantee = '{}'
            AND table_name = 'payments'",
            place.role
        );
        assert_eq!(place.count(&table).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_right_is_named() {
    let place = Place::new().await;
    let role = &place.role;
    place.execute(&format!("REVOKE ALL ON shop.payments FROM {role};
        REVOKE SELECT (id, revision), UPDATE (fraud_score, model_version, is_flagged, revision) ON shop.payments FROM {role};
        REVOKE USAGE ON SCHEMA shop FROM {role}")).await;
    let expected = [
        "USAGE on the schema \"shop\"",
        "SELECT on \"id\"",
        "SELECT on \"revision\"",
        "UPDATE on \"fraud_score\"",
        "UPDATE on \"model_version\"",
        "UPDATE on \"is_flagged\"",
        "UPDATE on \"revision\"",
    ];
    assert_told(&faults(place.store().prepare().await.unwrap_err()), &expected);
    let error = place.store().write(&[decided("a", 0.5)]).await.unwrap_err();
    assert!(matches!(error, DestinationError::Misconfigured { destination: "postgres", .. }), "{error}");
    // One right after the other, as a person would mend it; the store that was refused goes on without a restart.
    let store = place.store();
    store.prepare().await.unwrap_err();
    place.execute(&place.grants(&Fourth::Revision("revision".into()))).await;
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    store.prepare().await.unwrap();
    // And one that is taken away while it runs.
    place.pay(&["a"]).await;
    place.execute(&format!("REVOKE UPDATE (is_flagged) ON shop.payments FROM {role}")).await;
    let error = store.write(&[decided("a", 0.5)]).await.unwrap_err();
    assert!(matches!(&error, DestinationError::Misconfigured { .. }), "{error}");
    let error = store.write(&[decided("a", 0.5)]).await.unwrap_err();
    assert!(error.to_string().contains("lacks UPDATE on \"is_flagged\""), "{error}");
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_schema_of_its_own_is_told() {
    let place = Place::new().await;
    place.execute("DROP SCHEMA assay").await;
    let told = faults(place.store().prepare().await.unwrap_err());
    assert_told(&told, &["CREATE SCHEMA \"assay\" AUTHORIZATION"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_there_or_no_table() {
    let place = Place::new().await;
    place.execute("CREATE VIEW shop.seen AS SELECT * FROM shop.payments").await;
    for (table, words) in [
        ("shop.payment", "no table \"shop\".\"payment\""),
        ("store.payments", "no schema \"store\""),
        ("payments", "no table \"public\".\"payments\""),
        ("shop.seen", "is no table"),
        ("shop.Payments", "no table \"shop\".\"Payments\""),
        ("shop.pay\"; DROP TABLE shop.payments; --", "no table \"shop\".\"pay\"\"; DROP TABLE shop.payments; --\""),
    ] {
        let rows = RowTable { table: table.into(), ..row_table() };
        let store = PostgresStore::new(&PostgresOptions { rows, ..place.options.clone() }).unwrap();
        assert_told(&faults(store.prepare().await.unwrap_err()), &[words]);
    }
    assert_eq!(place.count("SELECT count(*) FROM shop.payments").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_columns_are_all_told_at_once() {
    let tables = "CREATE SCHEMA shop; CREATE TABLE shop.payments (id bigint PRIMARY KEY, fraud_score numeric(4,4),
        is_flagged integer, revision smallint, decided_at timestamp)";
    let place_tables = format!("{tables}; ALTER TABLE shop.payments ADD COLUMN model_version text");
    let place = Place::with(&place_tables, Fourth::Revision("revision".into())).await;
    place.execute("ALTER TABLE shop.payments DROP COLUMN model_version").await;
    let expected = [
        "\"id\" of \"shop\".\"payments\", the key column, is of type int8 and must be text",
        "numeric(4,4) and must hold 0 to 1",
        "no column \"model_version\" (the version column)",
        "the flag column, is of type int4 and must be boolean",
        "the revision column, is of type int2 and must be integer or bigint",
    ];
    assert_told(&faults(place.store().prepare().await.unwrap_err()), &expected);
    let rows = RowTable { fourth: Fourth::Time("decided_at".into()), ..row_table() };
    let store = PostgresStore::new(&PostgresOptions { rows, ..place.options.clone() }).unwrap();
    let told = faults(store.prepare().await.unwrap_err());
    assert!(
        told.iter().any(|fault| fault.contains("type timestamp and must be timestamp with time zone")),
        "{told:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_unique_index_and_a_generated_column() {
    let tables =
        "CREATE SCHEMA shop; CREATE TABLE shop.payments (id text, day date, fraud_score real, model_version text,
        is_flagged boolean GENERATED ALWAYS AS (day IS NOT NULL) STORED, revision integer, PRIMARY KEY (id, day))";
    let place = Place::with(tables, Fourth::Revision("revision".into())).await;
    let told = faults(place.store().prepare().await.unwrap_err());
    assert_told(&told, &["no unique index on \"id\" alone", "\"is_flagged\" of \"shop\".\"payments\" is generated"]);
}

#[tokio::test]
async fn options_are_refused_all_at_once_and_tell_no_secret() {
    let options = PostgresOptions {
        url: Some(Secret::new("postgres://u:hunter2@host:port/x".into())),
        password: Some(Secret::new("hunter2".into())),
        schema: String::new(),
        tls: Tls::Verify,
        ca_file: Some("/nonexistent/ca.pem".into()),
        rows: RowTable { score: "id".into(), flag: "x".repeat(64), ..row_table() },
        statement_timeout: std::time::Duration::ZERO,
        ..PostgresOptions::default()
    };
    let told = faults(PostgresStore::new(&options).unwrap_err());
    let expected = [
        "the url cannot be read",
        "the CA file /nonexistent/ca.pem",
        "statement time-out",
        "the schema is named \"\"",
        "the flag column is named",
        "the score column and the key column are both \"id\"",
    ];
    assert_told(&told, &expected);
    let shown = format!(
        "{options:?} {told:?} {:?}",
        PostgresStore::new(&PostgresOptions {
            url: Some(Secret::new("postgres://u:hunter2@host/x".into())),
            ..PostgresOptions::default()
        })
    );
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_or_database_needs_a_person() {
    let place = Place::new().await;
    let options = PostgresOptions { database: "no_such".into(), ..place.options.clone() };
    let told = faults(PostgresStore::new(&options).unwrap().prepare().await.unwrap_err());
    assert_told(&told, &["3D000"]);
    let url = format!(
        "host={} port={} user={} dbname={} sslmode=require",
        place.options.host, place.options.port, place.role, place.options.database
    );
    let options = PostgresOptions { url: Some(Secret::new(url)), ..place.options.clone() };
    PostgresStore::new(&options).unwrap().prepare().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn migrations_run_once_also_side_by_side() {
    let place = Place::new().await;
    let stores: Vec<PostgresStore> = (0..6).map(|_| place.store()).collect();
    let prepared = futures_util::future::join_all(stores.iter().map(PostgresStore::prepare)).await;
    for one in prepared {
        one.unwrap();
    }
    place.store().prepare().await.unwrap();
    assert_eq!(place.count("SELECT count(*) FROM assay.schema_migrations").await, MIGRATIONS.len() as i64);
    // Another schema beside it is another installation.
    place.execute(&format!("CREATE SCHEMA \"Second one\" AUTHORIZATION {}", place.role)).await;
    let options = PostgresOptions { schema: "Second one".into(), ..place.options.clone() };
    let second = PostgresStore::new(&options).unwrap();
    place.pay(&["a"]).await;
    assert_eq!(second.write(&[decided("a", 0.5)]).await.unwrap().applied, 1);
    assert_eq!(place.count("SELECT count(*) FROM assay.fraud_decisions").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_the_future_and_a_changed_text_are_refused() {
    let place = Place::new().await;
    place.store().prepare().await.unwrap();
    let known = MIGRATIONS.len();
    let later = known + 1;
    let insert = format!("INSERT INTO assay.schema_migrations (version, name, sha256) VALUES ({later}, 'later', 'ab')");
    place.execute(&insert).await;
    let told = faults(place.store().prepare().await.unwrap_err());
    assert_told(
        &told,
        &[&format!(
            "the schema assay has version {later} and this program knows up to {known}: use the program that wrote it"
        )],
    );
    place
        .execute("DELETE FROM assay.schema_migrations WHERE name <> 'decisions'; UPDATE assay.schema_migrations SET sha256 = 'ab'")
        .await;
    let told = faults(place.store().prepare().await.unwrap_err());
    assert_told(&told, &["migration 1 (decisions) of the schema assay was applied from another text"]);
    place.execute("UPDATE assay.schema_migrations SET version = version + 4").await;
    let told = faults(place.store().prepare().await.unwrap_err());
    assert_told(&told, &["lacks migration 1 and has 5"]);
}
