//! When a payment is due, counted from the first. Pure.

use std::time::Duration;

use crate::base::clock::Millis;

/// How fast to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// This many payments a second, evenly.
    Constant(f64),
    /// As recorded, this many times as fast.
    Recorded(f64),
}

impl Pace {
    /// How long after the first payment the `number`th (from 0) is due; `passed` is what the stream's time has moved since then.
    pub(super) fn due(self, number: u64, passed: Millis) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "below 2^53 both for centuries")]
        let seconds = match self {
            Self::Constant(rate) => number as f64 / rate,
            Self::Recorded(speed) => passed.0.max(0) as f64 / 1_000.0 / speed,
        };
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_pace_does_not_drift() {
        let pace = Pace::Constant(300.0);
        assert_eq!(pace.due(0, Millis(0)), Duration::ZERO);
        assert_eq!(pace.due(300, Millis(0)), Duration::from_secs(1));
        assert_eq!(pace.due(300 * 86_400, Millis(0)), Duration::from_secs(86_400));
    }

    #[test]
    fn a_recorded_pace_follows_the_stream_and_never_goes_back() {
        let pace = Pace::Recorded(60.0);
        assert_eq!(pace.due(7, Millis(3_600_000)), Duration::from_secs(60));
        assert_eq!(pace.due(8, Millis(-5)), Duration::ZERO);
    }
}
