"""What assay needs to explain a model, what it is held against, and how much each feature matters on the whole.

explanation.json: node covers or weights, as docs/TRAINING.md says. Golden contributions: by the `shap` package on the trainer's
model, so that assay's own are compared with somebody else's. Importance: mean |contribution|.
"""

import numpy as np

from fault import Fault

TOLERANCE = 1e-5
IMPORTANCE_ROWS = 2_000
DIGITS = 9


def golden(trained, session, values):
    """The explanation of golden.json for the rows `values`; None where the family has no exact contributions."""
    found = trained.contributions(values)
    if found is None:
        return None
    baseline, contributions = found
    margin = session(values)[1]
    off = np.abs(baseline + contributions.sum(axis=1) - margin).max(initial=0.0)
    if off > TOLERANCE:
        raise Fault(
            f"explanation of {trained.name}: baseline and contributions miss the margin by {off:.3g}; {TOLERANCE:g} is allowed"
        )
    return {
        "tolerance": TOLERANCE,
        "baseline": baseline,
        "margins": [float(value) for value in margin],
        "contributions": [[round(float(value), DIGITS) for value in row] for row in contributions],
    }


def importance(trained, values, names, seed):
    """By feature, most important first: {"feature", "contribution", "gain"}; `values` f32 [N, F] of the rows that are explained.

    contribution: mean |contribution| to the margin. Where there is no exact one, mean |change of the margin| when the feature's
    values are dealt out anew among the rows (permutation importance, Breiman 2001), which is another measure of the same unit.
    """
    picked = values[np.sort(np.random.default_rng(seed).choice(len(values), min(IMPORTANCE_ROWS, len(values)), replace=False))]
    found = trained.contributions(picked)
    moved = np.abs(found[1]).mean(axis=0) if found else shuffled(trained, picked, seed)
    gain = trained.gain()
    order = np.argsort(-moved, kind="stable")
    return [{"feature": names[index], "contribution": round(float(moved[index]), 6),
             "gain": None if gain is None else round(float(gain[index]), 6)} for index in order]  # fmt: skip


def shuffled(trained, values, seed):
    dice = np.random.default_rng(seed)
    before = trained.margin(values)
    moved = np.zeros(values.shape[1])
    for index in range(values.shape[1]):
        other = values.copy()
        other[:, index] = other[dice.permutation(len(other)), index]
        moved[index] = np.abs(trained.margin(other) - before).mean()
    return moved
