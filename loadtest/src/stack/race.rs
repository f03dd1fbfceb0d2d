//! The same id to `/predict` on two instances and to the topic at once: one decision must come of it, and everybody must
//! show it.
//!
//! The decision is the first full record of the id. An answer that shows another one was superseded; a second after it,
//! every question must be answered with the decision.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use hyper::body::Bytes;
use rdkafka::Message as _;
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::judge::{Expected, Judge, Verdict};
use super::pace::{Pace, parse_rate};
use super::payments::{Payments, body};
use super::producer::{Outgoing, Producer};
use super::record::{Decoder, Seen};
use super::scrape::{scrape, sum};
use super::servers::Servers;
use super::table::Table;
use super::{progress, topics};
use crate::client::{Connection, Target, runtime};
use crate::report::{say, say_figures};

#[derive(Debug, Args)]
pub(crate) struct Race {
    #[command(flatten)]
    servers: Servers,
    /// One instance.
    #[arg(long, default_value = "http://127.0.0.1:18080")]
    first: String,
    /// The other one.
    #[arg(long, default_value = "http://127.0.0.1:18081")]
    second: String,
    /// Ids.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Ids a second.
    #[arg(long, default_value_t = 200.0, value_parser = parse_rate)]
    rate: f64,
    /// Questions under way at once, for each instance.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    connections: u32,
    /// The counter of answers that were superseded.
    #[arg(long, default_value = "assay_decisions_superseded_total")]
    superseded_metric: String,
    /// Of the simulated payments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Figures as JSON.
    #[arg(long)]
    json: bool,
}

/// What the race looks at in an answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Answer {
    transaction_id: String,
    revision: Option<u32>,
    score: Option<f32>,
    /// UTC milliseconds.
    scored_at: i64,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Outcome {
    /// Answers of full decisions, of those given at once.
    answered: u64,
    /// Questions without a full decision: fallbacks, refusals, nothing.
    unanswered: u64,
    /// Answers given at once that show another record than the first.
    superseded: u64,
    /// Answers given a second later or more that do.
    still_superseded: u64,
    /// What the instances say of the former.
    superseded_by_metric: f64,
    verdict: Verdict,
}

impl Race {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            let payments = Payments::new(self.seed)?.take(self.count);
            let mut table = Table::open(&self.servers).await?;
            table.insert(&payments).await?;
            let from = topics::ends(&self.servers, &self.servers.decisions)?;
            let before = self.metric().await?;

            let bodies: Vec<Bytes> =
                payments.iter().map(|one| body(one).map(Bytes::from)).collect::<anyhow::Result<_>>()?;
            let answers = self.race(payments.iter().map(|one| one.customer_id.to_string()).collect(), &bodies).await?;
            say(&format!("{} answers; a second later all are asked again", answers.len()))?;
            let ids: Vec<String> = payments.iter().map(|one| one.transaction_id.to_string()).collect();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let later = self.ask_again(&ids).await?;
            progress::wait(&table, &ids, Duration::from_secs(60)).await?;

