//! The signature of a graph: which of its inputs take which values of a row, and which output holds the score in which
//! form. It knows neither files nor the runtime.
//!
//! In: a [`Contract`], what the manifest says (a bare file says nothing), and the graph's own inputs and outputs as
//! [`Edge`]s. Out: the [`Feed`]s in the graph's order and the output's [`Form`], or one sentence that names what does not fit.
//! Invariant: every input of the graph is fed, and every value of a row feeds one.

use serde::Deserialize;

use super::InferError;
use super::manifest::{Calibration, probability};

/// The output that is preferred where nothing names one.
const PREFERRED_OUTPUT: &str = "probabilities";

/// The key of a map that holds the probability of fraud, where nothing names one.
pub(super) const POSITIVE: &str = "1";

/// What a session is held against: `None` and no inputs are discovered from the graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Contract {
    /// Values of a row.
    pub(super) width: usize,
    /// Together they take each value of a row once; none: the graph's one input takes the row as it stands.
    pub(super) inputs: Vec<Feed>,
    /// Name of the output.
    pub(super) output: Option<String>,
    /// Its form.
    pub(super) shape: Option<OutputShape>,
    /// Of maps, the key whose value is taken; `None`: [`POSITIVE`].
    pub(super) positive: Option<String>,
    /// How its values become what a session gives.
    pub(super) link: Link,
}

/// One input of a graph and the values of a row that it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Feed {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    /// Places in the row, in the input's order.
    pub(super) columns: Vec<usize>,
    /// The input is `[N]`: it takes one value, and no column.
    pub(super) flat: bool,
}

/// Elements of an input. A row holds f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Dtype {
    /// As in the row.
    Float32,
    /// Exactly the row's value.
    Float64,
    /// The row's value, which must be whole; f32 holds each whole number up to 2²⁴.
    Int64,
}

/// Form of the output that holds the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OutputShape {
    /// `[N, 2]`: the second column is the probability of fraud.
    TwoColumns,
    /// `[N, 1]`.
    OneColumn,
    /// `[N]`.
    Flat,
    /// A sequence of maps, one a row.
    Zipmap,
}

/// How a value of the output becomes what a session gives.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Link {
    /// As it is.
    #[default]
    Identity,
    /// The value is the raw margin, log-odds: its sigmoid, calibrated where there is a calibration.
    Logit(Option<Calibration>),
}

/// An input or output, as the graph itself says.
#[derive(Debug, Clone)]
pub(super) struct Edge {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Its type in the runtime's words.
    pub(super) shown: String,
}

/// What flows there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its dimensions; one that is free is negative.
    Tensor(Dtype, Vec<i64>),
    /// A sequence of maps from whole numbers to f32.
    NumberMaps,
    /// A sequence of maps from texts to f32.
    TextMaps,
    Other,
}

/// How scores are read from the output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// The last of so many columns.
    Columns(usize),
    /// The value at a key.
    NumberMaps(i64),
    /// Likewise.
    TextMaps(String),
}

impl Dtype {
    /// As the manifest writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float64 => "float64",
            Self::Int64 => "int64",
        }
    }
}

impl OutputShape {
    /// As the manifest writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::TwoColumns => "two_columns",
            Self::OneColumn => "one_column",
            Self::Flat => "flat",
            Self::Zipmap => "zipmap",
        }
    }
}

impl Link {
    /// What a session gives for a value of the output.
    pub(super) fn apply(self, value: f64) -> f64 {
        match self {
            Self::Identity => value,
            Self::Logit(calibration) => probability(value, calibration),
        }
    }
}

/// 2⁶³: whole numbers below it, and from −2⁶³ on, are an int64.
const BEYOND_INT64: f32 = 9_223_372_036_854_775_808.0;

impl Feed {
    /// The input that takes a whole row of `width` values.
    pub(super) fn row(name: &str, dtype: Dtype, width: usize) -> Self {
        Self { name: name.to_owned(), dtype, columns: (0..width).collect(), flat: false }
    }

    /// Whether it takes the row as it stands.
    pub(super) fn is_row(&self, width: usize) -> bool {
        self.columns.iter().copied().eq(0..width)
    }

    /// The int64 of a value.
    ///
    /// # Errors
    /// `Failed`: the value is not finite, not whole, or beyond 64 bits. It is never rounded: a model that was trained on
    /// whole numbers has no score for what lies between them.
    #[expect(clippy::cast_possible_truncation, reason = "the value is whole and within range")]
    pub(super) fn whole(&self, value: f32) -> Result<i64, InferError> {
        if value.trunc() == value && (-BEYOND_INT64..BEYOND_INT64).contains(&value) {
            return Ok(value as i64);
        }
        let name = &self.name;
        Err(InferError::Failed(format!("the input {name:?} takes whole numbers of 64 bits, and {value} is none")))
    }

    /// Whether it can take its values of `row`.
    pub(super) fn check(&self, row: &[f32]) -> Result<(), InferError> {
        if self.dtype != Dtype::Int64 {
            return Ok(());
        }
        self.columns.iter().filter_map(|column| row.get(*column)).try_for_each(|value| self.whole(*value).map(drop))
    }

    /// This feed, its form as the graph's input has it.
    fn held(&self, edge: &Edge) -> Result<Self, String> {
        let (name, shown, width) = (&edge.name, &edge.shown, self.columns.len());
        let shape = match &edge.kind {
            Kind::Tensor(dtype, shape) if *dtype == self.dtype => shape,
            _ => {
                return Err(format!(
                    "the input {name:?} is {shown}, and a tensor of {} is needed",
                    self.dtype.as_str()
                ));
            }
        };
        let flat = match **shape {
            [_] if width == 1 => true,
            [_, columns] if columns < 0 || usize::try_from(columns) == Ok(width) => false,
            [_, columns] => {
                return Err(format!("the input {name:?} takes {columns} values a row, but {width} features are named"));
            }
            _ => return Err(format!("the input {name:?} has the shape {shape:?}, not [N, features]")),
        };
        match shape.first() {
            Some(rows) if *rows > 0 => {
                Err(format!("the input {name:?} takes {rows} rows exactly; export it with a free batch size"))
            }
            _ => Ok(Self { flat, ..self.clone() }),
        }
    }
}

