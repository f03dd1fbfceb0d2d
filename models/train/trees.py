"""Trees of any trainer as one ONNX TreeEnsembleRegressor, with the node covers that TreeSHAP needs beside it.

In: trees as arrays by node. Out: the node `input` [N, F] f32 → `margin` [N, 1] f32, the sum of the leaves plus a bias.
Invariant: node ids are places in the arrays, so cover i of tree t belongs to node i of tree t in the graph.
"""

from dataclasses import dataclass, field

import numpy as np
from onnx import helper

LEAF = -1


@dataclass
class Tree:
    """One tree, by node id; node 0 is the root. A leaf's `yes` and `no` are LEAF."""

    feature: list = field(default_factory=list)
    threshold: list = field(default_factory=list)  # f32
    yes: list = field(default_factory=list)  # where the comparison holds
    no: list = field(default_factory=list)
    value: list = field(default_factory=list)  # f32, of a leaf
    cover: list = field(default_factory=list)  # f64, weight of the training rows that passed the node

    def add(self, feature, threshold, value, cover):
        """Appends a node without children and returns its id."""
        for column, item in ((self.feature, feature), (self.threshold, np.float32(threshold)), (self.yes, LEAF),
                             (self.no, LEAF), (self.value, np.float32(value)), (self.cover, float(cover))):  # fmt: skip
            column.append(item)
        return len(self.feature) - 1

    def leaves(self):
        return [node for node, yes in enumerate(self.yes) if yes == LEAF]


def at_most(threshold):
    """The largest f32 that is ≤ an f64 threshold: for every f32 x, x ≤ threshold exactly when x ≤ it."""
    rounded = np.float32(threshold)
    return rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf))


def ensemble(trees, comparison, bias=0.0):
    """The graph's node. `comparison`: BRANCH_LT (XGBoost) or BRANCH_LEQ (LightGBM); it holds → the `yes` branch."""
    nodes = [(tree, node) for tree, shape in enumerate(trees) for node in range(len(shape.feature))]
    leaf = [trees[tree].yes[node] == LEAF for tree, node in nodes]
    leaves = [(tree, node) for tree, shape in enumerate(trees) for node in shape.leaves()]
    return helper.make_node(
        "TreeEnsembleRegressor", ["input"], ["margin"], name="trees", domain="ai.onnx.ml",
        aggregate_function="SUM", post_transform="NONE", n_targets=1, base_values=[float(bias)],
        nodes_treeids=[tree for tree, _ in nodes],
        nodes_nodeids=[node for _, node in nodes],
        nodes_modes=["LEAF" if ends else comparison for ends in leaf],
        nodes_featureids=[0 if ends else trees[tree].feature[node] for ends, (tree, node) in zip(leaf, nodes)],
        nodes_values=[0.0 if ends else float(trees[tree].threshold[node]) for ends, (tree, node) in zip(leaf, nodes)],
        nodes_truenodeids=[0 if ends else trees[tree].yes[node] for ends, (tree, node) in zip(leaf, nodes)],
        nodes_falsenodeids=[0 if ends else trees[tree].no[node] for ends, (tree, node) in zip(leaf, nodes)],
        target_treeids=[tree for tree, _ in leaves],
        target_nodeids=[node for _, node in leaves],
        target_ids=[0] * len(leaves),
        target_weights=[float(trees[tree].value[node]) for tree, node in leaves],
    )  # fmt: skip


def covers(trees):
    """Covers by tree and node, for explanation.json."""
    return [list(tree.cover) for tree in trees]
