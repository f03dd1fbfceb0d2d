use std::sync::Arc;

use super::super::record::example;
use super::*;

fn row(score: f32) -> Completed {
    Completed {
        score: Some(score),
        model_version: Some("1".to_owned()),
        flagged: Some(score >= 0.5),
        revision: Some(0),
    }
}

fn ids() -> [String; 2] {
    ["a".to_owned(), "b".to_owned()]
}

fn expected() -> Expected {
    let features = HashMap::from([("amount".to_owned(), vec![1.5, 1.5])]);
    Expected { features, scores: Some(vec![0.25, 0.75]), exempt: HashSet::new() }
}

#[test]
fn a_clean_run_is_clean_and_what_lost_is_counted() {
    let mut judge = Judge::new(ids(), expected());
    let mut later = example("a", 0.3);
    later.record = "other".to_owned();
    let fallback = Seen { revision: None, score: None, ..example("b", 0.0) };
    for seen in [&fallback, &example("a", 0.25), &example("a", 0.25), &later, &example("b", 0.75)] {
        judge.record(0, seen);
    }
    judge.row("a", &row(0.25));
    judge.row("b", &row(0.75));
    let verdict = judge.verdict();
    assert!(verdict.is_clean(), "{}", verdict.line());
    let Verdict { payments, decided, superseded, repeated, fallbacks, .. } = verdict;
    assert_eq!((payments, decided, superseded, repeated, fallbacks), (2, 2, 1, 1, 1));
}

#[test]
fn every_fault_is_found() {
    let clean = |judge: &mut Judge| {
        judge.record(0, &example("a", 0.25));
        judge.record(1, &example("b", 0.75));
    };
    let rows = |judge: &mut Judge| {
        judge.row("a", &row(0.25));
        judge.row("b", &row(0.75));
    };
    let after = |faults: &dyn Fn(&mut Judge)| {
        let mut judge = Judge::new(ids(), expected());
        faults(&mut judge);
        let verdict = judge.verdict();
        assert!(!verdict.is_clean());
        verdict
    };
    assert_eq!(after(&|judge| judge.record(0, &example("a", 0.25))).lost, 1);
    assert_eq!(after(&clean).rows_missing, 2);
    let doubled = after(&|judge| {
        clean(judge);
        rows(judge);
        judge.record(3, &example("a", 0.25));
    });
    assert_eq!(doubled.doubled, 1);
    let other = Seen { features: vec![1.500_000_1], ..example("a", 0.25) };
    assert_eq!(after(&|judge| judge.record(0, &other)).features_differ, 1);
    let none = Seen { names: Arc::default(), features: Vec::new(), ..example("a", 0.25) };
    assert_eq!(after(&|judge| judge.record(0, &none)).features_differ, 1);
    assert_eq!(after(&|judge| judge.record(0, &example("a", 0.2501))).scores_differ, 1);
    assert_eq!(after(&|judge| judge.record(0, &example("z", 0.1))).foreign, 1, "and both are lost");
    let half = after(&|judge| judge.row("a", &Completed { flagged: None, ..row(0.25) }));
    assert_eq!(half.rows_half, 1);
    assert_eq!(after(&|judge| judge.row("a", &Completed::default())).rows_open, 1);
    let differs = after(&|judge| {
        clean(judge);
        rows(judge);
        judge.row("a", &row(0.26));
    });
    assert_eq!((differs.rows_differ, differs.lost), (1, 0));
}

fn kept(id: &str, score: f32) -> Kept {
    let Seen { record, flagged, model_version, .. } = example(id, score);
    let features = vec![("amount".to_owned(), 1.5)];
    Kept { transaction_id: id.to_owned(), record, revision: 0, score: Some(score), flagged, model_version, features }
}

#[test]
fn a_document_is_the_first_record_to_the_bit() {
    let with = |documents: &[Kept]| {
        let mut judge = Judge::new(ids(), expected());
        judge.look_at_documents();
        for (id, score) in [("a", 0.25), ("b", 0.75)] {
            judge.record(0, &example(id, score));
            judge.row(id, &row(score));
        }
        documents.iter().for_each(|kept| judge.document(kept));
        judge.verdict()
    };
    let (a, b) = (kept("a", 0.25), kept("b", 0.75));
    let clean = with(&[b.clone(), a.clone(), kept("of another run", 0.5)]);
    assert!(clean.is_clean(), "{}", clean.line());
    let missing = with(std::slice::from_ref(&a));
    assert!(!missing.is_clean() && missing.documents_missing == 1, "{}", missing.line());
    let name = vec![("amounts".to_owned(), 1.5)];
    let bit = vec![("amount".to_owned(), 1.500_000_000_000_000_2)];
    let wrong = [
        Kept { record: "a-1".to_owned(), ..a.clone() },
        Kept { revision: 1, ..a.clone() },
        Kept { score: None, ..a.clone() },
        Kept { flagged: true, ..a.clone() },
        Kept { model_version: "2".to_owned(), ..a.clone() },
        Kept { features: name, ..a.clone() },
        Kept { features: bit, ..a.clone() },
        Kept { features: Vec::new(), ..a },
    ];
    for one in wrong {
        let verdict = with(&[one, b.clone()]);
        assert!(!verdict.is_clean() && verdict.documents_differ == 1, "{}", verdict.line());
    }
}

#[test]
fn a_payment_that_stands_twice_in_a_file_is_one_and_those_after_keep_their_rows() {
    let expected = Expected { scores: Some(vec![0.25, 0.9, 0.75]), ..Expected::default() };
    let mut judge = Judge::new(["a", "a", "b"].map(str::to_owned), expected);
    judge.record(0, &example("a", 0.25));
    judge.record(0, &example("b", 0.75));
    judge.row("a", &row(0.25));
    judge.row("b", &row(0.75));
    let verdict = judge.verdict();
    assert!(verdict.is_clean() && verdict.payments == 2, "{}", verdict.line());
}

#[test]
fn an_exempt_payment_may_differ_and_is_counted_apart() {
    let mut judge = Judge::new(["a".to_owned()], Expected { exempt: ["a".to_owned()].into(), ..expected() });
    judge.record(0, &Seen { features: vec![9.0], ..example("a", 0.9) });
    judge.row("a", &row(0.9));
    let verdict = judge.verdict();
    assert!(verdict.is_clean() && verdict.exempt_differ == 1, "{}", verdict.line());
}
