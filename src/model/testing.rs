//! Small models for tests, written as ONNX (protocol buffers, <https://onnx.ai/onnx/repo-docs/IR.html>) by hand: what a
//! score must be is known here by formula, and no fixture has to be trusted.

pub(super) mod forms;

use std::fs;

use tempfile::TempDir;

use super::RuntimeOptions;
use super::package::sha256;
use super::trees::Forest;
use super::trees::Node;
use super::trees::testing::{branch, by_definition};

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
    RuntimeOptions { max_batch: 8, max_queue: 64, max_explanations: 8, ..RuntimeOptions::of_files() }
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
    let golden =
        serde_json::json!({"features": ["a", "b", "c"], "tolerance": 1e-5, "inputs": inputs, "scores": scores});
    write("golden.json", golden.to_string().as_bytes());
    let baseline = serde_json::json!({
        "features": [feature("a", 0), feature("b", 1), feature("c", 2)],
        "score": {"edges": [0, 1], "counts": [1]},
    });
    write("baseline.json", baseline.to_string().as_bytes());
    folder
}

/// The files of [`tree_package`], to be changed before their hashes are taken.
pub(super) struct Files {
    pub(super) model: Vec<u8>,
    /// `SHA256` and `EXPLANATION` stand for the hashes.
    pub(super) manifest: String,
    pub(super) golden: serde_json::Value,
    pub(super) explanation: serde_json::Value,
}

/// Slope and intercept of the trees' calibration.
pub(super) const PLATT: (f64, f64) = (1.25, 0.125);

/// The raw margin of [`tree_onnx`], by formula.
pub(super) fn tree_margin(row: &[f32]) -> f64 {
    let first = if row[0] < 0.5 {
        -1.0
    } else if row[2] < 0.25 {
        0.5
    } else {
        2.0
    };
    -0.5 + first + if row[1] <= 0.0 { 0.25 } else { -0.75 }
}

/// Baseline and contributions of a row of the trees, by definition.
pub(super) fn tree_values(row: &[f32]) -> (f64, Vec<f64>) {
    let below = branch(2, 0.25, [3.0, 1.0], Node::Leaf(0.5), Node::Leaf(2.0));
    let first = branch(0, 0.5, [6.0, 4.0], Node::Leaf(-1.0), below);
    let second = branch(1, 0.0_f32.next_up(), [5.0, 5.0], Node::Leaf(0.25), Node::Leaf(-0.75));
    by_definition(&Forest { width: 3, bias: -0.5, trees: vec![first, second] }, row)
}

/// A package folder around [`tree_onnx`] with covers and golden explanations, its files changed by `change`.
pub(super) fn tree_package(change: impl FnOnce(&mut Files)) -> TempDir {
    let folder = package();
    let inputs = rows(70);
    let score = |row: &Vec<f32>| 1.0 / (1.0 + (-(PLATT.0 * tree_margin(row) + PLATT.1)).exp());
    let values: Vec<_> = inputs.iter().map(|row| tree_values(row)).collect();
    let manifest = fs::read_to_string(folder.path().join("manifest.toml")).unwrap();
    let hash = manifest.lines().find(|line| line.starts_with("sha256")).unwrap();
    let manifest = manifest
        .replace(hash, "sha256 = \"SHA256\"")
        .replace(
            "name = \"probabilities\"\nshape = \"two_columns\"",
            "name = \"score\"\nshape = \"one_column\"\nmargin = \"margin\"",
        )
        .replace("method = \"permutation_shapley\"", "method = \"tree_shap\"\nsha256 = \"EXPLANATION\"")
        .replace("[training]", "[calibration]\nmethod = \"platt\"\nslope = 1.25\nintercept = 0.125\n[training]");
    let golden = serde_json::json!({
        "features": ["a", "b", "c"],
        "tolerance": 1e-5,
        "scores": inputs.iter().map(score).collect::<Vec<_>>(),
        "explanation": {
            "tolerance": 1e-6,
            "baseline": values[0].0,
            "margins": inputs.iter().map(|row| tree_margin(row)).collect::<Vec<_>>(),
            "contributions": values.iter().map(|(_, values)| values).collect::<Vec<_>>(),
        },
        "inputs": inputs,
    });
    let explanation =
        serde_json::json!({"method": "tree_shap", "covers": [[10.0, 6.0, 4.0, 3.0, 1.0], [10.0, 5.0, 5.0]]});
    let mut files = Files { model: tree_onnx(&Trees::default()), manifest, golden, explanation };
    change(&mut files);
    let Files { model, manifest, golden, explanation } = files;
    let explanation = explanation.to_string();
    let manifest = manifest.replace("EXPLANATION", &sha256(explanation.as_bytes())).replace("SHA256", &sha256(&model));
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("model.onnx", &model);
    write("manifest.toml", manifest.as_bytes());
    write("golden.json", golden.to_string().as_bytes());
    write("explanation.json", explanation.as_bytes());
    folder
}

