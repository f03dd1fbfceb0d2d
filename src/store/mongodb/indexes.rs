//! The indexes of the collections, and the time to live.
//!
//! In: collections, and how long documents live. Out: the indexes are there, whoever else makes them at the same time; and
//! whether the server lets documents expire. It is believed by what the server lists afterwards, not by what it accepted.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::error::Error;
use mongodb::options::IndexOptions;
use mongodb::{Collection, Database, IndexModel};

use super::fault::{MongoError, is_conflict, is_gone, is_lack};

/// The field whose time counts.
const EXPIRES_BY: &str = "scored_at";

/// How documents expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// The server removes them by an index.
    Index,
    /// They are kept for ever: so it is configured.
    Never,
    /// The server knows no such index: whoever runs it removes them.
    Unsupported,
}

/// Makes the indexes of a collection: by the decision's time, and by each of `reads`.
pub(super) async fn make(
    database: &Database,
    collection: &Collection<RawDocumentBuf>,
    reads: &[Document],
    ttl: Duration,
) -> Result<Expiry, MongoError> {
    let there = listed(collection).await?;
    // One by one and only those that lack: not every server takes several of which it has some.
    for keys in reads.iter().filter(|keys| !there.iter().any(|index| index.keys == **keys)) {
        collection.create_index(IndexModel::builder().keys(keys.clone()).build()).await?;
    }
    let wanted = (!ttl.is_zero()).then_some(ttl);
    let there = by_time(&there);
    if there.as_ref().is_some_and(|there| there.ttl == wanted) {
        return Ok(if wanted.is_some() { Expiry::Index } else { Expiry::Never });
    }
    let made = match (there, wanted) {
        (Some(there), Some(ttl)) => change(database, collection, &there.name, ttl).await,
        (Some(there), None) => match collection.drop_index(there.name).await {
            Err(error) if !is_gone(&error) => Err(error),
            _dropped => create(collection, None).await,
        },
        (None, _) => create(collection, wanted).await,
    };
    match made {
        Ok(()) => {}
        // Another instance made it a moment ago.
        Err(error) if is_conflict(&error) => {}
        // What expires is not known here; the index is made without it where there is none.
        Err(error) if wanted.is_some() && is_lack(&error) => create(collection, None).await?,
        Err(error) => return Err(error.into()),
    }
    let lives = by_time(&listed(collection).await?).and_then(|there| there.ttl);
    Ok(match (wanted, lives) {
        (None, _) => Expiry::Never,
        (Some(_), Some(_)) => Expiry::Index,
        (Some(_), None) => Expiry::Unsupported,
    })
}

async fn create(collection: &Collection<RawDocumentBuf>, ttl: Option<Duration>) -> Result<(), Error> {
    let options = IndexOptions::builder().expire_after(ttl).build();
    let index = IndexModel::builder().keys(doc! { EXPIRES_BY: 1 }).options(options).build();
    collection.create_index(index).await.map(drop)
}

async fn change(
    database: &Database,
    collection: &Collection<RawDocumentBuf>,
    name: &str,
    ttl: Duration,
) -> Result<(), Error> {
    let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
    // Why by its name: there are servers that find no index by its keys here.
    let index = doc! { "name": name, "expireAfterSeconds": seconds };
    database.run_command(doc! { "collMod": collection.name(), "index": index }).await?;
    Ok(())
}

/// The indexes there are; none where the collection is not there yet.
async fn listed(collection: &Collection<RawDocumentBuf>) -> Result<Vec<IndexModel>, Error> {
    match collection.list_indexes().await {
        Ok(indexes) => indexes.try_collect().await,
        Err(error) if is_gone(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The index by the decision's time.
struct ByTime {
    name: String,
    ttl: Option<Duration>,
}

fn by_time(indexes: &[IndexModel]) -> Option<ByTime> {
    let index = indexes.iter().find(|index| index.keys == doc! { EXPIRES_BY: 1 })?;
    let options = index.options.as_ref();
    let name = options.and_then(|options| options.name.clone()).unwrap_or_else(|| format!("{EXPIRES_BY}_1"));
    Some(ByTime { name, ttl: options.and_then(|options| options.expire_after) })
}
