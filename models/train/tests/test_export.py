"""Every family's graph against its trainer: on random rows, on values exactly at every split, and when it is broken on purpose."""

import unittest

import numpy as np
import onnx

import calibrate
import export
import trees
import verify
from families import FAMILIES
from fault import Fault

ROWS, WIDTH = 4000, 12


def made(seed=11):
    """Rows with counts, flags, shares and amounts, as features are; half of them frauds for deep trees."""
    dice = np.random.default_rng(seed)
    values = np.column_stack([
        dice.exponential(60, ROWS), dice.integers(0, 2, ROWS), dice.integers(0, 30, ROWS), dice.random(ROWS),
        dice.integers(0, 2_592_000, ROWS) + dice.random(ROWS), dice.normal(0, 1, ROWS), np.zeros(ROWS), dice.lognormal(3, 2, ROWS),
        *(dice.normal(0, 10.0 ** power, ROWS) for power in (-3, 0, 2, 4)),
    ]).astype(np.float32)  # fmt: skip
    signal = values[:, 0] / 60 + 2 * values[:, 1] - values[:, 2] / 10 + values[:, 5] * values[:, 3]
    return values, (signal + dice.normal(0, 1, ROWS) > 0.5).astype(np.int8)


class Export(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.values, label = made()
        cls.trained = {name: family.fit(cls.values, label, seed=4, threads=1) for name, family in FAMILIES.items()}
        cls.calibration = calibrate.Platt(np.float32(0.9), np.float32(-0.3))

    def graph(self, name):
        return export.onnx(self.trained[name], self.calibration, WIDTH)

    def check(self, name, values):
        found = verify.export(self.trained[name], self.calibration, export.Session(self.graph(name)), values)
        self.assertEqual(found["beyond"], 0, f"{name}: {found}")
        return found

    def test_random_rows_score_as_in_the_trainer(self):
        other, _ = made(seed=12)
        for name in FAMILIES:
            with self.subTest(name):
                self.check(name, np.vstack([self.values, other, -other]))

    def test_values_at_every_split_and_beside_it_take_the_trainers_way(self):
        for name in ("xgboost", "lightgbm"):
            splits = {(feature, float(threshold)) for tree in self.trained[name].trees
                      for feature, threshold, yes in zip(tree.feature, tree.threshold, tree.yes) if yes != trees.LEAF}  # fmt: skip
            self.assertGreater(len(splits), 500)
            values = []
            for place, (feature, threshold) in enumerate(sorted(splits)):
                for value in (
                    np.nextafter(np.float32(threshold), np.float32(-np.inf)),
                    threshold,
                    np.nextafter(np.float32(threshold), np.float32(np.inf)),
                ):
                    row = self.values[place % ROWS].copy()
                    row[feature] = value
                    values.append(row)
            with self.subTest(name):
                self.check(name, np.array(values, dtype=np.float32))

    def test_a_split_of_64_bits_is_rounded_down(self):
        for threshold in (0.1, 1.0, 1 / 3, -0.1, 1e-35, 16777217.0, 0.5 + 1e-12):
            rounded = trees.at_most(threshold)
            for value in (np.nextafter(rounded, np.float32(-np.inf)), rounded, np.nextafter(rounded, np.float32(np.inf))):
                self.assertEqual(float(value) <= threshold, value <= rounded, threshold)

    def test_the_graph_is_what_the_package_promises(self):
        for name, trained in self.trained.items():
            with self.subTest(name):
                graph = onnx.load_from_string(self.graph(name)).graph
                shape = {
                    value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
                    for value in [*graph.input, *graph.output]
                }
                self.assertEqual(shape, {"input": [0, WIDTH], "score": [0, 1], "margin": [0, 1]})
                operators = [node.op_type for node in graph.node]
                self.assertEqual(operators[-3:], ["Mul", "Add", "Sigmoid"])
                if trained.splits:
                    self.assertEqual(operators, ["TreeEnsembleRegressor", "Mul", "Add", "Sigmoid"])

    def test_the_same_training_gives_the_same_bytes(self):
        values, label = made()
        for name, family in FAMILIES.items():
            with self.subTest(name):
                self.assertEqual(export.onnx(family.fit(values, label, seed=4, threads=1), self.calibration, WIDTH), self.graph(name))

    def test_covers_are_those_of_the_training_rows(self):
        for name in ("xgboost", "lightgbm"):
            for tree in self.trained[name].trees:
                for node, (yes, no) in enumerate(zip(tree.yes, tree.no)):
                    if yes != trees.LEAF:
                        self.assertAlmostEqual(tree.cover[node], tree.cover[yes] + tree.cover[no], delta=1e-3 * tree.cover[node])

    def test_a_wrong_export_stops_the_build(self):
        for name, trained in self.trained.items():
            with self.subTest(name), self.assertRaisesRegex(Fault, f"export of {name}: .* rows score otherwise"):
                off = calibrate.Platt(np.float32(0.9001), np.float32(-0.3))
                verify.export(trained, off, export.Session(self.graph(name)), self.values)

    def test_a_wrong_side_of_a_split_stops_the_build(self):
        model = onnx.load_from_string(self.graph("lightgbm"))
        for attribute in model.graph.node[0].attribute:
            if attribute.name == "nodes_modes":
                attribute.strings[:] = [b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode for mode in attribute.strings]
        values = self.values[:500].copy()
        feature, threshold = next((tree.feature[0], tree.threshold[0]) for tree in self.trained["lightgbm"].trees)
        values[:, feature] = threshold
        with self.assertRaises(Fault):
            verify.export(self.trained["lightgbm"], self.calibration, export.Session(model.SerializeToString()), values)

    def test_no_trees_but_one_leaf(self):
        values = np.zeros((200, WIDTH), dtype=np.float32)
        label = np.r_[np.ones(20), np.zeros(180)].astype(np.int8)
        for name in ("xgboost", "lightgbm"):
            with self.subTest(name):
                trained = FAMILIES[name].fit(values, label, seed=1, threads=1)
                session = export.Session(export.onnx(trained, self.calibration, WIDTH))
                self.assertEqual(verify.export(trained, self.calibration, session, values)["beyond"], 0)


if __name__ == "__main__":
    unittest.main()
