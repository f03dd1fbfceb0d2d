"""From a measured line to packages on disk: every document of each, the report and its pictures."""

import datetime
import hashlib
import importlib.metadata

import document
import explain
import package
import pictures
import report

GOLDEN_ROWS = 48
# The runtime sums in 32 bits in another order than the trainer may: a few units in the last place.
SCORE_TOLERANCE = 1e-5
PARTS = ("numpy", "scikit-learn", "xgboost-cpu", "lightgbm", "shap", "onnx", "onnxruntime")


def packages(line, source, options):
    """Writes the chosen family to --output, and every family, without pictures, to --each; yields what to print."""
    output = options.output.resolve()
    named = (options.name or output.parent.name, options.version or output.name)
    if options.each:
        for name in line.candidates:
            folder = options.each.resolve() / name / named[1]
            package.write(folder, files(line, name, source, options, (name, named[1]), drawn=False))
            yield f"train: the package of {name} is at {folder}"
    found = files(line, line.chosen, source, options, named, drawn=True)
    package.write(output, found)
    yield found["report/report.txt"]
    yield f"train: the package is at {options.output}: serve it with ASSAY__MODEL__DIRECTORY={options.output}"


def files(line, name, source, options, named, *, drawn):
    """{path: content} of one family's package."""
    rows, candidate = line.rows, line.candidates[name]
    train, validation, test = (
        period.of(rows.day) for period in (line.split.train, line.split.validation, line.split.test)
    )
    scores = candidate.session(rows.values)[0]
    golden = document.golden_rows(scores, test, GOLDEN_ROWS, options.seed)
    explained = explain.golden(candidate.trained, candidate.session, rows.values[golden])
    explanation = candidate.trained.explanation()
    texts = {
        "model.onnx": candidate.onnx,
        "golden.json": document.golden(rows.names, rows.values[golden], scores[golden], SCORE_TOLERANCE, explained),
        "baseline.json": document.baseline(rows.names, rows.values[train], scores[validation]),
    }
    if explanation is not None:
        texts["explanation.json"] = document.dump(explanation)
    value = report.value(line, name, source, {part: importlib.metadata.version(part) for part in PARTS})
    texts["report/report.json"] = report.dump(value)
    texts["report/report.txt"] = report.text(value, "/".join(named))
    if drawn:
        curves = {family: item.test for family, item in line.candidates.items()}
        texts |= {f"report/{picture}": content for picture, content in pictures.draw(value, curves).items()}
    texts["manifest.toml"] = manifest(line, name, source, options, named, texts, explanation is not None)
    return texts


def manifest(line, name, source, options, named, texts, explained):
    rows, candidate, split = line.rows, line.candidates[name], line.split
    newest = datetime.datetime.fromtimestamp(int(rows.time[-1]) // 1000, datetime.timezone.utc)
    return document.manifest(
        name=named[0],
        version=named[1],
        # Why not the clock's time: the same run must give the same bytes.
        created=newest.strftime("%Y-%m-%dT%H:%M:%SZ"),
        sha256=sha256(texts["model.onnx"]),
        features=rows.names,
        threshold=candidate.threshold,
        chosen=f"{options.alerts_per_day} alerts a day on {split.validation}",
        calibration=candidate.calibration,
        method=candidate.trained.explanation_method,
        explanation_sha256=sha256(texts["explanation.json"].encode()) if explained else None,
        data=f"{source.about}: trained on {split.train}, calibrated on and threshold from {split.validation}, tested on {split.test}",
        parameters={
            "algorithm": name,
            **candidate.trained.parameters,
            "seed": options.seed,
            "threads": options.threads,
            "label_delay_days": options.label_delay_days,
            "warm_up_days": options.warm_up_days,
            "command": options.command,
        },  # fmt: skip
        figures=figures(candidate),
    )


def figures(candidate):
    """The few figures that the manifest carries; the report has all."""
    folds, test, at = candidate.folds, candidate.test, candidate.test["at_threshold"]
    keys = ("roc_auc", "average_precision", "card_precision")
    found = {"folds_mean": short(folds["mean"], keys), "test": {**short(test, ("rows", "frauds", "roc_auc", "average_precision")),
             "card_precision": report.cards(test), "precision": at["precision"], "recall": at["recall"]}}  # fmt: skip
    if folds["spread"]:
        found["folds_spread"] = short(folds["spread"], keys)
    return {**found, "export_difference": candidate.verified["largest"]}


def short(found, keys):
    return {key: round(found[key], 6) if isinstance(found[key], float) else found[key] for key in keys}


def sha256(content):
    return hashlib.sha256(content).hexdigest()
