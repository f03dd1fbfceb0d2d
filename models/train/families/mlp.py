"""A small multilayer perceptron (scikit-learn's) on scaled features that are held within ±CLIP deviations."""

import warnings

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from families.scaling import Scaler

CLIP = 6.0
"""Beyond so many deviations a feature says no more: an amount in the tail must not drown the others."""


class Mlp:
    name = "mlp"
    tolerance = 1e-5
    splits = False
    explanation_method = "permutation_shapley"
    defaults = {"first": 32, "second": 16, "alpha": 1e-4, "learning_rate_init": 2e-3, "batch_size": 1024, "max_iter": 8}

    @classmethod
    def fit(cls, values, label, *, seed, parameters=None, threads=2):
        own = {**cls.defaults, **(parameters or {})}
        rest = {key: value for key, value in own.items() if key not in ("first", "second")}
        rest["batch_size"] = min(rest["batch_size"], len(label))
        model = MLPClassifier((own["first"], own["second"]), activation="relu", solver="adam", random_state=seed, **rest)
        scaler = Scaler(values)
        with warnings.catch_warnings():
            # max_iter is the number of passes that is asked for, and no accident.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(clipped(scaler, values), label)
        return cls(scaler, model, own)

    def __init__(self, scaler, model, parameters):
        self.scaler, self.model, self.parameters = scaler, model, parameters

    def margin(self, values):
        """The last layer before its sigmoid, which scikit-learn does not give: recomputed, and held against predict_proba."""
        given = clipped(self.scaler, values)
        layer = given.astype(np.float64)
        for weight, bias in zip(self.model.coefs_[:-1], self.model.intercepts_[:-1]):
            layer = np.maximum(layer @ weight + bias, 0.0)
        margin = (layer @ self.model.coefs_[-1] + self.model.intercepts_[-1])[:, 0]
        off = np.abs(1.0 / (1.0 + np.exp(-margin)) - self.model.predict_proba(given)[:, 1]).max(initial=0.0)
        if off > 1e-5:
            raise ValueError(f"the recomputed margin is {off} off the trainer's probability")
        return margin

    def graph(self):
        nodes, tensors = self.scaler.graph("scaled")
        nodes += [helper.make_node("Clip", ["scaled", "lowest", "highest"], ["clipped"], name="clip"),
                  helper.make_node("Cast", ["clipped"], ["layer0"], name="narrow", to=TensorProto.FLOAT)]  # fmt: skip
        tensors += [numpy_helper.from_array(np.float64(-CLIP), "lowest"), numpy_helper.from_array(np.float64(CLIP), "highest")]
        last = len(self.model.coefs_) - 1
        for index, (weight, bias) in enumerate(zip(self.model.coefs_, self.model.intercepts_)):
            given, sums = f"layer{index}", "margin" if index == last else f"sums{index}"
            tensors += [numpy_helper.from_array(weight.astype(np.float32), f"weights{index}"),
                        numpy_helper.from_array(bias.astype(np.float32), f"bias{index}")]  # fmt: skip
            nodes += [helper.make_node("MatMul", [given, f"weights{index}"], [f"weighted{index}"], name=f"weigh{index}"),
                      helper.make_node("Add", [f"weighted{index}", f"bias{index}"], [sums], name=f"add{index}")]  # fmt: skip
            if index != last:
                nodes.append(helper.make_node("Relu", [sums], [f"layer{index + 1}"], name=f"relu{index}"))
        return nodes, tensors

    def explanation(self):
        return None

    def contributions(self, values):
        return None

    def gain(self):
        return None


def clipped(scaler, values):
    return np.clip(scaler(values), -CLIP, CLIP).astype(np.float32)
