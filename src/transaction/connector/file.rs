//! The form of a connector file, before its rules are checked.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: String,
    /// Stands before every path that does not begin with `$.`.
    #[serde(default)]
    pub(super) root: String,
    /// What becomes of canonical fields that `fields` does not name.
    #[serde(default)]
    pub(super) unmapped: Unmapped,
    pub(super) accept: Option<AcceptRule>,
    #[serde(default)]
    pub(super) fields: BTreeMap<String, Mapping>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Unmapped {
    /// They are absent.
    #[default]
    Absent,
    /// They are read from the path of their own name.
    SameName,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcceptRule {
    pub(super) path: String,
    pub(super) values: Vec<Scalar>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    pub(super) from: Option<Paths>,
    pub(super) constant: Option<Scalar>,
    pub(super) unit: Option<UnitWord>,
    pub(super) case: Option<CaseWord>,
    #[serde(rename = "as")]
    pub(super) as_type: Option<TypeWord>,
    pub(super) map: Option<BTreeMap<String, Scalar>>,
    pub(super) default: Option<Scalar>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Paths {
    One(String),
    Several(Vec<String>),
}

impl Paths {
    pub(super) fn all(&self) -> &[String] {
        match self {
            Self::One(path) => std::slice::from_ref(path),
            Self::Several(paths) => paths,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Scalar {
    Bool(bool),
    Integer(i64),
    Text(String),
}

impl Scalar {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum UnitWord {
    Ms,
    S,
    Rfc3339,
    Minor,
    Major,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CaseWord {
    Upper,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TypeWord {
    Text,
}
