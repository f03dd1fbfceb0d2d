//! JSON: bytes of one object, or one object a line, to transactions.
//!
//! The text is walked once. Values at the connector's paths are kept, borrowed from the bytes; everything else is
//! checked (syntax, depth, keys that stand twice in any object) and dropped. A number is exact where it fits 64 bits
//! as an integer; any other is the nearest 64-bit float, whose shortest decimal form gives its digits (`12.0` is 12).
//! A number beyond the range of a 64-bit float is not JSON to this reader.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::connector::{Connector, Tree};
use super::raw::RawValue;
use super::rejection::shortened;
use super::{Limits, Read, Rejection, RejectionCode};

/// The deepest limit that is kept: below the JSON parser's own.
const MAX_DEPTH: usize = 100;

/// Reads one transaction from the JSON object in `bytes`.
///
/// # Errors
/// The first rule that is broken: size, syntax and form first, then the fields in the schema's order, amounts last.
pub fn read_json(bytes: &[u8], connector: &Connector, limits: &Limits) -> Result<Read, Rejection> {
    if bytes.len() > limits.bytes {
        return Err(Rejection::too_large(bytes.len(), limits.bytes));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| Rejection::not_json(&format!("not UTF-8: {error}")))?;
    let mut walk = Walk {
        tree: connector.tree(),
        slots: vec![RawValue::Absent; connector.paths().len()],
        depth: limits.depth.min(MAX_DEPTH),
        unknown: 0,
        fault: None,
    };
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let top = Place { walk: &mut walk, node: Some(Tree::ROOT), depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|shape| deserializer.end().map(|()| shape));
    match top {
        Ok(Shape::Object) => connector.assemble(&walk.slots, limits.labels, walk.unknown),
        Ok(shape) => Err(Rejection {
            code: RejectionCode::WrongType,
            field: String::new(),
            value: None,
            rule: format!("a transaction must be a JSON object; here stands {}", shape.name()),
        }),
        Err(error) => Err(walk.fault.take().map_or_else(
            || Rejection::not_json(&format!("not JSON: {error}")),
            |fault| fault.rejection(limits.depth.min(MAX_DEPTH)),
        )),
    }
}

/// Reads one transaction a line; blank lines are skipped. Items are (1-based line, outcome).
pub fn ndjson<'a>(
    bytes: &'a [u8],
    connector: &'a Connector,
    limits: &'a Limits,
) -> impl Iterator<Item = (u64, Result<Read, Rejection>)> + 'a {
    (1..)
        .zip(bytes.split(|byte| *byte == b'\n'))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(move |(number, line)| (number, read_json(line, connector, limits)))
}

/// What the walk carries.
struct Walk<'c, 'de> {
    tree: &'c Tree,
    slots: Vec<RawValue<'de>>,
    depth: usize,
    unknown: u32,
    fault: Option<Fault>,
}

/// A broken rule of form, and the keys that lead to it, innermost first.
struct Fault {
    code: RejectionCode,
    path: Vec<String>,
}

impl Fault {
    fn rejection(mut self, depth: usize) -> Rejection {
        self.path.reverse();
        let path = shortened(&self.path.join("."), 200);
        match self.code {
            RejectionCode::DuplicateKey => Rejection::duplicate_key(&path),
            _ => Rejection::nested_too_deep(&path, depth),
        }
    }
}

enum Shape {
    Scalar,
    Array,
    Object,
}

impl Shape {
    const fn name(&self) -> &'static str {
        match self {
            Self::Scalar => "a single value",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// A value about to be read: where it stands in the connector's tree, if it does, and how deep.
struct Place<'w, 'c, 'de> {
    walk: &'w mut Walk<'c, 'de>,
    node: Option<usize>,
    depth: usize,
}

impl<'de> Place<'_, '_, 'de> {
    fn scalar<E>(mut self, value: RawValue<'de>) -> Result<Shape, E> {
        self.put(value);
        Ok(Shape::Scalar)
    }

    /// Keeps `value` if the connector asks for it. An object is none where paths lead on into it.
    fn put(&mut self, value: RawValue<'de>) {
        let Some(node) = self.node.and_then(|node| self.walk.tree.node(node)) else { return };
        if value == RawValue::Composite && !node.children.is_empty() {
            return;
        }
        if let Some(place) = node.slot.and_then(|slot| self.walk.slots.get_mut(slot)) {
            *place = value;
        }
    }

