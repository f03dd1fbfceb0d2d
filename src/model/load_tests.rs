//! With ONNX Runtime: where its library is absent, these fail with the sentence that says what to run.

use std::fs;

use super::super::testing::{Shape, expected, onnx, options, package, package_with, rows};
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

#[tokio::test]
async fn inline_and_queued_scores_are_the_same_number() {
    let folder = package();
    let package = Package::read(folder.path()).unwrap();
    let rows = rows(8);
    let mut scores = Vec::new();
    for inline in [0, 8] {
        let limits = Limits { max_batch: 8, max_queue: 8, inline };
        let pool = Pool::start(vec![open(&package, None).unwrap()], limits).unwrap();
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
async fn a_contribution_is_the_fall_to_the_median() {
    let model = load(package().path()).unwrap();
    let row = vec![2.0, 1.0, 0.5];
    let score = model.infer(row.clone(), LONG).await.unwrap();
    let contributions = model.explain(row, score, LONG).await.unwrap();
    let wanted = [score - expected(&[0.0, 1.0, 0.5]), 0.0, score - expected(&[2.0, 1.0, 2.0])];
    for (contribution, wanted) in contributions.iter().zip(wanted) {
        assert!((contribution - wanted).abs() < 1e-6, "{contributions:?} and not {wanted:?}");
    }
    assert!(contributions[0] > 0.0 && contributions[2] < 0.0);
}

#[tokio::test]
async fn a_bare_file_scores_and_explains_nothing() {
    for shape in [Shape::TwoColumns, Shape::OneColumn] {
        let model = load_bare(shape, features()).unwrap();
        let row = vec![1.0, 2.0, 3.0];
        near(&[model.infer(row.clone(), LONG).await.unwrap()], std::slice::from_ref(&row));
        assert_eq!(model.explain(row, 0.5, LONG).await, Ok(Vec::new()));
    }
}

#[test]
fn maps_are_refused_with_what_to_do() {
    let fault = load_bare(Shape::Maps, features()).unwrap_err().to_string();
    assert!(fault.contains("without zipmap") && fault.contains("score"), "{fault}");
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
    assert_eq!(within, 6);
    let mut slow = Slow(INLINE_BUDGET, Vec::new());
    assert_eq!(warm(&mut slow, &package, 6).unwrap(), 0);
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
