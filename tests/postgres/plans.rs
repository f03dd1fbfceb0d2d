//! No statement scans the payments' table, and how many rows a second one connection keeps.

use std::time::{Duration, Instant};

use assay::engine::delivery::{Delivered, Destination};
use assay::store::postgres::Fourth;

use crate::place::Place;
use crate::records::{decided, revised};

/// Rows of the table: 200,000, in the long form 20 million.
fn table_rows() -> u32 {
    if std::env::var_os("ASSAY_LONG").is_some() { 20_000_000 } else { 200_000 }
}

/// Every line of the plan that reads the table must be a probe of an index, by the key.
fn assert_by_key(plan: &str) {
    let lines: Vec<&str> = plan.lines().collect();
    let mut probes = 0;
    for (at, line) in lines.iter().enumerate() {
        assert!(!line.contains("Seq Scan") && !line.contains("Hash Join") && !line.contains("Merge Join"), "{plan}");
        let reads = line.contains("Scan") && (line.contains(" on payments") || line.contains("payments_pkey"));
        if reads {
            assert!(line.contains("Index Scan using payments_pkey") || line.contains("Index Only Scan"), "{plan}");
            assert!(lines[at + 1].trim_start().starts_with("Index Cond: ((id)::text ="), "{plan}");
            probes += 1;
        }
    }
    assert_eq!(probes, 2, "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_statement_scans_the_table() {
    for fourth in [Fourth::Revision("revision".into()), Fourth::None] {
        let place = Place::fourth(fourth.clone()).await;
        // A plan made while the table is small outlives that: it may not scan either.
        place.execute("INSERT INTO shop.payments (id) VALUES ('x'), ('y'); ANALYZE shop.payments").await;
        for plan in place.store().plans().await.unwrap() {
            assert_by_key(&plan);
        }
        let rows = if fourth == Fourth::None { 200_000 } else { table_rows() };
        place
            .execute(&format!("INSERT INTO shop.payments (id) SELECT 'tx-' || g FROM generate_series(1, {rows}) g"))
            .await;
        for analyzed in [false, true] {
            if analyzed {
                place.execute("ANALYZE shop.payments").await;
            }
            let store = place.store();
            let plans = store.plans().await.unwrap();
            assert_eq!(plans.len(), 2);
            for plan in plans {
                assert_by_key(&plan);
            }
        }
        // The server's own count, after statements of every kind.
        let scans = "SELECT coalesce(seq_scan, 0) FROM pg_stat_user_tables WHERE relname = 'payments'";
        place.execute("SELECT pg_stat_force_next_flush()").await;
        let before = place.count(scans).await;
        let store = place.store();
        let batch: Vec<Delivered> = (1..=500).map(|at| decided(&format!("tx-{at}"), 0.5)).collect();
        assert_eq!(store.write(&batch).await.unwrap().applied, 500);
        store.write(&batch).await.unwrap();
        store.write(&[decided("tx-1", 0.1), revised("tx-2", 0.1, 1), decided("absent", 0.1)]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(store.look_after().await.unwrap().count, 1);
        store.find("tx-1").await.unwrap();
        // A session tells its counts when it ends, at the latest.
        drop(store);
        let probes = "SELECT coalesce(idx_scan, 0) FROM pg_stat_user_tables WHERE relname = 'payments'";
        let begun = Instant::now();
        while place.count(probes).await < 1_500 {
            assert!(begun.elapsed() < Duration::from_secs(10), "the server's counts did not arrive");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(place.count(scans).await, before, "{fourth:?}");
    }
}

/// Seconds of processor that a process of this machine has used; `None` where it is not of this machine.
fn processor_time(process: i32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: f64 = fields.get(11..13)?.iter().filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    // Linux counts in hundredths on every platform that Rust runs on.
    stat.contains("postgres").then_some(ticks / 100.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_quick_among_many_rows() {
    let place = Place::new().await;
    let rows: u32 = if std::env::var_os("ASSAY_LONG").is_some() { 200_000 } else { 20_000 };
    place.execute(&format!("INSERT INTO shop.payments (id) SELECT 'tx-' || g FROM generate_series(1, {rows}) g")).await;
    place.execute("VACUUM ANALYZE shop.payments").await;
    let store = place.store();
    store.prepare().await.unwrap();
    let backend = "SELECT pid FROM pg_stat_activity WHERE application_name = 'assay' AND datname = current_database()";
    let backend: i32 = place.one(backend).await.get(0);
    let (used, mut took) = (processor_time(backend), Duration::ZERO);
    for start in (1..=rows).step_by(500) {
        let batch: Vec<Delivered> =
            (start..start + 500).map(|at| decided(&format!("tx-{at}"), at as f32 / rows as f32)).collect();
        let begun = Instant::now();
        assert_eq!(store.write(&batch).await.unwrap().applied, 500);
        took += begun.elapsed();
    }
    let rate = f64::from(rows) / took.as_secs_f64();
    println!("{rows} rows in batches of 500: {rate:.0} rows a second on one connection");
    if let (Some(used), Some(after)) = (used, processor_time(backend)) {
        println!(
            "{:.1} processor seconds of its server process a million rows",
            (after - used) * 1e6 / f64::from(rows)
        );
    }
    assert!(rate > 500.0, "{rate:.0} rows a second");
}
