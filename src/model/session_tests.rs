//! Every form of inputs and outputs against the formula, with ONNX Runtime.

use std::fs;
use std::time::Duration;

use super::super::explain::Method;
use super::super::testing::forms::{Element, End, PARTS, TABLES, graph, package, parts_package, rows, whole_row};
use super::super::testing::{Shape, expected, onnx, options, package_with, tree_margin, tree_package};
use super::super::{Model, Package};
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn load(folder: &Path) -> Result<Model, ModelError> {
    Model::load(Package::read(folder)?, &options())
}

fn bare(model: &[u8]) -> Result<Model, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bare.onnx");
    fs::write(&file, model).unwrap();
    Model::load(Package::bare(&file, ["a", "b", "c"].map(String::from).to_vec(), 0.5)?, &options())
}

fn output(shape: &str) -> String {
    format!("name = \"score\"\nshape = \"{shape}\"\n")
}

fn near(model: &Model, score: impl Fn(&[f32]) -> f32) {
    let rows = rows(20);
    for (row, found) in rows.iter().zip(model.infer_matrix(&rows.concat()).unwrap()) {
        assert!((found - score(row)).abs() <= 1e-6, "{found} for {row:?}");
    }
}

#[tokio::test]
async fn several_inputs_take_their_own_values_of_a_row() {
    let model = load(parts_package(End::Score(Element::Float), &output("one_column")).path()).unwrap();
    near(&model, expected);
    for row in rows(8) {
        assert!((model.infer(row.clone(), LONG).await.unwrap() - expected(&row)).abs() <= 1e-6, "{row:?}");
    }
    // The third kind of element, and one feature as `[N, 1]`.
    let mut parts = PARTS;
    (parts[0].element, parts[1].flat) = (Element::Float, false);
    let tables = TABLES.replace("float64", "float32");
    let model = graph(&parts, End::Score(Element::Float));
    near(&load(package(&model, &tables, &output("one_column"), expected).path()).unwrap(), expected);
}

#[tokio::test]
async fn inputs_of_whole_numbers_take_no_other() {
    let model = load(parts_package(End::Score(Element::Float), &output("one_column")).path()).unwrap();
    for wrong in [2.5, f32::NAN, f32::INFINITY, 1e19, -1e19] {
        let row = vec![1.0, wrong, 0.5];
        // Without any wait: it is told before it could join a batch and fail the rows of others.
        let fault = model.infer(row.clone(), Duration::ZERO).await.unwrap_err().to_string();
        assert!(fault.contains("\"count\"") && fault.contains(&format!("{wrong} is none")), "{fault}");
        assert_eq!(model.infer_matrix(&row).unwrap_err().to_string(), fault);
        assert_eq!(model.explain(row, LONG).await.unwrap_err().to_string(), fault);
    }
    let row = vec![1.0, -0.0, 0.5];
    assert!((model.infer(row.clone(), LONG).await.unwrap() - expected(&row)).abs() <= 1e-6);
}

#[test]
fn medians_of_whole_numbers_must_be_whole_to_explain_by_them() {
    let folder = parts_package(End::Score(Element::Float), &output("one_column"));
    let file = folder.path().join("baseline.json");
    let mut baseline: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    baseline["features"][1]["median"] = 1.5.into();
    fs::write(&file, baseline.to_string()).unwrap();
    let fault = load(folder.path()).unwrap_err().to_string();
    assert!(fault.contains("golden row 0") && fault.contains("\"count\"") && fault.contains("1.5 is none"), "{fault}");
}

#[test]
fn every_form_of_a_tensor_is_read() {
    for element in [Element::Float, Element::Double] {
        for (end, shape) in
            [(End::Score(element), "one_column"), (End::Flat(element), "flat"), (End::Two(element), "two_columns")]
        {
            near(&load(parts_package(end, &output(shape)).path()).unwrap(), expected);
            let other = if shape == "flat" { "one_column" } else { "flat" };
            let fault = load(parts_package(end, &output(other)).path()).unwrap_err().to_string();
            assert!(fault.contains(&format!("[output] shape is \"{other}\"")) && fault.contains(shape), "{fault}");
        }
    }
    let fault = load(parts_package(End::Three, &output("two_columns")).path()).unwrap_err().to_string();
    assert!(fault.contains("3 values for 1 rows"), "{fault}");
    let fault = load(parts_package(End::Score(Element::Int64), &output("one_column")).path()).unwrap_err().to_string();
    assert!(fault.contains("a tensor of float32 or float64"), "{fault}");
}

#[test]
fn maps_are_read_at_the_key_of_fraud() {
    let texts = |keys, more: &str| load(parts_package(End::Maps(keys), &(output("zipmap") + more)).path());
    near(&texts(&["0", "1"], "").unwrap(), expected);
    near(&texts(&["fraud", "legit"], "positive = \"legit\"\n").unwrap(), expected);
    for (keys, more, said) in [
        (&["legit", "fraud"], "", "the keys [\"legit\", \"fraud\"] and not \"1\""),
        (&["0", "1"], "positive = \"2\"\n", "and not \"2\""),
        (&["0", "1"], "positive = \"0\"\n", "golden row 0"),
    ] {
        let fault = texts(keys, more).unwrap_err().to_string().replace("\"1\", \"0\"", "\"0\", \"1\"");
        let sorted = fault.replace("[\"fraud\", \"legit\"]", "[\"legit\", \"fraud\"]");
        assert!(sorted.contains(said), "{said}: {fault}");
    }
    let numbers = |positive: &str| {
        load(
            package_with(&onnx(Shape::Maps), |text| {
                text.replace("name = \"probabilities\"\nshape = \"two_columns\"\n", &(output("zipmap") + positive))
            })
            .path(),
        )
    };
    near(&numbers("").unwrap(), expected);
    for (positive, said) in [
        ("positive = \"7\"\n", "and not 7: [output] positive"),
        ("positive = \"fraud\"\n", "are whole numbers"),
        ("positive = \"0\"\n", "golden row 0"),
    ] {
        let fault = numbers(positive).unwrap_err().to_string();
        assert!(fault.contains(said), "{said}: {fault}");
    }
}

