//! Simulated payments as a pipeline sends them: the row, then the event, then perhaps the question.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use hyper::body::Bytes;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::pace::{Pace, parse_rate};
use super::payments::{Payments, body};
use super::producer::{Outgoing, Producer};
use super::servers::Servers;
use super::table::Table;
use crate::bodies::MOST;
use crate::client::{Connection, Target, runtime};
use crate::report::{Report, say};

#[derive(Debug, Args)]
pub(crate) struct Pay {
    #[command(flatten)]
    servers: Servers,
    /// Payments a second.
    #[arg(long, default_value_t = 200.0, value_parser = parse_rate)]
    rate: f64,
    /// Payments in all.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    count: u64,
    /// Also asks here, such as http://127.0.0.1:8080/predict, right after the event.
    #[arg(long)]
    predict: Option<String>,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Payments that are written with one statement.
const TOGETHER: f64 = 0.05;
/// The most questions under way at once, and those that wait for a connection.
const CONNECTIONS: usize = 8;
const WAITING: usize = 1_024;

impl Pay {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let target = self.predict.as_deref().map(Target::parse).transpose()?;
        runtime()?.block_on(async {
            let (asker, asked) = match &target {
                Some(target) => {
                    let (asker, questions) = mpsc::channel(WAITING);
                    let mut asked = JoinSet::new();
                    let questions = Arc::new(Mutex::new(questions));
                    for _ in 0..CONNECTIONS {
                        asked.spawn(ask(Connection::open(target).await?, Arc::clone(&questions)));
                    }
                    (Some(asker), asked)
                }
                None => (None, JoinSet::new()),
            };
            let begun = Instant::now();
            let acknowledged = self.send(begun, asker).await?;
            let span = begun.elapsed();
            say(&format!(
                "{} rows written, {acknowledged} events acknowledged, in {:.1} s",
                self.count,
                span.as_secs_f64()
            ))?;
            let mut report = Report::new()?;
            for answers in asked.join_all().await {
                answers?.into_iter().for_each(|(took, status)| report.add(took, Some(status)));
            }
            if target.is_some() { say(&report.figures(span).line()) } else { Ok(()) }
        })
    }

    /// The row, the event, the question; how many events were acknowledged.
    async fn send(&self, begun: Instant, asker: Option<mpsc::Sender<Bytes>>) -> anyhow::Result<u64> {
        let producer = Producer::open(&self.servers, Duration::from_millis(1))?;
        let (mut payments, mut table) = (Payments::new(self.seed)?, Table::open(&self.servers).await?);
        let pace = Pace::new(self.rate);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 50,000")]
        let together = (self.rate * TOGETHER).clamp(1.0, 50_000.0) as u64;
        let mut sent = 0;
        while sent < self.count {
            let some = payments.take(together.min(self.count - sent));
            table.insert(&some).await?;
            for payment in &some {
                tokio::time::sleep(pace.due(sent).saturating_sub(begun.elapsed())).await;
                let body = body(payment)?;
                let topic = &self.servers.transactions;
                producer.send(Outgoing { topic, key: &payment.customer_id, payload: &body })?;
                if let Some(asker) = &asker {
                    asker.send(Bytes::from(body)).await?;
                }
                sent += 1;
            }
        }
        producer.settle(Duration::from_secs(60))
    }
}

/// Asks until nobody asks any more; how long each answer took, and its status.
async fn ask(
    mut connection: Connection,
    questions: Arc<Mutex<mpsc::Receiver<Bytes>>>,
) -> anyhow::Result<Vec<(Duration, u16)>> {
    let mut answers = Vec::new();
    loop {
        let question = questions.lock().await.recv().await;
        let Some(body) = question else { return Ok(answers) };
        let asked = Instant::now();
        let status = connection.post(body).await?;
        answers.push((asked.elapsed(), status));
    }
}
