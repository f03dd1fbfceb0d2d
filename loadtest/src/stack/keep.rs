//! How fast decisions become documents: assay's destination and a consumer that does nothing else, by turns on the same
//! topic and the same server, each into a database of its own.
//!
//! ```text
//! fraud.decisions ─┬─ group of this turn ─▶ assay, without PostgreSQL ─▶ database of this turn ─┐
//!                  └─ group of this turn ─▶ the bare consumer ─────────▶ database of this turn ─┴▶ the same documents?
//! ```
//!
//! The topic holds what was decided before. A turn counts from the moment it is first looked at and has begun, until all is
//! kept: no start of a program lies in it. Both collections have assay's indexes. The bare consumer has one turn more than
//! assay; how much its own turns differ is the noise of the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use assay::base::clock::{Clock as _, SystemClock};
use assay::base::keyring::KeyRing;
use assay::base::pseudonym::Pseudonyms;
use assay::base::secret::Secret;
use assay::store::{MongoOptions, MongoStore};
use clap::Args;
use mongodb::bson::{RawDocumentBuf, doc};
use rdkafka::Message as _;
use serde::Serialize;

use super::bare_keep::PERSONAL;
use super::documents::DocumentOptions;
use super::fleet::{Fleet, Options};
use super::record::Decoder;
use super::servers::Servers;
use super::{bare_keep, scrape, topics};
use crate::client::runtime;
use crate::report::{say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Keep {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    documents: DocumentOptions,
    #[command(flatten)]
    fleet: Options,
    /// Turns of assay.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=20))]
    turns: u32,
    /// Gives up when nothing was kept for this long.
    #[arg(long, default_value = "1m", value_parser = assay::base::span::parse)]
    silence: Duration,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Outcome {
    /// Full decisions of the topic: documents of every turn.
    documents: u64,
    /// Documents a second of every turn.
    assay: Vec<f64>,
    bare: Vec<f64>,
    /// The mean of assay's turns over that of the bare consumer's.
    ratio: f64,
    /// The slowest turn of the bare consumer over its fastest.
    bare_to_bare: f64,
    /// Documents that were compared byte by byte, of assay and of the bare consumer.
    compared: u64,
    differ: u64,
}

/// Of so many documents one is compared.
const COMPARED: usize = 100;
const LOOK: Duration = Duration::from_millis(20);
/// A key that is no secret: both sides make the same pseudonyms with it.
const KEY: &str = "loadtest:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const NO_SERVER: &str = "--mongodb names no server";
const KEPT: &str = "assay_delivered_records_total{destination=\"mongodb\",fate=\"new\"}";

impl Keep {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        ensure!(self.fleet.instances == 1, "--instances 1: one instance against one consumer");
        runtime()?.block_on(async {
            let ids = self.ids()?;
            let documents = ids.len() as u64;
            ensure!(documents > 0, "the topic of decisions holds none: send payments first");
            let run = format!("keep_{}", SystemClock.now().0);
            let (client, _, collection) = self.documents.client().await?.context(NO_SERVER)?;
            let (mut assay, mut bare) = (Vec::new(), vec![self.bare(&format!("{run}_bare_0"), documents).await?]);
            let (mut compared, mut differ) = (0, 0);
            for turn in 1..=self.turns {
                let [of_assay, of_bare] = ["assay", "bare"].map(|name| format!("{run}_{name}_{turn}"));
                assay.push(self.assay(&of_assay, documents).await?);
                bare.push(self.bare(&of_bare, documents).await?);
                for id in ids.iter().step_by(COMPARED) {
                    let of = async |database: &str| {
                        let kept = client.database(database).collection::<RawDocumentBuf>(collection);
                        kept.find_one(doc! { "_id": id }).await?.context("a document is missing")
                    };
                    compared += 1;
                    differ += u64::from(of(&of_assay).await?.as_bytes() != of(&of_bare).await?.as_bytes());
                }
                client.database(&of_assay).drop().await?;
                client.database(&of_bare).drop().await?;
            }
            client.database(&format!("{run}_bare_0")).drop().await?;
            let slowest = bare.iter().copied().fold(f64::INFINITY, f64::min);
            let fastest = bare.iter().copied().fold(0.0, f64::max);
            let (ratio, bare_to_bare) = (mean(&assay) / mean(&bare), slowest / fastest);
            let outcome = Outcome { documents, assay, bare, ratio, bare_to_bare, compared, differ };
            say_figures(&outcome, &outcome.line(), self.json)?;
            ensure!(differ == 0, "{differ} documents of assay are not those of the bare consumer");
            Ok(())
        })
    }

    fn url(&self) -> anyhow::Result<String> {
        self.documents.mongodb.clone().context(NO_SERVER)
    }

    fn collection(&self) -> anyhow::Result<&str> {
        let (_, collection) = self.documents.documents.split_once('.').context("--documents is DATABASE.COLLECTION")?;
        Ok(collection)
    }

    /// The ids of the full decisions that the topic holds.
    fn ids(&self) -> anyhow::Result<Vec<String>> {
        let (mut decoder, mut ids) = (Decoder::default(), Vec::new());
        let start = topics::ends(&self.servers, &self.servers.decisions)?.into_keys().map(|partition| (partition, 0));
        topics::read(&self.servers, &self.servers.decisions, &start.collect(), |message| {
            let seen = decoder.decode(message.payload().unwrap_or_default())?;
            if seen.revision == Some(0) {
                ids.push(seen.transaction_id);
            }
            Ok(())
        })?;
        let all = ids.len();
        ids.sort();
        ids.dedup();
        ensure!(ids.len() == all, "the topic holds superseded decisions: the bare consumer keeps none of them apart");
        Ok(ids)
    }

    async fn assay(&self, name: &str, documents: u64) -> anyhow::Result<f64> {
        let url = self.url()?;
        let options = self.fleet.with(&[
            ("ASSAY__KAFKA__GROUP", name.to_owned()),
            ("ASSAY__POSTGRES__HOST", String::new()),
            ("ASSAY__MONGODB__URL", url),
            ("ASSAY__MONGODB__DATABASE", name.to_owned()),
            ("ASSAY__MONGODB__COLLECTION", self.collection()?.to_owned()),
            ("ASSAY__MONGODB__PSEUDONYM_KEYS", KEY.to_owned()),
        ]);
        let mut fleet = Fleet::start(&options).await?;
        let url = fleet.url(0);
        let kept = async || {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            Ok(scrape::scrape(&url).await?.get(KEPT).copied().unwrap_or_default() as u64)
        };
        let rate = self.rate(documents, kept).await?;
        fleet.stop().await?;
        say(&format!("assay: {rate:.0} documents/s"))?;
        Ok(rate)
    }

    async fn bare(&self, name: &str, documents: u64) -> anyhow::Result<f64> {
        let (kept, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let pseudonyms = Pseudonyms::new(KeyRing::parse(KEY)?);
        self.indexes(name, &pseudonyms).await?;
        let (client, _, collection) = self.documents.client().await?.context(NO_SERVER)?;
        let collection = client.database(name).collection(collection);
        let (servers, group, count, ending) =
            (self.servers.clone(), name.to_owned(), Arc::clone(&kept), Arc::clone(&stop));
        let keep = move || bare_keep::run(&servers, &group, &collection, &pseudonyms, &count, &ending);
        let thread = tokio::task::spawn_blocking(keep);
        let rate = self.rate(documents, async || Ok(kept.load(Ordering::Relaxed))).await;
        stop.store(true, Ordering::Relaxed);
        thread.await??;
        say(&format!("bare: {:.0} documents/s", rate.as_ref().copied().unwrap_or_default()))?;
        rate
    }

    /// Makes the indexes that assay has.
    async fn indexes(&self, database: &str, pseudonyms: &Pseudonyms) -> anyhow::Result<()> {
        let options = MongoOptions {
            url: Secret::new(self.url()?),
            database: database.to_owned(),
            collection: self.collection()?.to_owned(),
            raw: None,
            ttl: Duration::from_secs(730 * 86_400),
            connect_timeout: Duration::from_secs(2),
            selection_timeout: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(30),
            pseudonyms: pseudonyms.clone(),
            personal: PERSONAL.map(str::to_owned).to_vec(),
        };
        MongoStore::new(options)?.prepare().await?;
        Ok(())
    }

    /// Documents a second, from the first look that finds some until all are kept.
    async fn rate(&self, documents: u64, mut kept: impl AsyncFnMut() -> anyhow::Result<u64>) -> anyhow::Result<f64> {
        let (mut first, mut last, mut since) = (None, 0, Instant::now());
        loop {
            let now = kept().await?;
            if now > last {
                (last, since) = (now, Instant::now());
            }
            if first.is_none() && now > 0 {
                first = Some((now, Instant::now()));
            }
            if let Some((begun_with, begun)) = first
                && now >= documents
            {
                #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
                let counted = documents.saturating_sub(begun_with) as f64;
                ensure!(counted > 0.0, "all was kept before it was looked at: send more payments first");
                return Ok(counted / begun.elapsed().as_secs_f64());
            }
            let silence = self.silence;
            ensure!(since.elapsed() < silence, "{last} of {documents} were kept, none more within {silence:?}");
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn mean(rates: &[f64]) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let count = rates.len().max(1) as f64;
    rates.iter().sum::<f64>() / count
}

impl Outcome {
    fn line(&self) -> String {
        let Self { documents, assay, bare, ratio, bare_to_bare, compared, differ } = self;
        let rates = |rates: &[f64]| rates.iter().map(|rate| format!("{rate:.0}")).collect::<Vec<_>>().join(", ");
        format!(
            "{documents} documents a turn; assay {} a second, the bare consumer {}: {ratio:.2} of it (its slowest turn is {bare_to_bare:.2} of its fastest); {differ} of {compared} documents differ",
            rates(assay),
            rates(bare)
        )
    }
}
