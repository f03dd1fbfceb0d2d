use std::collections::BTreeSet;

use super::*;
use crate::decision::{Circumstances, Column, Explained, FallbackCause, ModelRef, fall_back, judge};

fn transaction() -> Transaction {
    Transaction {
        transaction_id: "t-1".into(),
        occurred_at: Millis(1_700_000_000_123),
        customer_id: "c".into(),
        terminal_id: "p".into(),
        amount_minor: i64::MAX,
        currency: Currency::parse("JPY").unwrap(),
        merchant_id: Some("m".into()),
        product_id: None,
        country: Some("DE".into()),
        channel: Some(Channel::Withdrawal),
        card_id: None,
        device_id: Some("d".into()),
        is_fraud: None,
        extra: vec![("shop_id".into(), "s1".into())],
    }
}

fn decided(score: f32) -> Decision {
    let circumstances =
        Circumstances { transaction_id: "t-1", source: Source::Stream, scored_at: Millis(-5), took_micros: 9 };
    let model = ModelRef { name: "fraud".into(), version: "7".into(), sha256: "ab".into(), threshold: 0.3 };
    let explained = Explained {
        reasons: vec![Reason {
            code: "amount".into(),
            message: "an amount".into(),
            value: Some(0.1 + 0.2),
            contribution: Some(-1.0 / 3.0),
        }],
        explanation: Explanation { method: Method::LinearShap, baseline: -4.25, margin: -0.1, other: 0.7 },
    };
    judge(circumstances, &model, score, Some(explained), &[crate::decision::DegradedCause::StaleRate])
}

fn features(values: &[f64]) -> Features {
    let column = |name: String| Column {
        name,
        meaning: String::new(),
        integer: false,
        group: String::new(),
        group_meaning: String::new(),
        usual: None,
    };
    let columns: Vec<_> = (0..values.len()).map(|place| column(format!("f{place}"))).collect();
    Features { columns: columns.into(), values: values.to_vec() }
}

#[test]
fn what_is_written_reads_back_bit_by_bit() {
    let (transaction, decision) = (transaction(), decided(0.123_456_79));
    let features = features(&[0.1 + 0.2, -0.0, f64::MAX, 5e-324]);
    let id = RecordId { instance: u64::MAX, sequence: 7 };
    let base = BaseAmount { minor: -1, rate: RateQuality::Stale };
    let received_at = Millis(1_700_000_000_999);
    let recorded =
        Recorded { id, transaction: &transaction, base, decision: &decision, received_at, features: Some(&features) };
    let bytes = Bytes::from(encode(&recorded, &Names::default()));
    let mut decoder = Decoder::default();
    let published = decoder.decode(bytes.clone()).unwrap();
    assert_eq!((&*published.transaction, &*published.decision), (&transaction, &decision));
    assert_eq!((published.record, published.base, published.received_at), (id, base, received_at));
    let read = published.features.unwrap();
    assert_eq!(&*read.names, ["f0", "f1", "f2", "f3"]);
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&read.values), bits(&features.values));
    // The names of one model are kept once.
    let again = decoder.decode(bytes.clone()).unwrap().features.unwrap();
    assert!(Arc::ptr_eq(&read.names, &again.names));
    let head = head(&bytes).unwrap();
    assert_eq!((head.id, head.kind, head.revision), (id, DecisionKind::Full, Some(0)));
    assert_eq!((head.transaction_id.as_str(), head.occurred_at), ("t-1", transaction.occurred_at));
    let (short, rest) = without_features(bytes).unwrap();
    assert!(short.features.is_none() && rest.is_some());
}

