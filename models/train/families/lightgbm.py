"""LightGBM: gradient boosted trees grown leaf by leaf, log-loss.

Its thresholds are 64-bit floats and its comparison is x ≤ threshold. A 32-bit input is ≤ the threshold exactly when it is ≤
the largest 32-bit float that is not above it: that one stands in the graph. The initial score lies in the first tree's leaves;
half of it stands in the graph as a bias, which is added last. A 32-bit sum loses the more the further it is from 0 on its way:
the whole at the start costs the margins of genuine payments digits, the whole at the end those of frauds.
"""

import warnings

import lightgbm
import numpy as np
import shap

import trees


class LightGBM:
    name = "lightgbm"
    tolerance = 1e-6
    splits = True
    explanation_method = "tree_shap"
    defaults = {"n_estimators": 150, "num_leaves": 31, "learning_rate": 0.05, "subsample": 0.8, "subsample_freq": 1,
                "colsample_bytree": 0.5, "min_child_samples": 50, "reg_lambda": 1.0}  # fmt: skip

    @classmethod
    def fit(cls, values, label, *, seed, parameters=None, threads=2):
        own = {**cls.defaults, **(parameters or {})}
        # Why: the same bytes every time need one way to build histograms; without missing values no third branch exists.
        model = lightgbm.LGBMClassifier(**own, objective="binary", random_state=seed, n_jobs=threads, verbosity=-1,
                                        deterministic=True, force_row_wise=True, use_missing=False)  # fmt: skip
        return cls(model.fit(values, label), own)

    def __init__(self, model, parameters):
        self.model, self.parameters = model, parameters
        raw = [tree["tree_structure"] for tree in model.booster_.dump_model()["tree_info"]]
        self.bias = np.float32(mean_leaf(raw[0]) / 2) if raw else np.float32(0.0)
        self.trees = [tree_of(tree, float(self.bias) if place == 0 else 0.0) for place, tree in enumerate(raw)]

    def margin(self, values):
        return self.model.booster_.predict(values, raw_score=True)

    def graph(self):
        return [trees.ensemble(self.trees, "BRANCH_LEQ", self.bias)], []

    def explanation(self):
        return {"method": self.explanation_method, "covers": trees.covers(self.trees)}

    def contributions(self, values):
        explainer = shap.TreeExplainer(self.model.booster_, feature_perturbation="tree_path_dependent")
        with warnings.catch_warnings():
            # It tells of its own change from an array to a list; both are taken.
            warnings.filterwarnings("ignore", message="LightGBM binary classifier")
            found = explainer.shap_values(values)
        found = found[-1] if isinstance(found, list) else found
        return float(np.ravel(explainer.expected_value)[-1]), np.asarray(found, dtype=np.float64)

    def gain(self):
        found = self.model.booster_.feature_importance("gain").astype(np.float64)
        return found / max(found.sum(), np.finfo(float).tiny)


def tree_of(root, bias):
    """A tree of LightGBM's dump, nodes numbered in pre-order, `bias` taken off every leaf."""
    tree = trees.Tree()

    def add(node):
        if "leaf_value" in node:
            return tree.add(0, 0.0, node["leaf_value"] - bias, weight(node, node is root))
        if node["decision_type"] != "<=":
            raise ValueError(f"a split by {node['decision_type']!r} cannot be written")
        place = tree.add(node["split_feature"], trees.at_most(node["threshold"]), 0.0, node["internal_count"])
        tree.yes[place] = add(node["left_child"])
        tree.no[place] = add(node["right_child"])
        return place

    add(root)
    return tree


def weight(leaf, alone):
    # A tree that is one leaf has no count, or 0: all rows are in it, and any weight above 0 says so.
    return max(leaf.get("leaf_count", 1), 1) if alone else leaf["leaf_count"]


def mean_leaf(root):
    """Mean of a tree's leaves over the training rows."""
    if "leaf_value" in root:
        return root["leaf_value"]
    left, right = root["left_child"], root["right_child"]
    rows = [node.get("internal_count", node.get("leaf_count", 1)) for node in (left, right)]
    return (rows[0] * mean_leaf(left) + rows[1] * mean_leaf(right)) / sum(rows)
