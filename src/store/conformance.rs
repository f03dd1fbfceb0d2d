//! What every log must do, run on each.

use std::sync::Arc;

use super::*;
use crate::base::clock::Millis;
use crate::base::money::{BaseAmount, Currency};
use crate::decision::{
    Circumstances, Column, Decision, Explained, Explanation, FallbackCause, ModelRef, Reason, Source, fall_back, judge,
};
use crate::engine::delivery::RecordId;
use crate::engine::models::{Action, Change, VersionId};
use crate::engine::ports::{Entry, Features, Log, LogError, Record, Replayed, Sink, Written};
use crate::engine::{Durability, Label};
use crate::features::EventLabel;
use crate::model::{Checks, Gate, Met, Method};
use crate::transaction::{Channel, Transaction};

fn transaction(id: &str, at: i64) -> Transaction {
    Transaction {
        transaction_id: id.into(),
        occurred_at: Millis(at),
        customer_id: "customer".into(),
        terminal_id: "a-terminal-whose-name-is-longer-than-a-small-string".into(),
        amount_minor: 1_250,
        currency: Currency::parse("USD").unwrap(),
        merchant_id: None,
        product_id: None,
        country: Some("DE".into()),
        channel: Some(Channel::Online),
        card_id: None,
        device_id: None,
        is_fraud: None,
        extra: vec![("shop_id".into(), "s1".into())],
    }
}

fn circumstances(id: &str) -> Circumstances<'_> {
    Circumstances { transaction_id: id, source: Source::Batch, scored_at: Millis(77), took_micros: 5 }
}

pub(super) fn record(id: &str, at: i64, score: f32) -> Record {
    let model = Arc::new(ModelRef { name: "fraud".into(), version: "1".into(), sha256: "ab".into(), threshold: 0.3 });
    let columns: Arc<[Column]> = [("amount", false), ("count", true)]
        .map(|(name, integer)| Column {
            name: name.into(),
            meaning: String::new(),
            integer,
            group: String::new(),
            group_meaning: String::new(),
            usual: None,
        })
        .into();
    let causes = [crate::decision::DegradedCause::StaleRate];
    let explained = Explained {
        reasons: vec![Reason {
            code: "amount".into(),
            message: "an amount".into(),
            value: Some(0.1 + 0.2),
            contribution: Some(1.0 / 3.0),
        }],
        explanation: Explanation { method: Method::TreeShap, baseline: -4.25, margin: -0.1, other: 0.7 },
    };
    Record {
        id: RecordId { instance: 1, sequence: 1 },
        received_at: Millis(70),
        transaction: Arc::new(transaction(id, at)),
        base: BaseAmount { minor: 1_000, rate: RateQuality::Stale },
        decision: Arc::new(judge(circumstances(id), &model, score, Some(explained), &causes)),
        model,
        features: Arc::new(Features { columns, values: vec![0.1 + 0.2, 3.0] }),
    }
}

fn fallback(id: &str, at: i64) -> (Entry, Decision) {
    let decision = fall_back(circumstances(id), None, FallbackCause::Overload, true);
    let entry = Entry::Fallback {
        id: RecordId { instance: 1, sequence: 2 },
        transaction: Arc::new(transaction(id, at)),
        base: BaseAmount { minor: 9, rate: RateQuality::Missing },
        decision: Arc::new(decision.clone()),
    };
    (entry, decision)
}

fn label(id: &str, labelled_at: i64) -> Label {
    Label { transaction_id: id.into(), is_fraud: true, labelled_at: Millis(labelled_at), source: "review".into() }
}

pub(super) async fn put(log: &dyn Log, entry: Entry) -> Result<Written, LogError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    log.append(entry, Some(Box::new(move |result| drop(sender.send(result)))))?;
    receiver.await.unwrap()
}

/// Score, flag, whether degraded, and the model's version.
type Decided = (f32, bool, bool, String);

#[derive(Default)]
struct Seen {
    transactions: Vec<(Transaction, BaseAmount, Option<Decided>)>,
    labels: Vec<EventLabel>,
    waiting: Vec<Label>,
}

impl Sink for Seen {
    fn transaction(&mut self, row: &Replayed<'_>) {
        let outcome = row.outcome.as_ref();
        let outcome = outcome.map(|known| (known.score, known.flagged, known.degraded, known.model.version.clone()));
        self.transactions.push((row.transaction.clone(), row.base, outcome));
    }

    fn label(&mut self, label: &EventLabel) {
        self.labels.push(label.clone());
    }

    fn waiting(&mut self, label: Label) {
        self.waiting.push(label);
    }
}

