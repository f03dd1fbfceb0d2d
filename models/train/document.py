"""The three documents of a package as text: golden.json, baseline.json, manifest.toml. Values in, text out."""

import json

import numpy as np

QUANTILES = 21
SCORE_BINS = 50


def golden(values, scores, mask, count, tolerance, seed):
    """`count` rows of `mask`, half of them those with the highest scores, with the scores they must get."""
    candidates = np.flatnonzero(mask)
    highest = candidates[np.argsort(-scores[candidates], kind="stable")[: count // 2]]
    others = np.setdiff1d(candidates, highest)
    random = np.random.default_rng(seed).choice(others, size=min(count - len(highest), len(others)), replace=False)
    rows = np.sort(np.concatenate([highest, random]))
    # repr of the f64 of an f32 reads back as that f32: no digit is lost.
    return dump(
        {
            "tolerance": tolerance,
            "inputs": [[float(value) for value in values[row]] for row in rows],
            "scores": [float(scores[row]) for row in rows],
        }
    )


def baseline(names, values, scores):
    """Distribution of every feature and of the scores over the training rows."""
    ranks = np.linspace(0, 1, QUANTILES)
    features = []
    for index, name in enumerate(names):
        column = values[:, index].astype(np.float64)
        features.append(
            {
                "name": name,
                "mean": float(column.mean()),
                "median": float(np.median(column)),
                "quantiles": [float(value) for value in np.quantile(column, ranks)],
            }
        )
    counts, edges = np.histogram(np.clip(scores, 0, 1), bins=SCORE_BINS, range=(0, 1))
    score = {"edges": [round(float(edge), 6) for edge in edges], "counts": [int(count) for count in counts]}
    return dump({"features": features, "score": score})


def manifest(*, name, version, created, sha256, features, threshold, chosen, data, parameters, figures):
    """manifest.toml. JSON strings, numbers and arrays are TOML as well."""
    lines = [
        f"name = {json.dumps(name)}",
        f"version = {json.dumps(version)}",
        f"created = {json.dumps(created)}",
        f"sha256 = {json.dumps(sha256)}",
        "# The inputs, in order, by their names in schemas/features.toml.",
        "features = [",
        *(f"    {json.dumps(feature)}," for feature in features),
        "]",
        "",
        "[input]",
        'name = "input"',
        "",
        "[output]",
        'name = "probabilities"',
        'shape = "two_columns"',
        "",
        "[threshold]",
        f"value = {threshold!r}",
        f"chosen = {json.dumps(chosen)}",
        "",
        "[explanation]",
        'method = "baseline_ablation"',
        'baseline = "median"',
        "",
        "[training]",
        f"data = {json.dumps(data)}",
        "",
        "[training.parameters]",
        *(f"{key} = {json.dumps(value)}" for key, value in parameters.items()),
        "",
        "[training.figures]",
        *(f"{key} = {inline(value)}" for key, value in figures.items()),
    ]
    return "\n".join(lines) + "\n"


def inline(value):
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {json.dumps(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


def dump(value):
    return json.dumps(value, separators=(",", ":"), allow_nan=False) + "\n"
