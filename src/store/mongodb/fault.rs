//! Why MongoDB could not do it, in three kinds: try again, call a person, or leave this document.
//!
//! What the server says may be told: no personal identifier and no plain event was ever sent to it.

use mongodb::error::{Error, ErrorKind, IndexedWriteError, WriteFailure};
use thiserror::Error as ThisError;

use super::NAME;
use crate::engine::delivery::DestinationError;

/// Why the store could not do it.
#[derive(Debug, Clone, ThisError, PartialEq, Eq)]
pub enum MongoError {
    /// The server is away, slow or full: one sentence.
    #[error("{0}")]
    Unavailable(String),
    /// A person is needed: every fault in a sentence of its own.
    #[error("{}", .0.join("; "))]
    Faults(Vec<String>),
    /// What was sent is refused and would be again.
    #[error("{0}")]
    Refused(String),
    /// There is a document of this `_id`.
    #[error("there is a document of this id")]
    Present,
}

/// The server's codes that say that a person is needed: Unauthorized, UserNotFound, AuthenticationFailed, IllegalOperation,
/// InvalidNamespace, CommandNotSupportedOnView, AtlasError.
const FAULTS: [i32; 7] = [13, 11, 18, 20, 73, 166, 8000];
/// Those that refuse a document: BadValue, FailedToParse, TypeMismatch, Overflow, InvalidLength, InvalidBSON, the names of
/// fields (52 to 57), DocumentValidationFailure, CannotIndexParallelArrays, BSONObjectTooLarge, KeyTooLong, and a document
/// that grows too large.
const REFUSALS: [i32; 18] = [2, 9, 14, 15, 16, 22, 52, 53, 54, 55, 56, 57, 121, 171, 10_334, 17_280, 17_419, 17_420];
/// DuplicateKey, by its names of all ages.
const DUPLICATES: [i32; 3] = [11_000, 11_001, 12_582];
/// NotImplemented, CommandNotFound, InvalidIndexSpecificationOption, CannotCreateIndex, InvalidOptions: what a server may lack.
const LACKS: [i32; 5] = [238, 59, 197, 67, 72];
/// NamespaceNotFound, IndexNotFound.
const GONE: [i32; 2] = [26, 27];
/// IndexOptionsConflict, IndexKeySpecsConflict.
const CONFLICTS: [i32; 2] = [85, 86];

impl MongoError {
    /// By a server's code, its name and its sentence.
    fn of(code: i32, name: &str, message: &str) -> Self {
        let sentence = format!("{} (code {code} {name})", message.trim());
        if DUPLICATES.contains(&code) {
            Self::Present
        } else if FAULTS.contains(&code) {
            Self::Faults(vec![sentence])
        } else if REFUSALS.contains(&code) {
            Self::Refused(sentence)
        } else {
            Self::Unavailable(sentence)
        }
    }
}

/// What became of one document of several.
impl From<&IndexedWriteError> for MongoError {
    fn from(error: &IndexedWriteError) -> Self {
        Self::of(error.code, error.code_name.as_deref().unwrap_or_default(), &error.message)
    }
}

impl From<&Error> for MongoError {
    fn from(error: &Error) -> Self {
        match &*error.kind {
            ErrorKind::Command(told) => Self::of(told.code, &told.code_name, &told.message),
            ErrorKind::Write(WriteFailure::WriteError(told)) => {
                Self::of(told.code, told.code_name.as_deref().unwrap_or_default(), &told.message)
            }
            ErrorKind::Authentication { .. }
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::IncompatibleServer { .. } => Self::Faults(vec![error.kind.to_string()]),
            ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::Bson(_) => {
                Self::Refused(error.kind.to_string())
            }
            _ => Self::Unavailable(error.kind.to_string()),
        }
    }
}

impl From<Error> for MongoError {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<MongoError> for DestinationError {
    fn from(error: MongoError) -> Self {
        let reason = error.to_string();
        match error {
            MongoError::Unavailable(_) => Self::Unavailable { destination: NAME, reason },
            MongoError::Faults(_) | MongoError::Refused(_) | MongoError::Present => {
                Self::Misconfigured { destination: NAME, reason }
            }
        }
    }
}

/// Whether the server says that it has no such thing.
pub(super) fn is_lack(error: &Error) -> bool {
    code_of(error).is_some_and(|code| LACKS.contains(&code) || REFUSALS.contains(&code))
}

/// Whether an index of another kind stands in the way.
pub(super) fn is_conflict(error: &Error) -> bool {
    code_of(error).is_some_and(|code| CONFLICTS.contains(&code))
}

/// Whether there is no such collection or index.
pub(super) fn is_gone(error: &Error) -> bool {
    code_of(error).is_some_and(|code| GONE.contains(&code))
}

fn code_of(error: &Error) -> Option<i32> {
    match &*error.kind {
        ErrorKind::Command(told) => Some(told.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_to_wait_to_call_a_person_or_to_leave_the_document() {
        let kind = |code| match MongoError::of(code, "Name", "why") {
            MongoError::Unavailable(_) => "wait",
            MongoError::Faults(_) => "person",
            MongoError::Refused(_) => "document",
            MongoError::Present => "present",
        };
        // OutOfDiskSpace, ShutdownInProgress, PrimarySteppedDown, NotWritablePrimary, WriteConcernFailed, MaxTimeMSExpired,
        // InterruptedAtShutdown, and one that nobody knows.
        for code in [14_031, 91, 189, 10_107, 64, 50, 11_600, 987_654] {
            assert_eq!(kind(code), "wait", "{code}");
        }
        for (codes, expected) in [([13, 18], "person"), ([10_334, 121], "document"), ([11_000, 11_001], "present")] {
            assert_eq!(codes.map(kind), [expected; 2]);
        }
        let told = MongoError::of(14_031, "OutOfDiskSpace", "No space left on device").to_string();
        assert_eq!(told, "No space left on device (code 14031 OutOfDiskSpace)");
    }
}
