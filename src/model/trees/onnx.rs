//! The few messages of an ONNX file that a tree ensemble is read from (<https://onnx.ai/onnx/repo-docs/IR.html>).
//!
//! In: the bytes of a model. Out: its graph's inputs and nodes with their attributes. Every other field is skipped by the
//! decoder, weights included: nothing is copied that is not asked for.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(message, optional, tag = "7")]
    pub(super) graph: Option<Graph>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Graph {
    #[prost(message, repeated, tag = "1")]
    pub(super) nodes: Vec<Node>,
    #[prost(message, repeated, tag = "11")]
    pub(super) inputs: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Value {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Node {
    #[prost(string, repeated, tag = "1")]
    pub(super) inputs: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) kind: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) attributes: Vec<Attribute>,
    /// Empty: the standard's own.
    #[prost(string, tag = "7")]
    pub(super) domain: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Attribute {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int64, tag = "3")]
    pub(super) number: i64,
    #[prost(bytes = "vec", tag = "4")]
    pub(super) text: Vec<u8>,
    #[prost(float, repeated, tag = "7")]
    pub(super) floats: Vec<f32>,
    #[prost(int64, repeated, tag = "8")]
    pub(super) numbers: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub(super) texts: Vec<Vec<u8>>,
}

impl Model {
    /// Reads the bytes of a model.
    pub(super) fn parse(bytes: &[u8]) -> Result<Graph, String> {
        let model = Self::decode(bytes).map_err(|error| format!("is no ONNX file: {error}"))?;
        model.graph.ok_or_else(|| "has no graph".to_owned())
    }
}

impl Node {
    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// A list of integers; empty when it is absent.
    pub(super) fn numbers(&self, name: &str) -> &[i64] {
        self.attribute(name).map_or(&[], |attribute| &attribute.numbers)
    }

    /// A list of floats; empty when it is absent.
    pub(super) fn floats(&self, name: &str) -> &[f32] {
        self.attribute(name).map_or(&[], |attribute| &attribute.floats)
    }

    /// A list of texts; empty when it is absent.
    pub(super) fn texts(&self, name: &str) -> &[Vec<u8>] {
        self.attribute(name).map_or(&[], |attribute| &attribute.texts)
    }

    /// A text, or `default` where it is absent.
    pub(super) fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.attribute(name).map_or(default, |attribute| std::str::from_utf8(&attribute.text).unwrap_or("?"))
    }

    /// A number, or `default` where it is absent.
    pub(super) fn number(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |attribute| attribute.number)
    }

    /// Whether it has the attribute at all.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }
}
