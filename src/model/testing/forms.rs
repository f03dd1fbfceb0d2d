//! The same logistic regression behind other signatures: several inputs, other elements, and every form of an output.

use std::fs;

use tempfile::TempDir;

use super::{BIAS, Message, WEIGHTS, expected, node, onnx_file, package_with, tensor, texts};

/// One input of a graph.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct Part {
    pub(in crate::model) name: &'static str,
    pub(in crate::model) element: Element,
    /// The features it takes, of [`WEIGHTS`].
    pub(in crate::model) features: &'static [usize],
    /// `[N]` instead of `[N, 1]`.
    pub(in crate::model) flat: bool,
}

/// By their numbers in ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Element {
    Float = 1,
    Int64 = 7,
    Double = 11,
}

/// What the graph ends in.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum End {
    /// `score`, `[N, 1]`.
    Score(Element),
    /// `score`, `[N]`.
    Flat(Element),
    /// `score`, `[N, 2]`.
    Two(Element),
    /// `score`, `[N, 1]`: the logit itself.
    Margin(Element),
    /// `score`, `[N]`: the logit itself.
    FlatMargin,
    /// `score`, maps from these texts.
    Maps(&'static [&'static str]),
    /// `score`, `[N, ?]` by its own word, which nothing can be inferred against, and three columns in truth.
    Three,
}

/// Two inputs of different elements, in another order than the row.
pub(in crate::model) const PARTS: [Part; 2] = [
    Part { name: "amounts", element: Element::Double, features: &[2, 0], flat: false },
    Part { name: "count", element: Element::Int64, features: &[1], flat: true },
];

/// The tables of [`PARTS`] in a manifest.
pub(in crate::model) const TABLES: &str = "[[inputs]]\nname = \"amounts\"\ndtype = \"float64\"\nfeatures = [\"c\", \"a\"]\n\
    [[inputs]]\nname = \"count\"\ndtype = \"int64\"\nfeatures = [\"b\"]\n";

/// All features in one input.
pub(in crate::model) fn whole_row(element: Element) -> [Part; 1] {
    [Part { name: "input", element, features: &[0, 1, 2], flat: false }]
}

/// Rows whose `b` is a whole number.
pub(in crate::model) fn rows(count: u16) -> Vec<Vec<f32>> {
    (0..count).map(f32::from).map(|n| vec![n * 0.37 - 2.0, n % 7.0 - 3.0, (n * 0.9).cos()]).collect()
}

/// A package around [`graph`] with [`rows`], each scored by `score`; its manifest's input and output are `input` and `output`.
pub(in crate::model) fn package(model: &[u8], input: &str, output: &str, score: impl Fn(&[f32]) -> f32) -> TempDir {
    let folder = package_with(model, |text| {
        text.replace("[input]\nname = \"input\"\n", input)
            .replace("name = \"probabilities\"\nshape = \"two_columns\"\n", output)
    });
    let inputs = rows(70);
    let scores: Vec<_> = inputs.iter().map(|row| score(row)).collect();
    let golden =
        serde_json::json!({"features": ["a", "b", "c"], "tolerance": 1e-5, "inputs": inputs, "scores": scores});
    fs::write(folder.path().join("golden.json"), golden.to_string()).unwrap();
    folder
}

/// [`PARTS`] to `end`, in a package that says so.
pub(in crate::model) fn parts_package(end: End, output: &str) -> TempDir {
    package(&graph(&PARTS, end), TABLES, output, expected)
}

