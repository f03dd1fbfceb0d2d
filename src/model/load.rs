//! From a package to a model that may serve. In: a package that was read. Out: a [`Model`] whose sessions fit the
//! manifest, have run every batch size, and gave the golden scores, one row at a time and all at once; and whose
//! explanations of the golden rows add up to the graph's own margins and are those that the package expects.

use std::path::Path;
use std::time::{Duration, Instant};

use super::explain::{Explain, Explainer, ExplanationThread, Margins};
use super::golden::Golden;
use super::manifest::sigmoid;
use super::package::{Package, fault};
use super::session::Session;
use super::workers::{INLINE_BUDGET, Limits, Pool, Scorer, checked, run};
use super::{InferError, Model, ModelError, RuntimeOptions};

/// Runs of one batch size at warm-up; the median of the later half is its latency.
const RUNS: usize = 16;

impl Model {
    /// Loads, warms every batch size (powers of two to `max_batch`) and holds the golden set against every session.
    /// Blocking, and no short work: never on a serving thread.
    ///
    /// # Errors
    /// What failed, in one sentence.
    pub fn load(package: Package, options: &RuntimeOptions) -> Result<Self, ModelError> {
        let library = options.library.clone();
        let max_batch = options.max_batch.max(1);
        let mut sessions = Vec::new();
        let mut inline = usize::MAX;
        for _ in 0..options.workers.max(1) {
            let mut session = open(&package, library.as_deref())?;
            let refused = |error: InferError| fault(&package.graph.file, &error.to_string());
            inline = inline.min(warm(&mut session, &package, max_batch).map_err(refused)?);
            hold_golden(&mut session, &package).map_err(refused)?;
            sessions.push(session);
        }
        let explaining = explaining(&package, library.as_deref(), options.max_explanations)?;
        let limits = Limits { max_batch, max_queue: options.max_queue.max(1), inline };
        let pool = Pool::start(sessions, limits)
            .map_err(|error| ModelError::Runtime(format!("a worker thread of the model cannot start: {error}")))?;
        Ok(Self { package, pool, explaining, spare_explainer: None.into(), spare: Vec::new().into(), library })
    }
}

/// A session of `package`, checked against its manifest.
pub(super) fn open(package: &Package, library: Option<&Path>) -> Result<Session, ModelError> {
    let graph = &package.graph;
    Session::open(&graph.bytes, &package.contract(), library, &graph.file)
}

/// Runs every batch size; returns the most rows whose run was measured to stay within [`INLINE_BUDGET`].
fn warm<S: Scorer>(session: &mut S, package: &Package, max_batch: usize) -> Result<usize, InferError> {
    // Golden rows are real ones; trees take another path for them than for zeros.
    let zeros = vec![vec![0.0; package.features.len()]];
    let samples = package.golden.as_ref().map_or(&zeros, |golden| &golden.inputs);
    let sizes = std::iter::successors(Some(1_usize), |size| size.checked_mul(2)).take_while(|size| *size < max_batch);
    let mut inline = 0;
    let mut within = true;
    for size in sizes.chain([max_batch]) {
        let rows: Vec<f32> = samples.iter().cycle().take(size).flatten().copied().collect();
        within &= latency(session, &rows)? <= INLINE_BUDGET;
        if within {
            inline = size;
        }
    }
    Ok(inline)
}

fn latency<S: Scorer>(session: &mut S, rows: &[f32]) -> Result<Duration, InferError> {
    let mut took = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        run(session, rows).and_then(checked)?;
        took.push(start.elapsed());
    }
    // The first half warms, the second half counts.
    let (_, counted) = took.split_at_mut(RUNS / 2);
    counted.sort_unstable();
    Ok(counted.get(counted.len() / 2).copied().unwrap_or(Duration::MAX))
}

fn hold_golden<S: Scorer>(session: &mut S, package: &Package) -> Result<(), InferError> {
    let Some(golden) = &package.golden else { return Ok(()) };
    golden.compare(&run(session, &golden.inputs.concat()).and_then(checked)?)?;
    let single: Result<Vec<f32>, InferError> =
        golden.inputs.iter().map(|row| run(session, row).and_then(checked)).try_fold(Vec::new(), |mut all, score| {
            all.extend(score?);
            Ok(all)
        });
    golden.compare(&single?)
}

/// The thread that explains, its method held against the golden rows; `None` for a bare file.
fn explaining(package: &Package, library: Option<&Path>, most: usize) -> Result<Option<ExplanationThread>, ModelError> {
    let Some(mut explainer) = Explainer::new(package, library)? else { return Ok(None) };
    let refused = |what: String| fault(&package.directory.join("golden.json"), &what);
    if let Some(golden) = &package.golden {
        let margins = Margins::open(package, library)?.of(&golden.inputs.concat());
        hold_explanations(&mut explainer, package, golden, margins).map_err(refused)?;
    }
    let started = ExplanationThread::start(explainer, most);
    let failed = |error| ModelError::Runtime(format!("the model's explanation thread cannot start: {error}"));
    started.map(Some).map_err(failed)
}

/// How far contributions may be from adding up to the margin, as a part of the larger of 1 and the margin.
const ADDS_UP: f64 = 1e-5;

fn hold_explanations(
    explainer: &mut impl Explain,
    package: &Package,
    golden: &Golden,
    margins: Result<Vec<f64>, InferError>,
) -> Result<(), String> {
    let margins = margins.map_err(|error| error.to_string())?;
    if margins.len() != golden.inputs.len() {
        return Err(format!("{} margins for {} golden rows", margins.len(), golden.inputs.len()));
    }
    let named = package.margin_contract().is_some();
    for (index, ((row, margin), score)) in golden.inputs.iter().zip(margins).zip(&golden.scores).enumerate() {
        let explained = explainer.explain(row).map_err(|error| format!("golden row {index}: {error}"))?;
        let most = ADDS_UP * margin.abs().max(1.0);
        let near = |distance: f64, most: f64| distance.abs() <= most;
        if explained.contributions.len() != row.len() || !near(explained.gap(), most) {
            return Err(format!("the contributions of golden row {index} do not add up to its margin"));
        }
        if named && !near(explained.margin - margin, most) {
            let found = explained.margin;
            return Err(format!("golden row {index} is explained to the margin {found} and the graph gives {margin}"));
        }
        // What is explained must be what is answered: the score is the calibrated margin.
        let found = match package.calibration {
            Some(calibration) => calibration.score(explained.margin),
            None => sigmoid(explained.margin),
        };
        if !near(found - f64::from(*score), golden.tolerance.into()) {
            return Err(format!("the margin of golden row {index} means the score {found} and {score} is expected"));
        }
        if let Some(wanted) = &golden.explanation {
            wanted.compare(index, &explained, &package.features)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
