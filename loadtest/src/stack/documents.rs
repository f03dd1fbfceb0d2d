//! The documents that the destination mongodb keeps: how many there are, and each as the judge looks at it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress};
use mongodb::{Client, Collection};

use super::servers::parse_name;

/// Documents that one answer of the server brings.
const BATCH: u32 = 5_000;
const PAUSE: Duration = Duration::from_millis(200);

/// Where the documents are, if they are looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct DocumentOptions {
    /// MongoDB, as mongodb://127.0.0.1:27117: its documents are waited for and judged too. Without it they are not.
    #[arg(long)]
    pub(crate) mongodb: Option<String>,
    /// Its database and collection of decisions.
    #[arg(long, default_value = "assay.decisions", value_parser = parse_name)]
    pub(crate) documents: String,
}

impl DocumentOptions {
    /// The client and the names of database and collection; `None` where no server is named.
    pub(crate) async fn client(&self) -> anyhow::Result<Option<(Client, &str, &str)>> {
        let Some(url) = &self.mongodb else { return Ok(None) };
        // Why no word of the driver's: it may quote the url, and with it a password.
        let parsed = ClientOptions::parse(url).await;
        let mut client = parsed.map_err(|_quoting| anyhow::anyhow!("--mongodb is no url of MongoDB"))?;
        let is_here = |address: &ServerAddress| match address {
            ServerAddress::Tcp { host, .. } => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            _ => true,
        };
        ensure!(
            client.hosts.iter().all(is_here),
            "--mongodb must name a host of this machine: load goes to this machine only"
        );
        client.app_name = Some("loadtest".to_owned());
        client.server_selection_timeout = Some(Duration::from_secs(10));
        let (database, collection) = self.documents.split_once('.').context("--documents is DATABASE.COLLECTION")?;
        Ok(Some((Client::with_options(client)?, database, collection)))
    }
}

/// What the harness looks at in a document.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kept {
    pub(crate) transaction_id: String,
    /// Which record it was.
    pub(crate) record: String,
    pub(crate) revision: i64,
    pub(crate) score: Option<f32>,
    pub(crate) flagged: bool,
    pub(crate) model_version: String,
    /// In the order in which they stand.
    pub(crate) features: Vec<(String, f64)>,
}

/// The collection on one client.
pub(crate) struct Documents(Collection<Document>);

impl Documents {
    /// `None` where no server is named.
    pub(crate) async fn open(options: &DocumentOptions) -> anyhow::Result<Option<Self>> {
        let place = options.client().await?;
        Ok(place.map(|(client, database, collection)| Self(client.database(database).collection(collection))))
    }

    /// Whether this payment's is there.
    pub(crate) async fn has(&self, id: &str) -> anyhow::Result<bool> {
        Ok(self.0.find_one(doc! { "_id": id }).projection(doc! { "_id": 1 }).await?.is_some())
    }

    /// How many there are.
    pub(crate) async fn count(&self) -> anyhow::Result<u64> {
        Ok(self.0.estimated_document_count().await?)
    }

    /// How many there are, counted one by one.
    pub(crate) async fn exact_count(&self) -> anyhow::Result<u64> {
        Ok(self.0.count_documents(doc! {}).await?)
    }

    /// Waits until those of these payments are there, the newest of a run: each partition is kept in its order.
    pub(crate) async fn wait_for(&self, newest: &[String], silence: Duration) -> anyhow::Result<()> {
        let mut since = (self.count().await?, Instant::now());
        for id in newest.iter().rev() {
            while !self.has(id).await? {
                let there = self.count().await?;
                if there > since.0 {
                    since = (there, Instant::now());
                }
                ensure!(since.1.elapsed() < silence, "no document was kept for {} s", silence.as_secs());
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Waits until there are `wanted`; gives up when none was added for `silence`.
    pub(crate) async fn wait(&self, wanted: u64, silence: Duration) -> anyhow::Result<()> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let there = self.count().await?;
            if there > last {
                (last, since) = (there, Instant::now());
            }
            if there >= wanted || since.elapsed() >= silence {
                return Ok(());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Visits all of them.
    pub(crate) async fn visit(&self, mut each: impl FnMut(&Kept)) -> anyhow::Result<()> {
        let mut found = self.0.find(doc! {}).batch_size(BATCH).await?;
        while let Some(document) = found.try_next().await? {
            each(&kept(&document)?);
        }
        Ok(())
    }
}

fn kept(document: &Document) -> anyhow::Result<Kept> {
    let model = document.get_document("model")?;
    let mut features = Vec::new();
    if let Ok(stored) = document.get_document("features") {
        for (name, value) in stored {
            features.push((name.clone(), value.as_f64().with_context(|| format!("the feature {name} is no number"))?));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "they were widened from 32-bit floats")]
    let score = document.get_f64("score").ok().map(|score| score as f32);
    Ok(Kept {
        transaction_id: document.get_str("_id")?.to_owned(),
        record: document.get_str("record")?.to_owned(),
        revision: document.get_i64("revision")?,
        score,
        flagged: document.get_bool("flagged")?,
        model_version: model.get_str("version")?.to_owned(),
        features,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> DocumentOptions {
        DocumentOptions { mongodb: Some(url.to_owned()), documents: "assay.decisions".to_owned() }
    }

    #[test]
    fn documents_are_of_this_machine() {
        let runtime = crate::client::runtime().unwrap();
        let open = |url: &str| runtime.block_on(Documents::open(&options(url)));
        assert!(open("mongodb://127.0.0.1:27117").unwrap().is_some());
        for elsewhere in ["mongodb://10.0.0.1:27017", "mongodb://127.0.0.1:1,db:27017"] {
            assert!(open(elsewhere).err().unwrap().to_string().contains("this machine"), "{elsewhere}");
        }
        assert!(open("127.0.0.1").is_err());
        let none = DocumentOptions { mongodb: None, ..options("") };
        assert!(runtime.block_on(Documents::open(&none)).unwrap().is_none());
    }

    #[test]
    fn a_document_is_read_as_it_was_kept() {
        let model = doc! { "name": "fraud", "version": "1", "sha256": "ab" };
        let features = doc! { "b": 0.1, "a": 2.0 };
        let document = doc! {
            "_id": "a", "record": "a-0", "revision": 0_i64, "score": f64::from(0.3_f32), "flagged": false, "model": model,
            "features": features,
        };
        let expected = Kept {
            transaction_id: "a".to_owned(),
            record: "a-0".to_owned(),
            revision: 0,
            score: Some(0.3),
            flagged: false,
            model_version: "1".to_owned(),
            features: vec![("b".to_owned(), 0.1), ("a".to_owned(), 2.0)],
        };
        assert_eq!(kept(&document).unwrap(), expected);
        assert!(kept(&doc! { "_id": "a" }).is_err());
    }
}
