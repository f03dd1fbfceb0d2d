//! A trial: payments through instances of assay while something happens to them, and a judgement at the end.
//!
//! ```text
//! rows ─▶ instances start ─▶ payments and labels at a pace, beside the disturbance ─▶ rows completed ─▶ instances end ─▶ judge
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use assay::base::clock::{Clock as _, SystemClock};
use assay::store::files::{Kind, Table as FileTable, Values};
use assay::transaction::Transaction;
use clap::Args;
use rdkafka::Message as _;
use serde::Serialize;
use tokio::sync::{Mutex, watch};

use super::documents::{DocumentOptions, Documents};
use super::fleet::{Fleet, Options};
use super::judge::{Expected, Judge, Verdict};
use super::lag::Departures;
use super::pace::parse_rate;
use super::payments::{Payments, moments, of_file};
use super::record::Decoder;
use super::replay::{Sending, Sent, Verdicts, plan, send};
use super::servers::Servers;
use super::table::Table;
use super::topics::Offsets;
use super::{progress, topics};
use crate::bodies::MOST;
use crate::report::say;

/// What is sent, by whom it is scored, and what it is compared with.
#[derive(Debug, Args)]
pub(crate) struct Trial {
    #[command(flatten)]
    pub(crate) servers: Servers,
    #[command(flatten)]
    pub(crate) documents: DocumentOptions,
    #[command(flatten)]
    pub(crate) fleet: Options,
    /// File of payments: .parquet, .csv, .ndjson; without it simulated ones, which happen at the pace at which they are sent.
    #[arg(long)]
    input: Option<PathBuf>,
    /// How the file's fields map to canonical ones.
    #[arg(long, default_value = "canonical")]
    connector: String,
    /// The most payments that are sent; simulated ones must be counted, but where the command knows how long it lasts.
    #[arg(long, default_value_t = MOST, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    count: u64,
    /// Payments a second, at most.
    #[arg(long, default_value_t = 500.0, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// Moments whose payments are acknowledged together; 1 keeps the order of time to the millisecond.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    slice: u32,
    /// Which labels of the file are sent.
    #[arg(long, value_enum, default_value_t = Verdicts::Fraud)]
    verdicts: Verdicts,
    /// How long after its payment a label is given.
    #[arg(long, default_value = "7d", value_parser = assay::base::span::parse)]
    label_delay: Duration,
    /// What `assay features` wrote of the same file.
    #[arg(long)]
    features: Option<PathBuf>,
    /// What `assay score` wrote of the same file.
    #[arg(long)]
    scores: Option<PathBuf>,
    /// Ids whose features may differ, one a line.
    #[arg(long)]
    exempt: Option<PathBuf>,
    /// Gives up when no row was completed for this long.
    #[arg(long, default_value = "2m", value_parser = assay::base::span::parse)]
    silence: Duration,
    /// The counter of merges that did not wait any longer.
    #[arg(long, default_value = "assay_merge_timeouts_total")]
    timeouts_metric: String,
    /// Of simulated payments and of everything drawn.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Whether nothing more is sent once the disturbance is over.
    #[arg(skip)]
    until_over: bool,
}

/// How much longer than planned a disturbance may take on a busy machine, beside a quarter of it.
const SLOWER: Duration = Duration::from_secs(60);

/// How a trial ended.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) sent: Sent,
    pub(crate) payments_a_second: f64,
    /// What happened to the instances and servers meanwhile.
    pub(crate) disturbances: Vec<String>,
    /// Merges that did not wait any longer, as the instances say.
    pub(crate) merge_timeouts: f64,
    pub(crate) verdict: Verdict,
}

/// What a disturbance may take hold of.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) fleet: Arc<Mutex<Fleet>>,
    pub(crate) payments: Arc<Vec<Transaction>>,
    /// When they left.
    pub(crate) departures: Arc<Departures>,
    /// True once everything was sent: no disturbance begins after that.
    pub(crate) ended: watch::Receiver<bool>,
}

impl Scene {
    /// Sleeps; false when everything was sent meanwhile.
    pub(crate) async fn sleep(&mut self, span: Duration) -> bool {
        let ended = self.ended.wait_for(|ended| *ended);
        tokio::time::timeout(span, ended).await.is_err()
    }
}

impl Trial {
    /// Sends simulated payments until the disturbance is over, which takes some `span`; unless it was told how many or a
    /// file of them.
    pub(crate) fn lasting(&mut self, span: Duration) {
        if self.count == MOST && self.input.is_none() {
            self.count = payments_in(span + span / 4 + SLOWER, self.rate);
            self.until_over = true;
        }
    }

