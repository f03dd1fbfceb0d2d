//! What a request says beside its body: the deadline header and the query.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

use super::problem::Problem;
use crate::ops::metrics::ProblemCode;

/// The header that says how many milliseconds the client waits for its decision.
pub(super) const DEADLINE: HeaderName = HeaderName::from_static("assay-deadline-ms");
/// The longest deadline a client can ask for, milliseconds.
pub(super) const MAX_DEADLINE: u64 = 60_000;

/// The request's deadline: the header's, or `default`.
pub(super) fn deadline(headers: &HeaderMap, default: Duration) -> Result<Duration, Problem> {
    let Some(value) = headers.get(DEADLINE) else { return Ok(default) };
    let text = value.to_str().unwrap_or_default();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|wait| digits && (1..=MAX_DEADLINE).contains(wait)).map(Duration::from_millis).ok_or_else(
        || {
            let rule = format!("must be a whole number of milliseconds from 1 to {MAX_DEADLINE}");
            Problem::new(ProblemCode::BadDeadline, rule).about("Assay-Deadline-Ms", Some(text))
        },
    )
}

/// The pairs of a query; a key that is not in `known`, or stands twice, is refused.
pub(super) fn pairs<'a>(query: Option<&'a str>, known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, Problem> {
    let mut pairs: Vec<(&str, &str)> = Vec::new();
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        if !known.contains(&key) {
            let rule = match known {
                [] => "this address takes no query".to_owned(),
                known => format!("this address knows {}", known.join(", ")),
            };
            return Err(Problem::new(ProblemCode::BadQuery, rule).about(key, Some(value)));
        }
        if pairs.iter().any(|(earlier, _)| *earlier == key) {
            return Err(Problem::new(ProblemCode::BadQuery, "must stand once").about(key, Some(value)));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

/// A key that is true or false.
pub(super) fn flag(key: &str, value: &str) -> Result<bool, Problem> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(ProblemCode::BadQuery, "must be true or false").about(key, Some(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_are_whole_milliseconds_in_range() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(DEADLINE, text.parse().unwrap());
            deadline(&headers, Duration::from_secs(9)).map_err(|problem| problem.code())
        };
        assert_eq!(of("1"), Ok(Duration::from_millis(1)));
        assert_eq!(of("60000"), Ok(Duration::from_secs(60)));
        for wrong in ["0", "60001", "-1", "+5", "1.5", "", "ten", "99999999999999999999"] {
            assert_eq!(of(wrong), Err(ProblemCode::BadDeadline), "{wrong}");
        }
        assert_eq!(deadline(&HeaderMap::new(), Duration::from_secs(9)).unwrap(), Duration::from_secs(9));
    }

    #[test]
    fn queries_are_closed() {
        assert_eq!(pairs(Some("a=1&b=2"), &["a", "b"]).unwrap(), [("a", "1"), ("b", "2")]);
        assert!(pairs(None, &[]).unwrap().is_empty());
        for wrong in ["c=1", "a=1&a=2", "A=1"] {
            assert_eq!(pairs(Some(wrong), &["a", "b"]).unwrap_err().code(), ProblemCode::BadQuery, "{wrong}");
        }
    }
}
