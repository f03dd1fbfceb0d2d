//! The line's invariants, on a log in memory that can be told to fail and a scorer that does what the test says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay::base::clock::{FixedClock, HOUR, MINUTE, Millis};
use assay::base::hash::HashKey;
use assay::base::money::{Currency, Rates};
use assay::decision::{By, Decision, DecisionKind, ModelRef, OnFallback, Policy, ReasonRules, Source};
use assay::engine::ports::{NoObserver, Scorer};
use assay::engine::{
    Durability, Engine, EngineError, EngineParts, Label, LabelOutcome, Limits, Received, SetUp, TimeSource,
};
use assay::features::catalogue::SHIPPED;
use assay::features::{Catalogue, HistoryOptions};
use assay::model::{Explanation, InferError, Method};
use assay::store::memory::Mood;
use assay::store::{MemoryLog, SqliteLog, SqliteOptions};
use assay::transaction::{RejectionCode, Transaction};
use serde_json::Value;

#[path = "line/completeness.rs"]
mod completeness;
#[path = "line/fleet.rs"]
mod fleet;
#[path = "line/follow.rs"]
mod follow;
#[path = "line/models.rs"]
mod models;
#[path = "line/reasons.rs"]
mod reasons;
#[path = "line/reference.rs"]
mod reference;
#[path = "line/snapshots.rs"]
mod snapshots;

const LATENESS: i64 = 48 * HOUR;
const START: i64 = 1_700_000_000_000;
/// An amount, in euro, that gets no score in a batch.
const UNSCORABLE: f32 = 13.0;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Scores {
    /// The first feature over 100,000.
    Amount,
    Never,
    Full,
    /// The runtime fails.
    Broken,
}

#[derive(Debug)]
struct Scored {
    features: Vec<String>,
    scores: Mutex<Scores>,
    /// How it explains: by a tenth of each value, never, or not at once.
    reasons: Mutex<Scores>,
    explained: AtomicUsize,
    calls: AtomicUsize,
    version: &'static str,
    threshold: f32,
    /// What its scores are times.
    factor: f32,
    /// Whether matrices wait for their scores.
    held: AtomicBool,
    /// A permit for each row that may be scored, where rows wait.
    gate: Option<tokio::sync::Semaphore>,
}

impl Scored {
    fn set(&self, scores: Scores) {
        *self.scores.lock().unwrap() = scores;
    }

    /// Whether matrices wait for their scores.
    fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }
}

impl Scorer for Scored {
    fn reference(&self) -> ModelRef {
        ModelRef { name: "fraud".into(), version: self.version.into(), sha256: "ab".into(), threshold: self.threshold }
    }

    fn features(&self) -> &[String] {
        &self.features
    }

    async fn infer(&self, row: Vec<f32>, _wait: Duration) -> Result<f32, InferError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.gate {
            gate.acquire().await.unwrap().forget();
        }
        let scores = *self.scores.lock().unwrap();
        match scores {
            Scores::Amount => Ok((row[0] / 1_000.0 * self.factor).min(1.0)),
            Scores::Never => std::future::pending().await,
            Scores::Full => Err(InferError::Overloaded(1)),
            Scores::Broken => Err(InferError::Failed("it was told to".to_owned())),
        }
    }

    fn infer_rows(&self, rows: &[f32]) -> Result<Vec<f32>, InferError> {
        if rows.chunks(self.features.len()).any(|row| row[0] == UNSCORABLE) {
            return Err(InferError::Failed("a row has no score".to_owned()));
        }
        while self.held.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(rows.chunks(self.features.len()).map(|row| (row[0] / 1_000.0 * self.factor).min(1.0)).collect())
    }

    fn explain_rows(&self, _rows: &[f32]) -> Result<Vec<Explanation>, InferError> {
        Err(InferError::Overloaded(1))
    }

    async fn explain(&self, row: Vec<f32>, _wait: Duration) -> Result<Explanation, InferError> {
        self.explained.fetch_add(1, Ordering::SeqCst);
        let reasons = *self.reasons.lock().unwrap();
        match reasons {
            Scores::Amount => {}
            Scores::Never => std::future::pending().await,
            Scores::Full | Scores::Broken => return Err(InferError::Overloaded(1)),
        }
        let contributions: Vec<f64> = row.iter().map(|value| f64::from(*value) / 10.0).collect();
        let margin = contributions.iter().sum::<f64>() - 4.0;
        Ok(Explanation { method: Method::TreeShap, baseline: -4.0, margin, contributions })
    }

    fn medians(&self) -> &[f32] {
        &[25.0, 3.0, 0.0]
    }
}

