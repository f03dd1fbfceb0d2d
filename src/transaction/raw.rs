//! A value as a source had it, before anything is known of its meaning: what every reader hands to the connector.

use std::borrow::Cow;

/// A scalar of a source, borrowed where the source allows it. Readers fill one for each path of the connector.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum RawValue<'a> {
    /// The path leads nowhere.
    #[default]
    Absent,
    /// It is there and empty.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// An integer above the range of `i64`.
    Large(u64),
    /// Any other number.
    Float(f64),
    /// Text of a source that has types (JSON, Arrow): never a number.
    Text(Cow<'a, str>),
    /// Text of a source without types (CSV, a constant of a connector): a number where the schema wants one.
    Cell(Cow<'a, str>),
    /// A moment of a source that has such a type, in milliseconds since the epoch.
    Time(i64),
    /// An object, array or other thing with parts.
    Composite,
}

impl From<u64> for RawValue<'_> {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::Large(value), Self::Int)
    }
}

impl RawValue<'_> {
    /// Whether nothing stands here: the next path of the mapping is asked.
    pub(crate) const fn is_empty(&self) -> bool {
        matches!(self, Self::Absent | Self::Null)
    }

    /// The value as text for a person or for the keys of a value map; `None` where there is nothing to show.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Absent => return None,
            Self::Null => Cow::Borrowed("null"),
            Self::Bool(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Int(value) | Self::Time(value) => Cow::Owned(value.to_string()),
            Self::Large(value) => Cow::Owned(value.to_string()),
            Self::Float(value) => Cow::Owned(value.to_string()),
            Self::Text(text) | Self::Cell(text) => Cow::Borrowed(text),
            Self::Composite => Cow::Borrowed("an object or array"),
        })
    }

    /// The name of the value's type, for messages that must not show it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Large(_) | Self::Float(_) => "a number",
            Self::Text(_) | Self::Cell(_) => "text",
            Self::Time(_) => "a time",
            Self::Composite => "an object or array",
        }
    }
}
