//! A [`Forest`] out of an ONNX graph and covers.
//!
//! Taken is what a gradient-boosted model of two classes is exported as: one `TreeEnsembleRegressor` of one target, or
//! one binary `TreeEnsembleClassifier` with `LOGISTIC`, that reads the graph's input itself. Whatever else a graph may hold
//! is refused by name: a wrong reason is worse than none.

use std::collections::{HashMap, HashSet};

use super::onnx::{self, Model};
use super::{Branch, Forest, MOST_DEPTH, Node, Test};

const REGRESSOR: &str = "TreeEnsembleRegressor";
const CLASSIFIER: &str = "TreeEnsembleClassifier";

/// How far the covers of two sides may be from adding up to their node's, as a part of it: sums of 32 bits are far nearer,
/// and covers of other nodes are not.
const ADDS_UP: f64 = 0.01;

impl Forest {
    /// Reads the trees of `bytes` for rows of `width` values. `covers` holds, by tree id and node id, how much of the
    /// training data came by the node (0 or above).
    ///
    /// # Errors
    /// What cannot be explained, in a sentence that names the attribute, the tree or the node.
    pub(in crate::model) fn read(bytes: &[u8], covers: &[Vec<f64>], width: usize) -> Result<Self, String> {
        let graph = Model::parse(bytes)?;
        let ensemble = only_ensemble(&graph)?;
        let leaves = leaves(ensemble)?;
        let rows = Rows::of(ensemble)?;
        let trees = rows.tree_count()?;
        if (covers.len(), covers.iter().map(Vec::len).sum()) != (trees, rows.tree.len()) {
            return Err(format!(
                "explanation.json covers {} trees and {} nodes, and the graph has {trees} and {}",
                covers.len(),
                covers.iter().map(Vec::len).sum::<usize>(),
                rows.tree.len()
            ));
        }
        let mut nodes = HashMap::with_capacity(rows.tree.len());
        for index in 0..rows.tree.len() {
            if nodes.insert(rows.key(index), index).is_some() {
                let (tree, node) = rows.key(index);
                return Err(format!("node {node} of tree {tree} stands twice"));
            }
        }
        let roots = rows.roots(trees)?;
        let reader = TreeReader { rows: &rows, nodes, leaves, covers, width };
        let trees = roots.into_iter().map(|root| reader.node(root, 0)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { width, bias: bias(ensemble)?, trees })
    }
}

fn only_ensemble(graph: &onnx::Graph) -> Result<&onnx::Node, String> {
    let ensembles: Vec<_> = graph.nodes.iter().filter(|node| node.kind.starts_with("TreeEnsemble")).collect();
    let [ensemble] = ensembles.as_slice() else {
        return Err(format!("the graph has {} tree ensembles, and tree_shap needs one", ensembles.len()));
    };
    let inputs: Vec<_> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
    if !ensemble.inputs.first().is_some_and(|own| inputs.contains(&own.as_str())) {
        return Err("the trees do not read the graph's input itself: export without a scaler ahead of them".to_owned());
    }
    let wanted = |name: &str, allowed: &[&str]| {
        let found = ensemble.text(name, allowed.first().copied().unwrap_or_default());
        if allowed.contains(&found) {
            return Ok(());
        }
        Err(format!("{name} = {found:?} of {} is not explained: {} is", ensemble.kind, allowed.join(" or ")))
    };
    match ensemble.kind.as_str() {
        REGRESSOR => {
            wanted("aggregate_function", &["SUM"])?;
            wanted("post_transform", &["NONE", "LOGISTIC"])?;
            if ensemble.number("n_targets", 1) != 1 {
                return Err(format!("{} targets: one is explained", ensemble.number("n_targets", 1)));
            }
        }
        // Its default is NONE: then a score is a sum of probabilities and has no margin.
        CLASSIFIER if ensemble.has("post_transform") => wanted("post_transform", &["LOGISTIC"])?,
        CLASSIFIER => return Err("a TreeEnsembleClassifier without post_transform LOGISTIC has no margin".to_owned()),
        other => return Err(format!("{other} is not explained: {REGRESSOR} and {CLASSIFIER} are")),
    }
    if let Some(wide) = ensemble.attributes.iter().find(|attribute| attribute.name.ends_with("_as_tensor")) {
        return Err(format!("{} holds 64-bit trees: export with 32-bit ones", wide.name));
    }
    Ok(ensemble)
}

