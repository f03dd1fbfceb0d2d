//! Snapshots of the engine: one that starts from a snapshot, and is given what came since, answers as the one before did.

use assay::engine::snapshot::{Header, ReadFrom, RestoreError, Shards, Snapshot, SnapshotError};

use super::*;

const NOWHERE: ReadFrom = ReadFrom::Moment(Millis(0));

fn label(id: &str, at: i64) -> Label {
    Label { transaction_id: id.into(), is_fraud: true, labelled_at: Millis(START + at), source: "review".into() }
}

/// An engine that does not run yet.
pub(super) fn fresh(log: Arc<MemoryLog>, change: impl FnOnce(&mut EngineParts<Scored>)) -> House {
    let model = model();
    let mut parts = parts(log.clone(), Some(model.clone()));
    change(&mut parts);
    House { engine: Engine::new(parts).unwrap(), log, model }
}

pub(super) fn begin(house: &House) -> Snapshot<Scored> {
    house.engine.snapshot(Millis(START), None, || NOWHERE).unwrap()
}

/// Every shard that is left.
pub(super) fn rest(snapshot: &mut Snapshot<Scored>) -> Vec<Vec<u8>> {
    let (mut shards, mut shard) = (Vec::new(), Vec::new());
    while snapshot.next_shard(&mut shard).unwrap() {
        shards.push(std::mem::take(&mut shard));
    }
    shards
}

pub(super) fn restore(house: &House, header: &Header, shards: &[Vec<u8>]) -> Result<(), RestoreError<std::io::Error>> {
    let mut shards = shards.iter();
    let next = |into: &mut Vec<u8>| match shards.next() {
        Some(shard) => {
            into.extend_from_slice(shard);
            Ok(true)
        }
        None => Ok(false),
    };
    house.engine.restore(header, next).map(|_| house.engine.take_requests())
}

