//! What goes wrong, as RFC 9457 problem documents. One table maps a class to its status; one list has every code.
//!
//! A handler returns a [`Problem`]; the front writes it out once it knows the request's id.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::engine::EngineError;
use crate::ops::metrics::ProblemCode;
use crate::transaction::{Rejection, RejectionCode};

/// Classes of what goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The bytes cannot be read.
    Malformed,
    /// Read, and against a rule.
    Rejected,
    /// The same id with other content.
    Conflict,
    /// More bytes or items than allowed.
    TooLarge,
    /// No such thing.
    NotFound,
    /// Another method is wanted.
    Method,
    /// Another content type is wanted.
    MediaType,
    /// The client was too slow.
    Slow,
    /// Too much at once.
    Overloaded,
    /// Something needed is away.
    Unavailable,
    /// No answer in time.
    Deadline,
    /// A token is needed.
    Unauthorized,
    /// It makes no sense as things stand.
    NotNow,
    /// A defect.
    Internal,
}

impl Class {
    /// The HTTP status: the one table.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Rejected => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotNow => StatusCode::CONFLICT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request cannot be read",
            Self::Rejected => "The request breaks a rule",
            Self::Conflict => "The transaction was decided with other content",
            Self::TooLarge => "The request is too large",
            Self::NotFound => "Not found",
            Self::Method => "The method is not allowed here",
            Self::MediaType => "The content type is not supported",
            Self::Slow => "The request took too long to arrive",
            Self::Overloaded => "Too much at once",
            Self::Unavailable => "Not available now",
            Self::Deadline => "No decision in time",
            Self::Unauthorized => "A token is needed",
            Self::NotNow => "Not as things stand",
            Self::Internal => "A defect in the server",
        }
    }
}

/// Every code with its class: those of rejections first, in their order.
pub const CODES: [(ProblemCode, Class); 36] = [
    (ProblemCode::NotJson, Class::Malformed),
    (ProblemCode::NestedTooDeep, Class::Malformed),
    (ProblemCode::TooLarge, Class::TooLarge),
    (ProblemCode::MissingField, Class::Rejected),
    (ProblemCode::WrongType, Class::Rejected),
    (ProblemCode::DuplicateKey, Class::Malformed),
    (ProblemCode::IdLength, Class::Rejected),
    (ProblemCode::IdCharacter, Class::Rejected),
    (ProblemCode::AmountNegative, Class::Rejected),
    (ProblemCode::AmountFractional, Class::Rejected),
    (ProblemCode::AmountTooLarge, Class::Rejected),
    (ProblemCode::AmountDigits, Class::Rejected),
    (ProblemCode::UnknownCurrency, Class::Rejected),
    (ProblemCode::UnknownCountry, Class::Rejected),
    (ProblemCode::UnknownChannel, Class::Rejected),
    (ProblemCode::TimeFormat, Class::Rejected),
    (ProblemCode::TooFarAhead, Class::Rejected),
    (ProblemCode::TooOld, Class::Rejected),
    (ProblemCode::Conflict, Class::Conflict),
    (ProblemCode::BadDeadline, Class::Malformed),
    (ProblemCode::BadQuery, Class::Malformed),
    (ProblemCode::BadLabel, Class::Rejected),
    (ProblemCode::UnknownRoute, Class::NotFound),
    (ProblemCode::UnknownTransaction, Class::NotFound),
    (ProblemCode::MethodNotAllowed, Class::Method),
    (ProblemCode::UnsupportedMediaType, Class::MediaType),
    (ProblemCode::BodyTimeout, Class::Slow),
    (ProblemCode::Overloaded, Class::Overloaded),
    (ProblemCode::Unavailable, Class::Unavailable),
    (ProblemCode::Deadline, Class::Deadline),
    (ProblemCode::BadCommand, Class::Rejected),
    (ProblemCode::UnknownVersion, Class::NotFound),
    (ProblemCode::Refused, Class::Rejected),
    (ProblemCode::NotNow, Class::NotNow),
    (ProblemCode::Unauthorized, Class::Unauthorized),
    (ProblemCode::Internal, Class::Internal),
];

/// The content type of a problem document.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Something that went wrong with one request, or one item of a batch.
#[derive(Debug, Clone)]
pub struct Problem {
    code: ProblemCode,
    field: Option<String>,
    value: Option<String>,
    rule: Cow<'static, str>,
    retry_after: Option<Duration>,
}

/// The document, as it is written.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    instance: &'a str,
}

impl Problem {
    /// A problem with its rule: what is wanted, with the limit and what to do.
    #[must_use]
    pub fn new(code: ProblemCode, rule: impl Into<Cow<'static, str>>) -> Self {
        Self { code, field: None, value: None, rule: rule.into(), retry_after: None }
    }

    /// The same, about this field and what stood there (at most 32 characters are kept).
    #[must_use]
    pub fn about(mut self, field: &str, value: Option<&str>) -> Self {
        self.field = Some(field.to_owned());
        self.value = value.map(|text| text.chars().take(32).collect());
        self
    }

