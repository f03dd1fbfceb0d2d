//! Lengths of time as people write them: `250ms`, `30s`, `10m`, `12h`, `7d`.

use std::time::Duration;

/// Reads a whole number followed by `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// A sentence with the value and the rule.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    millis
        .zip(number.parse::<u64>().ok())
        .and_then(|(unit, number)| number.checked_mul(unit))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not a length of time such as 250ms, 30s, 10m, 12h or 7d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_need_a_known_unit() {
        let millis = |text: &str| parse(text).map(|span| span.as_millis()).ok();
        assert_eq!(
            ["250ms", "30s", "10m", "12h", "7d", "0s"].map(millis),
            [Some(250), Some(30_000), Some(600_000), Some(43_200_000), Some(604_800_000), Some(0)]
        );
        for wrong in ["", "7", "s", "-1s", "1.5s", "1 s", "1w", "99999999999999999999s", "999999999999999999d"] {
            assert!(parse(wrong).unwrap_err().contains("7d"), "{wrong}");
        }
    }
}
