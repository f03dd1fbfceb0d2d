//! A batch of delivered records into MongoDB.
//!
//! ```text
//! full decisions ─▶ of each id the newest revision ─▶ insertMany, unordered ─┬▶ new
//!                                                                             └▶ there already: what is there?
//!                      the same record: repeated ◀────────────────────────────┘ │
//!                      a newer revision here: replaced, where still older ◀─────┤
//!                      otherwise: superseded ◀──────────────────────────────────┘
//! ```
//!
//! Invariants: a document is replaced only by a higher revision of it, in one operation of the server: whoever comes late
//! changes nothing. Writing a batch again changes nothing. A document that is refused for itself is handed back and delays
//! no other. Parts of a batch are inserted side by side; of an id only one document is among them.
//! Cancel safety: what was sent is done by the server or not at all, a document at a time; a batch that was cut off is
//! written again, whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::try_join_all;
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::error::ErrorKind;

use super::document::Full;
use super::fault::MongoError;
use super::options::MongoOptions;
use crate::base::seal::NONCE_BYTES;
use crate::engine::delivery::{Delivered, Kept, REFUSED, Refused};

/// Documents of a part that is inserted by itself, and the most parts that are on their way together.
const PART: usize = 1_000;
const MOST_PARTS: usize = 4;

/// Ids that are asked for together.
const ASKED: usize = 1_000;

/// The part of an operation's time in which the server says what is there; without an answer the first revision counts as
/// repeated.
const TELLING: u32 = 5;

/// Where documents go.
#[derive(Debug)]
pub(super) struct Place<'s> {
    pub(super) options: &'s MongoOptions,
    pub(super) decisions: Collection<RawDocumentBuf>,
    pub(super) raw: Option<Collection<RawDocumentBuf>>,
}

/// What became of a document that was to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    New,
    Present,
    Refused(String),
}

/// Writes the batch; when it returns, all of it is acknowledged by the majority of the servers, or handed back.
pub(super) async fn write(place: &Place<'_>, batch: &[Delivered]) -> Result<Kept, MongoError> {
    let mut kept = Kept::default();
    let fulls = newest(batch, &mut kept);
    let document = |full: &Full<'_>| full.document(&place.options.pseudonyms, &place.options.personal);
    let (fulls, documents) = fitting(fulls, document, &mut kept);
    let limit = place.options.operation_timeout;
    let fates = insert_together(&place.decisions, &documents, limit).await?;
    let mut present = Vec::new();
    for ((full, document), fate) in fulls.iter().zip(&documents).zip(fates) {
        match fate {
            Fate::New => kept.new += 1,
            Fate::Present => present.push((*full, document)),
            Fate::Refused(message) => refuse(&mut kept, full, REFUSED, message),
        }
    }
    for part in present.chunks(ASKED) {
        settle(&place.decisions, part, limit, &mut kept).await?;
    }
    if let (Some(collection), Some(raw)) = (&place.raw, &place.options.raw) {
        let sealed = |full: &Full<'_>| full.raw(&raw.seals, rand::random::<[u8; NONCE_BYTES]>());
        let (fulls, documents) = fitting(fulls, sealed, &mut kept);
        let fates = insert_together(collection, &documents, limit).await?;
        for (full, fate) in fulls.iter().zip(fates) {
            if let Fate::Refused(message) = fate {
                refuse(&mut kept, full, REFUSED, message);
            }
        }
    }
    Ok(kept)
}

/// Of each id the record of its newest revision, of several of that the first; the others are counted.
fn newest<'b>(batch: &'b [Delivered], kept: &mut Kept) -> Vec<Full<'b>> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(batch.len());
    let mut chosen: Vec<Full<'b>> = Vec::with_capacity(batch.len());
    for full in batch.iter().enumerate().filter_map(|(index, delivered)| Full::of(index, delivered)) {
        let known = match places.entry(full.id()) {
            Entry::Vacant(place) => {
                place.insert(chosen.len());
                chosen.push(full);
                continue;
            }
            Entry::Occupied(place) => chosen.get_mut(*place.get()),
        };
        let Some(known) = known else { continue };
        if known.delivered.published.record == full.delivered.published.record {
            kept.repeated += 1;
        } else {
            kept.superseded += 1;
            if full.revision > known.revision {
                *known = full;
            }
        }
    }
    chosen
}

/// The documents of these decisions; what is none is handed back.
fn fitting<'b>(
    fulls: Vec<Full<'b>>,
    make: impl Fn(&Full<'b>) -> Result<RawDocumentBuf, (&'static str, String)>,
    kept: &mut Kept,
) -> (Vec<Full<'b>>, Vec<RawDocumentBuf>) {
    let mut made = (Vec::with_capacity(fulls.len()), Vec::with_capacity(fulls.len()));
    for full in fulls {
        match make(&full) {
            Ok(document) => {
                made.0.push(full);
                made.1.push(document);
            }
            Err((code, message)) => refuse(kept, &full, code, message),
        }
    }
    made
}