struct House {
    engine: Engine<Scored>,
    log: Arc<MemoryLog>,
    model: Arc<Scored>,
}

fn model() -> Arc<Scored> {
    let features = ["amount", "customer_tx_count_1d", "terminal_fraud_share_1d"].map(String::from).to_vec();
    Arc::new(Scored {
        features,
        scores: Mutex::new(Scores::Amount),
        reasons: Mutex::new(Scores::Amount),
        explained: AtomicUsize::new(0),
        calls: AtomicUsize::new(0),
        version: "1",
        threshold: 0.5,
        factor: 1.0,
        held: AtomicBool::new(false),
        gate: None,
    })
}

fn parts(log: Arc<dyn assay::engine::ports::Log>, model: Option<Arc<Scored>>) -> EngineParts<Scored> {
    let euro = Currency::parse("EUR").unwrap();
    EngineParts {
        clock: Arc::new(FixedClock::new(Millis(START))),
        rates: Arc::new(Rates::of_base(euro)),
        catalogue: Arc::new(Catalogue::shipped(euro).unwrap()),
        history: HistoryOptions { key: HashKey::new([1; 16]), lateness: LATENESS, exact_events: 65_536 },
        log,
        model,
        policy: Policy::default(),
        limits: Limits { time: TimeSource::Stream, store_wait: Duration::from_millis(200), ..Limits::default() },
        reasons: ReasonRules { most: 3, by: By::Feature, hidden: BTreeSet::new() },
        durability: Durability::Committed,
        set_up: SetUp::Embedded,
        instance: 1,
        observer: Arc::new(NoObserver),
    }
}

async fn house_of(change: impl FnOnce(&mut EngineParts<Scored>)) -> House {
    let (log, model) = (Arc::new(MemoryLog::new()), model());
    let mut parts = parts(log.clone(), Some(model.clone()));
    change(&mut parts);
    let engine = Engine::new(parts).unwrap();
    engine.rebuild().await.unwrap();
    House { engine, log, model }
}

async fn house() -> House {
    house_of(|_| {}).await
}

fn transaction(id: &str, at: i64, amount_minor: i64) -> Transaction {
    serde_json::from_value(serde_json::json!({
        "transaction_id": id, "occurred_at": START + at, "customer_id": "c1", "terminal_id": "t1",
        "amount_minor": amount_minor, "currency": "EUR",
    }))
    .unwrap()
}

fn received(deadline: Duration) -> Received {
    Received { now: Millis(START), at: Instant::now(), deadline, source: Source::Predict, explain: false }
}

fn soon() -> Received {
    received(Duration::from_secs(5))
}

fn code(error: &EngineError) -> Option<RejectionCode> {
    if let EngineError::Rejected(rejection) = error { Some(rejection.code) } else { None }
}

/// What the customer's count over a day says to the next transaction.
async fn count_seen_by(house: &House, id: &str, at: i64) -> i64 {
    house.engine.decide(transaction(id, at, 100), soon()).await.unwrap();
    house.engine.features(id, None).await.unwrap().unwrap()["customer_tx_count_1d"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_of_one_id_make_one_decision() {
    for durability in [Durability::Committed, Durability::Queued] {
        let house = house_of(|parts| parts.durability = durability).await;
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let engine = house.engine.clone();
                tokio::spawn(async move { engine.decide(transaction("a", 0, 700), soon()).await.unwrap() })
            })
            .collect();
        let mut first = 0;
        for task in tasks {
            let answer = task.await.unwrap();
            assert_eq!((answer.decision.score, answer.decision.flagged), (Some(0.007), false));
            first += usize::from(!answer.repeated);
        }
        assert_eq!((first, house.log.len(), house.model.calls.load(Ordering::SeqCst)), (1, 1, 1));
        assert_eq!(count_seen_by(&house, "b", 1,).await, 2);
    }
}