async fn conforms(log: &dyn Log) {
    // The first full record stays, with everything that belongs to it.
    let first = record("a", 1_000, 0.123_456_79);
    assert!(put(log, Entry::Full(first.clone())).await.unwrap().first);
    assert!(!put(log, Entry::Full(record("a", 1_000, 0.9))).await.unwrap().first);
    let stored = log.find("a").await.unwrap().unwrap();
    assert_eq!(stored.decision.as_ref(), Some(&*first.decision));
    assert_eq!((&stored.transaction, stored.base), (&*first.transaction, first.base));
    let document = log.features("a", None).await.unwrap().unwrap();
    assert_eq!(document.to_string(), r#"{"amount":0.30000000000000004,"count":3}"#);
    assert!(log.find("nobody").await.unwrap().is_none() && log.features("nobody", None).await.unwrap().is_none());

    // A fallback leaves its transaction undecided; the full record comes after it.
    let (entry, decision) = fallback("b", 2_000);
    assert!(put(log, entry).await.unwrap().first);
    assert_eq!(log.find("b").await.unwrap().unwrap().decision, Some(decision));
    let undecided = log.undecided(9).await.unwrap();
    assert_eq!(undecided.len(), 1);
    assert_eq!(undecided[0].1, BaseAmount { minor: 9, rate: RateQuality::Missing });
    assert!(log.features("b", None).await.unwrap().is_none());
    assert!(put(log, Entry::Full(record("b", 2_000, 0.4))).await.unwrap().first);
    assert!(log.undecided(9).await.unwrap().is_empty());
    assert!(log.find("b").await.unwrap().unwrap().decision.unwrap().flagged);

    // A later fallback never hides a full decision.
    put(log, fallback("a", 1_000).0).await.unwrap();
    assert_eq!(log.find("a").await.unwrap().unwrap().decision.as_ref(), Some(&*first.decision));

    // A copy fills what is absent and changes nothing else.
    let copy = Transaction { merchant_id: Some("m".into()), country: Some("FR".into()), ..transaction("a", 1_000) };
    let written = put(log, Entry::Fill(Arc::new(copy.clone()))).await.unwrap();
    let change = written.filled.unwrap();
    assert!(written.first && change.before == stored.transaction && change.base == first.base);
    assert_eq!((change.after.merchant_id.as_deref(), change.labels), (Some("m"), Vec::new()));
    let written = put(log, Entry::Fill(Arc::new(copy))).await.unwrap();
    assert!(!written.first && written.filled.is_none());
    let filled = log.find("a").await.unwrap().unwrap();
    assert_eq!(filled.transaction.merchant_id.as_deref(), Some("m"));
    assert_eq!(filled.transaction.country.as_deref(), Some("DE"));
    assert_eq!(filled.decision.as_ref(), Some(&*first.decision));

    // Labels: each once, with the transaction where there is one.
    let written = put(log, Entry::Label(label("a", 5_000))).await.unwrap();
    assert!(written.first && written.transaction.unwrap().0.customer_id == "customer");
    assert!(!put(log, Entry::Label(label("a", 5_000))).await.unwrap().first);
    assert!(put(log, Entry::Label(label("a", 5_001))).await.unwrap().first);
    assert!(put(log, Entry::Label(label("later", 5_000))).await.unwrap().transaction.is_none());
    assert!(put(log, Entry::Label(label("never", 10))).await.unwrap().transaction.is_none());
    let copy = Transaction { card_id: Some("k".into()), ..transaction("a", 1_000) };
    let written = put(log, Entry::Fill(Arc::new(copy))).await.unwrap();
    assert_eq!(written.filled.unwrap().labels, [label("a", 5_000), label("a", 5_001)]);

    // Changes of the models: all of them, in order.
    let changes: Vec<Change> = (1..=3).map(changed).collect();
    for change in &changes {
        assert!(put(log, Entry::Changed(Box::new(change.clone()))).await.unwrap().first);
    }
    assert_eq!(log.changes(9).await.unwrap(), changes);
    assert_eq!(log.changes(2).await.unwrap(), changes[1..]);

    // Replay: the span, in the order of writing, with what is known of each.
    log.append(Entry::Full(record("c", 1_500, 0.2)), None).unwrap();
    put(log, fallback("d", 1_400).0).await.unwrap();
    put(log, Entry::Full(record("old", 10, 0.2))).await.unwrap();
    log.flush().await.unwrap();
    assert_eq!(log.newest().unwrap(), Some(Millis(2_000)));
    let mut seen = Seen::default();
    log.replay(Millis(1_000), &mut seen).unwrap();
    let ids: Vec<_> = seen.transactions.iter().map(|(transaction, ..)| transaction.transaction_id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c", "d"]);
    let (transaction, base, outcome) = &seen.transactions[0];
    assert_eq!((transaction.terminal_id.as_str(), *base), (first.transaction.terminal_id.as_str(), first.base));
    assert_eq!(*outcome, Some((0.123_456_79, false, true, "1".to_owned())));
    assert_eq!(seen.transactions[3].2, None);
    assert_eq!(seen.labels.len(), 2);
    assert_eq!(seen.labels[0].entities[0], ("customer_id".into(), "customer".into()));
    assert_eq!(seen.labels[0].entities[2], ("merchant_id".into(), "m".into()));
    let added = ("shop_id".into(), "s1".into());
    assert!(seen.labels[0].entities.contains(&added) && seen.labels[0].entities.len() == 7);
    assert_eq!(seen.waiting, [label("later", 5_000)]);

    log.health().unwrap();
    assert_eq!(log.depth(), 0);
    log.close().await.unwrap();
    assert_eq!(log.append(Entry::Full(record("e", 1, 0.1)), None), Err(LogError::Closed));
    assert!(log.health().is_err());
}

fn changed(number: i64) -> Change {
    let id = |version: &str| VersionId { name: "fraud".into(), version: version.into(), digest: "d".repeat(64) };
    let mut checks = Checks::default();
    checks.note(Gate::Golden, Met::Passed, "");
    checks.note(Gate::Distribution, Met::Skipped, "switched off");
    Change {
        id: format!("1-{number}"),
        at: Millis(number),
        action: if number == 2 { Action::Canaried } else { Action::Activated },
        by: "somebody".into(),
        why: "it's \"better\"".into(),
        from: (number > 1).then(|| id("1")),
        to: Some(id("2")),
        basis_points: (number == 2).then_some(500),
        checks,
    }
}

#[tokio::test]
async fn memory_conforms() {
    conforms(&MemoryLog::new()).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    for durability in [Durability::Committed, Durability::Queued] {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(&SqliteOptions::at(folder.path().join("assay.db"), durability)).unwrap();
        conforms(&log).await;
    }
}
