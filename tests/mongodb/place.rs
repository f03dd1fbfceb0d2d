//! A database of one test, and what is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use assay::base::keyring::KeyRing;
use assay::base::pseudonym::Pseudonyms;
use assay::base::seal::Seals;
use assay::base::secret::Secret;
use assay::engine::delivery::{Delivered, Published, PublishedFeatures};
use assay::store::{MongoOptions, MongoStore, RawOptions};
use assay::transaction::Transaction;
use futures_util::TryStreamExt;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::{Client, Database};

use crate::server::{Server, elsewhere};

static MADE: AtomicU32 = AtomicU32::new(0);

/// One test's.
pub(crate) struct Place {
    pub(crate) options: MongoOptions,
    pub(crate) database: Database,
    _server: Option<Arc<Server>>,
}

/// A key that is no secret.
pub(crate) fn key(name: &str, first: u8) -> String {
    let digits: String = (0..32).map(|at| format!("{:02x}", first.wrapping_add(at))).collect();
    format!("{name}:{digits}")
}

pub(crate) fn ring(keys: &[String]) -> KeyRing {
    KeyRing::parse(&keys.join("\n")).unwrap()
}

pub(crate) fn options(url: &str, database: &str) -> MongoOptions {
    MongoOptions {
        url: Secret::new(url.to_owned()),
        database: database.to_owned(),
        collection: "decisions".to_owned(),
        raw: None,
        // Decisions of these tests are of 2023.
        ttl: Duration::from_secs(20_000 * 86_400),
        connect_timeout: Duration::from_secs(2),
        selection_timeout: Duration::from_secs(5),
        operation_timeout: Duration::from_secs(60),
        pseudonyms: Pseudonyms::new(ring(&[key("p1", 1)])),
        personal: ["customer_id", "card_id", "device_id"].map(str::to_owned).to_vec(),
    }
}

impl Place {
    pub(crate) async fn new() -> Self {
        match elsewhere() {
            Some(url) => Self::at(&url, None).await,
            None => {
                let server = tokio::task::spawn_blocking(Server::shared).await.unwrap();
                Self::at(server.url(), Some(Arc::clone(&server))).await
            }
        }
    }

    /// On a server that the test holds itself.
    pub(crate) async fn on(server: &Server) -> Self {
        Self::at(server.url(), None).await
    }

    async fn at(url: &str, server: Option<Arc<Server>>) -> Self {
        let name = format!("assay_test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::SeqCst));
        let client = Client::with_uri_str(url).await.unwrap();
        Self { options: options(url, &name), database: client.database(&name), _server: server }
    }

    /// With raw events, sealed by these keys.
    pub(crate) fn with_raw(mut self, keys: &[String]) -> Self {
        self.options.raw = Some(RawOptions { collection: "raw".to_owned(), seals: Seals::new(ring(keys)) });
        self
    }

    pub(crate) fn store(&self) -> MongoStore {
        MongoStore::new(self.options.clone()).unwrap()
    }

    /// With pseudonyms by these keys.
    pub(crate) fn store_by(&self, keys: &[String]) -> MongoStore {
        MongoStore::new(MongoOptions { pseudonyms: Pseudonyms::new(ring(keys)), ..self.options.clone() }).unwrap()
    }

    pub(crate) async fn find(&self, id: &str) -> Option<Document> {
        self.database.collection::<Document>("decisions").find_one(doc! { "_id": id }).await.unwrap()
    }

    pub(crate) async fn document(&self, id: &str) -> Document {
        self.find(id).await.unwrap()
    }

    pub(crate) async fn raw(&self, id: &str) -> Document {
        self.database.collection::<Document>("raw").find_one(doc! { "_id": id }).await.unwrap().unwrap()
    }

    /// (revision, record) of what is stored.
    pub(crate) async fn stands(&self, id: &str) -> (i64, String) {
        let document = self.document(id).await;
        (document.get_i64("revision").unwrap(), document.get_str("record").unwrap().to_owned())
    }

    pub(crate) async fn count(&self) -> usize {
        self.bytes("decisions").await.len()
    }

    /// Every document of a collection, as its bytes.
    pub(crate) async fn bytes(&self, collection: &str) -> Vec<Vec<u8>> {
        let all = self.database.collection::<RawDocumentBuf>(collection).find(doc! {}).await.unwrap();
        let all: Vec<RawDocumentBuf> = all.try_collect().await.unwrap();
        let mut all: Vec<Vec<u8>> = all.into_iter().map(RawDocumentBuf::into_bytes).collect();
        all.sort();
        all
    }
}

/// The url with another address in it, user and options kept.
pub(crate) fn moved(url: &str, address: &str) -> String {
    let (user, options) = parts(url);
    format!("mongodb://{user}{address}/{options}")
}

/// The url with another user in it, address and options kept.
pub(crate) fn impersonated(url: &str, user: &str) -> String {
    let (known, options) = parts(url);
    let address = url.strip_prefix(&format!("mongodb://{known}")).and_then(|rest| rest.split(['/', '?']).next());
    format!("mongodb://{user}@{}/{options}", address.unwrap())
}

/// What stands before the address, and from the '?' on.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("mongodb://").unwrap();
    let user = &rest[..rest.find('@').map_or(0, |at| at + 1)];
    (user, rest.find('?').map_or("", |at| &rest[at..]))
}

/// On somebody's server nothing is left behind; the tests' own goes as a whole.
impl Drop for Place {
    fn drop(&mut self) {
        if elsewhere().is_none() {
            return;
        }
        let (url, name) = (self.options.url.expose().to_owned(), self.database.name().to_owned());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { Client::with_uri_str(url).await.unwrap().database(&name).drop().await })
        });
        drop(dropped.join());
    }
}

/// (revision, record) as it should stand.
pub(crate) fn standing(delivered: &Delivered) -> (i64, String) {
    let Published { decision, record, .. } = &delivered.published;
    (i64::from(decision.revision.unwrap()), record.to_string())
}

pub(crate) fn with_features(mut delivered: Delivered, features: &[(&str, f64)]) -> Delivered {
    delivered.published.features = Some(PublishedFeatures {
        names: features.iter().map(|(name, _)| (*name).to_owned()).collect(),
        values: features.iter().map(|(_, value)| *value).collect(),
    });
    delivered
}

pub(crate) fn with_payment(mut delivered: Delivered, change: impl FnOnce(&mut Transaction)) -> Delivered {
    change(Arc::make_mut(&mut delivered.published.transaction));
    delivered
}
