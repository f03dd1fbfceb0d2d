//! With ONNX Runtime: where its library is absent, these fail with the sentence that says what to run.

use std::fs;
use std::path::Path;

use super::super::explain::Method;
use super::super::testing::{
    Files, Shape, Trees, expected, onnx, options, package, package_with, rows, tree_margin, tree_onnx, tree_package,
    tree_values,
};
use super::*;

const LONG: Duration = Duration::from_secs(60);

fn near(scores: &[f32], rows: &[Vec<f32>]) {
    assert_eq!(scores.len(), rows.len());
    for (score, row) in scores.iter().zip(rows) {
        assert!((score - expected(row)).abs() <= 1e-6, "{score} for {row:?}");
    }
}

fn load(folder: &Path) -> Result<Model, ModelError> {
    Model::load(Package::read(folder)?, &options())
}

fn features() -> Vec<String> {
    ["a", "b", "c"].map(String::from).to_vec()
}

fn load_bare(shape: Shape, features: Vec<String>) -> Result<Model, ModelError> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bare.onnx");
    fs::write(&file, onnx(shape)).unwrap();
    Model::load(Package::bare(&file, features, 0.5)?, &options())
}

#[tokio::test]
async fn a_package_scores_by_its_formula_every_way() {
    let folder = package();
    let model = load(folder.path()).unwrap();
    let rows = rows(3000);
    near(&model.infer_matrix(&rows.concat()).unwrap(), &rows);
    for row in &rows[..16] {
        near(&[model.infer(row.clone(), LONG).await.unwrap()], std::slice::from_ref(row));
    }
}

#[test]
fn a_row_of_the_data_range_that_scores_no_number_is_refused_at_its_gate() {
    let folder = package();
    let file = folder.path().join("baseline.json");
    // The golden rows are well; at this end of the range the products are infinite, of either sign.
    let far = fs::read_to_string(&file).unwrap().replace("9]", "3.4e38]").replace("-9,", "-3.4e38,");
    fs::write(&file, far).unwrap();
    let mut checks = Checks::default();
    let package = Package::read_checked(folder.path(), &mut checks).unwrap();
    let error = Model::load_checked(package, &options(), &mut checks).unwrap_err();
    assert_eq!(checks.failed().map(|check| check.gate), Some(Gate::Finite), "{error}");
}

#[tokio::test]
async fn inline_and_queued_scores_are_the_same_number() {
    let folder = package();
    let package = Package::read(folder.path()).unwrap();
    let rows = rows(8);
    let mut scores = Vec::new();
    for inline in [0, 8] {
        let limits = Limits { max_batch: 8, max_queue: 8, inline };
        let pool = Pool::start(vec![open(&package, &Runtime::default()).unwrap()], limits).unwrap();
        scores.push(pool.score(rows.concat(), LONG).await.unwrap());
    }
    assert_eq!(scores[0], scores[1]);
    near(&scores[0], &rows);
}

#[test]
fn matrices_are_scored_on_many_threads_at_once() {
    let folder = package();
    let model = load(folder.path()).unwrap();
    let rows = rows(2000);
    let values = rows.concat();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| near(&model.infer_matrix(&values).unwrap(), &rows));
        }
    });
    assert!(model.infer_matrix(&values[1..]).is_err(), "half a row");
    assert_eq!(model.infer_matrix(&[]), Ok(Vec::new()));
}

#[tokio::test]
async fn a_row_of_another_width_is_refused() {
    let model = load(package().path()).unwrap();
    for row in [vec![0.0; 2], vec![0.0; 6], vec![]] {
        assert!(matches!(model.infer(row, LONG).await, Err(InferError::Failed(_))));
    }
}

#[tokio::test]
async fn permutations_of_a_linear_model_are_its_weights_times_distances() {
    let model = load(package().path()).unwrap();
    let explained = model.explain(vec![2.0, 1.0, 0.5], LONG).await.unwrap();
    // Medians 0, 1, 2; weights 0.5, -0.25, 1.5; the margin is read back from a 32-bit score.
    let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-5, "{found} and not {wanted}");
    assert_eq!(explained.method, Method::PermutationShapley);
    near(explained.baseline, 0.5 * 0.0 - 0.25 + 1.5 * 2.0 - 1.0);
    near(explained.margin, 0.5 * 2.0 - 0.25 + 1.5 * 0.5 - 1.0);
    for (found, wanted) in explained.contributions.iter().zip([1.0, 0.0, -2.25]) {
        near(*found, wanted);
    }
    assert_eq!(model.explain_matrix(&[2.0, 1.0, 0.5]), Ok(vec![explained]));
}

