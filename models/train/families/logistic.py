"""Logistic regression on scaled features. Its contributions are exact: weight · (value − mean)."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from families.scaling import Scaler


class Logistic:
    name = "logistic"
    tolerance = 1e-6
    splits = False
    explanation_method = "linear_shap"
    defaults = {"C": 1.0, "max_iter": 300}

    @classmethod
    def fit(cls, values, label, *, seed, parameters=None, threads=2):
        own = {**cls.defaults, **(parameters or {})}
        scaler = Scaler(values)
        model = LogisticRegression(**own, random_state=seed)
        return cls(scaler, model.fit(scaler(values), label), own)

    def __init__(self, scaler, model, parameters):
        self.scaler, self.model, self.parameters = scaler, model, parameters
        self.weights = model.coef_[0] * scaler.inverse
        """By raw feature, in log-odds a unit."""

    def margin(self, values):
        return self.model.decision_function(self.scaler(values))

    def graph(self):
        nodes, tensors = self.scaler.graph("scaled")
        nodes += [
            helper.make_node("MatMul", ["scaled", "weights"], ["weighted"], name="weigh"),
            helper.make_node("Add", ["weighted", "intercept"], ["wide_margin"], name="add"),
            helper.make_node("Cast", ["wide_margin"], ["margin"], name="narrow", to=TensorProto.FLOAT),
        ]
        tensors += [numpy_helper.from_array(self.model.coef_.T.astype(np.float64).copy(), "weights"),
                    numpy_helper.from_array(self.model.intercept_.astype(np.float64), "intercept")]  # fmt: skip
        return nodes, tensors

    def explanation(self):
        """In raw units: margin = intercept + Σ weight · value."""
        intercept = float(self.model.intercept_[0] - self.weights @ self.scaler.mean)
        return {"method": self.explanation_method, "weights": [float(weight) for weight in self.weights],
                "means": [float(mean) for mean in self.scaler.mean], "intercept": intercept}  # fmt: skip

    def contributions(self, values):
        # The formula of shap.LinearExplainer for independent features (Štrumbelj and Kononenko 2014).
        return float(self.model.intercept_[0]), (values - self.scaler.mean) * self.weights

    def gain(self):
        return None
