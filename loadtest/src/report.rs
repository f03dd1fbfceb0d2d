//! What was measured: latencies in a histogram of 1 µs to 60 s with three digits, answers by status.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies and answers of a run.
pub(crate) struct Report {
    latencies: Histogram<u64>,
    answers: BTreeMap<String, u64>,
}

/// The figures of a run; latencies in microseconds.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    pub(crate) rate: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
    /// By status, or `broken` where no answer came.
    pub(crate) answers: BTreeMap<String, u64>,
}

impl Report {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?, answers: BTreeMap::new() })
    }

    /// Adds a request; `status` is `None` when no answer came: such a one counts as an error and as its latency.
    pub(crate) fn add(&mut self, latency: Duration, status: Option<u16>) {
        // To the nearest microsecond: cutting off would favour the faster.
        let micros = u64::try_from((latency.as_nanos() + 500) / 1_000).unwrap_or(u64::MAX);
        self.latencies.saturating_record(micros.max(1));
        let answer = status.map_or_else(|| "broken".to_owned(), |status| status.to_string());
        *self.answers.entry(answer).or_default() += 1;
    }

    pub(crate) fn figures(&self, span: Duration) -> Figures {
        let at = |quantile| self.latencies.value_at_quantile(quantile);
        #[expect(clippy::cast_precision_loss, reason = "for a person to read")]
        let rate = self.latencies.len() as f64 / span.as_secs_f64().max(1e-9);
        Figures {
            requests: self.latencies.len(),
            seconds: span.as_secs_f64(),
            rate,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.latencies.max(),
            answers: self.answers.clone(),
        }
    }
}

impl Figures {
    /// One line for a person.
    pub(crate) fn line(&self) -> String {
        let answers: Vec<String> = self.answers.iter().map(|(answer, count)| format!("{answer} × {count}")).collect();
        format!(
            "{} requests, {:.0}/s: p50 {} µs  p90 {} µs  p99 {} µs  p99.9 {} µs  max {} µs  [{}]",
            self.requests,
            self.rate,
            self.p50,
            self.p90,
            self.p99,
            self.p999,
            self.max,
            answers.join(", ")
        )
    }
}

/// A line on standard output.
pub(crate) fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// Figures as one line, or as JSON.
pub(crate) fn say_figures<T: Serialize>(figures: &T, line: &str, json: bool) -> anyhow::Result<()> {
    if json { say(&serde_json::to_string(figures)?) } else { say(line) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_known_latencies() {
        let mut report = Report::new().unwrap();
        for micros in 1..=1_000 {
            report.add(Duration::from_micros(micros), Some(200));
        }
        report.add(Duration::from_secs(2), Some(429));
        report.add(Duration::from_nanos(1_499), None);
        let figures = report.figures(Duration::from_secs(2));
        assert_eq!((figures.requests, figures.p50, figures.p90, figures.p99), (1_002, 500, 901, 991));
        // Three digits: within a thousandth.
        assert!((2_000_000..=2_002_000).contains(&figures.max));
        assert!((figures.rate - 501.0).abs() < 1e-9);
        assert_eq!(
            figures.answers,
            BTreeMap::from([("200".to_owned(), 1_000), ("429".to_owned(), 1), ("broken".to_owned(), 1)])
        );
        assert!(figures.line().contains("p99 991 µs") && figures.line().contains("429 × 1"));
    }

    #[test]
    fn what_is_out_of_range_is_kept_at_its_edge() {
        let mut report = Report::new().unwrap();
        report.add(Duration::ZERO, Some(200));
        report.add(Duration::from_secs(3_600), Some(200));
        let figures = report.figures(Duration::from_secs(1));
        assert_eq!(figures.requests, 2);
        assert!(figures.p50 == 1 && (59_900_000..=60_100_000).contains(&figures.max));
    }
}