/// Hands a record back, once.
fn refuse(kept: &mut Kept, full: &Full<'_>, code: &'static str, message: String) {
    if !kept.refused.iter().any(|refused| refused.index == full.index) {
        kept.refused.push(Refused { index: full.index, code, message });
    }
}

/// What becomes of each document. Parts of a large batch are inserted side by side: a server works on each connection's
/// command on one core.
async fn insert_together(
    collection: &Collection<RawDocumentBuf>,
    documents: &[RawDocumentBuf],
    limit: Duration,
) -> Result<Vec<Fate>, MongoError> {
    let part = documents.len().div_ceil(MOST_PARTS).max(PART);
    let parts = documents.chunks(part).map(|some| insert(collection, some, limit));
    Ok(try_join_all(parts).await?.concat())
}

/// What becomes of each document. Where the server refuses all of a part at once, its halves are tried, down to one.
async fn insert(
    collection: &Collection<RawDocumentBuf>,
    documents: &[RawDocumentBuf],
    limit: Duration,
) -> Result<Vec<Fate>, MongoError> {
    let mut fates = vec![Fate::New; documents.len()];
    let mut parts = Vec::from([(0, documents.len())]);
    while let Some((start, end)) = parts.pop() {
        let Some(some) = documents.get(start..end).filter(|some| !some.is_empty()) else { continue };
        let inserted = async { Ok(collection.insert_many(some).ordered(false).await) };
        let Err(error) = within(limit, inserted).await? else { continue };
        let ErrorKind::InsertMany(told) = &*error.kind else {
            match MongoError::from(&error) {
                MongoError::Refused(_) if some.len() > 1 => {
                    let middle = start + some.len() / 2;
                    parts.extend([(start, middle), (middle, end)]);
                }
                MongoError::Refused(message) => set(&mut fates, start, Fate::Refused(message)),
                MongoError::Present if some.len() == 1 => set(&mut fates, start, Fate::Present),
                other => return Err(other),
            }
            continue;
        };
        if let Some(concern) = &told.write_concern_error {
            let sentence = format!("the majority of the servers did not confirm: {}", concern.message);
            return Err(MongoError::Unavailable(sentence));
        }
        for one in told.write_errors.iter().flatten() {
            let fate = match MongoError::from(one) {
                MongoError::Present => Fate::Present,
                MongoError::Refused(message) => Fate::Refused(message),
                other => return Err(other),
            };
            set(&mut fates, start + one.index, fate);
        }
    }
    Ok(fates)
}

fn set(fates: &mut [Fate], at: usize, fate: Fate) {
    if let Some(place) = fates.get_mut(at) {
        *place = fate;
    }
}

/// Decisions whose id is taken: repeated, superseded, or newer than what is there.
async fn settle(
    collection: &Collection<RawDocumentBuf>,
    present: &[(Full<'_>, &RawDocumentBuf)],
    limit: Duration,
    kept: &mut Kept,
) -> Result<(), MongoError> {
    // Why so short, and no error: the answer tells how to count and nothing else, and there are servers that look through
    // the whole collection for it.
    let records = match within(limit / TELLING, records(collection, present)).await {
        Ok(records) => Some(records),
        Err(MongoError::Unavailable(_)) => None,
        Err(other) => return Err(other),
    };
    for (full, document) in present {
        let same = records.as_ref().map(|records| records.get(full.id()) == Some(&full.record()));
        if same == Some(true) || (same.is_none() && full.revision == 0) {
            kept.repeated += 1;
        } else if full.revision == 0 {
            kept.superseded += 1;
        } else {
            // Why the upsert: where the document has expired meanwhile there is none to replace, and where it is as new as
            // this one the same `_id` is refused. Either way one operation settles it.
            let older = doc! { "_id": full.id(), "revision": { "$lt": i64::from(full.revision) } };
            let replaced = async { Ok(collection.replace_one(older, *document).upsert(true).await?) };
            match within(limit, replaced).await {
                Ok(_) => kept.new += 1,
                Err(MongoError::Present) => kept.superseded += 1,
                Err(MongoError::Refused(message)) => refuse(kept, full, REFUSED, message),
                Err(other) => return Err(other),
            }
        }
    }
    Ok(())
}

/// The records that are stored, by id.
async fn records(
    collection: &Collection<RawDocumentBuf>,
    present: &[(Full<'_>, &RawDocumentBuf)],
) -> Result<HashMap<String, String>, MongoError> {
    let ids: Vec<&str> = present.iter().map(|(full, _)| full.id()).collect();
    let found = collection.find(doc! { "_id": { "$in": ids } }).projection(doc! { "record": 1 }).await?;
    let text = |document: &RawDocumentBuf, name: &str| document.get_str(name).map(str::to_owned).ok();
    let pairs = found.map_ok(|document| text(&document, "_id").zip(text(&document, "record")));
    let pairs: Vec<Option<(String, String)>> = pairs.try_collect().await?;
    Ok(pairs.into_iter().flatten().collect())
}

/// Bounds an operation. The connection of one that is given up is closed by the driver.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, MongoError>>,
) -> Result<T, MongoError> {
    let late = |_elapsed| Err(MongoError::Unavailable(format!("no answer within {limit:?}")));
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}
