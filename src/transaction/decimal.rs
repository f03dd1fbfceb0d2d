//! Exact decimals: text to an integer of the minor unit, without a float on the way.

/// Why a decimal is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DecimalFault {
    /// Not of the form `-?digits(.digits)?`.
    NotDecimal,
    /// Below zero.
    Negative,
    /// More decimals than allowed; zeros at the end do not count.
    Digits,
    /// More than an `i64` holds.
    TooLarge,
}

/// The decimal `text` times 10^`digits`.
///
/// # Errors
/// See [`DecimalFault`]; the first that applies, in its order.
pub(crate) fn scaled(text: &str, digits: u8) -> Result<i64, DecimalFault> {
    let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((_, "")) => return Err(DecimalFault::NotDecimal),
        Some(parts) => parts,
        None => (unsigned, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(DecimalFault::NotDecimal);
    }
    let fraction = fraction.trim_end_matches('0');
    if negative && !(whole.bytes().all(|byte| byte == b'0') && fraction.is_empty()) {
        return Err(DecimalFault::Negative);
    }
    if fraction.len() > usize::from(digits) {
        return Err(DecimalFault::Digits);
    }
    let padding = usize::from(digits) - fraction.len();
    let mut value: i64 = 0;
    for byte in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
        value = value
            .checked_mul(10)
            .and_then(|tens| tens.checked_add(i64::from(byte - b'0')))
            .ok_or(DecimalFault::TooLarge)?;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(scaled("12.34", 2), Ok(1_234));
        assert_eq!(scaled("0.1", 2), Ok(10));
        assert_eq!(scaled("12.3400", 2), Ok(1_234));
        assert_eq!(scaled("-0.00", 2), Ok(0));
        assert_eq!(scaled("90071992547409.93", 2), Ok(9_007_199_254_740_993));
        assert_eq!(scaled("12", 0), Ok(12));
        assert_eq!(scaled("12.345", 2), Err(DecimalFault::Digits));
        assert_eq!(scaled("-1.234", 2), Err(DecimalFault::Negative));
        assert_eq!(scaled("9223372036854775808", 0), Err(DecimalFault::TooLarge));
        for wrong in ["", "-", ".5", "5.", "1e3", "+1", "1,5", " 1", "١", "NaN", "--1", "1.2.3"] {
            assert_eq!(scaled(wrong, 2), Err(DecimalFault::NotDecimal), "{wrong:?}");
        }
    }
}
