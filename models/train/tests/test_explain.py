"""assay's reasons against the `shap` package on the trainers' own models, and sums against the margin."""

import json
import unittest

import numpy as np
import onnxruntime
import pyarrow.parquet as pq

import assay
from families import FAMILIES, lightgbm
from tests import support

ROWS = 5000
BAR = 1e-5


class Covers(unittest.TestCase):
    def test_covers_of_lightgbm_are_its_counts(self):
        leaves = [{"leaf_value": 0.1, "leaf_count": 0}, {"leaf_value": 0.2, "leaf_count": 9}]
        root = {"split_feature": 0, "threshold": 0.5, "decision_type": "<=", "internal_count": 9,
                "left_child": leaves[0], "right_child": leaves[1]}  # fmt: skip
        self.assertEqual(lightgbm.tree_of(root, 0.0).cover, [9, 0, 9])
        # A tree that is one leaf has no count.
        for alone in ({"leaf_value": 0.1}, {"leaf_value": 0.1, "leaf_count": 0}):
            self.assertEqual(lightgbm.tree_of(alone, 0.0).cover, [1])


class Reasons(unittest.TestCase):
    def explained(self, family, values, package):
        """(transaction columns of assay explain as arrays) for the rows `values`."""
        names = support.rows().names
        file = support.feature_file(names, values, support.folder() / f"{family}-rows.parquet")
        output = support.folder() / f"{family}-reasons.parquet"
        assay.explain(package, file, output)
        table = pq.read_table(output)
        self.assertEqual(table["transaction_id"].to_pylist(), [f"t{row}" for row in range(len(values))])
        contributions = np.column_stack([table[name].to_numpy() for name in names])
        return table["baseline"].to_numpy(), contributions, table["margin"].to_numpy(), table["score"].to_numpy()

    def again(self, family):
        """The trainer's model of the run, fitted again from the same rows."""
        rows = support.rows()
        report = json.loads((support.trained() / "each" / family / "1/report/report.json").read_text())
        first, last = (
            np.datetime64(day).astype("datetime64[D]").astype(int) for day in report["data"]["train"]["days"].split("..")
        )
        start = np.datetime64(report["data"]["validation"]["days"].split("..")[0]).astype("datetime64[D]").astype(int)
        inside = (rows.day >= first) & (rows.day <= last)
        return FAMILIES[family].fit(rows.values[inside], rows.known(start * 86_400_000)[inside], seed=1, threads=1)

    def picked(self):
        """ROWS rows over the whole time, those that score highest among them."""
        rows = support.rows()
        fraud = np.flatnonzero(rows.label == 1)
        others = np.setdiff1d(np.arange(len(rows.time)), fraud)
        picked = np.concatenate([fraud, others[:: max(1, len(others) // ROWS)]])[:ROWS]
        self.assertEqual(len(picked), ROWS)
        return rows.values[np.sort(picked)]

    def test_exact_reasons_are_those_of_shap(self):
        for family in ("xgboost", "lightgbm", "logistic"):
            with self.subTest(family):
                values = self.picked()
                package = support.trained() / "each" / family / "1"
                baseline, contributions, margin, score = self.explained(family, values, package)
                trained = self.again(family)
                expected_baseline, expected = trained.contributions(values)
                self.assertLessEqual(np.abs(contributions - expected).max(), BAR)
                self.assertLessEqual(np.abs(baseline - expected_baseline).max(), BAR)
                self.assertLessEqual(np.abs(baseline + contributions.sum(axis=1) - margin).max(), BAR)
                self.assertLessEqual(np.abs(margin - trained.margin(values)).max(), BAR)
                session = onnxruntime.InferenceSession(package / "model.onnx")
                self.assertLessEqual(np.abs(session.run(["score"], {"input": values})[0][:, 0] - score).max(), 1e-6)

    def test_the_approximation_of_the_perceptron_adds_up(self):
        baseline, contributions, margin, _ = self.explained("mlp", self.picked()[:200], support.trained() / "each/mlp/1")
        self.assertLessEqual(np.abs(baseline + contributions.sum(axis=1) - margin).max(), BAR)
        self.assertGreater(np.abs(contributions).max(), 0.1)

    def test_shap_and_the_trainers_agree(self):
        """The golden contributions rest on shap; the trainers' own are a second opinion."""
        values = self.picked()[:500]
        import xgboost

        trained = self.again("xgboost")
        own = trained.model.get_booster().predict(xgboost.DMatrix(values), pred_contribs=True)
        baseline, contributions = trained.contributions(values)
        self.assertLessEqual(np.abs(own[:, :-1] - contributions).max(), BAR)
        self.assertLessEqual(np.abs(own[:, -1] - baseline).max(), BAR)
        trained = self.again("lightgbm")
        own = trained.model.booster_.predict(values, pred_contrib=True)
        baseline, contributions = trained.contributions(values)
        self.assertLessEqual(np.abs(own[:, :-1] - contributions).max(), BAR)
        self.assertLessEqual(np.abs(own[:, -1] - baseline).max(), BAR)


if __name__ == "__main__":
    unittest.main()
