//! The destination `mongodb`: a document for each full decision with the features it used, and, where asked for, the raw
//! event, encrypted.
//!
//! In: batches of delivered records. Out: documents by transaction id; a document holds the newest revision. For readers:
//! the features of a decision, and the event behind it.
//!
//! Invariants:
//! - No personal identifier and no key leaves this process: pseudonyms and sealed texts do.
//! - Of a (transaction id, revision) the first record stays; a lower revision never replaces a higher one.
//! - `write` returns after the majority of the servers has acknowledged everything but what it hands back.
//! - Every operation has a bound, the search for a server included.
//!
//! It does not know Kafka.

mod document;
mod fault;
mod indexes;
mod options;
mod write;

use std::collections::HashMap;
use std::fmt;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, RawDocument, RawDocumentBuf, doc};
use mongodb::options::{ClientOptions, ConnectionString, WriteConcern};
use mongodb::{Client, Database};
use tokio::sync::OnceCell;

pub use fault::MongoError;
pub use indexes::Expiry;
pub use options::{MongoOptions, RawOptions, is_collection, is_database};

use self::write::{Place, within};
use crate::base::seal::{NONCE_BYTES, Sealed};
use crate::base::secret::Secret;
use crate::engine::delivery::{Delivered, Destination, DestinationError, Kept, Waiting};
use crate::transaction::Transaction;

/// Its name: of the destination, in metrics and in errors.
pub const NAME: &str = "mongodb";

/// Connections to a server at most: one writes, the others read.
const POOL: u32 = 8;
/// What a url must be like.
const URL_RULE: &str = "must be like mongodb://user:password@host:27017,host2:27017/?tls=true";

/// What is wrong with a url, if anything, without a word of it.
#[must_use]
pub fn url_fault(url: &Secret) -> Option<String> {
    read(url).err()
}

fn read(url: &Secret) -> Result<ConnectionString, String> {
    if url.expose().starts_with("mongodb+srv://") {
        return Err(format!("{URL_RULE}; names of services (mongodb+srv) are not looked up: list the hosts"));
    }
    // Why no word of the driver's: it may quote the url, and with it a password.
    ConnectionString::parse(url.expose()).map_err(|_quoting| URL_RULE.to_owned())
}

/// Decisions and features in MongoDB. Connects when first needed.
pub struct MongoStore {
    options: MongoOptions,
    url: ConnectionString,
    client: OnceCell<Client>,
    /// Filled when the indexes were made.
    prepared: OnceCell<Expiry>,
}

impl fmt::Debug for MongoStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MongoStore").field("options", &self.options).finish_non_exhaustive()
    }
}

impl MongoStore {
    /// The store of these options. Connects to nothing yet.
    ///
    /// # Errors
    /// [`MongoError::Faults`]: every fault of the options.
    pub fn new(options: MongoOptions) -> Result<Self, MongoError> {
        let mut faults = options.faults();
        match read(&options.url).map_err(|fault| faults.push(format!("the url {fault}"))).ok() {
            Some(url) if faults.is_empty() => {
                Ok(Self { options, url, client: OnceCell::new(), prepared: OnceCell::new() })
            }
            _ => Err(MongoError::Faults(faults)),
        }
    }

    /// Makes the indexes. The first `write` does it too where nobody did; a service calls it at its start, so that faults
    /// are told before anything is read.
    ///
    /// # Errors
    /// [`MongoError::Faults`] where a person is needed; [`MongoError::Unavailable`] where the server is away.
    pub async fn prepare(&self) -> Result<Expiry, MongoError> {
        self.prepared.get_or_try_init(|| async { Box::pin(self.make_indexes()).await }).await.copied()
    }

    /// The features of the newest decision as they were used, `{"name": value, …}`; `None` where there is no document.
    ///
    /// # Errors
    /// See [`MongoError`].
    pub async fn features(&self, transaction_id: &str) -> Result<Option<serde_json::Value>, MongoError> {
        self.features_of(transaction_id, None).await
    }

    /// The same of the decision of this revision: `None` where the document is of another one.
    ///
    /// # Errors
    /// See [`MongoError`].
    pub async fn features_of(
        &self,
        transaction_id: &str,
        revision: Option<u32>,
    ) -> Result<Option<serde_json::Value>, MongoError> {
        let place = self.place().await?;
        let found = async {
            let asked = place.decisions.find_one(doc! { "_id": transaction_id });
            Ok(asked.projection(doc! { "features": 1, "revision": 1 }).await?)
        };
        let Some(document) = within(self.options.operation_timeout, found).await? else { return Ok(None) };
        // Why not asked of the server: one document an id is found by its index alone, and FerretDB searches a collection
        // for anything that is asked besides.
        if revision.is_some_and(|wanted| revision_of(&document) != Some(wanted)) {
            return Ok(None);
        }
        let unreadable =
            |error: &dyn std::fmt::Display| MongoError::Refused(format!("the stored features cannot be read: {error}"));
        let Some(features) = document.get("features").map_err(|error| unreadable(&error))? else { return Ok(None) };
        let features = features.as_document().ok_or_else(|| unreadable(&"they are no document"))?;
        let mut values = serde_json::Map::new();
        for element in features {
            let (name, value) = element.map_err(|error| unreadable(&error))?;
            let value = value.as_f64().ok_or_else(|| unreadable(&"a value is no number"))?;
            values.insert(name.to_string(), value.into());
        }
        Ok(Some(values.into()))
    }

