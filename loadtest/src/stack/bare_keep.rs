//! The yardstick of `keep`: a consumer that makes the same documents of the same records and inserts them, and nothing else.
//!
//! It promises nothing: no revisions, no records that come again, none that are refused, offsets committed once a second
//! whatever became of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use assay::base::clock::Millis;
use assay::base::pseudonym::Pseudonyms;
use assay::engine::delivery::Published;
use assay::stream::record::Decoder;
use hyper::body::Bytes;
use mongodb::Collection;
use mongodb::bson::{DateTime, Document, doc, serialize_to_bson};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tokio::runtime::Handle;

use super::servers::Servers;

/// Documents inserted together: as many as assay's default has.
const BATCH: usize = 1_000;

/// The fields of a payment that are personal.
pub(super) const PERSONAL: [&str; 3] = ["customer_id", "card_id", "device_id"];

/// Inserts what the topic of decisions holds until it is told to stop; `kept` counts.
pub(super) fn run(
    servers: &Servers,
    group: &str,
    collection: &Collection<Document>,
    pseudonyms: &Pseudonyms,
    kept: &AtomicU64,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    let runtime = Handle::current();
    let mut config = servers.client()?;
    config.set("group.id", group).set("auto.offset.reset", "earliest").set("auto.commit.interval.ms", "1000");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[&servers.decisions])?;
    let mut decoder = Decoder::default();
    while !stop.load(Ordering::Relaxed) {
        let mut batch = Vec::with_capacity(BATCH);
        let mut wait = Duration::from_millis(20);
        while let Some(message) = (batch.len() < BATCH).then(|| consumer.poll(wait)).flatten() {
            let message = message?;
            let published = decoder.decode(Bytes::copy_from_slice(message.payload().unwrap_or_default()))?;
            batch.extend(document(&published, pseudonyms)?);
            wait = Duration::ZERO;
        }
        if !batch.is_empty() {
            runtime.block_on(collection.insert_many(&batch).ordered(false).into_future())?;
            kept.fetch_add(batch.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

/// The document of a full decision; `None` for a fallback.
fn document(published: &Published, pseudonyms: &Pseudonyms) -> anyhow::Result<Option<Document>> {
    let Published { record, received_at, transaction, decision, features, .. } = published;
    let Some(revision) = decision.revision else { return Ok(None) };
    let date = |moment: Millis| DateTime::from_millis(moment.0);
    let mut document = doc! {
        "_id": transaction.transaction_id.as_str(), "record": record.to_string(), "revision": i64::from(revision),
        "occurred_at": date(transaction.occurred_at), "received_at": date(*received_at),
        "scored_at": date(decision.scored_at), "score": decision.score.map(f64::from), "flagged": decision.flagged,
        "threshold": decision.threshold.map(f64::from), "degraded": decision.degraded, "source": decision.source.as_str(),
        "model": { "name": &decision.model, "version": &decision.model_version, "sha256": &decision.model_sha256 },
        "reasons": serialize_to_bson(&decision.reasons)?,
    };
    if let Some(explanation) = &decision.explanation {
        document.insert("explanation", serialize_to_bson(explanation)?);
    }
    let mut names = doc! { "key": &**pseudonyms.key() };
    for field in PERSONAL {
        if let Some(identifier) = transaction.entity(field) {
            names.insert(field, pseudonyms.of(field, identifier).value);
        }
    }
    document.insert("pseudonyms", names);
    let features = features.as_ref().context("a full decision has features")?;
    let features: Document =
        features.names.iter().cloned().zip(features.values.iter().map(|value| (*value).into())).collect();
    document.insert("features", features);
    Ok(Some(document))
}
