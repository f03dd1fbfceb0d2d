//! A rate, at most: what comes late is not made up for by a burst.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    rate: u32,
    next: Instant,
}

impl Pace {
    /// So many a second.
    pub(super) fn new(rate: u32) -> Self {
        Self { rate: rate.max(1), next: Instant::now() }
    }

    /// Sleeps until `count` more may be done.
    pub(super) fn wait(&mut self, count: usize) {
        let now = Instant::now();
        self.next = self.due(now, count);
        std::thread::sleep(self.next.saturating_duration_since(now));
    }

    /// When the next ones are due, `count` being done now.
    fn due(&self, now: Instant, count: usize) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "a batch is far below 2^52")]
        let takes = Duration::from_secs_f64(count as f64 / f64::from(self.rate));
        // Why from now where it is late: the rate is a bound, and not a promise.
        self.next.max(now) + takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_on_average_and_never_made_up_for() {
        let mut pace = Pace::new(100);
        let start = pace.next;
        for _ in 0..5 {
            pace.next = pace.due(start, 20);
        }
        assert_eq!(pace.next - start, Duration::from_secs(1));
        // Ten seconds late: the next ones are due from then on.
        let late = start + Duration::from_secs(11);
        assert_eq!(pace.due(late, 50) - late, Duration::from_millis(500));
    }
}