/// logit = 0.5 a − 0.25 b + 1.5 c − 1 of `parts`, to `end`.
pub(in crate::model) fn graph(parts: &[Part], end: End) -> Vec<u8> {
    let attribute = |name: &str, value: u64| Message::default().text(1, name).number(3, value).number(20, 2);
    let mut graph = Message::default();
    for Part { name, element, features, flat } in parts {
        let own = |what: &str| format!("{name}_{what}");
        let weights: Vec<f32> = features.iter().map(|feature| WEIGHTS[*feature]).collect();
        let columns = features.len() as u64;
        graph = graph
            .message(1, node("Cast", &[*name], &own("float")).message(5, attribute("to", 1)))
            .message(1, node("Reshape", &[&own("float"), &own("shape")], &own("rows")))
            .message(1, node("MatMul", &[&own("rows"), &own("weights")], &own("product")))
            .message(5, whole_tensor(&own("shape"), &[u64::MAX, columns]))
            .message(5, tensor(&own("weights"), &[columns, 1], &weights))
            .message(11, edge(name, *element, (!flat).then_some(columns)));
    }
    let products: Vec<_> =
        parts.iter().map(|part| format!("{}_product", part.name)).chain(["bias".to_owned()]).collect();
    let products: Vec<_> = products.iter().map(String::as_str).collect();
    graph = graph
        .message(1, node("Sum", &products, "logit"))
        .message(1, node("Sigmoid", &["logit"], "positive"))
        .message(1, node("Sub", &["one", "positive"], "negative"))
        .message(1, node("Concat", &["negative", "positive"], "both").message(5, attribute("axis", 1)))
        .message(1, node("Concat", &["both", "negative"], "more").message(5, attribute("axis", 1)))
        .message(1, node("Compress", &["more", "all"], "three").message(5, attribute("axis", 1)))
        .message(1, node("Reshape", &["positive", "flat"], "flat_positive"))
        .message(1, node("Reshape", &["logit", "flat"], "flat_logit"))
        .message(5, tensor("bias", &[1], &[BIAS]))
        .message(5, tensor("one", &[1], &[1.0]))
        .message(5, whole_tensor("flat", &[u64::MAX]))
        .message(5, Message::default().number(1, 3).number(2, 9).text(8, "all").bytes(9, &[1, 1, 1]))
        .text(2, "forms");
    let cast = |from: &str, to: Element| node("Cast", &[from], "score").message(5, attribute("to", to as u64));
    let (last, output) = match end {
        End::Score(to) => (cast("positive", to), edge("score", to, Some(1))),
        End::Flat(to) => (cast("flat_positive", to), edge("score", to, None)),
        End::Two(to) => (cast("both", to), edge("score", to, Some(2))),
        End::Margin(to) => (cast("logit", to), edge("score", to, Some(1))),
        End::FlatMargin => (cast("flat_logit", Element::Float), edge("score", Element::Float, None)),
        End::Three => (cast("three", Element::Float), open_edge("score")),
        End::Maps(keys) => {
            let labels = texts("classlabels_strings", keys);
            let floats = Message::default().message(1, Message::default().number(1, 1));
            let map = Message::default().number(1, 8).message(2, floats);
            let maps = Message::default().message(1, Message::default().message(5, map));
            let sequence = Message::default().text(1, "score").message(2, Message::default().message(4, maps));
            (node("ZipMap", &["both"], "score").text(7, "ai.onnx.ml").message(5, labels), sequence)
        }
    };
    onnx_file(graph.message(1, last).message(12, output))
}

/// `[N]`, or `[N, columns]`.
fn edge(name: &str, element: Element, columns: Option<u64>) -> Message {
    let shape = match columns {
        Some(columns) => free_rows().message(1, Message::default().number(1, columns)),
        None => free_rows(),
    };
    of_type(name, element, shape)
}

fn free_rows() -> Message {
    Message::default().message(1, Message::default().text(2, "N"))
}

/// `[N, M]`, both free.
fn open_edge(name: &str) -> Message {
    of_type(name, Element::Float, free_rows().message(1, Message::default().text(2, "M")))
}

fn of_type(name: &str, element: Element, shape: Message) -> Message {
    let tensor = Message::default().number(1, element as u64).message(2, shape);
    Message::default().text(1, name).message(2, Message::default().message(1, tensor))
}

/// int64; `u64::MAX` is −1.
fn whole_tensor(name: &str, values: &[u64]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message::default().number(1, values.len() as u64).number(2, 7).text(8, name).bytes(9, &bytes)
}
