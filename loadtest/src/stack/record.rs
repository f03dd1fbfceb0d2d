//! A record of the topic of decisions, as the harness looks at it: the one place that knows its bytes.

use std::sync::Arc;

use assay::stream::record;
use hyper::body::Bytes;

/// What the harness looks at in a record.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) transaction_id: String,
    /// `None` in a fallback.
    pub(crate) revision: Option<u32>,
    /// `None` in a fallback.
    pub(crate) score: Option<f32>,
    pub(crate) flagged: bool,
    pub(crate) model_version: String,
    /// UTC milliseconds.
    pub(crate) scored_at: i64,
    /// Names of the features, shared by the records of one model; none in a fallback.
    pub(crate) names: Arc<[String]>,
    /// Their values, as they were used.
    pub(crate) features: Vec<f64>,
    /// What tells this record from every other.
    pub(crate) record: String,
}

/// Reads records one after the other.
#[derive(Debug, Default)]
pub(crate) struct Decoder(record::Decoder);

impl Decoder {
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> anyhow::Result<Seen> {
        let published = self.0.decode(Bytes::copy_from_slice(bytes))?;
        let (decision, features) = (published.decision, published.features);
        let (names, features) =
            features.map_or_else(|| (Arc::default(), Vec::new()), |features| (features.names, features.values));
        Ok(Seen {
            transaction_id: published.transaction.transaction_id.to_string(),
            revision: decision.revision,
            score: decision.score,
            flagged: decision.flagged,
            model_version: decision.model_version.clone(),
            scored_at: decision.scored_at.0,
            names,
            features,
            record: published.record.to_string(),
        })
    }
}

#[cfg(test)]
pub(crate) fn example(id: &str, score: f32) -> Seen {
    Seen {
        transaction_id: id.to_owned(),
        revision: Some(0),
        score: Some(score),
        flagged: score >= 0.5,
        model_version: "1".to_owned(),
        scored_at: 1_000,
        names: ["amount".to_owned()].into(),
        features: vec![1.5],
        record: format!("{id}-0"),
    }
}

#[cfg(test)]
mod tests {
    use assay::base::clock::Millis;
    use assay::base::money::{BaseAmount, RateQuality};
    use assay::decision::{Circumstances, Column, ModelRef, Source, judge};
    use assay::engine::delivery::RecordId;
    use assay::engine::ports::Features;

    use super::*;

    #[test]
    fn a_record_is_seen_as_it_was_written() {
        let transaction = super::super::payments::Payments::new(1).unwrap().next();
        let id = transaction.transaction_id.to_string();
        let circumstances =
            Circumstances { transaction_id: &id, source: Source::Stream, scored_at: Millis(1_000), took_micros: 7 };
        let model = ModelRef { name: "m".to_owned(), version: "1".to_owned(), sha256: String::new(), threshold: 0.5 };
        let decision = judge(circumstances, &model, 0.25, None, &[]);
        let text = |text: &str| text.to_owned();
        let (meaning, group, group_meaning) = (text("x"), text("x"), text("x"));
        let amount = Column { name: text("amount"), meaning, integer: false, group, group_meaning, usual: None };
        let columns = [amount].into();
        let features = Features { columns, values: vec![1.5] };
        let recorded = record::Recorded {
            id: RecordId { instance: 5, sequence: 42 },
            transaction: &transaction,
            base: BaseAmount { minor: transaction.amount_minor, rate: RateQuality::Fresh },
            decision: &decision,
            received_at: Millis(900),
            features: Some(&features),
        };
        let seen = Decoder::default().decode(&record::encode(&recorded, &record::Names::default())).unwrap();
        assert_eq!(seen, Seen { record: "0000000000000005-42".to_owned(), ..example(&id, 0.25) });
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for bytes in [&b"\x00not a record"[..], b"{}", b""] {
            assert!(Decoder::default().decode(bytes).is_err(), "{bytes:?}");
        }
    }
}
