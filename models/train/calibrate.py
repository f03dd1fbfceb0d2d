"""Platt's calibration and the threshold: from raw log-odds to a probability, and from alerts a day to a score.

score = sigmoid(slope · margin + intercept), fitted on the validation period (Platt 1999, with the targets of that paper and the
Newton steps of Lin, Lin and Weng 2007). Invariant: slope > 0, so that calibration never changes an order.
"""

from dataclasses import dataclass

import numpy as np

from fault import Fault

STEPS = 100
ENOUGH = 1e-10


@dataclass(frozen=True)
class Platt:
    """Both are 32-bit floats: the graph computes with the very same numbers."""

    slope: np.float32
    intercept: np.float32

    def __call__(self, margin):
        """Log-odds f64 [N] → probability f64 [N]."""
        return sigmoid(float(self.slope) * np.asarray(margin, dtype=np.float64) + float(self.intercept))


def sigmoid(value):
    small = np.exp(-np.abs(value))
    return np.where(value >= 0, 1.0 / (1.0 + small), small / (1.0 + small))


def platt(margin, label):
    """Fits slope and intercept by Newton's method with halved steps. Fault: one class only, or margins that order wrongly."""
    margin, label = np.asarray(margin, dtype=np.float64), np.asarray(label)
    frauds, others = int((label == 1).sum()), int((label != 1).sum())
    if not frauds or not others:
        raise Fault(f"calibration: the validation period has {frauds} frauds and {others} others: it needs both")
    # Platt's targets keep a perfect separation from an infinite slope.
    target = np.where(label == 1, (frauds + 1) / (frauds + 2), 1 / (others + 2))
    slope, intercept = 0.0, float(np.log((frauds + 1) / (others + 1)))
    loss = cross_entropy(slope * margin + intercept, target)
    for _ in range(STEPS):
        probability = sigmoid(slope * margin + intercept)
        weight = probability * (1 - probability)
        off = probability - target
        gradient = np.array([off @ margin, off.sum()])
        curve = np.array([[weight @ (margin * margin) + 1e-12, weight @ margin], [weight @ margin, weight.sum() + 1e-12]])
        step = -np.linalg.solve(curve, gradient)
        size = 1.0
        while size > 1e-10:
            candidate = cross_entropy((slope + size * step[0]) * margin + intercept + size * step[1], target)
            if candidate <= loss:
                break
            size /= 2
        else:
            break
        slope, intercept = slope + size * step[0], intercept + size * step[1]
        settled = loss - candidate <= ENOUGH * max(loss, 1.0)
        loss = candidate
        if settled:
            break
    if not np.float32(slope) > 0:
        raise Fault(f"calibration: the slope is {slope}: on the validation period higher margins are no likelier frauds")
    return Platt(np.float32(slope), np.float32(intercept))


def cross_entropy(margin, target):
    """Sum over the rows, without overflow."""
    return float((np.logaddexp(0.0, margin) - target * margin).sum())


def threshold(scores, days, alerts):
    """Lowest f32 score with at most `alerts` alerts a day over `days` days, halfway to the next lower score.

    Where that score stands more often than the alerts allow, the threshold lies above all of its rows.
    """
    ranked = np.sort(np.asarray(scores, dtype=np.float32))[::-1]
    allowed = min(int(alerts * days), len(ranked))
    if allowed == len(ranked):
        return float(ranked[-1])
    if allowed == 0 or ranked[0] == ranked[allowed]:
        return float(np.nextafter(ranked[0], np.float32(2.0)))
    lower = ranked[allowed]
    upper = ranked[:allowed][ranked[:allowed] > lower][-1]
    middle = np.float32((float(upper) + float(lower)) / 2)
    return float(middle if middle > lower else upper)
