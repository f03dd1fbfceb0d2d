//! The moments at which the records of a run leave: evenly, each from its number, so that no delay adds up.

use std::time::{Duration, Instant};

/// A rate from a moment on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    start: Instant,
    rate: f64,
}

impl Pace {
    /// From now on, `rate` a second.
    pub(crate) fn new(rate: f64) -> Self {
        Self { start: Instant::now(), rate }
    }

    /// When number `number` is due, from the start.
    pub(crate) fn due(&self, number: u64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "numbers of a run are far below 2^53")]
        Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// Sleeps until it is due; how late it is then.
    pub(crate) fn wait(&self, number: u64) -> Duration {
        let due = self.due(number);
        let rest = due.saturating_sub(self.start.elapsed());
        if !rest.is_zero() {
            std::thread::sleep(rest);
        }
        self.start.elapsed().saturating_sub(due)
    }
}

/// Reads a rate.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.01..=1_000_000.0).contains(rate));
    rate.ok_or_else(|| format!("{text:?} is not a rate of 0.01 to 1000000 a second"))
}

/// Microseconds since 1970.
pub(crate) fn micros_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_due_evenly_and_do_not_drift() {
        let pace = Pace::new(250.0);
        assert_eq!(pace.due(0), Duration::ZERO);
        assert_eq!(pace.due(1), Duration::from_millis(4));
        assert_eq!(pace.due(1_000_000), Duration::from_secs(4_000));
    }

    #[test]
    fn a_rate_is_positive_and_bounded() {
        assert_eq!(parse_rate("500"), Ok(500.0));
        for wrong in ["0", "-1", "x", "1e9", "NaN"] {
            assert!(parse_rate(wrong).is_err(), "{wrong}");
        }
    }
}
