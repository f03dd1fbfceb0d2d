//! Intended times of requests, from the start of the run. Pure: known before the first request leaves.

use std::time::Duration;

use rand::Rng as _;
use rand_pcg::Pcg64Mcg;

/// How requests arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arrivals {
    /// Evenly.
    Constant,
    /// Independently of each other: exponential gaps of the same mean.
    Poisson,
}

/// The times of all requests of a run, ascending.
pub(crate) fn schedule(arrivals: Arrivals, rate: f64, span: Duration, seed: u64) -> Vec<Duration> {
    let end = span.as_secs_f64();
    match arrivals {
        Arrivals::Constant => {
            // Each from its number, so that no rounding adds up.
            let times = (0_u32..).map(|number| f64::from(number) / rate).take_while(|time| *time < end);
            times.map(Duration::from_secs_f64).collect()
        }
        Arrivals::Poisson => {
            let mut dice = Pcg64Mcg::new(u128::from(seed) << 1 | 1);
            let mut time = 0.0;
            std::iter::from_fn(|| {
                #[expect(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
                let unit = (dice.next_u64() >> 11) as f64 / 9_007_199_254_740_992.0;
                time -= (1.0 - unit).ln() / rate;
                (time < end).then(|| Duration::from_secs_f64(time))
            })
            .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_arrivals_are_even_and_do_not_drift() {
        let times = schedule(Arrivals::Constant, 300.0, Duration::from_secs(100), 1);
        assert_eq!(times.len(), 30_000);
        assert_eq!(times[0], Duration::ZERO);
        assert_eq!(times[29_700], Duration::from_secs(99));
        assert!(times.is_sorted());
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_exponential_gaps() {
        let times = schedule(Arrivals::Poisson, 1_000.0, Duration::from_secs(100), 7);
        assert!((99_000..101_000).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted());
        let long = times.windows(2).filter(|pair| pair[1] - pair[0] > Duration::from_millis(1)).count();
        // e⁻¹ of exponential gaps are longer than their mean.
        assert!((36_000..37_600).contains(&long), "{long}");
        assert_ne!(times, schedule(Arrivals::Poisson, 1_000.0, Duration::from_secs(100), 8));
    }
}
