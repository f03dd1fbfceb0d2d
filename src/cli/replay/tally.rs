//! What the connections saw: counts and answer times, of the last second and of the whole run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Deserialize;

/// What a line needs of an answer of `POST /predict`.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    flagged: bool,
    #[serde(default)]
    degraded: bool,
    #[serde(default)]
    model_version: String,
}

/// How one request ended.
pub(super) enum Outcome {
    /// Decided, after this long.
    Decided(Answer, Duration),
    /// A label was taken.
    Labelled,
    /// The server refused (its code), or nothing came.
    Failed(String),
}

/// Counts of a span of time.
pub(super) struct Tally {
    times: Histogram<u64>,
    pub(super) decided: u64,
    pub(super) flagged: u64,
    degraded: u64,
    pub(super) labels: u64,
    pub(super) errors: u64,
    /// By cause; at most [`Tally::MOST_CAUSES`] of them.
    causes: BTreeMap<String, u64>,
    model_version: String,
}

impl Tally {
    const MOST_CAUSES: usize = 32;

    /// Nothing seen. Times are kept from 1 µs to 60 s with three digits.
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            times: Histogram::new_with_bounds(1, 60_000_000, 3)?,
            decided: 0,
            flagged: 0,
            degraded: 0,
            labels: 0,
            errors: 0,
            causes: BTreeMap::new(),
            model_version: String::new(),
        })
    }

    pub(super) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Decided(answer, took) => {
                self.times.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
                self.decided += 1;
                self.flagged += u64::from(answer.flagged);
                self.degraded += u64::from(answer.degraded);
                self.model_version = answer.model_version;
            }
            Outcome::Labelled => self.labels += 1,
            Outcome::Failed(cause) => {
                self.errors += 1;
                if self.causes.len() < Self::MOST_CAUSES || self.causes.contains_key(&cause) {
                    *self.causes.entry(cause).or_default() += 1;
                }
            }
        }
    }

    /// Takes another span's counts in, and empties it.
    pub(super) fn absorb(&mut self, other: &mut Self) -> anyhow::Result<()> {
        self.times.add(&other.times)?;
        other.times.reset();
        for (mine, theirs) in [
            (&mut self.decided, &mut other.decided),
            (&mut self.flagged, &mut other.flagged),
            (&mut self.degraded, &mut other.degraded),
            (&mut self.labels, &mut other.labels),
            (&mut self.errors, &mut other.errors),
        ] {
            *mine += std::mem::take(theirs);
        }
        for (cause, count) in std::mem::take(&mut other.causes) {
            *self.causes.entry(cause).or_default() += count;
        }
        if !other.model_version.is_empty() {
            self.model_version.clone_from(&other.model_version);
        }
        Ok(())
    }

    /// `200/s  p50 0.31 ms  p99 0.74 ms  flagged 3  labels 1  errors 0  model 1`, over `span`.
    pub(super) fn line(&self, span: Duration) -> String {
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let rate = self.decided as f64 / span.as_secs_f64().max(1e-9);
        #[expect(clippy::cast_precision_loss, reason = "at most 60 s in microseconds")]
        let at = |quantile| self.times.value_at_quantile(quantile) as f64 / 1_000.0;
        let model = if self.model_version.is_empty() { "-" } else { &self.model_version };
        let mut line = format!(
            "{rate:>7.0}/s  p50 {:.2} ms  p99 {:.2} ms  flagged {}  labels {}  errors {}  model {model}",
            at(0.5),
            at(0.99),
            self.flagged,
            self.labels,
            self.errors
        );
        if self.degraded > 0 {
            line.push_str(&format!("  degraded {}", self.degraded));
        }
        line
    }

    /// The causes of errors, the commonest first: `rejected: too_old × 12`.
    pub(super) fn causes(&self) -> Vec<String> {
        let mut causes: Vec<_> = self.causes.iter().collect();
        causes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        causes.into_iter().map(|(cause, count)| format!("{cause} × {count}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_rate_times_and_counts_of_its_span() {
        let mut tally = Tally::new().unwrap();
        for micros in 1..=1_000 {
            let answer = serde_json::from_str(r#"{"flagged":false,"model_version":"3","score":0.1}"#).unwrap();
            tally.add(Outcome::Decided(answer, Duration::from_micros(micros)));
        }
        let flagged = serde_json::from_str(r#"{"flagged":true,"degraded":true,"model_version":"4"}"#).unwrap();
        tally.add(Outcome::Decided(flagged, Duration::from_millis(2)));
        tally.add(Outcome::Labelled);
        tally.add(Outcome::Failed("too_old".to_owned()));
        let line = tally.line(Duration::from_secs(2));
        assert_eq!(line.trim(), "500/s  p50 0.50 ms  p99 0.99 ms  flagged 1  labels 1  errors 1  model 4  degraded 1");
        let mut whole = Tally::new().unwrap();
        whole.absorb(&mut tally).unwrap();
        assert_eq!((whole.decided, tally.decided), (1_001, 0));
        assert_eq!(whole.causes(), ["too_old × 1"]);
        assert!(tally.line(Duration::from_secs(1)).contains("flagged 0"));
    }
}
