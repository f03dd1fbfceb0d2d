"""The package that docs/MODELS.md shows how to make of any ONNX model: the program takes it and scores by it."""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import numpy
import onnx
import pyarrow.parquet
from onnx import TensorProto, helper

from assay import ROOT, program

FEATURES = ["amount", "is_night", "hour"]
WEIGHTS = numpy.array([[0.01], [1.0], [-0.1]], dtype=numpy.float32)


def documented():
    """The function of the page, as it stands there."""
    text = (ROOT / "docs/MODELS.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(compile(code, "docs/MODELS.md", "exec"), names)
    return names["package"]


def logistic():
    """sigmoid(x · WEIGHTS), ONNX."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["margin"]), helper.make_node("Sigmoid", ["margin"], ["score"])]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "own", [tensor("x", TensorProto.FLOAT, [None, 3])], [tensor("score", TensorProto.FLOAT, [None, 1])],
                              [onnx.numpy_helper.from_array(WEIGHTS, "w")])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


class Own(unittest.TestCase):
    def test_the_package_of_the_page_is_taken_and_scores_by_its_model(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        dice = numpy.random.default_rng(1)
        rows = numpy.column_stack([dice.uniform(1, 300, 500), dice.integers(0, 2, 500), dice.integers(0, 24, 500)]).astype(numpy.float32)
        package = folder / "own/7"
        documented()(package, logistic(), FEATURES, rows[:400], rows[400:], 0.5)
        payments = folder / "payments.ndjson"
        with payments.open("w") as file:
            for number in range(50):
                file.write(json.dumps({"transaction_id": f"tx-{number}", "occurred_at": 1_767_225_600_000 + number * 3_600_000,
                                       "customer_id": "c-1", "terminal_id": "t-1", "amount_minor": 1000 * number + 500,
                                       "currency": "EUR"}) + "\n")  # fmt: skip
        scores = folder / "scores.parquet"
        words = [program(), "score", "--model", package, "--input", payments, "--output", scores]
        done = subprocess.run([str(word) for word in words], cwd=ROOT, text=True, capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        table = pyarrow.parquet.read_table(scores)
        self.assertEqual((table["model_version"].unique().to_pylist(), table.num_rows), (["7"], 50))
        # The payments begin at midnight, UTC, one an hour; it is night before seven.
        amounts, hours = numpy.arange(50) * 10.0 + 5.0, numpy.arange(50) % 24
        nights = hours < 7
        wanted = [1 / (1 + numpy.exp(-margin)) for margin in 0.01 * amounts + nights - 0.1 * hours]
        found = table["score"].to_numpy()
        different = numpy.abs(found - wanted) > 1e-5
        self.assertFalse(different.any(), list(zip(found[different], numpy.array(wanted)[different], hours[different])))


if __name__ == "__main__":
    unittest.main()
