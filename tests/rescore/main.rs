//! `assay rescore` against a real Kafka and a real PostgreSQL, started by the project's scripts for this test alone: payments are
//! decided by a service, others are missing, and the command is run as a person runs it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

mod decisions;
mod payments;
mod stack;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::decisions::{Seen, decisions};
use self::payments::{COUNT, all, id, is_missing, offline};
use self::stack::{Stack, are_own};

const PATIENCE: Duration = Duration::from_secs(90);

/// The words that name a span of payments: those of `first..end`.
fn span(first: usize, end: usize) -> Vec<String> {
    let all = all();
    ["--from".to_owned(), all[first].at.to_string(), "--to".to_owned(), all[end - 1].at.saturating_add(1).to_string()]
        .to_vec()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_of_before_get_the_next_revision_once_and_the_first_stays_what_predict_answers() {
    if !are_own("assay rescore on Kafka and PostgreSQL") {
        return;
    }
    let stack = tokio::task::spawn_blocking(Stack::start).await.unwrap();
    stack.fill().await;
    let service = tokio::task::block_in_place(|| stack.serve());
    tokio::task::block_in_place(|| service.decide());
    stack.completed(COUNT - (0..COUNT).filter(|at| is_missing(*at)).count()).await;

    refused_with_nothing_written(&stack).await;
    missing_ones_are_decided(&stack, &service).await;
    others_are_replaced(&stack, &service).await;
    killed_and_taken_up_again(&stack).await;
    one_at_a_time(&stack).await;
    not_before_postgres_has_everything(&stack, service).await;
}

/// Whatever cannot be right ends the command before the first record.
async fn refused_with_nothing_written(stack: &Stack) {
    let before = decisions(&stack.kafka()).len();
    let refused = |more: Vec<String>, expected: &[&str]| {
        let output = tokio::task::block_in_place(|| stack.rescore(&more).output());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && expected.iter().all(|part| told.contains(part)), "{more:?}: {told}");
    };
    // Half of the windows lie before the view's first payment.
    refused(
        [words(&["--replace"]), span(10, 20)].concat(),
        &["inputs of the model are not available", "customer_tx_count_1d"],
    );
    let folder = stack.broken_model();
    let model = [words(&["--replace", "--whole-view", "--model", &folder]), span(10, 20)].concat();
    refused(model, &["model.onnx"]);
    refused([words(&["--view", "nothing", "--whole-view"]), span(10, 20)].concat(), &["--view nothing"]);
    assert_eq!(decisions(&stack.kafka()).len(), before);
    assert_eq!(stack.count("SELECT count(*) FROM assay.fraud_rescores").await, 0);
}

/// Payments that nobody decided get revision 0, and that is theirs for everybody.
async fn missing_ones_are_decided(stack: &Stack, service: &stack::Service) {
    let missing: BTreeSet<String> = (0..COUNT).filter(|at| is_missing(*at)).map(id).collect();
    let dry = stack.rescore(&words(&["--missing", "--whole-view", "--dry-run"])).success();
    assert!(
        dry.contains(&format!("{} would be scored: {} for the first time, 0 again", missing.len(), missing.len())),
        "{dry}"
    );
    let before = decisions(&stack.kafka()).len();
    let told = stack.rescore(&words(&["--missing", "--whole-view"])).success();
    assert!(told.contains(&format!("{} scored for the first time, 0 again", missing.len())), "{told}");
    let made = decisions(&stack.kafka()).split_off(before);
    assert_eq!(made.iter().map(|seen| seen.id.clone()).collect::<BTreeSet<_>>(), missing);
    assert!(made.iter().all(|seen| seen.revision == Some(0) && seen.source == "rescore"));
    assert_eq!(made.len(), missing.len());
    compare(&made, stack);
    stack.completed(COUNT).await;
    // Whoever asks now gets this decision and makes no other.
    let seen = &made[0];
    let place = (0..COUNT).find(|at| id(*at) == seen.id).unwrap();
    let answer = tokio::task::block_in_place(|| service.pay(&all()[place]));
    assert_eq!((&answer["repeated"], &answer["revision"]), (&json!(true), &json!(0)), "{answer}");
    assert_eq!(answer["score"].as_f64().unwrap() as f32, seen.score);
    let again = stack.rescore(&words(&["--missing", "--whole-view"])).success();
    assert!(again.contains("nothing to do"), "{again}");
}

