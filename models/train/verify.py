"""The export held against the trainer, row by row. A model that differs is not written.

The trainer's margin through the same calibration in 64 bits must be the graph's score: to 1e-6 for trees and logistic regression,
to 1e-5 for the perceptron. Of trees, at most AT_A_SPLIT rows may differ more, where a value lies exactly at a split.
"""

import numpy as np

from fault import Fault

ROWS = 100_000
AT_A_SPLIT = 3


def rows(count, limit=ROWS):
    """At most `limit` row numbers, evenly spread over `count`."""
    return np.arange(count) if count <= limit else np.linspace(0, count - 1, limit).astype(np.int64)


def export(trained, calibration, session, values):
    """{"rows", "largest", "largest_margin", "beyond", "tolerance"}: differences on `values`. Fault: more than the bar allows."""
    expected = trained.margin(values)
    score, margin = session(values)
    off = np.abs(score.astype(np.float64) - calibration(expected))
    beyond = np.flatnonzero(~(off <= trained.tolerance))
    found = {"rows": len(values), "tolerance": trained.tolerance, "beyond": len(beyond), "largest": float(off.max(initial=0.0)),
             "largest_margin": float(np.abs(margin - expected).max(initial=0.0))}  # fmt: skip
    allowed = AT_A_SPLIT if trained.splits else 0
    if len(beyond) > allowed:
        raise Fault(
            f"export of {trained.name}: {len(beyond)} of {len(values)} rows score otherwise than in the trainer, by up to "
            f"{found['largest']:.3g}; {allowed} may by more than {trained.tolerance:g}; the first is row {beyond[0]}"
        )
    return found
