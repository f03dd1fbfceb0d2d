//! Records as the stream publishes them, made by `judge` and `fall_back`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assay::base::clock::Millis;
use assay::base::money::{BaseAmount, Currency, RateQuality};
use assay::decision::{
    Circumstances, DegradedCause, Explained, Explanation, FallbackCause, ModelRef, Reason, Source, fall_back, judge,
};
use assay::engine::delivery::{Delivered, Published, PublishedFeatures, RecordId};
use assay::model::Method;
use assay::transaction::{Channel, Transaction};

static SEQUENCE: AtomicU64 = AtomicU64::new(0);

fn next() -> u64 {
    SEQUENCE.fetch_add(1, Ordering::SeqCst)
}

fn transaction(id: &str) -> Transaction {
    Transaction {
        transaction_id: id.into(),
        occurred_at: Millis(1_700_000_000_123),
        customer_id: "customer-0123456789".into(),
        terminal_id: "a-terminal-whose-name-is-long".into(),
        amount_minor: 1_250,
        currency: Currency::parse("USD").unwrap(),
        merchant_id: Some("merchant".into()),
        product_id: None,
        country: Some("DE".into()),
        channel: Some(Channel::Online),
        card_id: None,
        device_id: None,
        is_fraud: None,
        extra: vec![("shop_id".into(), "s1".into())],
    }
}

fn model() -> ModelRef {
    ModelRef { name: "fraud".into(), version: "2026.1".into(), sha256: "ab".repeat(32), threshold: 0.3 }
}

fn circumstances(id: &str) -> Circumstances<'_> {
    Circumstances {
        transaction_id: id,
        source: Source::Background,
        scored_at: Millis(1_700_000_001_777),
        took_micros: 431,
    }
}

fn delivered(id: &str, decision: assay::decision::Decision, features: Option<PublishedFeatures>) -> Delivered {
    let sequence = next();
    let published = Published {
        received_at: Millis(1),
        record: RecordId { instance: 0xfedc_ba98_7654_3210, sequence },
        transaction: Arc::new(transaction(id)),
        base: BaseAmount { minor: 1_111, rate: RateQuality::Stale },
        decision: Arc::new(decision),
        features,
    };
    Delivered {
        published,
        partition: (sequence % 3) as i32,
        offset: sequence as i64,
        taken_at: Millis(1_700_000_002_000),
    }
}

/// A full decision, revision 0, explained where it is flagged.
pub(crate) fn decided(id: &str, score: f32) -> Delivered {
    let reason = |code: &str, value: f64| Reason {
        code: code.into(),
        message: format!("the {code} of the last 7 days is unusual for this customer"),
        value: Some(value),
        contribution: Some(value / 3.0),
    };
    let explained = Explained {
        reasons: vec![reason("amount", 0.1 + 0.2), reason("count", 3.0), reason("terminal", 1e-9)],
        explanation: Explanation { method: Method::TreeShap, baseline: -4.25, margin: -0.1, other: 0.7 },
    };
    let explained = (score >= 0.3).then_some(explained);
    let causes: &[DegradedCause] = if score >= 0.3 { &[DegradedCause::StaleRate] } else { &[] };
    let features = PublishedFeatures { names: ["amount".to_owned()].into(), values: vec![12.5] };
    delivered(id, judge(circumstances(id), &model(), score, explained, causes), Some(features))
}

/// The same with a revision.
pub(crate) fn revised(id: &str, score: f32, revision: u32) -> Delivered {
    let mut delivered = decided(id, score);
    let mut decision = (*delivered.published.decision).clone();
    decision.revision = Some(revision);
    delivered.published.decision = Arc::new(decision);
    delivered
}

/// A fallback.
pub(crate) fn fallen_back(id: &str) -> Delivered {
    delivered(id, fall_back(circumstances(id), Some(&model()), FallbackCause::Overload, true), None)
}
