//! Tree ensembles: what the graph's one `TreeEnsemble*` node says, joined with the covers that the package carries.
//!
//! In: the bytes of a model and, for each tree and node, its cover (how much of the training data came by). Out: a
//! [`Forest`] that computes the raw margin as ONNX Runtime does (comparisons in 32 bits), and [`TreeShap`], which says
//! how each feature moved it.

mod onnx;
mod quadrature;
mod read;
mod shap;
#[cfg(test)]
pub(super) mod testing;

pub use shap::TreeShap;

/// The deepest tree that is taken: recursion is bounded by it.
pub(super) const MOST_DEPTH: usize = 128;

/// (domain, kind) of each operator of a model's graph; those inside of other operators (branches, loops) are not told.
pub(super) fn operators(bytes: &[u8]) -> Result<Vec<(String, String)>, String> {
    Ok(onnx::Model::parse(bytes)?.nodes.into_iter().map(|node| (node.domain, node.kind)).collect())
}

/// An additive ensemble: margin = bias + the value of one leaf a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Forest {
    /// Values of a row.
    pub width: usize,
    /// What is added to every row's margin, log-odds.
    pub bias: f64,
    /// Their roots.
    pub trees: Vec<Node>,
}

/// A node with what lies below it.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Its value, log-odds.
    Leaf(f64),
    /// A condition, and a node on either side of it.
    Branch(Box<Branch>),
}

/// A condition on one feature and where it leads.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// Place of the feature in a row.
    pub feature: usize,
    /// How its value is compared.
    pub test: Test,
    /// With what.
    pub threshold: f32,
    /// Where the condition holds.
    pub yes: Node,
    /// Where it does not.
    pub no: Node,
    /// Shares of this node's cover that went to `yes` and `no`, 0 or above.
    pub shares: [f64; 2],
}

/// The conditions of ONNX that are taken; `BRANCH_EQ` and `BRANCH_NEQ` are refused when the graph is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// `BRANCH_LT`: value < threshold.
    Below,
    /// `BRANCH_LEQ`: value ≤ threshold.
    AtMost,
    /// `BRANCH_GT`: value > threshold.
    Above,
    /// `BRANCH_GTE`: value ≥ threshold.
    AtLeast,
}

impl Test {
    /// Whether a value passes.
    #[must_use]
    pub fn holds(self, value: f32, threshold: f32) -> bool {
        match self {
            Self::Below => value < threshold,
            Self::AtMost => value <= threshold,
            Self::Above => value > threshold,
            Self::AtLeast => value >= threshold,
        }
    }
}

impl Forest {
    /// The raw margin of a row, log-odds.
    #[must_use]
    pub fn margin(&self, row: &[f32]) -> f64 {
        self.bias + self.trees.iter().map(|tree| tree.value(row)).sum::<f64>()
    }
}

impl Node {
    fn value(&self, row: &[f32]) -> f64 {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(value) => return *value,
                Self::Branch(branch) => node = if branch.holds(row) { &branch.yes } else { &branch.no },
            }
        }
    }
}

impl Branch {
    /// Whether its condition holds for a row.
    #[must_use]
    pub fn holds(&self, row: &[f32]) -> bool {
        self.test.holds(row.get(self.feature).copied().unwrap_or_default(), self.threshold)
    }
}
