//! Small models for tests, written as ONNX (protocol buffers, <https://onnx.ai/onnx/repo-docs/IR.html>) by hand: what a
//! score must be is known here by formula, and no fixture has to be trusted.

use std::fs;

use tempfile::TempDir;

use super::RuntimeOptions;
use super::package::sha256;

/// Weights and bias of every model here: logit = 0.5 a − 0.25 b + 1.5 c − 1.
const WEIGHTS: [f32; 3] = [0.5, -0.25, 1.5];
const BIAS: f32 = -1.0;

/// The score by formula.
pub(super) fn expected(row: &[f32]) -> f32 {
    let logit: f32 = row.iter().zip(WEIGHTS).map(|(value, weight)| value * weight).sum::<f32>() + BIAS;
    1.0 / (1.0 + (-logit).exp())
}

/// Rows that differ in every value.
pub(super) fn rows(count: u16) -> Vec<Vec<f32>> {
    (0..count).map(f32::from).map(|n| vec![n * 0.37 - 2.0, (n * 1.7).sin(), (n * 0.9).cos()]).collect()
}

/// Runtime options of a small server.
pub(super) fn options() -> RuntimeOptions {
    RuntimeOptions { library: None, workers: 1, max_batch: 8, max_queue: 64 }
}

/// A package folder around [`Shape::TwoColumns`].
pub(super) fn package() -> TempDir {
    package_with(&onnx(Shape::TwoColumns), |text| text)
}

/// A package folder around `model`, its manifest changed by `change`.
pub(super) fn package_with(model: &[u8], change: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    let inputs = rows(70);
    let scores: Vec<_> = inputs.iter().map(|row| expected(row)).collect();
    let feature = |name: &str, median: u8| serde_json::json!({"name": name, "mean": median, "median": median, "quantiles": [-9, median, 9]});
    write("model.onnx", model);
    let manifest = super::manifest::tests::SAMPLE.replace(&"0".repeat(64), &sha256(model));
    write("manifest.toml", change(manifest).as_bytes());
    let golden = serde_json::json!({"tolerance": 1e-5, "inputs": inputs, "scores": scores});
    write("golden.json", golden.to_string().as_bytes());
    let baseline = serde_json::json!({
        "features": [feature("a", 0), feature("b", 1), feature("c", 2)],
        "score": {"edges": [0, 1], "counts": [1]},
    });
    write("baseline.json", baseline.to_string().as_bytes());
    folder
}

/// What a model's output looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `probabilities` `[N, 2]` by softmax.
    TwoColumns,
    /// `score` `[N, 1]` by sigmoid.
    OneColumn,
    /// `score` `[N, 1]`, the logit itself: no probability.
    Logit,
    /// `score`, a sequence of maps, as zipmap makes it.
    Maps,
}

/// A logistic regression of three inputs as an ONNX file.
pub(super) fn onnx(shape: Shape) -> Vec<u8> {
    let (columns, last, output) = match shape {
        Shape::TwoColumns => (2, "Softmax", "probabilities"),
        Shape::OneColumn => (1, "Sigmoid", "score"),
        Shape::Logit => (1, "Identity", "score"),
        Shape::Maps => (2, "Softmax", "dense"),
    };
    // With two columns the first logit is 0, and softmax is the sigmoid of the second.
    let spread = |value: f32| if columns == 2 { vec![0.0, value] } else { vec![value] };
    let weights: Vec<f32> = WEIGHTS.into_iter().flat_map(spread).collect();
    let mut graph = Message::default()
        .message(1, node("MatMul", &["input", "weights"], "product"))
        .message(1, node("Add", &["product", "bias"], "logit"))
        .message(1, node(last, &["logit"], output))
        .text(2, "logistic")
        .message(5, tensor("weights", &[3, columns], &weights))
        .message(5, tensor("bias", &[columns], &spread(BIAS)))
        .message(11, Message::default().text(1, "input").message(2, tensor_type(3)));
    graph = if shape == Shape::Maps {
        let labels = Message::default().text(1, "classlabels_int64s").number(8, 0).number(8, 1).number(20, 7);
        let map =
            Message::default().number(1, 7).message(2, Message::default().message(1, Message::default().number(1, 1)));
        let sequence = Message::default().message(1, Message::default().message(5, map));
        graph
            .message(1, node("ZipMap", &["dense"], "score").text(7, "ai.onnx.ml").message(5, labels))
            .message(12, Message::default().text(1, "score").message(2, Message::default().message(4, sequence)))
    } else {
        graph.message(12, Message::default().text(1, output).message(2, tensor_type(columns)))
    };
    Message::default()
        .number(1, 8)
        .message(7, graph)
        .message(8, Message::default().text(1, "").number(2, 13))
        .message(8, Message::default().text(1, "ai.onnx.ml").number(2, 3))
        .0
}

fn node(kind: &str, inputs: &[&str], output: &str) -> Message {
    inputs
        .iter()
        .fold(Message::default(), |node, input| node.text(1, input))
        .text(2, output)
        .text(3, output)
        .text(4, kind)
}

fn tensor(name: &str, dimensions: &[u64], values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = dimensions.iter().fold(Message::default(), |tensor, size| tensor.number(1, *size));
    tensor.number(2, 1).text(8, name).bytes(9, &bytes)
}

/// f32 `[N, columns]`.
fn tensor_type(columns: u64) -> Message {
    let rows = Message::default().text(2, "N");
    let shape = Message::default().message(1, rows).message(1, Message::default().number(1, columns));
    Message::default().message(1, Message::default().number(1, 1).message(2, shape))
}

/// A protocol buffer under construction: field by field, in the order given.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    #[expect(clippy::needless_pass_by_value, reason = "a part is finished when it goes into the whole")]
    fn message(self, field: u64, part: Self) -> Self {
        self.bytes(field, &part.0)
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}
