//! What the topics carry: payments, verdicts, decisions, dead letters, and bytes that nobody can read.

use std::rc::Rc;

use super::super::merge::{Kind, Timed};
use crate::base::clock::Millis;

/// A transaction; all of its fields are required ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Payment {
    pub(super) id: Rc<str>,
    pub(super) customer: u8,
    pub(super) at: i64,
    pub(super) amount: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) id: Rc<str>,
    pub(super) customer: u8,
    /// When the payment happened.
    pub(super) at: i64,
    pub(super) labelled_at: i64,
    pub(super) fraud: bool,
}

/// Payments of the customer up to and with this one, their sum, and those known to be frauds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Features {
    pub(super) count: usize,
    pub(super) sum: i64,
    pub(super) frauds: usize,
}

/// (process, sequence)
pub(super) type RecordId = (u64, u64);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    /// By an owner; `exact` says that no wait had been given up, `ends` are those of the decisions at assignment.
    Stream {
        exact: bool,
        ends: Rc<[i64]>,
    },
    Predict,
}

/// A decision as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) record: RecordId,
    pub(super) payment: Rc<Payment>,
    pub(super) features: Features,
    /// `None`: a fallback.
    pub(super) revision: Option<u32>,
    pub(super) made: Made,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Code {
    Unreadable,
    Conflict,
}

/// A dead letter: what was wrong with which offset of the transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rejected {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) code: Code,
    /// When it happened; of what cannot be read, when it was first taken.
    pub(super) at: i64,
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    Payment(Rc<Payment>),
    /// Taken then for the first time.
    Unreadable(i64),
    Verdict(Rc<Verdict>),
    Decision(Rc<Record>),
    Rejected(Rejected),
}

/// A message in a lane of the reader.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) offset: i64,
    pub(super) message: Message,
}

impl Message {
    /// (at, kind, id). What cannot be read has no time and goes first: it waits for nobody.
    pub(super) fn key(&self) -> (i64, Kind, &str) {
        match self {
            Self::Payment(payment) => (payment.at, Kind::Transaction, &payment.id),
            Self::Verdict(verdict) => (verdict.labelled_at, Kind::Label, &verdict.id),
            Self::Decision(record) => (record.payment.at, Kind::Decision, &record.payment.id),
            Self::Unreadable(_) | Self::Rejected(_) => (i64::MIN, Kind::Transaction, ""),
        }
    }
}

impl Timed for Item {
    fn at(&self) -> Millis {
        Millis(self.message.key().0)
    }

    fn kind(&self) -> Kind {
        self.message.key().1
    }

    fn id(&self) -> &str {
        self.message.key().2
    }
}
