//! The watch over a version that has just come into force: whether it is so much worse than the one before that the one
//! before comes back.
//!
//! In: what was counted of both. Out: a sentence that says why, or nothing. Pure.

use std::time::Duration;

use crate::engine::tally::Counts;

/// Bounds of the watch. A bound that is `None` is not looked at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WatchOptions {
    /// How long it lasts; zero keeps none.
    pub window: Duration,
    /// Rows that must have come before anything is said.
    pub least: u64,
    /// The share of rows without a score, 0 to 1; or twice what it was before.
    pub max_errors: Option<f64>,
    /// The time that 99 of 100 single rows stay within; or within twice what they took before.
    pub max_latency: Option<Duration>,
    /// The population stability index of the scores against the version before, of whose scores `least` must be known.
    pub max_shift: Option<f64>,
}

/// Why the version must go, if it must.
pub(super) fn verdict(options: &WatchOptions, now: &Counts, before: Option<&Counts>) -> Option<String> {
    let rows = now.scored() + now.failed();
    if rows < options.least {
        return None;
    }
    let before = before.filter(|before| before.scored() + before.failed() >= options.least);
    if let Some(most) = options.max_errors
        && now.error_rate() > most
        // Where rows of the version before got none as often, deadlines are short or callers many.
        && before.is_none_or(|before| now.error_rate() > before.error_rate() * 2.0)
    {
        let (rate, failed) = (now.error_rate() * 100.0, now.failed());
        return Some(format!(
            "{failed} of {rows} rows got no score, {rate:.2} %, and {:.2} % is the bound",
            most * 100.0
        ));
    }
    let before_took = before.and_then(|before| before.quantile(0.99));
    if let (Some(most), Some(found)) = (options.max_latency, now.quantile(0.99))
        && found > most
        // Where the version before took about as long, the machine is slow and not the version.
        && before_took.is_none_or(|before| found > before * 2)
    {
        return Some(format!("99 of 100 rows take up to {found:?}, and {most:?} is the bound"));
    }
    if let (Some(most), Some(before)) = (options.max_shift, before.filter(|before| before.scored() >= options.least)) {
        let shift = now.shift(before);
        if shift > most {
            return Some(format!(
                "the scores shifted by {shift:.3} (population stability index), and {most} is the bound"
            ));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tally::Tally;

    const OPTIONS: WatchOptions = WatchOptions {
        window: Duration::from_secs(60),
        least: 100,
        max_errors: Some(0.01),
        max_latency: Some(Duration::from_millis(10)),
        max_shift: Some(0.25),
    };

    fn counts(rows: usize, score: f32, took: Duration, failed: u64) -> Counts {
        let tally = Tally::default();
        for _ in 0..rows {
            tally.scored(score);
            tally.took(took);
        }
        tally.failed(failed);
        tally.counts()
    }

    #[test]
    fn each_bound_is_held() {
        let ms = Duration::from_millis;
        let well = counts(1_000, 0.1, ms(1), 0);
        for (now, said) in [
            (counts(1_000, 0.1, ms(1), 0), None),
            (counts(1_000, 0.1, ms(1), 10), None),
            (counts(1_000, 0.1, ms(1), 11), Some("no score")),
            (counts(1_000, 0.1, ms(20), 0), Some("99 of 100")),
            (counts(1_000, 0.9, ms(1), 0), Some("shifted")),
        ] {
            let found = verdict(&OPTIONS, &now, Some(&well));
            match said {
                None => assert_eq!(found, None),
                Some(word) => assert!(found.as_ref().is_some_and(|found| found.contains(word)), "{word}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_machine_that_is_slow_is_no_fault_of_the_version() {
        let took = |ms: u64| counts(1_000, 0.1, Duration::from_millis(ms), 0);
        assert_eq!(verdict(&OPTIONS, &took(20), Some(&took(15))), None);
        assert!(verdict(&OPTIONS, &took(20), Some(&took(5))).is_some());
        let few = counts(99, 0.1, Duration::from_millis(15), 0);
        assert!(verdict(&OPTIONS, &took(20), Some(&few)).is_some(), "of too few rows nothing is known");
    }

    #[test]
    fn callers_that_leave_no_time_are_no_fault_of_the_version() {
        let failed = |failed: u64| counts(1_000, 0.1, Duration::from_millis(1), failed);
        assert_eq!(verdict(&OPTIONS, &failed(100), Some(&failed(80))), None);
        assert!(verdict(&OPTIONS, &failed(100), Some(&failed(20))).is_some());
        assert!(verdict(&OPTIONS, &failed(100), None).is_some());
    }

    #[test]
    fn nothing_is_said_of_too_few_rows() {
        assert_eq!(verdict(&OPTIONS, &counts(49, 0.9, Duration::from_secs(1), 50), None), None);
        let few = counts(99, 0.1, Duration::from_millis(1), 0);
        assert_eq!(verdict(&OPTIONS, &counts(1_000, 0.9, Duration::from_millis(1), 0), Some(&few)), None);
    }

    #[test]
    fn a_bound_that_is_off_is_not_looked_at() {
        let off = WatchOptions { max_errors: None, max_latency: None, max_shift: None, ..OPTIONS };
        let bad = counts(1_000, 0.9, Duration::from_secs(1), 1_000);
        assert_eq!(verdict(&off, &bad, Some(&counts(1_000, 0.1, Duration::from_millis(1), 0))), None);
    }
}
