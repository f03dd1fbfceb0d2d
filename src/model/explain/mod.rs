//! Why a row scored as it did: contributions of its values to the raw margin, the log-odds before calibration.
//!
//! In: a row. Out: an [`Explanation`] with baseline + Σ contributions = margin. Three methods, named by the package:
//!
//! | method | exact for | of |
//! |---|---|---|
//! | `tree_shap` | tree ensembles | Lundberg et al. 2020, by quadrature (see `trees::shap`) |
//! | `linear_shap` | linear margins | Lundberg and Lee 2017, corollary 1 |
//! | `permutation_shapley` | nothing: an estimate for any model | Štrumbelj and Kononenko 2014; antithetic pairs: Mitchell et al. 2022 |

mod document;
mod linear;
mod permutation;
mod thread;

use serde::{Deserialize, Serialize};

pub(super) use document::Source;
use linear::LinearShap;
use permutation::Permutation;
pub(super) use thread::ExplanationThread;

use super::device::Runtime;
use super::package::{Package, fault};
use super::session::Session;
use super::trees::{Forest, TreeShap};
use super::workers::run;
use super::{InferError, ModelError};

/// How contributions are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Exact Shapley values of a tree ensemble, path-dependent.
    TreeShap,
    /// Exact Shapley values of a linear margin.
    LinearShap,
    /// An estimate of the Shapley values against the training medians.
    PermutationShapley,
}

impl Method {
    /// Its name in manifests and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TreeShap => "tree_shap",
            Self::LinearShap => "linear_shap",
            Self::PermutationShapley => "permutation_shapley",
        }
    }

    /// The method of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::TreeShap, Self::LinearShap, Self::PermutationShapley].into_iter().find(|method| method.as_str() == name)
    }
}

/// Contributions of a row's values. All in log-odds; baseline + Σ contributions = margin, to 1e-5 of the larger of 1 and
/// the margin.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// How it was computed.
    pub method: Method,
    /// The margin before anything is known of a row.
    pub baseline: f64,
    /// The row's margin.
    pub margin: f64,
    /// One contribution a feature, in the manifest's order.
    pub contributions: Vec<f64>,
}

impl Explanation {
    /// What contributions leave of the way from baseline to margin: rounding, where all is right.
    pub(super) fn gap(&self) -> f64 {
        self.margin - self.baseline - self.contributions.iter().sum::<f64>()
    }
}

/// What explains rows: an [`Explainer`], or a double in tests.
pub(super) trait Explain: Send + 'static {
    /// Explains one row of the model's width.
    fn explain(&mut self, row: &[f32]) -> Result<Explanation, InferError>;
}

/// A package's method, ready. It belongs to one thread at a time: a permutation owns a session.
#[derive(Debug)]
pub(super) enum Explainer {
    Tree(TreeShap),
    Linear(LinearShap),
    Permutation(Permutation, Margins),
}

impl Explainer {
    /// Prepares what the package names; `None` for a bare file, which names nothing.
    ///
    /// # Errors
    /// What of the graph or of `explanation.json` does not fit the method, in one sentence.
    pub(super) fn new(package: &Package, runtime: &Runtime) -> Result<Option<Self>, ModelError> {
        let Some(source) = &package.explanation else { return Ok(None) };
        let width = package.features.len();
        Ok(Some(match &**source {
            Source::Tree { covers } => {
                let inputs = &package.graph.contract.inputs;
                if !matches!(inputs.as_slice(), [only] if only.is_row(width)) {
                    let what = "tree_shap needs one input that takes every feature in order: its trees count them";
                    return Err(fault(&package.graph.file, what));
                }
                let forest = Forest::read(&package.graph.bytes, covers, width);
                Self::Tree(TreeShap::new(forest.map_err(|what| fault(&package.graph.file, &what))?))
            }
            Source::Linear { weights, means, intercept } => {
                let linear = LinearShap::new(weights, means, *intercept, width);
                Self::Linear(linear.map_err(|what| fault(&package.directory.join("explanation.json"), &what))?)
            }
            Source::Permutation => {
                let medians = package.medians.as_deref().unwrap_or_default();
                Self::Permutation(Permutation::new(medians), Margins::open(package, runtime)?)
            }
        }))
    }
}

impl Explain for Explainer {
    fn explain(&mut self, row: &[f32]) -> Result<Explanation, InferError> {
        match self {
            Self::Tree(trees) => {
                let (margin, contributions) = trees.explain(row);
                Ok(Explanation { method: Method::TreeShap, baseline: trees.baseline, margin, contributions })
            }
            Self::Linear(linear) => {
                let (margin, contributions) = linear.explain(row);
                Ok(Explanation { method: Method::LinearShap, baseline: linear.baseline(), margin, contributions })
            }
            Self::Permutation(permutation, margins) => permutation.explain(row, |rows| margins.of(rows)),
        }
    }
}

/// Raw margins by the graph itself: of the output that the manifest names, else from the score.
#[derive(Debug)]
pub(super) struct Margins {
    session: Session,
    /// Whether the session gives probabilities.
    scores: bool,
}

/// A probability is held this far from 0 and 1 before its log-odds are taken: 32 bits know no more digits near 1.
const SURE: f64 = 1e-7;

impl Margins {
    pub(super) fn open(package: &Package, runtime: &Runtime) -> Result<Self, ModelError> {
        let graph = &package.graph;
        let contract = package.margin_contract();
        let scores = contract.is_none();
        let contract = contract.unwrap_or_else(|| graph.contract.clone());
        Ok(Self { session: Session::open(&graph.bytes, &contract, runtime, &graph.file)?, scores })
    }

    /// One margin a row (row-major).
    pub(super) fn of(&mut self, rows: &[f32]) -> Result<Vec<f64>, InferError> {
        let values = run(&mut self.session, rows)?;
        if let Some(wrong) = values.iter().find(|value| !value.is_finite()) {
            return Err(InferError::Failed(format!("the margin {wrong} is no finite number")));
        }
        let margin = |value: f32| {
            let value = f64::from(value);
            if !self.scores {
                return value;
            }
            let score = value.clamp(SURE, 1.0 - SURE);
            (score / (1.0 - score)).ln()
        };
        Ok(values.into_iter().map(margin).collect())
    }
}
