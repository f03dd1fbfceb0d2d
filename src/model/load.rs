//! From a package to a model that may serve. In: a package that was read. Out: a [`Model`] whose sessions fit the
//! manifest, have run every batch size, and gave the golden scores, one row at a time and all at once; and whose
//! explanations of the golden rows add up to the graph's own margins and are those that the package expects.

use std::time::{Duration, Instant};

use super::device::{Runtime, placed};
use super::explain::{Explain, Explainer, ExplanationThread, Margins};
use super::gate::{Checks, Gate, Met};
use super::golden::Golden;
use super::manifest::probability;
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
        Self::load_checked(package, options, &mut Checks::default())
    }

    /// Likewise; `checks` says how each gate from `tensors` to `latency` was met. All sessions pass one gate before any
    /// comes to the next.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_checked(package: Package, options: &RuntimeOptions, checks: &mut Checks) -> Result<Self, ModelError> {
        let before = checks.clone();
        let made = placed(&package, options, |runtime| {
            // What a device did not pass counts no more once the model runs elsewhere.
            *checks = before.clone();
            ready(&package, options, runtime, checks)
        });
        if let Err(error) = &made
            && checks.failed().is_none()
        {
            // Refused before a session was made: its operators do not run there.
            checks.note(Gate::Tensors, Met::Failed, error.to_string());
        }
        let (ready, runtime, placement) = made?;
        checks.say(Gate::Tensors, placement.to_string());
        let Ready { sessions, matrices, inline, explaining } = ready;
        let feeds = sessions.first().map(|session| session.feeds().to_vec()).unwrap_or_default();
        let limits = Limits { max_batch: options.max_batch.max(1), max_queue: options.max_queue.max(1), inline };
        let pool = Pool::start(sessions, limits)
            .map_err(|error| ModelError::Runtime(format!("a worker thread of the model cannot start: {error}")))?;
        let (spare_explainer, spare) = (None.into(), vec![matrices].into());
        Ok(Self { package, pool, explaining, spare_explainer, spare, feeds, runtime, placement })
    }
}

/// What passed every check.
struct Ready {
    /// The workers' own.
    sessions: Vec<Session>,
    /// The first one for matrices: the stream's batches wait for none to be opened.
    matrices: Session,
    /// The most rows that a caller runs itself.
    inline: usize,
    explaining: Option<ExplanationThread>,
}

fn ready(
    package: &Package,
    options: &RuntimeOptions,
    runtime: &Runtime,
    checks: &mut Checks,
) -> Result<Ready, ModelError> {
    let max_batch = options.max_batch.max(1);
    let refused = |error: InferError| fault(&package.graph.file, &error.to_string());
    let opened: Result<Vec<Session>, ModelError> =
        (0..options.workers.max(1)).map(|_| open(package, runtime)).collect();
    let opened = opened.and_then(|sessions| Ok((sessions, open(package, runtime)?)));
    let (mut sessions, mut matrices) = checks.hold(Gate::Tensors, opened)?;
    let warmed = sessions.iter_mut().map(|session| warm(session, package, max_batch).map_err(refused)).collect();
    let warmed: Vec<Warmed> = checks.hold(Gate::WarmUp, warmed)?;
    let held = sessions
        .iter_mut()
        .chain([&mut matrices])
        .try_for_each(|session| hold_golden(session, package).map_err(refused));
    checks.hold(Gate::Golden, held)?;
    if let Some(session) = sessions.first_mut() {
        checks.hold(Gate::Finite, hold_finite(session, package).map_err(refused))?;
    }
    let explaining = checks.hold(Gate::Explanation, explaining(package, runtime, options.max_explanations))?;
    let row = warmed.iter().map(|warmed| warmed.row).max().unwrap_or_default();
    hold_latency(row, options.latency_budget, package, checks)?;
    let inline = warmed.iter().map(|warmed| warmed.inline).min().unwrap_or(0);
    Ok(Ready { sessions, matrices, inline, explaining })
}

/// A session of `package`, checked against its manifest.
pub(super) fn open(package: &Package, runtime: &Runtime) -> Result<Session, ModelError> {
    let graph = &package.graph;
    Session::open(&graph.bytes, &graph.contract, runtime, &graph.file)
}

/// What warming up measured.
#[derive(Debug)]
struct Warmed {
    /// The most rows whose run stays within [`INLINE_BUDGET`].
    inline: usize,
    /// How long one row takes.
    row: Duration,
}

/// Runs every batch size.
fn warm<S: Scorer>(session: &mut S, package: &Package, max_batch: usize) -> Result<Warmed, InferError> {
    // Golden rows are real ones; trees take another path for them than for zeros.
    let zeros = vec![vec![0.0; package.features.len()]];
    let samples = package.golden.as_ref().map_or(&zeros, |golden| &golden.inputs);
    let sizes = std::iter::successors(Some(1_usize), |size| size.checked_mul(2)).take_while(|size| *size < max_batch);
    let mut inline = 0;
    let mut within = true;
    let mut one = None;
    for size in sizes.chain([max_batch]) {
        let rows: Vec<f32> = samples.iter().cycle().take(size).flatten().copied().collect();
        let took = latency(session, &rows)?;
        // The first size is one row.
        one.get_or_insert(took);
        within &= took <= INLINE_BUDGET;
        if within {
            inline = size;
        }
    }
    Ok(Warmed { inline, row: one.unwrap_or_default() })
}

fn hold_latency(
    row: Duration,
    budget: Option<Duration>,
    package: &Package,
    checks: &mut Checks,
) -> Result<(), ModelError> {
    let Some(budget) = budget else {
        checks.note(Gate::Latency, Met::Skipped, format!("no budget is set; a row takes {row:?}"));
        return Ok(());
    };
    if row <= budget {
        checks.note(Gate::Latency, Met::Passed, format!("a row takes {row:?} of {budget:?}"));
        return Ok(());
    }
    let slow = fault(&package.graph.file, &format!("a row takes {row:?}, and models.latency_budget is {budget:?}"));
    checks.hold(Gate::Latency, Err(slow))
}

/// Rows from all over the training data's range get scores that are probabilities.
fn hold_finite<S: Scorer>(session: &mut S, package: &Package) -> Result<(), InferError> {
    for (index, row) in package.probes.iter().enumerate() {
        let scored = run(session, row).and_then(checked);
        scored.map_err(|error| InferError::Failed(format!("probe row {index} of baseline.json's range: {error}")))?;
    }
    Ok(())
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
fn explaining(package: &Package, runtime: &Runtime, most: usize) -> Result<Option<ExplanationThread>, ModelError> {
    let Some(mut explainer) = Explainer::new(package, runtime)? else { return Ok(None) };
    let refused = |what: String| fault(&package.directory.join("golden.json"), &what);
    if let Some(golden) = &package.golden {
        let margins = Margins::open(package, runtime)?.of(&golden.inputs.concat());
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
        let found = probability(explained.margin, package.calibration);
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