async fn features(house: &House, id: &str, at: i64) -> Value {
    house.engine.decide(transaction(id, at, 100), soon()).await.unwrap();
    house.engine.features(id, None).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_engine_from_a_snapshot_answers_repeats_conflicts_and_labels_as_the_one_before() {
    let before = house().await;
    let ids = ["a", "b", "c"];
    let mut decided = Vec::new();
    for (at, id) in (0..).zip(ids) {
        let amount = if id == "b" { 90_000 } else { 700 };
        decided.push(before.engine.decide(transaction(id, at, amount), soon()).await.unwrap().decision);
    }
    assert_eq!(before.engine.label(label("a", 10)).await.unwrap(), LabelOutcome::Recorded);
    assert_eq!(before.engine.label(label("later", 20)).await.unwrap(), LabelOutcome::Waiting);
    let mut taken = begin(&before);
    let shards = rest(&mut taken);
    let header = taken.header().clone();
    let counts = taken.counts();
    assert_eq!((counts.ids, counts.waiting_labels, header.stream_time), (3, 1, Some(Millis(START + 2))));
    drop(taken);

    let after = fresh(before.log.clone(), |_| {});
    restore(&after, &header, &shards).unwrap();
    for (at, (id, first)) in (0..).zip(ids.into_iter().zip(&decided)) {
        let again =
            after.engine.decide(transaction(id, at, if id == "b" { 90_000 } else { 700 }), soon()).await.unwrap();
        assert!(again.repeated && again.decision == *first);
        let other = after.engine.decide(transaction(id, at, 1), soon()).await.unwrap_err();
        assert_eq!(code(&other), Some(RejectionCode::Conflict));
    }
    assert_eq!(after.model.calls.load(Ordering::SeqCst), 0);
    assert_eq!(after.engine.label(label("a", 10)).await.unwrap(), LabelOutcome::Repeated);
    assert_eq!(after.engine.label(label("b", 11)).await.unwrap(), LabelOutcome::Recorded);
    assert_eq!(before.engine.label(label("b", 11)).await.unwrap(), LabelOutcome::Repeated);
    // The delay of the share is seven days: both read what was labelled, and the one that waited.
    let day = 24 * HOUR;
    after.engine.decide(transaction("later", 5, 100), soon()).await.unwrap();
    before.engine.decide(transaction("later", 5, 100), soon()).await.unwrap();
    let (old, new) = (features(&before, "x", 7 * day + 6).await, features(&after, "y", 7 * day + 6).await);
    assert_eq!(old, new);
    assert_eq!(new["terminal_fraud_share_1d"].as_f64(), Some(0.75));
}

#[tokio::test]
async fn without_a_log_the_index_answers_with_the_model_it_knows() {
    let before = house().await;
    let first = before.engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap().decision;
    let mut taken = begin(&before);
    let shards = rest(&mut taken);
    let after = fresh(Arc::new(MemoryLog::new()), |parts| parts.model = None);
    restore(&after, taken.header(), &shards).unwrap();
    let again = after.engine.decide(transaction("a", 0, 90_000), soon()).await.unwrap();
    let known = |one: &Decision| (one.score, one.flagged, one.threshold, one.model_version.clone());
    assert!(again.repeated && again.decision.degraded);
    assert_eq!(known(&again.decision), known(&first));
}

/// Decisions go on between any two shards; what was decided since the positions comes again in order.
#[tokio::test]
async fn what_came_while_shards_were_taken_counts_once() {
    for seed in 0..12_usize {
        let before = house().await;
        let one = |number: usize| {
            let at = (number * 7 + number % 5) as i64 * MINUTE;
            let mut one = transaction(&format!("n{number}"), at, 100 + number as i64);
            one.customer_id = format!("c{}", number * (seed + 3) % 11).into();
            one.terminal_id = format!("t{}", number % 3).into();
            one
        };
        let mut number = 0;
        let decide = async |house: &House, number: usize| drop(house.engine.decide(one(number), soon()).await.unwrap());
        while number < 40 + seed * 5 {
            decide(&before, number).await;
            number += 1;
        }
        let since = number;
        let mut taken = begin(&before);
        let (mut shards, mut shard) = (Vec::new(), Vec::new());
        while taken.next_shard(&mut shard).unwrap() {
            shards.push(std::mem::take(&mut shard));
            if shards.len() % (seed * 11 + 20) == 0 || shards.len() > 256 {
                decide(&before, number).await;
                number += 1;
            }
        }
        let after = fresh(Arc::new(MemoryLog::new()), |_| {});
        restore(&after, taken.header(), &shards).unwrap();
        for number in since..number {
            decide(&after, number).await;
        }
        for customer in 0..11 {
            let mut probe = transaction(&format!("p{customer}"), number as i64 * 8 * MINUTE, 1);
            probe.customer_id = format!("c{customer}").into();
            for house in [&before, &after] {
                house.engine.decide(probe.clone(), soon()).await.unwrap();
            }
            let id = &probe.transaction_id;
            let (old, new) =
                (before.engine.features(id, None).await.unwrap(), after.engine.features(id, None).await.unwrap());
            assert_eq!(old, new, "seed {seed}, customer {customer}, {since} to {number}");
        }
    }
}

#[tokio::test]
async fn one_snapshot_at_a_time_and_a_dropped_one_lets_the_next_begin() {
    let house = house().await;
    let mut first = begin(&house);
    assert_eq!(house.engine.snapshot(Millis(START), None, || NOWHERE).unwrap_err(), SnapshotError::Busy);
    assert!(first.next_shard(&mut Vec::new()).unwrap());
    drop(first);
    let second = begin(&house);
    assert!(!second.header().incomplete && second.header().complete_from.is_none());
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let before = house().await;
    before.engine.decide(transaction("a", 0, 700), soon()).await.unwrap();
    let mut taken = begin(&before);
    let (header, shards) = (taken.header().clone(), rest(&mut taken));

    assert!(matches!(restore(&before, &header, &shards), Err(RestoreError::Running)));
    for change in [
        (|parts| parts.history.lateness += 1) as fn(&mut EngineParts<Scored>),
        |parts| parts.history.exact_events += 1,
        |parts| parts.history.key = HashKey::new([2; 16]),
        |parts| parts.rates = Arc::new(Rates::of_base(Currency::parse("USD").unwrap())),
    ] {
        assert!(matches!(restore(&fresh(before.log.clone(), change), &header, &shards), Err(RestoreError::Foreign)));
    }
    let after = fresh(before.log.clone(), |_| {});
    for damaged in [vec![], vec![99], vec![0, 3, 1], vec![2, 0xff], vec![3, 1, 0xff]] {
        let mut all = shards.clone();
        all.push(damaged.clone());
        let told = restore(&after, &header, &all);
        let place = shards.len() as u64;
        assert!(matches!(told, Err(RestoreError::Malformed(at, _)) if at == place), "{damaged:?}: {told:?}");
    }
    assert_eq!(after.engine.gauges().ids, 0);
    restore(&after, &header, &shards).unwrap();
    assert_eq!(after.engine.gauges().ids, 1);
}

#[tokio::test]
async fn an_incomplete_history_says_so_after_its_snapshot_too() {
    let before = fresh(Arc::new(MemoryLog::new()), |_| {});
    before.log.set_mood(Mood::Failing);
    assert!(before.engine.rebuild().await.is_err());
    let taken = before.engine.snapshot(Millis(START), Some(Millis(7)), || NOWHERE).unwrap();
    assert_eq!((taken.header().incomplete, taken.header().complete_from), (true, Some(Millis(7))));
    let header = taken.header().clone();
    let mut taken = taken;
    let shards = rest(&mut taken);
    let after = fresh(Arc::new(MemoryLog::new()), |_| {});
    restore(&after, &header, &shards).unwrap();
    assert!(after.engine.not_ready().iter().any(|reason| reason.contains("history")));
}