/// The attributes' common part of a name.
fn prefix(ensemble: &onnx::Node) -> &'static str {
    if ensemble.kind == REGRESSOR { "target" } else { "class" }
}

/// Values of leaves by (tree, node); several weights of one leaf add up.
fn leaves(ensemble: &onnx::Node) -> Result<HashMap<(i64, i64), f64>, String> {
    let prefix = prefix(ensemble);
    let list = |name: &str| ensemble.numbers(&format!("{prefix}_{name}"));
    let (trees, nodes, ids) = (list("treeids"), list("nodeids"), list("ids"));
    let weights = ensemble.floats(&format!("{prefix}_weights"));
    if [trees.len(), nodes.len(), ids.len()] != [weights.len(); 3] {
        return Err(format!("{prefix}_treeids, _nodeids, _ids and _weights are not of one length"));
    }
    if ids.iter().any(|id| Some(id) != ids.first()) {
        return Err(format!("{prefix}_ids name several outputs: leaves of one are explained"));
    }
    let mut leaves = HashMap::with_capacity(weights.len());
    for ((tree, node), weight) in trees.iter().zip(nodes).zip(weights) {
        if !weight.is_finite() {
            return Err(format!("the leaf {node} of tree {tree} weighs {weight}"));
        }
        *leaves.entry((*tree, *node)).or_insert(0.0) += f64::from(*weight);
    }
    Ok(leaves)
}

/// What is added to every margin. A binary classifier may write one bias, or one a class of which the second counts.
fn bias(ensemble: &onnx::Node) -> Result<f64, String> {
    match ensemble.floats("base_values") {
        [] => Ok(0.0),
        [only] => Ok(f64::from(*only)),
        [_, second] if ensemble.kind == CLASSIFIER => Ok(f64::from(*second)),
        more => Err(format!("base_values has {} values for one output", more.len())),
    }
}

/// The node attributes, all of one length.
struct Rows<'a> {
    tree: &'a [i64],
    node: &'a [i64],
    feature: &'a [i64],
    mode: &'a [Vec<u8>],
    threshold: &'a [f32],
    yes: &'a [i64],
    no: &'a [i64],
}

impl<'a> Rows<'a> {
    fn of(ensemble: &'a onnx::Node) -> Result<Self, String> {
        let rows = Self {
            tree: ensemble.numbers("nodes_treeids"),
            node: ensemble.numbers("nodes_nodeids"),
            feature: ensemble.numbers("nodes_featureids"),
            mode: ensemble.texts("nodes_modes"),
            threshold: ensemble.floats("nodes_values"),
            yes: ensemble.numbers("nodes_truenodeids"),
            no: ensemble.numbers("nodes_falsenodeids"),
        };
        let count = rows.tree.len();
        let lengths = [rows.node.len(), rows.feature.len(), rows.mode.len(), rows.threshold.len()];
        if count == 0 || lengths != [count; 4] || [rows.yes.len(), rows.no.len()] != [count; 2] {
            return Err(format!("the nodes_* attributes of {} are not of one length above 0", ensemble.kind));
        }
        Ok(rows)
    }

    fn key(&self, index: usize) -> (i64, i64) {
        (at(self.tree, index), at(self.node, index))
    }

    fn is_leaf(&self, index: usize) -> bool {
        self.mode.get(index).is_some_and(|mode| mode == b"LEAF")
    }

    /// How many trees there are; their ids must be 0 to that less 1.
    fn tree_count(&self) -> Result<usize, String> {
        let mut ids: Vec<i64> = self.tree.to_vec();
        ids.sort_unstable();
        ids.dedup();
        if ids.iter().enumerate().all(|(place, id)| i64::try_from(place) == Ok(*id)) {
            return Ok(ids.len());
        }
        Err("nodes_treeids are not 0, 1, 2 and so on without a gap".to_owned())
    }