impl Contract {
    /// The feeds of a graph's inputs, in their order.
    pub(super) fn hold_inputs(&self, edges: &[Edge]) -> Result<Vec<Feed>, String> {
        match (edges, self.inputs.as_slice()) {
            ([edge], []) => {
                let Kind::Tensor(dtype, _) = edge.kind else {
                    return Err(format!(
                        "the input {:?} is {}, and a tensor of float32, float64 or int64 is needed",
                        edge.name, edge.shown
                    ));
                };
                Ok(vec![Feed::row(&edge.name, dtype, self.width).held(edge)?])
            }
            (_, []) => Err(format!("the graph has the inputs {:?}, and a bare file may have one", names(edges))),
            (_, [only]) if !edges.iter().any(|edge| edge.name == only.name) => {
                Err(format!("[input] name is {:?}, but the graph's inputs are {:?}", only.name, names(edges)))
            }
            (_, feeds) => {
                if let Some(feed) = feeds.iter().find(|feed| !edges.iter().any(|edge| edge.name == feed.name)) {
                    return Err(format!(
                        "[[inputs]] names {:?}, but the graph's inputs are {:?}",
                        feed.name,
                        names(edges)
                    ));
                }
                let fed = |edge: &Edge| {
                    let feed = feeds.iter().find(|feed| feed.name == edge.name);
                    feed.ok_or_else(|| format!("the graph's input {:?} is fed by no [[inputs]]", edge.name))?.held(edge)
                };
                edges.iter().map(fed).collect()
            }
        }
    }

    /// The name of the output with the scores, and how they are read from it.
    pub(super) fn hold_output(&self, edges: &[Edge]) -> Result<(String, Form), String> {
        let edge = match self.output.as_deref() {
            Some(wanted) => edges.iter().find(|edge| edge.name == wanted).ok_or_else(|| {
                format!("[output] name is {wanted:?}, but the graph's outputs are {:?}", names(edges))
            })?,
            None => discover(edges)?,
        };
        let (name, shown) = (&edge.name, &edge.shown);
        let (found, open) = match &edge.kind {
            Kind::Tensor(Dtype::Float32 | Dtype::Float64, shape) => match **shape {
                [_, 2] => (Some(OutputShape::TwoColumns), false),
                [_, 1] => (Some(OutputShape::OneColumn), false),
                [_] => (Some(OutputShape::Flat), false),
                // Then the manifest's word is taken, and every run checks the count.
                [_, columns] => (None, columns < 0),
                _ => (None, false),
            },
            Kind::NumberMaps | Kind::TextMaps => (Some(OutputShape::Zipmap), false),
            _ => {
                return Err(format!(
                    "the output {name:?} is {shown}, and a tensor of float32 or float64, or maps to float32, is needed"
                ));
            }
        };
        let shape = match (self.shape, found) {
            (Some(wanted), Some(found)) if wanted != found => {
                return Err(format!(
                    "[output] shape is {:?}, but the output {name:?} is {shown}, which is {:?}",
                    wanted.as_str(),
                    found.as_str()
                ));
            }
            (Some(wanted), None) if open && wanted != OutputShape::Zipmap => wanted,
            (_, Some(found)) => found,
            (_, None) => return Err(format!("the output {name:?} is {shown}, and [N, 2], [N, 1] or [N] is needed")),
        };
        Ok((name.clone(), self.form(edge, shape)?))
    }

    fn form(&self, edge: &Edge, shape: OutputShape) -> Result<Form, String> {
        let positive = self.positive.as_deref().unwrap_or(POSITIVE);
        Ok(match (shape, &edge.kind) {
            (OutputShape::TwoColumns, _) => Form::Columns(2),
            (OutputShape::OneColumn | OutputShape::Flat, _) => Form::Columns(1),
            (OutputShape::Zipmap, Kind::TextMaps) => Form::TextMaps(positive.to_owned()),
            (OutputShape::Zipmap, _) => Form::NumberMaps(positive.parse().map_err(|_| {
                format!(
                    "[output] positive is {positive:?}, but the keys of the output {:?} are whole numbers",
                    edge.name
                )
            })?),
        })
    }
}

fn names(edges: &[Edge]) -> Vec<&str> {
    edges.iter().map(|edge| edge.name.as_str()).collect()
}

fn discover(edges: &[Edge]) -> Result<&Edge, String> {
    if let Some(preferred) = edges.iter().find(|edge| edge.name == PREFERRED_OUTPUT) {
        return Ok(preferred);
    }
    let of = |wanted: fn(&Kind) -> bool| edges.iter().filter(|edge| wanted(&edge.kind)).collect::<Vec<_>>();
    let floats = of(|kind| matches!(kind, Kind::Tensor(Dtype::Float32 | Dtype::Float64, _)));
    let maps = of(|kind| matches!(kind, Kind::NumberMaps | Kind::TextMaps));
    match (floats.as_slice(), maps.as_slice(), edges) {
        ([only], _, _) | ([], [only], _) => Ok(only),
        // A lone wrong output is refused by what it is.
        (_, _, [only]) => Ok(only),
        _ => Err(format!(
            "which of the outputs {:?} holds the score is unclear: name it {PREFERRED_OUTPUT:?}",
            names(edges)
        )),
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