/// Each of the span gets one revision more, of complete features; nobody else does, and repetitions get what they got.
async fn others_are_replaced(stack: &Stack, service: &stack::Service) {
    let (first, end) = (60, 200);
    let answered = tokio::task::block_in_place(|| service.pay(&all()[80]));
    let before = decisions(&stack.kafka()).len();
    let told = stack.rescore(&[words(&["--replace", "--whole-view"]), span(first, end)].concat()).success();
    assert!(
        told.contains(&format!("{} payments: 0 scored for the first time, {} again", end - first, end - first)),
        "{told}"
    );
    let made = decisions(&stack.kafka()).split_off(before);
    let expected: BTreeSet<String> = (first..end).map(id).collect();
    assert_eq!(made.iter().map(|seen| seen.id.clone()).collect::<BTreeSet<_>>(), expected);
    assert!(made.len() == expected.len() && made.iter().all(|seen| seen.revision == Some(1)));
    compare(&made, stack);
    stack.revised(1, end - first).await;

    let of_80 = made.iter().find(|seen| seen.id == id(80)).unwrap();
    let get =
        |query: &str| tokio::task::block_in_place(|| service.ask("GET", &format!("/decisions/{}{query}", id(80)), ""));
    for (query, revision) in [("", 1), ("?revision=1", 1), ("?revision=0", 0)] {
        let (status, answer) = get(query);
        assert_eq!((status, &answer["revision"]), (200, &json!(revision)), "{query}: {answer}");
        let score = answer["score"].as_f64().unwrap() as f32;
        assert_eq!(score, if revision == 1 { of_80.score } else { answered["score"].as_f64().unwrap() as f32 });
    }
    assert_eq!(get("?revision=2").0, 404);
    let repeated = tokio::task::block_in_place(|| service.pay(&all()[80]));
    assert_eq!((&repeated["repeated"], &repeated["revision"]), (&json!(true), &json!(0)));
    assert_eq!(repeated["score"], answered["score"]);
    let rows = "SELECT count(*) FROM payments WHERE fraud_revision = 0";
    assert_eq!(stack.count(rows).await, (COUNT - (end - first)) as i64);
}

/// SIGKILL at several places: the same command goes on, and each payment has one revision more.
async fn killed_and_taken_up_again(stack: &Stack) {
    let before = decisions(&stack.kafka()).len();
    let (first, end) = (20, 320);
    let wanted = [words(&["--replace", "--whole-view", "--rate", "100"]), span(first, end)].concat();
    let newest = "SELECT count(*) FROM assay.fraud_decisions WHERE source = 'rescore'";
    let had = stack.count(newest).await;
    for share in [40, 120, 200] {
        let mut child = stack.rescore(&wanted).spawn();
        let begun = Instant::now();
        while stack.count(newest).await < had + share {
            assert!(begun.elapsed() < PATIENCE && child.try_wait().unwrap().is_none(), "the run did not get far");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let told = stack.rescore(&wanted).success();
    assert!(told.contains("taken up run") && told.contains("were done before the run was taken up"), "{told}");
    let made = decisions(&stack.kafka()).split_off(before);
    let mut by_id: BTreeMap<String, BTreeSet<(u32, String)>> = BTreeMap::new();
    for seen in &made {
        by_id.entry(seen.id.clone()).or_default().insert((seen.revision.unwrap(), seen.record.clone()));
    }
    assert_eq!(by_id.len(), end - first);
    for at in first..end {
        let records = &by_id[&id(at)];
        let expected = if (60..200).contains(&at) { 2 } else { 1 };
        assert_eq!(records.iter().map(|(revision, _)| *revision).collect::<Vec<_>>(), [expected], "{at}: {records:?}");
    }
    compare(&made, stack);
    stack.revised(2, 140).await;
    assert_eq!(stack.count("SELECT count(*) FROM assay.fraud_superseded").await, 0);
    assert_eq!(stack.count("SELECT count(*) FROM assay.fraud_rescores WHERE state = 'running'").await, 0);
    assert_eq!(stack.count("SELECT count(DISTINCT run) FROM assay.fraud_rescores").await, 3);
}

/// While another one holds the lock the command ends with a sentence and a status of its own.
async fn one_at_a_time(stack: &Stack) {
    let lock = "SELECT pg_advisory_lock(hashtextextended('assay rescore of assay', 0))";
    stack.owner.batch_execute(lock).await.unwrap();
    let output = tokio::task::block_in_place(|| stack.rescore(&words(&["--missing", "--whole-view"])).output());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && told.contains("another rescore is at work"), "{told}");
    stack.owner.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
}

/// With no service nobody delivers: what is acknowledged and not in PostgreSQL would be decided twice, so nothing is.
async fn not_before_postgres_has_everything(stack: &Stack, service: stack::Service) {
    tokio::task::block_in_place(|| drop(service));
    let wanted = [words(&["--replace", "--whole-view"]), span(10, 20)].concat();
    stack.rescore(&wanted).success();
    let made = decisions(&stack.kafka()).len();
    let output = tokio::task::block_in_place(|| stack.rescore(&[wanted, words(&["--wait", "2s"])].concat()).output());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && told.contains("postgres lacks 10 of the decisions"), "{told}");
    assert_eq!(decisions(&stack.kafka()).len(), made);
}

/// Features and scores of records with those of the same payments as a file.
fn compare(made: &[Seen], stack: &Stack) {
    let expected = tokio::task::block_in_place(|| offline(stack.folder()));
    for seen in made {
        let row = &expected[&seen.id];
        for (name, value) in seen.names.iter().zip(&seen.values) {
            let there = row[name].as_f64().unwrap_or_else(|| panic!("{name} of {}", seen.id));
            assert!(
                there.to_bits() == value.to_bits() || there == *value,
                "{}: {name} is {value}, in the file {there}",
                seen.id
            );
        }
        assert!(!seen.names.is_empty());
    }
    let shares = |row: &Value| row["terminal_fraud_share_30d"].as_f64().unwrap_or_default() > 0.0;
    assert!(expected.values().any(shares), "no share of fraud is above 0: labels do not count");
}