    /// The row of each tree's root: the one node that no other leads to.
    fn roots(&self, trees: usize) -> Result<Vec<usize>, String> {
        let count = self.tree.len();
        let branches = || (0..count).filter(|index| !self.is_leaf(*index));
        let below = |index: usize| [self.yes, self.no].map(|side| (at(self.tree, index), at(side, index)));
        let mut children = HashSet::with_capacity(count);
        // Why: what hangs below two nodes would be read twice, and below twice as many at every level.
        if let Some((tree, node)) = branches().flat_map(below).find(|child| !children.insert(*child)) {
            return Err(format!("node {node} of tree {tree} hangs below two others"));
        }
        let mut roots: Vec<Option<usize>> = vec![None; trees];
        for index in (0..count).filter(|index| !children.contains(&self.key(*index))) {
            let (tree, node) = self.key(index);
            let place = usize::try_from(tree).ok().and_then(|tree| roots.get_mut(tree));
            if place.is_none_or(|place| place.replace(index).is_some()) {
                return Err(format!("node {node} of tree {tree} is a second root"));
            }
        }
        let missing = roots.iter().position(Option::is_none);
        missing
            .map_or_else(|| Ok(roots.into_iter().flatten().collect()), |tree| Err(format!("tree {tree} has no root")))
    }
}

/// The value at `index`; the lengths were checked.
fn at<T: Copy + Default>(values: &[T], index: usize) -> T {
    values.get(index).copied().unwrap_or_default()
}

struct TreeReader<'a> {
    rows: &'a Rows<'a>,
    nodes: HashMap<(i64, i64), usize>,
    leaves: HashMap<(i64, i64), f64>,
    covers: &'a [Vec<f64>],
    width: usize,
}

impl TreeReader<'_> {
    /// The node of row `index` with what lies below it. A circle among nodes ends at [`MOST_DEPTH`].
    fn node(&self, index: usize, depth: usize) -> Result<Node, String> {
        let (tree, node) = self.rows.key(index);
        let refused = |what: &str| format!("node {node} of tree {tree}: {what}");
        if depth > MOST_DEPTH {
            return Err(refused(&format!("is more than {MOST_DEPTH} levels deep")));
        }
        let mode = self.rows.mode.get(index).map_or(&b""[..], Vec::as_slice);
        let test = match mode {
            b"LEAF" => return Ok(Node::Leaf(self.leaves.get(&(tree, node)).copied().unwrap_or_default())),
            b"BRANCH_LT" => Test::Below,
            b"BRANCH_LEQ" => Test::AtMost,
            b"BRANCH_GT" => Test::Above,
            b"BRANCH_GTE" => Test::AtLeast,
            other => return Err(refused(&format!("{:?} is not explained", String::from_utf8_lossy(other)))),
        };
        let feature = usize::try_from(at(self.rows.feature, index)).ok().filter(|feature| *feature < self.width);
        let feature = feature.ok_or_else(|| refused(&format!("asks for a feature beyond the {} named", self.width)))?;
        let threshold = at(self.rows.threshold, index);
        if threshold.is_nan() {
            return Err(refused("has a threshold that is no number"));
        }
        let child = |side: &[i64]| {
            let key = (tree, at(side, index));
            let child = self.nodes.get(&key).copied().ok_or_else(|| refused(&format!("leads to {}", key.1)))?;
            Ok::<_, String>((self.node(child, depth + 1)?, self.cover(child)?))
        };
        let whole = self.cover(index)?;
        let ((yes, to_yes), (no, to_no)) = (child(self.rows.yes)?, child(self.rows.no)?);
        if (to_yes + to_no - whole).abs() > ADDS_UP * whole {
            return Err(refused(&format!("its cover is {whole}, and those of its sides are {to_yes} and {to_no}")));
        }
        // No training row came by: nothing is known of the ways on, so they count alike.
        let shares = if whole > 0.0 { [to_yes / whole, to_no / whole] } else { [0.5, 0.5] };
        Ok(Node::Branch(Box::new(Branch { feature, test, threshold, yes, no, shares })))
    }

    fn cover(&self, index: usize) -> Result<f64, String> {
        let (tree, node) = self.rows.key(index);
        let place = |number: i64| usize::try_from(number).ok();
        let covers = place(tree).and_then(|tree| self.covers.get(tree));
        let cover = covers.and_then(|covers| covers.get(place(node)?)).copied();
        match cover {
            Some(cover) if cover.is_finite() && cover >= 0.0 => Ok(cover),
            Some(cover) => Err(format!("explanation.json covers node {node} of tree {tree} with {cover}")),
            None => Err(format!("explanation.json has no cover for node {node} of tree {tree}")),
        }
    }
}