    /// Runs it. `disturb` gets hold of the instances; it ends when all was sent and says what it did.
    pub(crate) async fn run<F>(&self, disturb: impl FnOnce(Scene) -> F) -> anyhow::Result<Outcome>
    where
        F: Future<Output = anyhow::Result<Vec<String>>>,
    {
        self.run_with_rows(usize::MAX, disturb).await
    }

    /// The same with the rows of the first `rows` payments; the disturbance writes the others.
    pub(crate) async fn run_with_rows<F>(
        &self,
        rows: usize,
        disturb: impl FnOnce(Scene) -> F,
    ) -> anyhow::Result<Outcome>
    where
        F: Future<Output = anyhow::Result<Vec<String>>>,
    {
        let payments = Arc::new(self.payments()?);
        ensure!(!payments.is_empty(), "there is nothing to send");
        let mut table = Table::open(&self.servers).await?;
        let new = table.insert(payments.get(..rows).unwrap_or(&payments)).await?;
        table.settle().await?;
        drop(table);
        say(&format!("{} payments, {new} new rows", payments.len()))?;
        let from = topics::ends(&self.servers, &self.servers.decisions)?;
        let documents = Documents::open(&self.documents).await?;
        let before = match &documents {
            Some(documents) => documents.count().await?,
            None => 0,
        };

        let fleet = Arc::new(Mutex::new(Fleet::start(&self.fleet).await?));
        let (ended, watched) = watch::channel(false);
        let departures = Arc::new(Departures::new(payments.len(), self.rate));
        let scene = Scene {
            fleet: Arc::clone(&fleet),
            payments: Arc::clone(&payments),
            departures: Arc::clone(&departures),
            ended: watched,
        };
        let enough = Arc::new(AtomicBool::new(false));
        let disturbed = async {
            let disturbances = disturb(scene).await?;
            enough.store(self.until_over, Ordering::Relaxed);
            anyhow::Ok(disturbances)
        };
        let sending =
            Sending { rate: self.rate, slice: usize::try_from(self.slice)?, enough: Arc::clone(&enough), departures };
        let sending = self.send(Arc::clone(&payments), ended, sending);
        let (sent, disturbances) = tokio::try_join!(sending, disturbed)?;

        // Simulated payments, of which the last may be unsent, are sent in their order.
        let were_sent = payments.iter().take(usize::try_from(sent.payments)?);
        let ids: Vec<String> = were_sent.map(|payment| payment.transaction_id.to_string()).collect();
        let table = Table::open(&self.servers).await?;
        progress::wait(&table, &ids, self.silence).await?;
        if let Some(documents) = &documents {
            documents.wait(before + ids.len() as u64, self.silence).await?;
        }
        let mut fleet = fleet.lock().await;
        fleet.stop().await?;
        let verdict = self.judge(&table, documents.as_ref(), &from, &ids).await?;
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let payments_a_second = sent.payments as f64 / sent.seconds.max(1e-9);
        let merge_timeouts = fleet.counted(&self.timeouts_metric);
        Ok(Outcome { sent, payments_a_second, disturbances, merge_timeouts, verdict })
    }

    fn payments(&self) -> anyhow::Result<Vec<Transaction>> {
        match &self.input {
            Some(path) => of_file(path, &self.connector, usize::try_from(self.count)?),
            None => {
                ensure!(self.count < MOST, "--count is needed for simulated payments");
                #[expect(clippy::cast_precision_loss, reason = "payments of a run are far below 2^53")]
                let count = self.count as f64;
                let span = Duration::try_from_secs_f64(count / self.rate)?;
                Ok(Payments::new(self.seed)?.take_at(moments(SystemClock.now(), span, self.count)))
            }
        }
    }

    async fn send(
        &self,
        payments: Arc<Vec<Transaction>>,
        ended: watch::Sender<bool>,
        sending: Sending,
    ) -> anyhow::Result<Sent> {
        let (servers, verdicts, delay) = (self.servers.clone(), self.verdicts, self.label_delay);
        let patience = self.silence.max(Duration::from_secs(120));
        let sent = tokio::task::spawn_blocking(move || {
            let events = plan(&payments, verdicts, delay);
            send(&servers, &payments, &events, &sending, patience)
        });
        let sent = sent.await?;
        ended.send_replace(true);
        sent
    }