#[tokio::test]
async fn the_same_id_with_other_content_is_a_conflict_and_with_more_fields_is_filled() {
    let house = house().await;
    let first = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    let refused = house.engine.decide(transaction("a", 0, 701), soon()).await.unwrap_err();
    assert_eq!(code(&refused), Some(RejectionCode::Conflict));
    let copy = Transaction { merchant_id: Some("m1".into()), ..transaction("a", 0, 700) };
    let again = house.engine.decide(copy, soon()).await.unwrap();
    assert!(again.repeated && again.decision == first.decision);
    use assay::engine::ports::Log;
    assert_eq!(house.log.find("a").await.unwrap().unwrap().transaction.merchant_id.as_deref(), Some("m1"));
}

#[tokio::test]
async fn a_later_copy_counts_for_the_entities_that_it_names_first() {
    let more = r#"
[[feature]]
name = "device_frauds_1d"
group = "customer_habits"
kind = "window"
entity = "device_id"
aggregate = "fraud_count"
window = "1d"
delay = "1d"
meaning = "frauds on this device"
"#;
    let names = ["customer_tx_count_1d", "device_tx_count_1d", "device_frauds_1d"].map(String::from).to_vec();
    let model = Arc::new(Scored { features: names, ..Arc::into_inner(model()).unwrap() });
    let log = Arc::new(MemoryLog::new());
    let catalogue = Catalogue::parse(&format!("{SHIPPED}{more}"), Currency::parse("EUR").unwrap()).unwrap();
    let catalogue = Arc::new(catalogue);
    let open = || {
        let parts = parts(log.clone(), Some(model.clone()));
        Engine::new(EngineParts { catalogue: catalogue.clone(), ..parts }).unwrap()
    };
    let engine = open();
    engine.rebuild().await.unwrap();
    let on = |id: &str, at, device: &str| Transaction { device_id: Some(device.into()), ..transaction(id, at, 100) };

    let first = engine.decide(transaction("a", 0, 100), soon()).await.unwrap();
    let label =
        Label { transaction_id: "a".into(), is_fraud: true, labelled_at: Millis(START + 1), source: "review".into() };
    assert_eq!(engine.label(label).await.unwrap(), LabelOutcome::Recorded);
    for device in ["d1", "d1", "d2"] {
        let again = engine.decide(on("a", 0, device), soon()).await.unwrap();
        assert!(again.repeated && again.decision == first.decision);
    }
    let counts = async |engine: &Engine<Scored>, id: &str, at, device: &str| {
        engine.decide(on(id, at, device), soon()).await.unwrap();
        let used = engine.features(id, None).await.unwrap().unwrap();
        ["customer_tx_count_1d", "device_tx_count_1d", "device_frauds_1d"].map(|name| used[name].as_i64().unwrap())
    };
    // The copy's device counts once, the device that came too late never, and the customer's count stays.
    assert_eq!(counts(&engine, "b", 1, "d1").await, [2, 2, 0]);
    assert_eq!(counts(&engine, "c", 2, "d2").await, [3, 1, 0]);
    let day = 24 * HOUR;
    assert_eq!(counts(&engine, "d", day, "d1").await[2], 1);
    // A restart reads the same out of the log.
    let again = open();
    again.rebuild().await.unwrap();
    assert_eq!(counts(&again, "e", day + 2, "d1").await, [2, 2, 1]);
}

#[tokio::test]
async fn what_is_in_the_logs_queue_is_found_without_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions::at(folder.path().join("assay.db"), Durability::Queued);
    let mut parts = parts(Arc::new(SqliteLog::open(&options).unwrap()), Some(model()));
    (parts.durability, parts.limits.cache) = (Durability::Queued, 0);
    let engine = Engine::new(parts).unwrap();
    engine.rebuild().await.unwrap();
    let told = |decision: &Decision| {
        let codes: Vec<_> = decision.reasons.iter().map(|reason| reason.code.clone()).collect();
        (decision.score, decision.kind, decision.degraded, decision.scored_at, codes)
    };
    for number in 0..50 {
        let id = format!("n{number}");
        let first = engine.decide(transaction(&id, number, 90_000), soon()).await.unwrap();
        assert_eq!(told(&engine.decision(&id, None).await.unwrap().unwrap()), told(&first.decision));
        let id = format!("m{number}");
        let first = engine.decide(transaction(&id, number, 90_000), soon()).await.unwrap();
        let again = engine.decide(transaction(&id, number, 90_000), soon()).await.unwrap();
        assert!(again.repeated && told(&again.decision) == told(&first.decision));
    }
    assert!(engine.decision("nobody", None).await.unwrap().is_none());
    engine.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test]
