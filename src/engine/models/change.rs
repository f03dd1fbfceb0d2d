//! What is recorded of every change: who, when, from what, to what, why, and which gates it passed.

use serde::{Deserialize, Serialize};

use crate::base::clock::Millis;
use crate::model::Checks;

/// A version by what it is: two packages of one digest are the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionId {
    /// The model's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the package: of its files' names and hashes, hex.
    pub digest: String,
}

impl VersionId {
    /// `name/version`, as commands write it.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.name, self.version)
    }
}

/// What was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A version came into force at a start: nobody asked for it.
    Started,
    /// A version came into force.
    Activated,
    /// The version that all instances want came into force.
    Followed,
    /// Likewise, and the one before goes because another instance rolled it back.
    FollowedBack,
    /// The one before came back.
    RolledBack,
    /// A challenger began, or its share changed.
    Shadowed,
    /// It ended.
    ShadowEnded,
    /// A canary began, or its share changed.
    Canaried,
    /// It ended.
    CanaryEnded,
    /// A version did not pass a gate.
    Refused,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 10] = [
        Self::Started,
        Self::Activated,
        Self::Followed,
        Self::FollowedBack,
        Self::RolledBack,
        Self::Shadowed,
        Self::ShadowEnded,
        Self::Canaried,
        Self::CanaryEnded,
        Self::Refused,
    ];

    /// Its word in records and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Activated => "activated",
            Self::Followed => "followed",
            Self::FollowedBack => "followed_back",
            Self::RolledBack => "rolled_back",
            Self::Shadowed => "shadowed",
            Self::ShadowEnded => "shadow_ended",
            Self::Canaried => "canaried",
            Self::CanaryEnded => "canary_ended",
            Self::Refused => "refused",
        }
    }

    /// The action of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == word)
    }

    /// Whether the version that decides is another one after it.
    #[must_use]
    pub const fn moves_champion(self) -> bool {
        matches!(self, Self::Started | Self::Activated | Self::Followed) || self.takes_back()
    }

    /// Whether the version before comes back by a person alone.
    #[must_use]
    pub const fn takes_back(self) -> bool {
        matches!(self, Self::RolledBack | Self::FollowedBack)
    }

    /// Whether every instance is to do the same.
    #[must_use]
    pub const fn is_wish(self) -> bool {
        matches!(self, Self::Activated | Self::RolledBack)
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Tells it from every other change of any instance.
    pub id: String,
    /// When, by this instance's clock.
    pub at: Millis,
    /// What.
    pub action: Action,
    /// Who asked for it; `assay` where nobody did.
    pub by: String,
    /// Why, in their words.
    pub why: String,
    /// The version before; absent where there was none.
    pub from: Option<VersionId>,
    /// The version after; absent where there is none.
    pub to: Option<VersionId>,
    /// Share of a challenger or canary, of 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis_points: Option<u16>,
    /// How the version after met the gates.
    #[serde(default)]
    pub checks: Checks,
}

impl Change {
    /// Whether nobody asked for it but a registry's alias.
    #[must_use]
    pub fn is_by_alias(&self) -> bool {
        self.by == ITSELF && self.why == BY_ALIAS
    }
}

/// The version that all instances of a stack want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub id: VersionId,
    /// Since when, by the clock of the instance that was asked.
    pub at: Millis,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub why: String,
    /// The version that was rolled back for it; absent where none was.
    pub taken_back: Option<VersionId>,
    /// Every version of which the last that any instance recorded is that it was rolled back.
    pub gone: Vec<VersionId>,
}

/// Who asks for a change, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// 1 to 64 characters.
    pub by: String,
    /// At most 500.
    pub why: String,
}

impl Asked {
    /// By the program itself.
    #[must_use]
    pub fn by_itself(why: impl Into<String>) -> Self {
        Self { by: ITSELF.to_owned(), why: why.into() }
    }
}

/// Why a version comes into force that an alias names.
pub const BY_ALIAS: &str = "the registry's alias names it";

/// What the program calls itself in records.
pub const ITSELF: &str = "assay";