#[tokio::test]
async fn trees_of_a_graph_are_explained_by_definition() {
    let model = load(tree_package(|_| {}).path()).unwrap();
    for row in rows(16) {
        let explained = model.explain(row.clone(), LONG).await.unwrap();
        let (baseline, wanted) = tree_values(&row);
        assert_eq!((explained.method, explained.margin), (Method::TreeShap, tree_margin(&row)));
        assert!((explained.baseline - baseline).abs() < 1e-12 && explained.gap().abs() < 1e-12);
        for (found, wanted) in explained.contributions.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-12, "{explained:?}");
        }
    }
    assert!(model.explain(vec![1.0; 2], LONG).await.is_err(), "another width");
}

#[tokio::test]
async fn a_linear_margin_is_explained_by_its_weights() {
    let folder = tree_package(|files| {
        files.model = onnx(Shape::TwoColumns);
        files.manifest = files
            .manifest
            .replace(
                "name = \"score\"\nshape = \"one_column\"\nmargin = \"margin\"",
                "name = \"probabilities\"\nshape = \"two_columns\"",
            )
            .replace("tree_shap", "linear_shap")
            .replace("[calibration]\nmethod = \"platt\"\nslope = 1.25\nintercept = 0.125\n", "");
        let scores: Vec<_> = rows(70).iter().map(|row| expected(row)).collect();
        files.golden =
            serde_json::json!({"features": features(), "tolerance": 1e-5, "inputs": rows(70), "scores": scores});
        files.explanation = serde_json::json!(
            {"method": "linear_shap", "weights": [0.5, -0.25, 1.5], "means": [1.0, 0.0, 2.0], "intercept": -1.0}
        );
    });
    let model = load(folder.path()).unwrap();
    let explained = model.explain(vec![2.0, 1.0, 0.5], LONG).await.unwrap();
    assert_eq!((explained.method, explained.baseline, explained.margin), (Method::LinearShap, 2.5, 0.5));
    assert_eq!(explained.contributions, [0.5, -0.25, -2.25]);
}

#[test]
fn explanations_that_are_not_those_of_the_graph_are_refused() {
    type Case = (&'static str, &'static str, fn(&mut Files));
    let cases: [Case; 9] = [
        ("covers of another tree", "covers 1 trees", |files| files.explanation["covers"] = serde_json::json!([[1.0]])),
        ("a cover that does not add up", "its cover is 10", |files| files.explanation["covers"][0][1] = 5.0.into()),
        ("another cover", "baseline of golden row 0", |files| {
            files.explanation["covers"][1] = serde_json::json!([10.0, 4.0, 6.0]);
        }),
        ("a negative cover", "with -1", |files| files.explanation["covers"][1][2] = (-1.0).into()),
        ("another contribution", "\"b\" of golden row 3", |files| {
            files.golden["explanation"]["contributions"][3][1] = 7.0.into();
        }),
        ("another baseline", "baseline", |files| files.golden["explanation"]["baseline"] = 0.0.into()),
        ("another margin", "margin", |files| files.golden["explanation"]["margins"][69] = 0.0.into()),
        ("another calibration", "means the score", |files| files.manifest = files.manifest.replace("1.25", "1.5")),
        ("no such output", "\"logit\"", |files| files.manifest = files.manifest.replace("\"margin\"", "\"logit\"")),
    ];
    for (what, said, change) in cases {
        let fault = load(tree_package(change).path()).unwrap_err().to_string();
        assert!(fault.contains(said), "{what}: {fault}");
    }
}

#[test]
fn margins_that_are_not_the_trees_are_refused() {
    // The score is named as the margin too: the graph contradicts the trees.
    let folder = tree_package(|files| files.manifest = files.manifest.replace("\"margin\"", "\"score\""));
    let fault = load(folder.path()).unwrap_err().to_string();
    assert!(fault.contains("the graph gives"), "{fault}");
}

#[test]
fn graphs_that_cannot_be_explained_are_refused_by_name() {
    let read = |trees: Trees| {
        let covers = vec![vec![10.0, 6.0, 4.0, 3.0, 1.0], vec![10.0, 5.0, 5.0]];
        super::super::trees::Forest::read(&tree_onnx(&trees), &covers, 3)
    };
    assert_eq!(read(Trees::default()).unwrap().trees.len(), 2);
    let modes = |mode| {
        let mut trees = Trees::default();
        trees.modes[2] = mode;
        trees
    };
    for (trees, said) in [
        (modes("BRANCH_EQ"), "node 2 of tree 0: \"BRANCH_EQ\""),
        (modes("BRANCH_MEMBER"), "BRANCH_MEMBER"),
        (Trees { input: "scaled", ..Trees::default() }, "scaler"),
        (Trees { kind: "TreeEnsemble", ..Trees::default() }, "TreeEnsemble is not explained"),
        (Trees { kind: "TreeEnsembleClassifier", ..Trees::default() }, "LOGISTIC"),
        (
            Trees { kind: "TreeEnsembleClassifier", post_transform: Some("SOFTMAX"), ..Trees::default() },
            "post_transform = \"SOFTMAX\"",
        ),
        (Trees { targets: vec![0, 1, 0, 0, 0], ..Trees::default() }, "several outputs"),
        (Trees { features: vec![0, 0, 3, 0, 0, 1, 0, 0], ..Trees::default() }, "beyond the 3 named"),
        (Trees { yes: vec![1, 0, 1, 0, 0, 1, 0, 0], ..Trees::default() }, "hangs below two others"),
        (Trees { yes: vec![1, 0, 9, 0, 0, 1, 0, 0], ..Trees::default() }, "second root"),
    ] {
        let fault = read(trees).unwrap_err();
        assert!(fault.contains(said), "{said}: {fault}");
    }
    let classifier = Trees {
        kind: "TreeEnsembleClassifier",
        post_transform: Some("LOGISTIC"),
        targets: vec![1; 5],
        ..Trees::default()
    };
    let (forest, row) = (read(classifier).unwrap(), [0.5, 0.0, 0.25]);
    assert_eq!(forest.margin(&row), tree_margin(&row));
}