async fn an_old_event_is_refused_unless_the_log_knows_it() {
    let house = house().await;
    let first = house.engine.decide(transaction("old", 0, 700), soon()).await.unwrap();
    // Enough later ids that sweeps have passed over the index.
    for number in 0..6_000 {
        let later = transaction(&format!("n{number}"), LATENESS + HOUR + number, 100);
        house.engine.decide(later, soon()).await.unwrap();
    }
    let again = house.engine.decide(transaction("old", 0, 700), soon()).await.unwrap();
    assert!(again.repeated && again.decision == first.decision);
    let other = house.engine.decide(transaction("old", 0, 701), soon()).await.unwrap_err();
    assert_eq!(code(&other), Some(RejectionCode::Conflict));
    let refused = house.engine.decide(transaction("stranger", 0, 700), soon()).await.unwrap_err();
    assert_eq!(code(&refused), Some(RejectionCode::TooOld));
    // The edge of the horizon is inside.
    house.engine.decide(transaction("edge", HOUR + 5_999, 700), soon()).await.unwrap();
    let past = house.engine.decide(transaction("past", HOUR + 5_998, 700), soon()).await.unwrap_err();
    assert_eq!(code(&past), Some(RejectionCode::TooOld));
}

#[tokio::test]
async fn an_event_too_far_ahead_moves_no_time() {
    let house = house_of(|parts| parts.limits.time = TimeSource::Wall).await;
    let refused = house.engine.decide(transaction("a", 11 * MINUTE, 700), soon()).await.unwrap_err();
    assert_eq!(code(&refused), Some(RejectionCode::TooFarAhead));
    house.engine.decide(transaction("b", 10 * MINUTE, 700), soon()).await.unwrap();
    house.engine.decide(transaction("c", 10 * MINUTE - LATENESS, 700), soon()).await.unwrap();
}

#[tokio::test]
async fn a_log_that_fails_is_an_error_and_the_retry_commits_the_same_decision() {
    let house = house().await;
    house.log.set_mood(Mood::Failing);
    let failed = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap_err();
    assert!(matches!(failed, EngineError::Unavailable { .. }), "{failed}");
    assert!(!house.engine.not_ready().is_empty() && house.log.is_empty());
    // Were it scored again, the score would be asked for again.
    house.model.set(Scores::Full);
    house.log.set_mood(Mood::Well);
    let answer = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    assert_eq!((answer.decision.score, answer.decision.kind), (Some(0.007), DecisionKind::Full));
    assert_eq!((house.model.calls.load(Ordering::SeqCst), house.log.len()), (1, 1));
    house.model.set(Scores::Amount);
    assert_eq!(count_seen_by(&house, "b", 1).await, 2);
}

#[tokio::test]
async fn a_log_that_is_silent_holds_nobody_beyond_the_deadline() {
    let house = house().await;
    house.log.set_mood(Mood::Silent);
    let begun = Instant::now();
    let failed = house.engine.decide(transaction("a", 0, 700), received(Duration::from_millis(50))).await.unwrap_err();
    assert!(matches!(failed, EngineError::Deadline(_)) && begun.elapsed() < Duration::from_secs(2));
    let label =
        Label { transaction_id: "a".into(), is_fraud: true, labelled_at: Millis(START), source: "review".into() };
    assert!(matches!(house.engine.label(label).await, Err(EngineError::Unavailable { .. })));
    assert!(matches!(house.engine.decision("zzz", None).await, Err(EngineError::Unavailable { .. })));
    house.log.set_mood(Mood::Well);
    let answer = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    assert!(answer.repeated && house.log.len() == 1);
}

#[tokio::test]
async fn the_index_answers_where_neither_cache_nor_log_does() {
    let house = house_of(|parts| parts.limits.cache = 0).await;
    house.engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap();
    house.log.set_mood(Mood::Failing);
    let answer = house.engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap();
    let decision = &answer.decision;
    assert!(answer.repeated && decision.flagged && decision.degraded && decision.score == Some(0.9));
    assert_eq!((decision.reasons[0].code.as_str(), decision.model_version.as_str()), ("record_unavailable", "1"));
}

