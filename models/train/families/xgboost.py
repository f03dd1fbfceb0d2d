"""XGBoost: gradient boosted trees with histogram splits, log-loss.

Its thresholds and inputs are 32-bit floats and its comparison is x < threshold, so the graph takes the same way exactly.
base_score is 0.5, which is a bias of 0 in log-odds: version 3 would estimate one from the data otherwise.
"""

import json

import numpy as np
import shap
import xgboost

import trees


class XGBoost:
    name = "xgboost"
    tolerance = 1e-6
    splits = True
    explanation_method = "tree_shap"
    defaults = {"n_estimators": 100, "max_depth": 6, "learning_rate": 0.1, "subsample": 0.8, "colsample_bytree": 0.5,
                "min_child_weight": 5.0, "reg_lambda": 1.0, "tree_method": "hist"}  # fmt: skip
    # Taken where it is set: with one estimator of many parallel trees it is a random forest.
    further = {"num_parallel_tree": 1}

    @classmethod
    def fit(cls, values, label, *, seed, parameters=None, threads=2):
        own = {**cls.defaults, **(parameters or {})}
        model = xgboost.XGBClassifier(**own, objective="binary:logistic", base_score=0.5, random_state=seed, n_jobs=threads)
        return cls(model.fit(values, label), own)

    def __init__(self, model, parameters):
        self.model, self.parameters = model, parameters
        self.width = model.n_features_in_
        learner = json.loads(model.get_booster().save_raw("json"))["learner"]
        self.trees = [tree_of(tree) for tree in learner["gradient_booster"]["model"]["trees"]]

    def margin(self, values):
        return self.model.predict(values, output_margin=True).astype(np.float64)

    def graph(self):
        return [trees.ensemble(self.trees, "BRANCH_LT")], []

    def explanation(self):
        return {"method": self.explanation_method, "covers": trees.covers(self.trees)}

    def contributions(self, values):
        explainer = shap.TreeExplainer(self.model, feature_perturbation="tree_path_dependent")
        # Why in this order: the explainer learns the true expected value when it explains, and says 0 before.
        found = explainer.shap_values(values).astype(np.float64)
        return float(np.ravel(explainer.expected_value)[0]), found

    def gain(self):
        by_name = self.model.get_booster().get_score(importance_type="total_gain")
        found = np.array([by_name.get(f"f{index}", 0.0) for index in range(self.width)])
        return found / max(found.sum(), np.finfo(float).tiny)


def tree_of(raw):
    """A tree of XGBoost's JSON model, nodes numbered anew in pre-order (pruned ones leave holes in the numbers)."""
    tree = trees.Tree()

    def add(node):
        left, right = raw["left_children"][node], raw["right_children"][node]
        number = raw["split_conditions"][node]
        cover = raw["sum_hessian"][node]
        if left == trees.LEAF:
            return tree.add(0, 0.0, number, cover)
        place = tree.add(raw["split_indices"][node], number, 0.0, cover)
        tree.yes[place] = add(left)
        tree.no[place] = add(right)
        return place

    add(0)
    return tree
