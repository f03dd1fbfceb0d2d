//! `POST /labels`: verdicts on transactions, one or several.

use std::sync::Arc;
use std::time::Duration;

use super::Api;
use super::batch::{Answers, Batch};
use super::body::{self, BodyLimits};
use super::front::Arrival;
use super::predict::{json, no_arrival};
use super::problem::Problem;
use crate::base::clock::Millis;
use crate::engine::{Label, LabelOutcome};
use crate::ops::metrics::ProblemCode;
use crate::transaction::{Rejection, RejectionCode};
use axum::extract::{Request, State};
use axum::response::Response;

/// Takes labels.
pub(super) async fn labels(State(api): State<Arc<Api>>, request: Request) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let arrival = head.extensions.get::<Arrival>().ok_or_else(no_arrival)?.clone();
    let format = body::format(&head.headers)?;
    super::query::pairs(head.uri.query(), &[])?;
    let permit = Arc::clone(&api.batches).try_acquire_owned().map_err(|_none| {
        let rule = "as many batches are being answered as server.max_batches allows; try again";
        Problem::new(ProblemCode::Overloaded, rule).retry_after(Duration::from_secs(1))
    })?;
    let bounds = BodyLimits { bytes: api.limits.batch_body, wait: api.limits.body_wait };
    let bytes = body::read(body, bounds).await?;
    let latest = api.limits.max_ahead.map(|ahead| Millis(arrival.now.0.saturating_add(ahead)));
    if Batch::is_one(format, &bytes) {
        return take(&api, &bytes, latest).await.map(json);
    }
    let batch = Batch::of(&api, &bytes, format, permit)?;
    let answers = Answers { api: Arc::clone(&api), arrival };
    Ok(answers.stream(batch, move |bytes| {
        let api = Arc::clone(&api);
        async move { take(&api, &bytes, latest).await }
    }))
}

/// Records one label and writes what became of it.
async fn take(api: &Api, bytes: &[u8], latest: Option<Millis>) -> Result<Vec<u8>, Problem> {
    let label = read(bytes, latest)?;
    let transaction_id = label.transaction_id.clone();
    let outcome = match api.engine()?.label(label).await? {
        LabelOutcome::Recorded => "recorded",
        LabelOutcome::Repeated => "repeated",
        LabelOutcome::Waiting => "waiting",
    };
    // The id is of letters, digits and `._:-`: nothing in it needs escaping.
    Ok(format!("{{\"transaction_id\":\"{transaction_id}\",\"outcome\":\"{outcome}\"}}").into_bytes())
}

/// Reads and validates one label; `latest` bounds `labelled_at`.
fn read(bytes: &[u8], latest: Option<Millis>) -> Result<Label, Problem> {
    let label = Label::read(bytes).map_err(problem_of)?;
    if latest.is_some_and(|latest| label.labelled_at > latest) {
        let rule = "must not be further ahead of the clock than history.max_ahead; check the sender's clock";
        let shown = label.labelled_at.to_rfc3339();
        return Err(Problem::new(ProblemCode::TooFarAhead, rule).about("labelled_at", Some(&shown)));
    }
    Ok(label)
}

/// A source that is no word has a code of its own over HTTP.
fn problem_of(rejection: Rejection) -> Problem {
    if rejection.field == "source" && rejection.code == RejectionCode::WrongType {
        return Problem::new(ProblemCode::BadLabel, rejection.rule).about("source", rejection.value.as_deref());
    }
    rejection.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_in_both_notations_of_time() {
        let written = br#"{"transaction_id":"t-1","is_fraud":true,"labelled_at":"2026-01-31T12:00:00+01:00","source":"chargeback","more":1}"#;
        let label = read(written, None).unwrap();
        assert_eq!(
            (label.transaction_id.as_str(), label.is_fraud, label.labelled_at),
            ("t-1", true, Millis(1_769_857_200_000))
        );
        let written = br#"{"transaction_id":"t-1","is_fraud":false,"labelled_at":1769857200000,"source":"review"}"#;
        assert_eq!(read(written, Some(Millis(1_769_857_200_000))).unwrap().labelled_at, label.labelled_at);
        assert_eq!(read(written, Some(Millis(1_769_857_199_999))).unwrap_err().code(), ProblemCode::TooFarAhead);
    }

    #[test]
    fn each_rule_has_its_code() {
        let long = "x".repeat(65);
        let with = |key: &str, value: &str| {
            let mut fields =
                [("transaction_id", "\"t\""), ("is_fraud", "true"), ("labelled_at", "1"), ("source", "\"review\"")];
            fields.iter_mut().filter(|(name, _)| *name == key).for_each(|field| field.1 = value);
            let members: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            read(format!("{{{}}}", members.join(",")).as_bytes(), None).map_err(|problem| problem.code())
        };
        assert!(with("", "").is_ok());
        let long = format!("\"{long}\"");
        for (key, value, code) in [
            ("transaction_id", "null", ProblemCode::MissingField),
            ("transaction_id", "7", ProblemCode::WrongType),
            ("transaction_id", "\"\"", ProblemCode::IdLength),
            ("transaction_id", long.as_str(), ProblemCode::IdLength),
            ("transaction_id", "\"a b\"", ProblemCode::IdCharacter),
            ("is_fraud", "1", ProblemCode::WrongType),
            ("is_fraud", "null", ProblemCode::MissingField),
            ("labelled_at", "\"yesterday\"", ProblemCode::TimeFormat),
            ("labelled_at", "1.5", ProblemCode::TimeFormat),
            ("labelled_at", "-1", ProblemCode::TimeFormat),
            ("labelled_at", "true", ProblemCode::WrongType),
            ("source", "\"two words\"", ProblemCode::BadLabel),
            ("source", "null", ProblemCode::MissingField),
        ] {
            assert_eq!(with(key, value), Err(code), "{key} = {value}");
        }
        for (text, code) in [
            ("", ProblemCode::NotJson),
            ("{", ProblemCode::NotJson),
            ("[]", ProblemCode::WrongType),
            (" [\"t\",true,1,\"review\"]", ProblemCode::WrongType),
            ("5", ProblemCode::WrongType),
            ("{\"is_fraud\":true,\"is_fraud\":false}", ProblemCode::DuplicateKey),
        ] {
            assert_eq!(read(text.as_bytes(), None).unwrap_err().code(), code, "{text}");
        }
        let deep = format!("{{\"source\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(read(deep.as_bytes(), None).unwrap_err().code(), ProblemCode::NestedTooDeep);
    }
}
