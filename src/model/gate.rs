//! The gates a version passes before it may serve, and the list of how it passed them.
//!
//! In: the gate a check is at. Out: [`Checks`]: of every gate whether it was passed, skipped or failed. A check that fails
//! ends the list: what is behind it was not looked at.

use serde::{Deserialize, Serialize};

/// What a version is held against, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// Every file is there, and every key is known and within its range.
    Package,
    /// The files have the hashes that the manifest names.
    Hash,
    /// The graph's inputs and outputs are those of the manifest.
    Tensors,
    /// Every batch size runs.
    WarmUp,
    /// The golden rows get their scores.
    Golden,
    /// Rows from all over the training data's range get scores from 0 to 1.
    Finite,
    /// The golden rows are explained as expected.
    Explanation,
    /// A row is scored within the budget.
    Latency,
    /// The catalogue has every feature.
    Features,
    /// History reaches as far back as the features look.
    History,
    /// On recent traffic the scores lie as those of the active version do.
    Distribution,
}

impl Gate {
    /// Every gate, in order.
    pub const ALL: [Self; 11] = [
        Self::Package,
        Self::Hash,
        Self::Tensors,
        Self::WarmUp,
        Self::Golden,
        Self::Finite,
        Self::Explanation,
        Self::Latency,
        Self::Features,
        Self::History,
        Self::Distribution,
    ];

    /// Its word in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Hash => "hash",
            Self::Tensors => "tensors",
            Self::WarmUp => "warm_up",
            Self::Golden => "golden",
            Self::Finite => "finite",
            Self::Explanation => "explanation",
            Self::Latency => "latency",
            Self::Features => "features",
            Self::History => "history",
            Self::Distribution => "distribution",
        }
    }
}

/// How a gate was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Met {
    /// It holds.
    Passed,
    /// It could not be looked at, or is switched off; the detail says why.
    Skipped,
    /// It does not hold.
    Failed,
}

/// One gate and how it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which.
    pub gate: Gate,
    /// How.
    pub met: Met,
    /// A figure, why it was skipped, or what is wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The gates so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// Notes how a gate was met.
    pub fn note(&mut self, gate: Gate, met: Met, detail: impl Into<String>) {
        let detail: String = detail.into();
        // It comes out of files: what no book takes and no terminal shows is left out.
        let detail = detail.chars().map(|one| if one.is_control() { ' ' } else { one }).collect();
        self.0.push(Check { gate, met, detail });
    }

    /// Notes what came of a check at `gate`.
    ///
    /// # Errors
    /// The check's own.
    pub fn hold<T, E: ToString>(&mut self, gate: Gate, checked: Result<T, E>) -> Result<T, E> {
        match &checked {
            Ok(_) => self.note(gate, Met::Passed, ""),
            Err(error) => self.note(gate, Met::Failed, error.to_string()),
        }
        checked
    }

    /// What there is to say of a gate that was met.
    pub fn say(&mut self, gate: Gate, detail: impl Into<String>) {
        if let Some(check) = self.0.iter_mut().find(|check| check.gate == gate) {
            check.detail = detail.into();
        }
    }

    /// Notes a gate anew that was noted last.
    pub fn amend(&mut self, gate: Gate, met: Met, detail: impl Into<String>) {
        self.0.retain(|check| check.gate != gate);
        self.note(gate, met, detail);
    }

    /// Leaves out `gate` and every gate behind it, which are looked at again.
    pub fn drop_from(&mut self, gate: Gate) {
        let place = |one: Gate| Gate::ALL.iter().position(|other| *other == one);
        self.0.retain(|check| place(check.gate) < place(gate));
    }

    /// Those that were come to, in order.
    #[must_use]
    pub fn list(&self) -> &[Check] {
        &self.0
    }

    /// The one that failed.
    #[must_use]
    pub fn failed(&self) -> Option<&Check> {
        self.0.iter().find(|check| check.met == Met::Failed)
    }
}