/// By hand: the sigmoid of the calibrated margin.
fn calibrated(row: &[f32], (slope, intercept): (f64, f64)) -> f32 {
    let score = f64::from(expected(row));
    let margin = slope * (score / (1.0 - score)).ln() + intercept;
    (1.0 / (1.0 + (-margin).exp())) as f32
}

#[tokio::test]
async fn a_margin_is_linked_and_calibrated_here() {
    let logit = |end, shape: &str, more: &str, platt| {
        let output = format!("{}link = \"logit\"\n{more}", output(shape));
        load(package(&graph(&PARTS, end), TABLES, &output, |row| calibrated(row, platt)).path())
    };
    const PLATT: &str = "[calibration]\nmethod = \"platt\"\nslope = 1.25\nintercept = 0.125\n";
    for (end, shape) in [
        (End::Margin(Element::Float), "one_column"),
        (End::Margin(Element::Double), "one_column"),
        (End::FlatMargin, "flat"),
    ] {
        near(&logit(end, shape, "", (1.0, 0.0)).unwrap(), expected);
        let model = logit(end, shape, PLATT, (1.25, 0.125)).unwrap();
        near(&model, |row| calibrated(row, (1.25, 0.125)));
        // What is explained is the margin before the calibration.
        let explained = model.explain(vec![2.0, 1.0, 0.5], LONG).await.unwrap();
        assert!((explained.margin - (0.5 * 2.0 - 0.25 + 1.5 * 0.5 - 1.0)).abs() < 1e-6, "{explained:?}");
    }
    let fault = logit(End::FlatMargin, "flat", PLATT, (1.0, 0.0)).unwrap_err().to_string();
    assert!(fault.contains("golden row 0 scores"), "{fault}");
}

#[tokio::test]
async fn trees_that_end_in_their_margin_are_scored_and_explained() {
    let folder = tree_package(|files| {
        let named = "name = \"score\"\nshape = \"one_column\"\nmargin = \"margin\"";
        assert!(files.manifest.contains(named));
        files.manifest = files.manifest.replace(named, "name = \"margin\"\nshape = \"one_column\"\nlink = \"logit\"");
    });
    let model = load(folder.path()).unwrap();
    let row = vec![0.75, 1.0, 0.5];
    let explained = model.explain(row.clone(), LONG).await.unwrap();
    assert_eq!((explained.method, explained.margin), (Method::TreeShap, tree_margin(&row)));
    let wanted = 1.0 / (1.0 + (-(1.25 * tree_margin(&row) + 0.125)).exp());
    assert!((f64::from(model.infer(row, LONG).await.unwrap()) - wanted).abs() < 1e-6);
}

#[test]
fn trees_that_count_other_features_are_not_explained() {
    let folder = tree_package(|files| {
        files.manifest = files.manifest.replace(
            "[input]\nname = \"input\"\n",
            "[[inputs]]\nname = \"input\"\ndtype = \"float32\"\nfeatures = [\"b\", \"a\", \"c\"]\n",
        );
    });
    let fault = load(folder.path()).unwrap_err().to_string();
    assert!(fault.contains("golden row"), "the scores are others first: {fault}");
    let package = Package::read(folder.path()).unwrap();
    let fault = super::super::explain::Explainer::new(&package, &Runtime::default()).unwrap_err().to_string();
    assert!(fault.contains("tree_shap needs one input that takes every feature in order"), "{fault}");
}

#[test]
fn a_bare_file_may_have_any_element_and_maps() {
    for element in [Element::Float, Element::Double] {
        near(&bare(&graph(&whole_row(element), End::Score(Element::Double))).unwrap(), expected);
    }
    near(&bare(&graph(&whole_row(Element::Float), End::Maps(&["0", "1"]))).unwrap(), expected);
    near(&bare(&onnx(Shape::Maps)).unwrap(), expected);
    let whole = bare(&graph(&whole_row(Element::Int64), End::Flat(Element::Float))).unwrap();
    let row = [3.0, -2.0, 1.0];
    assert!((whole.infer_matrix(&row).unwrap()[0] - expected(&row)).abs() <= 1e-6);
    assert!(whole.infer_matrix(&[0.5, 0.0, 0.0]).unwrap_err().to_string().contains("0.5 is none"));
    let fault = bare(&graph(&PARTS, End::Score(Element::Float))).unwrap_err().to_string();
    assert!(fault.contains("[\"amounts\", \"count\"], and a bare file may have one"), "{fault}");
}

#[test]
fn the_log_says_what_was_placed_on_the_cpu() {
    let log = [
        "Node placements",
        " Node(s) placed on [CUDAExecutionProvider]. Number of nodes: 2",
        "  MatMul (a)",
        "  Add (b)",
        " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 3",
        "  Normalizer (c)",
        "  Shape (d)",
        "  Shape (e)",
        "Done saving initialized tensors",
        "  Gather (not a placement)",
    ];
    assert_eq!(on_cpu(&log.map(str::to_owned)), ["Normalizer", "Shape"]);
    assert!(on_cpu(&[]).is_empty());
}
