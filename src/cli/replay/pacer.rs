//! The pacer: takes payments, waits until each is due, and hands it on with the labels whose time has come.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::mpsc::Sender;

use super::labels::Labels;
use super::pace::Pace;
use super::source::Row;
use crate::base::clock::Millis;

/// One request to make.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) is_label: bool,
    pub(super) body: Bytes,
    /// When it was meant to leave.
    pub(super) due: Instant,
}

impl Post {
    pub(super) const fn path(&self) -> &'static str {
        if self.is_label { "/labels" } else { "/predict" }
    }
}

/// What was not sent.
#[derive(Debug, Default)]
pub(super) struct Unsent {
    /// Labels that were given after the last payment.
    pub(super) labels: usize,
    /// Rows that are no payments, by code.
    pub(super) rows: BTreeMap<&'static str, u64>,
    /// Where and why the first of them was refused.
    pub(super) first: Option<String>,
}

impl Unsent {
    /// A line for each kind of thing; none when all was sent.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(first) = &self.first {
            let codes: Vec<_> = self.rows.iter().map(|(code, count)| format!("{code} × {count}")).collect();
            let all: u64 = self.rows.values().sum();
            lines.push(format!(
                "{all} rows are no payments and were left out: {}; the first: {first}",
                codes.join(", ")
            ));
        }
        if self.labels > 0 {
            lines.push(format!("{} labels were left out: they were given after the last payment", self.labels));
        }
        lines
    }
}

/// How to go through the payments.
pub(super) struct Pacer {
    pub(super) pace: Pace,
    pub(super) limit: u64,
    /// Label frauds that `is_fraud` marks, this long after their payment; `None` when labels come from a file.
    pub(super) label_delay: Option<Millis>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Blocking. Ends with the payments, at the limit, when stopped, or when nobody takes posts any more.
    ///
    /// # Errors
    /// When the source cannot be read on.
    pub(super) fn run(
        self,
        source: impl Iterator<Item = anyhow::Result<Row>>,
        mut labels: Labels,
        posts: &Sender<Post>,
    ) -> anyhow::Result<Unsent> {
        let mut unsent = Unsent::default();
        self.send(source, &mut labels, posts, &mut unsent)?;
        unsent.labels = labels.len();
        Ok(unsent)
    }

    fn send(
        &self,
        source: impl Iterator<Item = anyhow::Result<Row>>,
        labels: &mut Labels,
        posts: &Sender<Post>,
        unsent: &mut Unsent,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        let (mut first, mut number, mut due) = (None, 0, begun);
        let mut now = Millis(i64::MIN);
        for row in source {
            if number >= self.limit {
                break;
            }
            let mut payment = match row? {
                Row::Payment(payment) => *payment,
                Row::Refused(code, reason) => {
                    *unsent.rows.entry(code.as_str()).or_default() += 1;
                    unsent.first.get_or_insert(reason);
                    continue;
                }
            };
            now = now.max(payment.occurred_at);
            let passed = Millis(now.0 - first.get_or_insert(now).0);
            due = begun.checked_add(self.pace.due(number, passed)).unwrap_or(begun);
            number += 1;
            if !self.wait(due) || !post_labels(labels, now, due, posts) {
                return Ok(());
            }
            // The truth stays here: the server is told in its time.
            if let (Some(true), Some(delay)) = (payment.is_fraud.take(), self.label_delay) {
                labels.add(payment.transaction_id.to_string(), Millis(payment.occurred_at.0.saturating_add(delay.0)));
            }
            let body = serde_json::to_vec(&payment)?.into();
            if posts.blocking_send(Post { is_label: false, body, due }).is_err() {
                return Ok(());
            }
        }
        // Those of the last payment's own time.
        post_labels(labels, now, due, posts);
        Ok(())
    }

    /// Waits until `due`; false when stopped before.
    fn wait(&self, due: Instant) -> bool {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return false;
            }
            let rest = due.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                return true;
            }
            std::thread::sleep(rest.min(Duration::from_millis(100)));
        }
    }
}

/// Posts the labels given at `now` or before; false when nobody takes posts any more.
fn post_labels(labels: &mut Labels, now: Millis, due: Instant, posts: &Sender<Post>) -> bool {
    while let Some(body) = labels.due(now) {
        if posts.blocking_send(Post { is_label: true, body: body.into(), due }).is_err() {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transaction::{RejectionCode, Transaction};

    fn payment(id: &str, at: i64) -> Transaction {
        serde_json::from_value(serde_json::json!({
            "transaction_id": id, "occurred_at": at, "customer_id": "c", "terminal_id": "t",
            "amount_minor": 1, "currency": "EUR", "is_fraud": true,
        }))
        .unwrap()
    }

    fn run(limit: u64, label_delay: i64) -> (Vec<Post>, Unsent) {
        let refused = |number: u32| Ok(Row::Refused(RejectionCode::IdLength, format!("row {number}")));
        let rows = vec![
            refused(1),
            Ok(Row::Payment(Box::new(payment("a", 1_000)))),
            refused(3),
            Ok(Row::Payment(Box::new(payment("b", 3_000)))),
            Ok(Row::Payment(Box::new(payment("c", 2_000)))),
        ];
        let (sender, mut receiver) = tokio::sync::mpsc::channel(99);
        let stop = Arc::new(AtomicBool::new(false));
        let pacer = Pacer { pace: Pace::Constant(1e9), limit, label_delay: Some(Millis(label_delay)), stop };
        let unsent = pacer.run(rows.into_iter(), Labels::default(), &sender).unwrap();
        (std::iter::from_fn(|| receiver.try_recv().ok()).collect(), unsent)
    }

    #[test]
    fn rows_that_are_no_payments_are_counted_and_the_rest_is_sent() {
        let (posts, unsent) = run(u64::MAX, 1_500);
        assert_eq!(posts.iter().map(|post| post.is_label).collect::<Vec<_>>(), [false, true, false, false]);
        assert!(posts.iter().all(|post| post.is_label || !String::from_utf8_lossy(&post.body).contains("fraud")));
        assert_eq!(
            unsent.lines(),
            [
                "2 rows are no payments and were left out: id_length × 2; the first: row 1",
                "2 labels were left out: they were given after the last payment",
            ]
        );
    }

    #[test]
    fn labels_of_the_last_payments_time_are_sent_at_the_end() {
        let (posts, unsent) = run(2, 0);
        assert_eq!(posts.iter().map(|post| post.is_label).collect::<Vec<_>>(), [false, true, false, true]);
        assert_eq!(unsent.labels, 0);
    }
}
