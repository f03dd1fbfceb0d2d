//! Why PostgreSQL could not do it, in two kinds: try again, or call a person.

use std::error::Error as _;

use thiserror::Error;
use tokio_postgres::Error;

use super::NAME;
use crate::engine::delivery::DestinationError;

/// Why the store could not do it.
#[derive(Debug, Clone, Error)]
pub enum PostgresError {
    /// The server is away, slow or full: one sentence.
    #[error("{0}")]
    Unavailable(String),
    /// A person is needed: every fault in a sentence of its own.
    #[error("{}", .0.join("; "))]
    Faults(Vec<String>),
    /// A statement was refused and would be again; the session goes on.
    #[error("{0}")]
    Refused(String),
    /// A statement was cut short by a time-out or by others; the session goes on.
    #[error("{0}")]
    Interrupted(String),
}

/// SQLSTATE classes that say that a person is needed: no such database, no such role, no right, no such table.
const FAULTS: [&str; 5] = ["28", "3D", "3F", "42", "0L"];
/// Classes that say that a value or a rule of the row's owner refuses a statement.
const REFUSALS: [&str; 5] = ["22", "23", "27", "44", "P0"];
/// Statement time-out, lock time-out, serialisation, deadlock.
const INTERRUPTIONS: [&str; 4] = ["57014", "55P03", "40001", "40P01"];

/// What OpenSSL and the driver say of a server that cannot be trusted or speaks no TLS.
const UNTRUSTED: [&str; 2] = ["certificate verify failed", "server does not support TLS"];

impl PostgresError {
    /// Whether the session it happened on is of no further use.
    pub(super) const fn ends_session(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Faults(_))
    }

    /// Whether a person is needed before anything changes.
    pub(super) const fn is_fault(&self) -> bool {
        matches!(self, Self::Faults(_))
    }
}

/// The server's own sentence, without its detail: that quotes the row.
impl From<Error> for PostgresError {
    fn from(error: Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let mut sentence = error.to_string();
            let mut source = error.source();
            while let Some(deeper) = source {
                if !sentence.contains(&deeper.to_string()) {
                    sentence.push_str(&format!(": {deeper}"));
                }
                source = deeper.source();
            }
            let person = UNTRUSTED.iter().any(|words| sentence.contains(words));
            return if person { Self::Faults(vec![sentence]) } else { Self::Unavailable(sentence) };
        };
        let code = told.code().code();
        let sentence = format!("{} (SQLSTATE {code})", told.message());
        let starts = |classes: &[&str]| classes.iter().any(|class| code.starts_with(class));
        if INTERRUPTIONS.contains(&code) {
            Self::Interrupted(sentence)
        } else if starts(&FAULTS) {
            Self::Faults(vec![sentence])
        } else if starts(&REFUSALS) {
            Self::Refused(sentence)
        } else {
            Self::Unavailable(sentence)
        }
    }
}

impl From<PostgresError> for DestinationError {
    fn from(error: PostgresError) -> Self {
        let reason = error.to_string();
        match error {
            PostgresError::Unavailable(_) | PostgresError::Interrupted(_) => {
                Self::Unavailable { destination: NAME, reason }
            }
            PostgresError::Faults(_) | PostgresError::Refused(_) => Self::Misconfigured { destination: NAME, reason },
        }
    }
}