/// What of the trees' graph a test changes.
pub(super) struct Trees {
    pub(super) kind: &'static str,
    pub(super) modes: Vec<&'static str>,
    pub(super) features: Vec<u64>,
    /// Where the two sides of each node lead.
    pub(super) yes: Vec<u64>,
    pub(super) input: &'static str,
    pub(super) targets: Vec<u64>,
    pub(super) post_transform: Option<&'static str>,
}

impl Default for Trees {
    fn default() -> Self {
        Self {
            kind: "TreeEnsembleRegressor",
            modes: vec!["BRANCH_LT", "LEAF", "BRANCH_LT", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"],
            features: vec![0, 0, 2, 0, 0, 1, 0, 0],
            yes: vec![1, 0, 3, 0, 0, 1, 0, 0],
            input: "input",
            targets: vec![0; 5],
            post_transform: None,
        }
    }
}

/// Two trees over three inputs: `margin` `[N, 1]`, then Platt's calibration, `score` `[N, 1]`.
pub(super) fn tree_onnx(trees: &Trees) -> Vec<u8> {
    let prefix = if trees.kind == "TreeEnsembleRegressor" { "target" } else { "class" };
    let own = |name: &str| format!("{prefix}_{name}");
    let mut ensemble = node(trees.kind, &[trees.input], "margin")
        .text(7, "ai.onnx.ml")
        .message(5, numbers("nodes_treeids", &[0, 0, 0, 0, 0, 1, 1, 1]))
        .message(5, numbers("nodes_nodeids", &[0, 1, 2, 3, 4, 0, 1, 2]))
        .message(5, numbers("nodes_featureids", &trees.features))
        .message(5, texts("nodes_modes", &trees.modes))
        .message(5, floats("nodes_values", &[0.5, 0.0, 0.25, 0.0, 0.0, 0.0, 0.0, 0.0]))
        .message(5, numbers("nodes_truenodeids", &trees.yes))
        .message(5, numbers("nodes_falsenodeids", &[2, 0, 4, 0, 0, 2, 0, 0]))
        .message(5, numbers(&own("treeids"), &[0, 0, 0, 1, 1]))
        .message(5, numbers(&own("nodeids"), &[1, 3, 4, 1, 2]))
        .message(5, numbers(&own("ids"), &trees.targets))
        .message(5, floats(&own("weights"), &[-1.0, 0.5, 2.0, 0.25, -0.75]))
        .message(5, floats("base_values", &[-0.5]))
        .message(5, Message::default().text(1, "n_targets").number(3, 1).number(20, 2));
    if let Some(post_transform) = trees.post_transform {
        ensemble =
            ensemble.message(5, Message::default().text(1, "post_transform").text(4, post_transform).number(20, 3));
    }
    let graph = Message::default()
        .message(1, ensemble)
        .message(1, node("Mul", &["margin", "slope"], "scaled"))
        .message(1, node("Add", &["scaled", "intercept"], "calibrated"))
        .message(1, node("Sigmoid", &["calibrated"], "score"))
        .text(2, "trees")
        .message(5, tensor("slope", &[1], &[PLATT.0 as f32]))
        .message(5, tensor("intercept", &[1], &[PLATT.1 as f32]))
        .message(11, Message::default().text(1, "input").message(2, tensor_type(3)))
        .message(12, Message::default().text(1, "margin").message(2, tensor_type(1)))
        .message(12, Message::default().text(1, "score").message(2, tensor_type(1)));
    onnx_file(graph)
}

/// The model of a graph.
fn onnx_file(graph: Message) -> Vec<u8> {
    Message::default()
        .number(1, 8)
        .message(7, graph)
        .message(8, Message::default().text(1, "").number(2, 13))
        .message(8, Message::default().text(1, "ai.onnx.ml").number(2, 3))
        .0
}

fn numbers(name: &str, values: &[u64]) -> Message {
    values.iter().fold(Message::default().text(1, name), |list, value| list.number(8, *value)).number(20, 7)
}

fn texts(name: &str, values: &[&str]) -> Message {
    values.iter().fold(Message::default().text(1, name), |list, value| list.text(9, value)).number(20, 8)
}

/// Packed, as protocol buffers allow for any list of numbers.
fn floats(name: &str, values: &[f32]) -> Message {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Message::default().text(1, name).bytes(7, &bytes).number(20, 6)
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
    onnx_file(graph)
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
