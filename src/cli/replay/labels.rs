//! Labels that wait for their time in the stream.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;

/// The body of `POST /labels`. Other keys of a file, such as `fraud_kind`, are not sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Body {
    transaction_id: String,
    is_fraud: bool,
    labelled_at: Moment,
    source: String,
}

/// RFC 3339 or milliseconds, as the file has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
enum Moment {
    Millis(i64),
    Text(String),
}

/// Labels by the time at which they were given; every one of them is in memory.
#[derive(Debug, Default)]
pub(super) struct Labels {
    waiting: BinaryHeap<Reverse<(Millis, Body)>>,
}

impl Labels {
    /// Reads NDJSON in the shape of `POST /labels`, in any order.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not a file of labels", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut waiting = BinaryHeap::new();
        for (number, line) in (1_usize..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let body: Body = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            let at = match &body.labelled_at {
                Moment::Millis(millis) => Some(Millis(*millis)),
                Moment::Text(text) => Millis::parse_rfc3339(text),
            };
            waiting.push(Reverse((at.with_context(|| format!("line {number}: labelled_at is not RFC 3339"))?, body)));
        }
        Ok(Self { waiting })
    }

    /// Adds a confirmed fraud.
    pub(super) fn add(&mut self, transaction_id: String, labelled_at: Millis) {
        let body = Body {
            transaction_id,
            is_fraud: true,
            labelled_at: Moment::Text(labelled_at.to_rfc3339()),
            source: "chargeback".to_owned(),
        };
        self.waiting.push(Reverse((labelled_at, body)));
    }

    /// The body of the next label given at `now` or before; `None` when there is none.
    pub(super) fn due(&mut self, now: Millis) -> Option<String> {
        self.waiting.peek().filter(|Reverse((at, _))| *at <= now)?;
        self.waiting.pop().and_then(|Reverse((_, body))| serde_json::to_string(&body).ok())
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_in_the_order_of_their_time_and_not_before_it() {
        let lines = r#"
            {"transaction_id":"b","is_fraud":false,"labelled_at":"1970-01-01T00:00:02Z","source":"review","fraud_kind":"stolen_card"}
            {"transaction_id":"a","is_fraud":true,"labelled_at":1000,"source":"customer"}"#;
        let mut labels = Labels::parse(lines).unwrap();
        labels.add("c".to_owned(), Millis(1_500));
        assert_eq!(labels.due(Millis(999)), None);
        let all: Vec<String> = std::iter::from_fn(|| labels.due(Millis(2_000))).collect();
        assert_eq!(
            all,
            [
                r#"{"transaction_id":"a","is_fraud":true,"labelled_at":1000,"source":"customer"}"#,
                r#"{"transaction_id":"c","is_fraud":true,"labelled_at":"1970-01-01T00:00:01.500Z","source":"chargeback"}"#,
                r#"{"transaction_id":"b","is_fraud":false,"labelled_at":"1970-01-01T00:00:02Z","source":"review"}"#,
            ]
        );
        assert_eq!(labels.len(), 0);
    }

    #[test]
    fn a_line_that_is_no_label_is_named() {
        let error =
            Labels::parse("{\"transaction_id\":\"a\",\"is_fraud\":true,\"labelled_at\":\"noon\",\"source\":\"x\"}")
                .unwrap_err();
        assert!(error.to_string().starts_with("line 1: labelled_at"));
        assert!(Labels::parse("\n[]").unwrap_err().to_string().starts_with("line 2"));
    }
}