#[tokio::test]
async fn a_bare_file_scores_and_explains_nothing() {
    for shape in [Shape::TwoColumns, Shape::OneColumn] {
        let model = load_bare(shape, features()).unwrap();
        let row = vec![1.0, 2.0, 3.0];
        near(&[model.infer(row.clone(), LONG).await.unwrap()], std::slice::from_ref(&row));
        assert!(matches!(model.explain(row.clone(), LONG).await, Err(InferError::Failed(_))));
        assert!(matches!(model.explain_matrix(&row), Err(InferError::Failed(_))));
    }
}

#[test]
fn too_few_features_are_refused() {
    let fault = load_bare(Shape::TwoColumns, features()[..2].to_vec()).unwrap_err().to_string();
    assert!(fault.contains("takes 3 values") && fault.contains("2 features"), "{fault}");
}

#[test]
fn a_logit_is_no_score() {
    let fault = load_bare(Shape::Logit, features()).unwrap_err().to_string();
    assert!(fault.contains("bare.onnx") && fault.contains("-1 is not of 0 to 1"), "{fault}");
}

#[test]
fn a_manifest_that_does_not_fit_the_graph_is_refused() {
    for (from, to, said) in [
        ("name = \"input\"", "name = \"inputs\"", "[input] name"),
        ("name = \"probabilities\"", "name = \"score\"", "[output] name"),
        ("two_columns", "one_column", "[output] shape"),
    ] {
        let folder = package_with(&onnx(Shape::TwoColumns), |text| text.replacen(from, to, 1));
        let fault = load(folder.path()).unwrap_err().to_string();
        assert!(fault.contains(said), "{said}: {fault}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = package_with(b"no model", |text| text);
    let fault = load(folder.path()).unwrap_err().to_string();
    assert!(fault.contains("model.onnx") && fault.contains("refuses"), "{fault}");
}

#[test]
fn the_first_matrix_waits_for_no_session_to_be_opened() {
    let model = load(package().path()).unwrap();
    let spare = || model.spare.lock().unwrap().len();
    assert_eq!(spare(), 1);
    model.infer_matrix(&rows(2).concat()).unwrap();
    assert_eq!(spare(), 1);
}

#[test]
fn golden_rows_must_score_as_they_did() {
    let folder = package();
    let file = folder.path().join("golden.json");
    let mut golden: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let score = golden["scores"][5].as_f64().unwrap();
    golden["scores"][5] = (if score > 0.5 { score - 0.001 } else { score + 0.001 }).into();
    fs::write(&file, golden.to_string()).unwrap();
    let fault = load(folder.path()).unwrap_err().to_string();
    assert!(fault.contains("golden row 5"), "{fault}");
}

#[test]
fn warm_up_measures_what_a_caller_may_run_itself() {
    let folder = package();
    let package = Package::read(folder.path()).unwrap();
    let within = warm(&mut Slow(Duration::ZERO, Vec::new()), &package, 6).unwrap();
    assert_eq!(within.inline, 6);
    let mut slow = Slow(INLINE_BUDGET, Vec::new());
    assert_eq!(warm(&mut slow, &package, 6).unwrap().inline, 0);
    slow.1.dedup();
    assert_eq!(slow.1, [1, 2, 4, 6], "every batch size was run");
}

/// Takes at least its time; remembers the sizes of its batches.
struct Slow(Duration, Vec<usize>);

impl Scorer for Slow {
    fn width(&self) -> usize {
        3
    }

    fn score(&mut self, rows: &[f32], scores: &mut Vec<f32>) -> Result<(), InferError> {
        let start = Instant::now();
        self.1.push(rows.len() / 3);
        scores.extend(rows.iter().step_by(3).map(|_| 0.5));
        while start.elapsed() <= self.0 {
            std::hint::spin_loop();
        }
        Ok(())
    }
}