    /// The same, worth trying again after this long.
    #[must_use]
    pub const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    fn code_text(&self) -> &'static str {
        ProblemCode::VALUES.get(self.code as usize).copied().unwrap_or("internal")
    }

    /// Its class, by [`CODES`].
    #[must_use]
    pub fn class(&self) -> Class {
        CODES.iter().find(|(code, _)| *code == self.code).map_or(Class::Internal, |(_, class)| *class)
    }

    /// The document as bytes. `index` is the item's place in a batch; `instance` the request's id.
    #[must_use]
    pub fn document(&self, instance: &str, index: Option<usize>) -> Vec<u8> {
        let class = self.class();
        let code = self.code_text();
        let detail = match (&self.field, &self.value) {
            (Some(field), Some(value)) => format!("{field} = {value}: {}", self.rule),
            (Some(field), None) => format!("{field}: {}", self.rule),
            (None, _) => self.rule.clone().into_owned(),
        };
        let document = Document {
            r#type: format!("urn:assay:problem:{code}"),
            title: class.title(),
            status: class.status().as_u16(),
            detail,
            code,
            field: self.field.as_deref(),
            value: self.value.as_deref(),
            rule: &self.rule,
            index,
            instance,
        };
        // Only maps with keys that are no strings fail; this is a struct of text and numbers.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// The answer, with `instance` written into its document.
    #[must_use]
    pub fn answer(&self, instance: &str) -> Response {
        let mut response = Response::new(Body::from(self.document(instance, None)));
        *response.status_mut() = self.class().status();
        response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: Retry-After knows nothing finer (RFC 9110, section 10.2.3).
            let seconds = wait.as_millis().div_ceil(1_000).max(1);
            if let Ok(value) = HeaderValue::try_from(seconds.to_string()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        if self.class() == Class::Slow {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl IntoResponse for Problem {
    /// An answer without a body that carries the problem to the front, which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.class().status();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        // ProblemCode begins with the codes of rejections, in their order; a test holds the two together.
        let code = ProblemCode::of(rejection.code.as_str()).unwrap_or(ProblemCode::Internal);
        Self {
            code,
            field: (!rejection.field.is_empty()).then_some(rejection.field),
            value: rejection.value,
            rule: Cow::Owned(rejection.rule),
            retry_after: None,
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Rejected(rejection) => rejection.into(),
            EngineError::Overloaded { reason, retry_after } => {
                Self::new(ProblemCode::Overloaded, format!("{reason}; try again in {retry_after:?}"))
                    .retry_after(retry_after)
            }
            EngineError::Unavailable { reason, retry_after } => {
                Self::new(ProblemCode::Unavailable, format!("{reason}; try again in {retry_after:?}"))
                    .retry_after(retry_after)
            }
            EngineError::Deadline(deadline) => Self::new(
                ProblemCode::Deadline,
                format!(
                    "no decision within {deadline:?}; the transaction is decided later, ask GET /decisions/{{transaction_id}}"
                ),
            ),
            EngineError::Internal(message) => {
                tracing::error!(message, "a defect");
                Self::new(ProblemCode::Internal, "a defect in the server; its log says more")
            }
        }
    }
}

/// Whether every rejection has its problem code.
#[must_use]
pub fn covers(code: RejectionCode) -> bool {
    ProblemCode::of(code.as_str()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_class_and_every_rejection_its_code() {
        assert_eq!(CODES.len(), ProblemCode::VALUES.len());
        for (place, (code, _)) in CODES.iter().enumerate() {
            assert_eq!(*code as usize, place);
        }
        for code in RejectionCode::ALL {
            assert!(covers(code), "{code:?}");
            let rejection = Rejection { code, field: "amount_minor".to_owned(), value: None, rule: "r".to_owned() };
            let problem = Problem::from(rejection);
            let status = problem.class().status().as_u16();
            let expected = match code {
                RejectionCode::TooLarge => 413,
                RejectionCode::Conflict => 409,
                code if code.is_malformed() => 400,
                _ => 422,
            };
            assert_eq!(status, expected, "{code:?}");
        }
    }

    #[test]
    fn documents_say_field_value_and_rule() {
        let problem = Problem::new(ProblemCode::AmountNegative, "must be at least 0").about("amount_minor", Some("-5"));
        let document: serde_json::Value = serde_json::from_slice(&problem.document("req-1", Some(3))).unwrap();
        let expected = serde_json::json!({
            "type": "urn:assay:problem:amount_negative",
            "title": "The request breaks a rule",
            "status": 422,
            "detail": "amount_minor = -5: must be at least 0",
            "code": "amount_negative",
            "field": "amount_minor",
            "value": "-5",
            "rule": "must be at least 0",
            "index": 3,
            "instance": "req-1"
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn retry_after_is_in_whole_seconds_rounded_up() {
        let answer =
            Problem::new(ProblemCode::Overloaded, "busy").retry_after(Duration::from_millis(1_200)).answer("x");
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "2");
    }
}