#[tokio::test]
async fn a_fallback_is_answered_in_time_and_becomes_a_full_decision() {
    let house = house().await;
    house.model.set(Scores::Never);
    let answer = house.engine.decide(transaction("a", 0, 700), received(Duration::from_millis(60))).await.unwrap();
    let decision = &answer.decision;
    assert_eq!((decision.kind, decision.revision, decision.score), (DecisionKind::Fallback, None, None));
    assert_eq!(decision.reasons[0].code, "deadline");
    assert_eq!((house.log.decided(), house.log.fallbacks().len()), (0, 1));
    assert_eq!(house.engine.decision("a", None).await.unwrap().unwrap().kind, DecisionKind::Fallback);
    house.model.set(Scores::Amount);
    let full = house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    assert_eq!((full.decision.revision, full.decision.score), (Some(0), Some(0.007)));
    assert_eq!(count_seen_by(&house, "b", 1).await, 2);
}

#[tokio::test]
async fn the_policy_decides_by_cause() {
    let house = house_of(|parts| {
        parts.policy.overload = OnFallback::FailClosed;
        parts.policy.deadline = OnFallback::Refuse;
    })
    .await;
    house.model.set(Scores::Full);
    assert!(house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap().decision.flagged);
    house.model.set(Scores::Never);
    let refused = house.engine.decide(transaction("b", 0, 700), received(Duration::from_millis(30))).await;
    assert!(matches!(refused, Err(EngineError::Deadline(_))));
}

