//! What an instance says of itself at /metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::{Connection, Target};

/// Samples by name with labels, as they are written: `assay_x_total{kind="y"}`.
pub(crate) type Samples = BTreeMap<String, f64>;

/// The samples of a page in Prometheus' text format.
pub(crate) fn parse(page: &str) -> Samples {
    let sample = |line: &str| {
        let (name, value) = line.trim().rsplit_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect()
}

/// The sum over the labels of a metric.
pub(crate) fn sum(samples: &Samples, metric: &str) -> f64 {
    let is_of = |name: &str| name.strip_prefix(metric).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
    samples.iter().filter(|(name, _)| is_of(name)).map(|(_, value)| value).sum()
}

/// Asks the instance at `base`, such as `http://127.0.0.1:8080`.
pub(crate) async fn scrape(base: &str) -> anyhow::Result<Samples> {
    let ask = async {
        let mut connection = Connection::open(&Target::parse(&format!("{base}/metrics"))?).await?;
        let (_, body) = connection.get("/metrics").await?;
        anyhow::Ok(parse(std::str::from_utf8(&body)?))
    };
    tokio::time::timeout(Duration::from_secs(5), ask).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_alone() {
        let page = "# HELP a_total x\na_total{k=\"b c\"} 2\na_total{k=\"d\"} 3\na_total_more 7\nplain 1.5\n";
        let samples = parse(page);
        assert_eq!(samples.len(), 4);
        assert!((sum(&samples, "a_total") - 5.0).abs() < 1e-9);
        assert!((sum(&samples, "plain") - 1.5).abs() < 1e-9);
        assert!(sum(&samples, "none").abs() < 1e-9);
    }
}
