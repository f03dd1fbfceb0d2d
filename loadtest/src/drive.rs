//! An open loop over `/predict` whose every answer is kept: when it was to leave, left, and came, and which model made it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hyper::body::Bytes;
use serde_json::Value;
use tokio::sync::{Mutex as Turn, mpsc};

use crate::client::{Connection, Target};
use crate::open::pace;

/// One answer of `/predict`.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) intended: Instant,
    pub(crate) sent: Instant,
    pub(crate) done: Instant,
    /// Name and version of the model; `None` where there was no answer of a model.
    pub(crate) version: Option<String>,
}

/// Sends every body at its time; all answers.
pub(crate) async fn drive(
    target: &Target,
    start: Instant,
    times: Vec<Duration>,
    bodies: Vec<Bytes>,
    count: u32,
) -> anyhow::Result<Vec<Answer>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let (receiver, bodies) = (Rc::new(Turn::new(receiver)), Rc::new(bodies));
    let due: Rc<Vec<Instant>> = Rc::new(times.iter().map(|time| start + *time).collect());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (due, bodies, receiver, target) =
            (Rc::clone(&due), Rc::clone(&bodies), Rc::clone(&receiver), target.clone());
        let mut connection = Connection::open(&target).await?;
        tasks.spawn_local(async move {
            let mut answers = Vec::new();
            loop {
                let next = receiver.lock().await.recv().await;
                let Some((intended, body)) = next.and_then(|number: usize| due.get(number).zip(bodies.get(number)))
                else {
                    return anyhow::Ok(answers);
                };
                let sent = Instant::now();
                let answered = connection.ask(body.clone()).await;
                let done = Instant::now();
                let version = answered.as_ref().ok().filter(|(status, _)| *status == 200);
                let version = version.and_then(|(_, body)| version_of(body));
                answers.push(Answer { intended: *intended, sent, done, version });
                if answered.is_err() {
                    connection = Connection::open(&target).await?;
                }
            }
        });
    }
    let pacer = std::thread::spawn(move || pace(start, &times, &sender));
    let mut answers = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        answers.extend(ended??);
    }
    ensure!(pacer.join().is_ok(), "the pacing thread failed");
    Ok(answers)
}

/// `name/version` of the model that made a full decision.
pub(crate) fn version_of(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    (text("kind") == Some("full")).then(|| Some(format!("{}/{}", text("model")?, text("model_version")?)))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_decision_names_its_model() {
        let body = |kind: &str| json_of(kind).to_string();
        assert_eq!(version_of(body("full").as_bytes()).as_deref(), Some("fraud/1"));
        assert_eq!(version_of(body("fallback").as_bytes()), None);
        assert_eq!(version_of(b"{"), None);
    }

    fn json_of(kind: &str) -> Value {
        serde_json::json!({"kind": kind, "model": "fraud", "model_version": "1"})
    }
}