#[tokio::test]
async fn the_background_queue_decides_what_the_log_holds_undecided() {
    let log = Arc::new(MemoryLog::new());
    let without = Engine::new(parts(log.clone(), None)).unwrap();
    without.rebuild().await.unwrap();
    let answer = without.decide(transaction("a", 0, 700), soon()).await.unwrap();
    assert_eq!(answer.decision.reasons[0].code, "no_model");
    assert!(without.not_ready().iter().any(|reason| reason.contains("model")));
    drop(without);

    let with = Engine::new(parts(log.clone(), Some(model()))).unwrap();
    with.rebuild().await.unwrap();
    for _ in 0..1_000 {
        if log.decided() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let full = with.decision("a", Some(0)).await.unwrap().unwrap();
    assert_eq!((full.source, full.score), (Source::Background, Some(0.007)));
    let again = with.decide(transaction("a", 0, 700), soon()).await.unwrap();
    assert!(again.repeated && again.decision.kind == DecisionKind::Full);
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_nothing_half_done() {
    let house = house().await;
    house.model.set(Scores::Never);
    let call = house.engine.decide(transaction("a", 0, 700), soon());
    assert!(tokio::time::timeout(Duration::from_millis(20), call).await.is_err());
    assert_eq!(house.engine.gauges().open, 1);
    house.model.set(Scores::Amount);
    let answer = house.engine.decide(transaction("a", 0, 700), received(Duration::from_secs(20))).await.unwrap();
    assert_eq!(answer.decision.score, Some(0.007));
    assert_eq!(count_seen_by(&house, "b", 1).await, 2);
}

#[tokio::test]
async fn what_is_open_is_bounded() {
    let house = house_of(|parts| parts.limits.max_open = 3).await;
    house.log.set_mood(Mood::Failing);
    for number in 0..3 {
        drop(house.engine.decide(transaction(&format!("n{number}"), 0, 700), soon()).await.unwrap_err());
    }
    let refused = house.engine.decide(transaction("more", 0, 700), soon()).await.unwrap_err();
    assert!(matches!(refused, EngineError::Overloaded { .. }), "{refused}");
    assert_eq!((house.engine.gauges().open, house.engine.gauges().ids), (3, 3));
}

#[tokio::test]
async fn labels_count_once_before_and_after_their_transaction() {
    let house = house().await;
    let label = |id: &str, at| Label {
        transaction_id: id.into(),
        is_fraud: true,
        labelled_at: Millis(START + at),
        source: "chargeback".into(),
    };
    assert_eq!(house.engine.label(label("a", 1)).await.unwrap(), LabelOutcome::Waiting);
    assert_eq!(house.engine.label(label("a", 1)).await.unwrap(), LabelOutcome::Repeated);
    house.engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    house.engine.decide(transaction("b", 1_000, 700), soon()).await.unwrap();
    assert_eq!(house.engine.label(label("b", 2_000)).await.unwrap(), LabelOutcome::Recorded);
    assert_eq!(house.engine.gauges().waiting_labels, 0);
    let share = |document: Value| document["terminal_fraud_share_1d"].as_f64().unwrap();
    // The share looks back from the catalogue's delay of seven days.
    let week = 7 * 24 * HOUR;
    house.engine.decide(transaction("c", week + 2_000, 700), soon()).await.unwrap();
    assert_eq!(share(house.engine.features("c", None).await.unwrap().unwrap()), 1.0);

    // The same after a restart.
    let parts = parts(house.log.clone(), Some(house.model.clone()));
    let again = Engine::new(parts).unwrap();
    let rebuilt = again.rebuild().await.unwrap();
    assert_eq!((rebuilt.transactions, rebuilt.labels), (3, 2));
    again.decide(transaction("d", week + 3_000, 700), soon()).await.unwrap();
    assert_eq!(share(again.features("d", None).await.unwrap().unwrap()), 1.0);
    assert!(again.decide(transaction("c", week + 2_000, 700), soon()).await.unwrap().repeated);
}

#[tokio::test]
async fn an_engine_that_is_not_ready_or_is_closing_takes_nothing() {
    let (log, model) = (Arc::new(MemoryLog::new()), model());
    let engine = Engine::new(parts(log.clone(), Some(model))).unwrap();
    let early = engine.decide(transaction("a", 0, 700), soon()).await;
    assert!(matches!(early, Err(EngineError::Unavailable { .. })) && !engine.not_ready().is_empty());
    engine.rebuild().await.unwrap();
    assert_eq!(engine.not_ready(), Vec::<String>::new());
    engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    assert!(engine.shutdown(Duration::from_secs(5)).await);
    let late = engine.decide(transaction("b", 0, 700), soon()).await;
    assert!(matches!(late, Err(EngineError::Unavailable { .. })) && log.len() == 1);
}

#[tokio::test]
async fn a_sqlite_log_brings_decisions_over_a_restart() {
    for durability in [Durability::Committed, Durability::Queued] {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteOptions::at(folder.path().join("assay.db"), durability);
        let open = || {
            let log: Arc<dyn assay::engine::ports::Log> = Arc::new(SqliteLog::open(&options).unwrap());
            Engine::new(EngineParts { durability, ..parts(log, Some(model())) }).unwrap()
        };
        let engine = open();
        engine.rebuild().await.unwrap();
        let first = engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap();
        let features = engine.features("a", None).await.unwrap().unwrap();
        assert_eq!(features["amount"], 900.0);
        assert!(engine.shutdown(Duration::from_secs(10)).await);
        drop(engine);
        let engine = open();
        assert_eq!(engine.rebuild().await.unwrap().transactions, 1);
        let again = engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap();
        assert!(again.repeated && again.decision == first.decision);
        engine.shutdown(Duration::from_secs(10)).await;
    }
}

/// Plan, session, threshold and version are one value: a swap while a request is being scored changes none of them for
/// it, and all of them for the next.
#[tokio::test]
async fn a_request_sees_one_model_even_when_it_is_swapped_under_it() {
    let gated = Arc::new(Scored { gate: Some(tokio::sync::Semaphore::new(0)), ..Arc::into_inner(model()).unwrap() });
    let house = house_of(|parts| parts.model = Some(gated.clone())).await;
    let engine = house.engine.clone();
    let first = tokio::spawn(async move { engine.decide(transaction("before", START, 60_000), soon()).await.unwrap() });
    while gated.calls.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let second = Scored {
        features: vec!["customer_tx_count_1d".to_owned(), "amount".to_owned()],
        version: "2",
        threshold: 0.001,
        ..Arc::into_inner(model()).unwrap()
    };
    house.engine.activate(Arc::new(second)).unwrap();
    gated.gate.as_ref().unwrap().add_permits(1);
    let before = first.await.unwrap().decision;
    let after = house.engine.decide(transaction("after", START + 1, 60_000), soon()).await.unwrap().decision;
    let seen = |decision: &assay::decision::Decision| {
        (decision.model_version.clone(), decision.threshold, decision.score, decision.flagged)
    };
    assert_eq!(seen(&before), ("1".to_owned(), Some(0.5), Some(0.6), true));
    assert_eq!(seen(&after), ("2".to_owned(), Some(0.001), Some(0.002), true));
    let names = |features: Option<serde_json::Value>| features.unwrap().as_object().unwrap().len();
    assert_eq!(names(house.engine.features("before", None).await.unwrap()), 3);
    assert_eq!(names(house.engine.features("after", None).await.unwrap()), 2);
}
