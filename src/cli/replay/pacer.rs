//! The pacer: takes payments, waits until each is due, and hands it on with the labels whose time has come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hyper::body::Bytes;
use tokio::sync::mpsc::Sender;

use super::labels::Labels;
use super::pace::Pace;
use super::source::Source;
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

/// How to go through the payments.
pub(super) struct Pacer {
    pub(super) pace: Pace,
    pub(super) limit: u64,
    /// Label frauds that `is_fraud` marks, this long after their payment; `None` when labels come from a file.
    pub(super) label_delay: Option<Millis>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Pacer {
    /// Blocking. Ends with the payments, at the limit, when stopped, or when nobody takes posts any more. Returns how many labels
    /// are left.
    pub(super) fn run(self, source: Source, mut labels: Labels, posts: &Sender<Post>) -> anyhow::Result<usize> {
        let begun = Instant::now();
        let mut first = None;
        let mut now = Millis(i64::MIN);
        for (number, payment) in (0..self.limit).zip(source) {
            let mut payment = payment?;
            now = now.max(payment.occurred_at);
            let passed = Millis(now.0 - first.get_or_insert(now).0);
            let due = begun.checked_add(self.pace.due(number, passed)).unwrap_or(begun);
            if !self.wait(due) {
                break;
            }
            while let Some(body) = labels.due(now) {
                if posts.blocking_send(Post { is_label: true, body: body.into(), due }).is_err() {
                    return Ok(labels.len());
                }
            }
            // The truth stays here: the server is told in its time.
            if let (Some(true), Some(delay)) = (payment.is_fraud.take(), self.label_delay) {
                labels.add(payment.transaction_id.to_string(), Millis(payment.occurred_at.0.saturating_add(delay.0)));
            }
            let body = serde_json::to_vec(&payment)?.into();
            if posts.blocking_send(Post { is_label: false, body, due }).is_err() {
                break;
            }
        }
        Ok(labels.len())
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