            let mut judge = Judge::new(ids.iter().cloned(), Expected::default());
            let mut decoder = Decoder::default();
            let mut firsts: HashMap<String, Seen> = HashMap::new();
            topics::read(&self.servers, &self.servers.decisions, &from, |message| {
                let seen = decoder.decode(message.payload().unwrap_or_default())?;
                judge.record(message.partition(), &seen);
                if seen.revision == Some(0) {
                    firsts.entry(seen.transaction_id.clone()).or_insert(seen);
                }
                Ok(())
            })?;
            table.visit(&ids, |id, row| judge.row(id, &row)).await?;
            let shows = |answer: &Answer| firsts.get(&answer.transaction_id).is_some_and(|first| is_of(answer, first));
            let full = || answers.iter().filter(|answer| answer.revision == Some(0));
            let answered = full().count() as u64;
            let outcome = Outcome {
                answered,
                unanswered: 2 * self.count - answered,
                superseded: full().filter(|answer| !shows(answer)).count() as u64,
                still_superseded: 2 * self.count - later.iter().filter(|answer| shows(answer)).count() as u64,
                superseded_by_metric: self.metric().await? - before,
                verdict: judge.verdict(),
            };
            say_figures(&outcome, &outcome.line(), self.json)?;
            ensure!(outcome.verdict.is_clean(), "what was decided is not what it must be");
            ensure!(outcome.still_superseded == 0, "answers a second later do not show the first record");
            Ok(())
        })
    }

    async fn metric(&self) -> anyhow::Result<f64> {
        let mut total = 0.0;
        for base in [&self.first, &self.second] {
            total += sum(&scrape(base).await?, &self.superseded_metric);
        }
        Ok(total)
    }

    /// Sends every payment three ways at once; the answers of both instances.
    async fn race(&self, keys: Vec<String>, bodies: &[Bytes]) -> anyhow::Result<Vec<Answer>> {
        let (first, first_asked) = self.askers(&self.first, "/predict").await?;
        let (second, second_asked) = self.askers(&self.second, "/predict").await?;
        let (servers, all, rate) = (self.servers.clone(), bodies.to_vec(), self.rate);
        let sending = tokio::task::spawn_blocking(move || {
            let producer = Producer::open(&servers, Duration::ZERO)?;
            let pace = Pace::new(rate);
            for (number, (key, body)) in (0..).zip(keys.iter().zip(all)) {
                pace.wait(number);
                // Which of the three is first changes from id to id.
                let topic = || producer.send(Outgoing { topic: &servers.transactions, key, payload: &body });
                let ask = |asker: &mpsc::UnboundedSender<Question>| asker.send(Question::Post(body.clone())).is_ok();
                let asked = match number % 3 {
                    0 => (topic()?, ask(&first) && ask(&second)).1,
                    1 => {
                        let asked = ask(&first);
                        topic()?;
                        asked && ask(&second)
                    }
                    _ => (ask(&second) && ask(&first), topic()?).0,
                };
                ensure!(asked, "an instance does not answer");
            }
            producer.settle(Duration::from_secs(60))
        });
        let sent = sending.await?;
        // What stopped those who ask says more than that they stopped.
        let (mut answers, more) = (first_asked.answers().await?, second_asked.answers().await?);
        sent?;
        answers.extend(more);
        Ok(answers)
    }

    /// What both instances show of every id now.
    async fn ask_again(&self, ids: &[String]) -> anyhow::Result<Vec<Answer>> {
        let mut answers = Vec::new();
        for base in [&self.first, &self.second] {
            let (asker, asked) = self.askers(base, "/predict").await?;
            for id in ids {
                asker.send(Question::Get(format!("/decisions/{id}")))?;
            }
            drop(asker);
            answers.extend(asked.answers().await?);
        }
        Ok(answers)
    }

    /// Connections that ask what is sent to them.
    async fn askers(&self, base: &str, path: &str) -> anyhow::Result<(mpsc::UnboundedSender<Question>, Asked)> {
        let target = Target::parse(&format!("{base}{path}"))?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut tasks = JoinSet::new();
        for _ in 0..self.connections {
            let connection = Connection::open(&target).await?;
            tasks.spawn(ask(connection, target.clone(), Arc::clone(&receiver)));
        }
        Ok((sender, Asked(tasks)))
    }
}

enum Question {
    Post(Bytes),
    Get(String),
}

/// Answers to come.
struct Asked(JoinSet<anyhow::Result<Vec<Answer>>>);

impl Asked {
    /// All of them, once nobody asks any more.
    async fn answers(mut self) -> anyhow::Result<Vec<Answer>> {
        let mut all = Vec::new();
        while let Some(answers) = self.0.join_next().await {
            all.extend(answers??);
        }
        Ok(all)
    }
}

/// Asks until nobody asks any more. A repeated question waits for an answer, at most 5 s.
async fn ask(
    mut connection: Connection,
    target: Target,
    questions: Arc<Mutex<mpsc::UnboundedReceiver<Question>>>,
) -> anyhow::Result<Vec<Answer>> {
    let mut answers = Vec::new();
    loop {
        let question = questions.lock().await.recv().await;
        let Some(question) = question else { return Ok(answers) };
        let asked = Instant::now();
        loop {
            let answer = match &question {
                Question::Post(body) => connection.ask(body.clone()).await,
                Question::Get(path) => connection.get(path).await,
            };
            match answer {
                Ok((200, body)) => {
                    answers.push(serde_json::from_slice(&body).context("an answer that is none")?);
                    break;
                }
                // A refusal of a first question counts as unanswered.
                Ok(_) if matches!(question, Question::Post(_)) || asked.elapsed() > Duration::from_secs(5) => break,
                Ok(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(_) => {
                    connection = Connection::open(&target).await?;
                    break;
                }
            }
        }
    }
}

/// Whether an answer shows this record: two decisions on one payment differ in their moment or their score.
fn is_of(answer: &Answer, record: &Seen) -> bool {
    answer.revision == record.revision && answer.score == record.score && answer.scored_at == record.scored_at
}

impl Outcome {
    fn line(&self) -> String {
        format!(
            "{} answers, {} questions without one; superseded {} ({} by the instances' count), a second later {}\n{}",
            self.answered,
            self.unanswered,
            self.superseded,
            self.superseded_by_metric,
            self.still_superseded,
            self.verdict.line()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_shows_a_record_by_its_moment_and_score() {
        let record = super::super::record::example("a", 0.25);
        let text = r#"{"transaction_id":"a","revision":0,"score":0.25,"flagged":false,"scored_at":1000,"x":1}"#;
        let answer: Answer = serde_json::from_str(text).unwrap();
        assert!(is_of(&answer, &record));
        assert!(!is_of(&Answer { score: Some(0.3), ..answer.clone() }, &record));
        assert!(!is_of(&Answer { scored_at: 1_001, ..answer.clone() }, &record));
        assert!(!is_of(&Answer { revision: None, score: None, ..answer }, &record));
    }
}