    /// Judges what the topic of decisions holds since `from`, the table, and the documents where they are looked at.
    async fn judge(
        &self,
        table: &Table,
        documents: Option<&Documents>,
        from: &Offsets,
        ids: &[String],
    ) -> anyhow::Result<Verdict> {
        let mut judge = Judge::new(ids.iter().cloned(), self.expected(from, ids)?);
        let mut decoder = Decoder::default();
        topics::read(&self.servers, &self.servers.decisions, from, |message| {
            let seen = decoder
                .decode(message.payload().unwrap_or_default())
                .with_context(|| format!("{} {} {}", message.topic(), message.partition(), message.offset()))?;
            judge.record(message.partition(), &seen);
            Ok(())
        })?;
        table.visit(ids, |id, row| judge.row(id, &row)).await?;
        if let Some(documents) = documents {
            judge.look_at_documents();
            documents.visit(|kept| judge.document(kept)).await?;
        }
        Ok(judge.verdict())
    }

    fn expected(&self, from: &Offsets, ids: &[String]) -> anyhow::Result<Expected> {
        let mut expected = Expected::default();
        if let Some(path) = &self.exempt {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            expected.exempt = text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        }
        if let Some(path) = &self.features {
            let names = topics::find(&self.servers, &self.servers.decisions, from, |message| {
                let seen = Decoder::default().decode(message.payload().unwrap_or_default()).ok()?;
                (!seen.features.is_empty()).then_some(seen.names)
            })?;
            let names = names.context("no record of the topic of decisions has features")?;
            for (name, values) in names.iter().zip(columns(path, &names, ids)?) {
                expected.features.insert(name.clone(), values);
            }
        }
        if let Some(path) = &self.scores {
            let score = columns(path, &["score".to_owned()], ids)?.into_iter().next().unwrap_or_default();
            #[expect(clippy::cast_possible_truncation, reason = "they were written as 32-bit floats")]
            let score = score.into_iter().map(|score| score as f32).collect();
            expected.scores = Some(score);
        }
        Ok(expected)
    }
}

/// How many payments leave in `span`, between 1 and the most.
pub(crate) fn payments_in(span: Duration, rate: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "bounded before"
    )]
    let count = (span.as_secs_f64() * rate).clamp(1.0, (MOST - 1) as f64) as u64;
    count
}

/// Columns of numbers of a file whose rows are those payments; more rows than payments are cut off.
fn columns(path: &Path, names: &[String], ids: &[String]) -> anyhow::Result<Vec<Vec<f64>>> {
    let mut wanted: Vec<(&str, Kind)> = names.iter().map(|name| (name.as_str(), Kind::Number)).collect();
    wanted.push(("transaction_id", Kind::Text));
    let table = FileTable::read(path, &wanted)?;
    let Some(Values::Text(there)) = table.column("transaction_id", Kind::Text) else {
        return Err(table.no_column("transaction_id").into());
    };
    let same = there.iter().zip(ids).all(|(there, id)| there.as_deref() == Some(id));
    ensure!(there.len() >= ids.len() && same, "{}: its rows are not those of the payments", path.display());
    let column = |name: &String| match table.column(name, Kind::Number) {
        Some(Values::Number { cells, .. }) => {
            Ok(cells.iter().take(ids.len()).map(|cell| cell.unwrap_or(f64::NAN)).collect())
        }
        _ => Err(table.no_column(name).into()),
    };
    names.iter().map(column).collect()
}

impl Outcome {
    pub(crate) fn line(&self) -> String {
        let Sent { payments, labels, seconds } = self.sent;
        format!(
            "{payments} payments and {labels} labels in {seconds:.0} s ({:.0} payments/s); disturbed {} times; merges that did not wait: {}\n{}",
            self.payments_a_second,
            self.disturbances.len(),
            self.merge_timeouts,
            self.verdict.line()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_belong_to_the_payments_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("features.csv");
        std::fs::write(&path, "transaction_id,x,y\na,1,2.5\nb,3,4.5\nc,5,6.5\n").unwrap();
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let names = ids(&["y", "x"]);
        assert_eq!(columns(&path, &names, &ids(&["a", "b"])).unwrap(), [[2.5, 4.5], [1.0, 3.0]]);
        assert!(columns(&path, &names, &ids(&["b", "a"])).is_err());
        assert!(columns(&path, &names, &ids(&["a", "b", "c", "d"])).is_err());
        assert!(columns(&path, &ids(&["z"]), &ids(&["a"])).unwrap_err().to_string().contains('z'));
    }
}