#[test]
fn a_fallback_has_no_revision_no_score_and_no_features() {
    let circumstances =
        Circumstances { transaction_id: "t-1", source: Source::Predict, scored_at: Millis(3), took_micros: 1 };
    let decision = fall_back(circumstances, None, FallbackCause::Deadline, true);
    let transaction = transaction();
    let base = BaseAmount { minor: 0, rate: RateQuality::Missing };
    let id = RecordId { instance: 1, sequence: 2 };
    let recorded =
        Recorded { id, transaction: &transaction, base, decision: &decision, received_at: Millis(3), features: None };
    let published = Decoder::default().decode(encode(&recorded, &Names::default()).into()).unwrap();
    assert_eq!((&*published.decision, published.features), (&decision, None));
}

#[test]
fn bytes_that_are_no_record_are_refused() {
    for bytes in [&b""[..], b"{\"transaction_id\":1}", &[0xff; 40]] {
        assert!(Decoder::default().decode(Bytes::copy_from_slice(bytes)).is_err());
        assert!(head(bytes).is_err());
    }
}

/// (message, field, type, number) of every field of the schema; `optional` and `repeated` are part of the type.
fn schema() -> BTreeSet<(String, String, String, u32)> {
    let mut fields = BTreeSet::new();
    let mut message = String::new();
    for line in include_str!("../../schemas/kafka/decision.v1.proto").lines() {
        let line = line.split("//").next().unwrap().trim();
        if let Some(name) = line.strip_prefix("message ") {
            message = name.trim_end_matches('{').trim().to_owned();
        } else if line.starts_with("enum ") {
            message.clear();
        } else if let Some((left, number)) = line.trim_end_matches(';').split_once(" = ")
            && !message.is_empty()
            && let Some((kind, field)) = left.rsplit_once(' ')
        {
            fields.insert((message.clone(), field.to_owned(), kind.to_owned(), number.parse().unwrap()));
        }
    }
    fields
}

/// The same of the Rust structs, in the schema's words.
fn structs() -> BTreeSet<(String, String, String, u32)> {
    let mut fields = BTreeSet::new();
    let (mut message, mut attribute) = (String::new(), String::new());
    for line in include_str!("wire.rs").lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("pub(super) struct ") {
            message = name.trim_end_matches('{').trim().to_owned();
        } else if let Some(found) = line.strip_prefix("#[prost(") {
            attribute = found.trim_end_matches(")]").to_owned();
        } else if let Some(field) = line.strip_prefix("pub(super) ").filter(|_| !attribute.is_empty()) {
            let (field, rust) = field.trim_end_matches(',').split_once(": ").unwrap();
            let parts: Vec<&str> = attribute.split(", ").collect();
            let number = parts.last().unwrap().trim_start_matches("tag = ").trim_matches('"').parse().unwrap();
            let rust = rust.trim_start_matches("Option<").trim_start_matches("Vec<").trim_end_matches('>');
            let kind = match (message.as_str(), field, parts[0]) {
                ("Decision", "kind", _) | ("Head", "kind", _) => "Kind".to_owned(),
                ("Decision", "rate", _) => "RateQuality".to_owned(),
                ("Decision", "features", _) => "Features".to_owned(),
                (_, _, "bytes = \"bytes\"") => "bytes".to_owned(),
                (_, _, "message") => rust.to_owned(),
                (_, _, kind) => kind.to_owned(),
            };
            let prefix = match parts.get(1) {
                // A message that stands alone is optional in any case.
                Some(&"optional") if !(parts[0] == "message" && field == "transaction") => "optional ",
                Some(&"repeated") => "repeated ",
                _ => "",
            };
            fields.insert((message.clone(), field.to_owned(), format!("{prefix}{kind}"), number));
            attribute.clear();
        }
    }
    fields
}

#[test]
fn the_structs_are_the_schema() {
    let (schema, all) = (schema(), structs());
    let (head, rest): (BTreeSet<_>, BTreeSet<_>) = all.into_iter().partition(|field| field.0 == "Head");
    assert_eq!(rest, schema);
    // The head is a part of the decision.
    assert_eq!(head.len(), 6);
    for (_, field, kind, number) in head {
        assert!(schema.contains(&("Decision".to_owned(), field, kind, number)));
    }
}
