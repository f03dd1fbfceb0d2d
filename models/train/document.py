"""The documents of a package as text: golden.json, baseline.json, manifest.toml. Values in, text out."""

import json

import numpy as np

QUANTILES = 21
SCORE_BINS = 50


def golden_rows(scores, mask, count, seed):
    """`count` row numbers of `mask`: half of them with the highest scores, the others at random."""
    candidates = np.flatnonzero(mask)
    highest = candidates[np.argsort(-scores[candidates], kind="stable")[: count // 2]]
    others = np.setdiff1d(candidates, highest)
    random = np.random.default_rng(seed).choice(others, size=min(count - len(highest), len(others)), replace=False)
    return np.sort(np.concatenate([highest, random]))


def golden(names, values, scores, tolerance, explanation):
    """golden.json: rows of the features `names`, the scores they must get, and how they must be explained (explain.golden) where that is known."""
    # repr of the f64 of an f32 reads back as that f32: no digit is lost.
    found = {
        "features": list(names),
        "tolerance": tolerance,
        "inputs": [[float(value) for value in row] for row in values],
        "scores": [float(score) for score in scores],
    }
    return dump({**found, "explanation": explanation} if explanation else found)


def baseline(names, values, scores):
    """Distributions of every feature over the rows `values`, of the training, and of `scores`, which are of rows that are not in it:
    a model scores its own training rows further apart than any it will meet."""
    ranks = np.linspace(0, 1, QUANTILES)
    features = []
    for index, name in enumerate(names):
        column = values[:, index].astype(np.float64)
        quantiles = np.quantile(column, ranks)
        mean, median = float(column.mean()), float(np.median(column))
        features.append({"name": name, "mean": mean, "median": median, "quantiles": [float(value) for value in quantiles]})
    counts, edges = np.histogram(np.clip(scores, 0, 1), bins=SCORE_BINS, range=(0, 1))
    score = {"edges": [round(float(edge), 6) for edge in edges], "counts": [int(count) for count in counts]}
    return dump({"features": features, "score": score})


def manifest(*, name, version, created, sha256, features, threshold, chosen, calibration, method, explanation_sha256, data,
             parameters, figures):  # fmt: skip
    """manifest.toml. JSON strings, numbers and arrays are TOML as well."""
    text = json.dumps
    lines = [
        f"name = {text(name)}",
        f"version = {text(version)}",
        f"created = {text(created)}",
        f"sha256 = {text(sha256)}",
        "# The inputs, in order, by their names in schemas/features.toml.",
        "features = [",
        *(f"    {text(feature)}," for feature in features),
        "]",
        "",
        "[input]",
        'name = "input"',
        "",
        "# score: the probability of fraud; margin: the raw log-odds before calibration.",
        "[output]",
        'name = "score"',
        'shape = "one_column"',
        'margin = "margin"',
        "",
        "[threshold]",
        f"value = {threshold!r}",
        f"chosen = {text(chosen)}",
        "",
        "# score = sigmoid(slope * margin + intercept), the last step of the graph.",
        "[calibration]",
        'method = "platt"',
        f"slope = {float(calibration.slope)!r}",
        f"intercept = {float(calibration.intercept)!r}",
        "",
        "[explanation]",
        f"method = {text(method)}",
        *([f"sha256 = {text(explanation_sha256)}"] if explanation_sha256 else []),
        "",
        "[training]",
        f"data = {text(data)}",
        "",
        "[training.parameters]",
        *(f"{key} = {text(value)}" for key, value in parameters.items()),
        "",
        "[training.figures]",
        *(f"{key} = {inline(value)}" for key, value in figures.items()),
    ]
    return "\n".join(lines) + "\n"


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items() if item is not None) + " }"
    return json.dumps(value)


def dump(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"