    fn check_depth<E: Error>(&mut self) -> Result<(), E> {
        if self.depth < self.walk.depth {
            return Ok(());
        }
        Err(self.fail(RejectionCode::NestedTooDeep, Vec::new()))
    }

    /// Adds the key that led to a fault below, if there is one.
    fn trace(&mut self, key: impl FnOnce() -> String) {
        if let Some(fault) = &mut self.walk.fault {
            fault.path.push(key());
        }
    }

    /// Remembers the fault; the parser's own error only ends the walk.
    fn fail<E: Error>(&mut self, code: RejectionCode, path: Vec<String>) -> E {
        self.walk.fault = Some(Fault { code, path });
        E::custom("form")
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_, '_, 'de> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Shape, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_, '_, 'de> {
    type Value = Shape;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Shape, E> {
        self.scalar(RawValue::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Shape, E> {
        self.scalar(RawValue::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Shape, E> {
        self.scalar(RawValue::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Shape, E> {
        self.scalar(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Shape, E> {
        self.scalar(RawValue::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Shape, E> {
        self.scalar(RawValue::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Shape, E> {
        // Escaped text is a copy already; only what a slot wants is copied again.
        if self.node.is_none() {
            return Ok(Shape::Scalar);
        }
        self.scalar(RawValue::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut array: A) -> Result<Shape, A::Error> {
        self.check_depth()?;
        self.put(RawValue::Composite);
        for index in 0_usize.. {
            let element = Place { walk: &mut *self.walk, node: None, depth: self.depth + 1 };
            match array.next_element_seed(element) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    self.trace(|| index.to_string());
                    return Err(error);
                }
            }
        }
        Ok(Shape::Array)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<Shape, A::Error> {
        self.check_depth()?;
        self.put(RawValue::Composite);
        let (mut seen, mut others) = (0_u64, Keys::default());
        while let Some(key) = object.next_key_seed(KeyOf { tree: self.walk.tree, node: self.node })? {
            let (node, is_new) = match &key {
                Key::Known { bit, node, .. } => {
                    let is_new = seen & bit == 0;
                    seen |= bit;
                    (Some(*node), is_new)
                }
                Key::Other(text) => {
                    // What stands inside an unknown field is not counted again.
                    if self.node.is_some() {
                        self.walk.unknown = self.walk.unknown.saturating_add(1);
                    }
                    (None, others.insert(text.clone()))
                }
            };
            if !is_new {
                let path = vec![key.text(self.walk.tree, self.node)];
                return Err(self.fail(RejectionCode::DuplicateKey, path));
            }
            let value = Place { walk: &mut *self.walk, node, depth: self.depth + 1 };
            if let Err(error) = object.next_value_seed(value) {
                let (tree, node) = (self.walk.tree, self.node);
                self.trace(|| key.text(tree, node));
                return Err(error);
            }
        }
        Ok(Shape::Object)
    }
}

/// A key of an object: one that the connector names below this place, or another.
enum Key<'de> {
    Known { bit: u64, index: usize, node: usize },
    Other(Cow<'de, str>),
}

impl Key<'_> {
    fn text(&self, tree: &Tree, parent: Option<usize>) -> String {
        match self {
            Self::Known { index, .. } => {
                let name = parent.and_then(|node| tree.node(node)).and_then(|node| node.children.get(*index));
                name.map_or_else(String::new, |(name, _)| name.to_string())
            }
            Self::Other(text) => shortened(text, 32),
        }
    }
}

/// Reads a key.
struct KeyOf<'c> {
    tree: &'c Tree,
    node: Option<usize>,
}

impl KeyOf<'_> {
    fn known<'de>(&self, key: &str) -> Option<Key<'de>> {
        let node = self.tree.node(self.node?)?;
        let index = node.children.iter().position(|(name, _)| name == key)?;
        let (_, child) = node.children.get(index)?;
        Some(Key::Known { bit: 1 << index, index, node: *child })
    }
}

impl<'de> DeserializeSeed<'de> for KeyOf<'_> {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyOf<'_> {
    type Value = Key<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(self.known(key).unwrap_or(Key::Other(Cow::Borrowed(key))))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(self.known(key).unwrap_or_else(|| Key::Other(Cow::Owned(key.to_owned()))))
    }
}

/// The keys of one object that the connector does not name: a list while they are few, then a set, so that the
/// work stays proportional to the bytes.
#[derive(Default)]
struct Keys<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Keys<'de> {
    const FEW: usize = 16;

    /// Whether the key was not there before.
    fn insert(&mut self, key: Cow<'de, str>) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}
