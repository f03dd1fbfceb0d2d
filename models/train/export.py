"""A trained model and its calibration as one ONNX graph.

In: `input` f32 [N, F]. Out: `score` f32 [N, 1], the calibrated probability of fraud; `margin` f32 [N, 1], the raw log-odds
before calibration. Calibration is the last step. No scaler stands ahead of trees, no zipmap and no label output exist.
"""

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

OPSETS = {"": 17, "ai.onnx.ml": 3}
# The oldest that holds these operator sets, so that runtimes of several years load it.
IR_VERSION = 8


def onnx(trained, calibration, width):
    """The bytes of model.onnx; the same input gives the same bytes."""
    nodes, tensors = trained.graph()
    nodes = [
        *nodes,
        helper.make_node("Mul", ["margin", "slope"], ["stretched"], name="calibrate_slope"),
        helper.make_node("Add", ["stretched", "shift"], ["calibrated"], name="calibrate_intercept"),
        helper.make_node("Sigmoid", ["calibrated"], ["score"], name="calibrate"),
    ]
    tensors = [
        *tensors,
        numpy_helper.from_array(np.array([calibration.slope], dtype=np.float32), "slope"),
        numpy_helper.from_array(np.array([calibration.intercept], dtype=np.float32), "shift"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "fraud", [value("input", TensorProto.FLOAT, [None, width])],
        [value("score", TensorProto.FLOAT, [None, 1]), value("margin", TensorProto.FLOAT, [None, 1])], tensors,
    )  # fmt: skip
    used = {node.domain for node in nodes}
    imports = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items() if domain in used]
    model = helper.make_model(graph, opset_imports=imports, producer_name="assay", ir_version=IR_VERSION)
    checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


class Session:
    """The exported graph in the runtime that will serve it, with one thread: sums in one order."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, values):
        """f32 [N, F] → (score f32 [N], margin f32 [N])."""
        score, margin = self.session.run(["score", "margin"], {"input": values})
        return score[:, 0], margin[:, 0]