    /// The features of several decisions (id, revision), in their order: values in the order of `names`, `None` for a name that
    /// is not there, and for a decision whose document is of another revision.
    ///
    /// # Errors
    /// See [`MongoError`].
    pub async fn features_of_many(
        &self,
        of: &[(&str, u32)],
        names: &[String],
    ) -> Result<Vec<Option<Vec<Option<f64>>>>, MongoError> {
        let place = self.place().await?;
        let ids: Vec<&str> = of.iter().map(|(id, _)| *id).collect();
        let found = async {
            let asked = place.decisions.find(doc! { "_id": { "$in": ids } });
            Ok(asked.projection(doc! { "features": 1, "revision": 1 }).await?.try_collect::<Vec<_>>().await?)
        };
        let documents: Vec<RawDocumentBuf> = within(self.options.operation_timeout, found).await?;
        let mut kept: HashMap<(&str, u32), Vec<Option<f64>>> = HashMap::with_capacity(documents.len());
        for document in &documents {
            let (Ok(id), revision) = (document.get_str("_id"), revision_of(document)) else { continue };
            let features = document.get_document("features").ok();
            let value = |name: &String| features.and_then(|features| features.get(name).ok().flatten()?.as_f64());
            if let (Some(revision), true) = (revision, features.is_some()) {
                kept.insert((id, revision), names.iter().map(value).collect());
            }
        }
        Ok(of.iter().map(|place| kept.remove(place)).collect())
    }

    /// The raw event of a transaction, decrypted; `None` where none is kept.
    ///
    /// # Errors
    /// [`MongoError::Faults`] where the key of the event is not at hand; else see [`MongoError`].
    pub async fn event(&self, transaction_id: &str) -> Result<Option<Transaction>, MongoError> {
        let place = self.place().await?;
        let (Some(collection), Some(raw)) = (&place.raw, &self.options.raw) else { return Ok(None) };
        let found = async { Ok(collection.find_one(doc! { "_id": transaction_id }).await?) };
        let Some(document) = within(self.options.operation_timeout, found).await? else { return Ok(None) };
        let unreadable = || MongoError::Refused("the stored event is no sealed text".to_owned());
        let bytes = |name: &str| document.get_binary(name).map(|binary| binary.bytes).map_err(|_other| unreadable());
        let sealed = Sealed {
            key: document.get_str("key").map_err(|_other| unreadable())?.into(),
            nonce: <[u8; NONCE_BYTES]>::try_from(bytes("nonce")?).map_err(|_other| unreadable())?,
            text: bytes("text")?.to_vec(),
        };
        let text = raw.seals.open(transaction_id, &sealed);
        let text = text.map_err(|error| MongoError::Faults(vec![error.to_string()]))?;
        serde_json::from_slice(&text).map(Some).map_err(|_not| unreadable())
    }

    async fn make_indexes(&self) -> Result<Expiry, MongoError> {
        let place = self.place().await?;
        let database = self.database().await?;
        let pseudonyms = self.options.personal.iter().map(|field| doc! { format!("pseudonyms.{field}"): 1 });
        let reads: Vec<Document> = pseudonyms.collect();
        let made = async {
            let mut expiry = indexes::make(&database, &place.decisions, &reads, self.options.ttl).await?;
            if let Some(raw) = &place.raw {
                let by_day = [doc! { "source": 1, "day": 1 }];
                let of_raw = indexes::make(&database, raw, &by_day, self.options.ttl).await?;
                expiry = if of_raw == Expiry::Unsupported { of_raw } else { expiry };
            }
            Ok(expiry)
        };
        // A handful of operations, each of which may take its time.
        let expiry = within(self.options.operation_timeout * 4, made).await?;
        if expiry == Expiry::Unsupported {
            tracing::warn!(
                ttl = ?self.options.ttl,
                "this server knows no index that lets documents expire: remove those by scored_at that are older than mongodb.ttl"
            );
        }
        Ok(expiry)
    }

    async fn place(&self) -> Result<Place<'_>, MongoError> {
        let database = self.database().await?;
        let collection = |name: &str| database.collection::<RawDocumentBuf>(name);
        let raw = self.options.raw.as_ref().map(|raw| collection(&raw.collection));
        Ok(Place { options: &self.options, decisions: collection(&self.options.collection), raw })
    }

    async fn database(&self) -> Result<Database, MongoError> {
        let client = self.client.get_or_try_init(|| self.connect()).await?;
        Ok(client.database(&self.options.database))
    }

    /// A client; it connects by itself, and again after every failure.
    async fn connect(&self) -> Result<Client, MongoError> {
        let wrong = |_quoting| MongoError::Faults(vec![format!("the url {URL_RULE}")]);
        let mut options = ClientOptions::parse(self.url.clone()).await.map_err(wrong)?;
        let limit = self.options.operation_timeout;
        options.app_name = Some("assay".to_owned());
        options.connect_timeout = Some(self.options.connect_timeout);
        options.server_selection_timeout = Some(self.options.selection_timeout);
        options.max_pool_size = Some(POOL);
        options.write_concern =
            Some(WriteConcern::builder().w(mongodb::options::Acknowledgment::Majority).w_timeout(limit).build());
        Client::with_options(options).map_err(|error| MongoError::Faults(vec![error.kind.to_string()]))
    }
}

impl Destination for MongoStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn write(&self, batch: &[Delivered]) -> Result<Kept, DestinationError> {
        self.prepare().await?;
        let place = self.place().await?;
        Ok(Box::pin(write::write(&place, batch)).await?)
    }

    /// Nothing waits: a document needs no row of another.
    async fn look_after(&self) -> Result<Waiting, DestinationError> {
        Ok(Waiting::default())
    }
}

/// The revision that a stored decision says.
fn revision_of(document: &RawDocument) -> Option<u32> {
    let revision = document.get("revision").ok().flatten()?;
    revision.as_i64().or_else(|| revision.as_i32().map(i64::from)).and_then(|one| one.try_into().ok())
}
