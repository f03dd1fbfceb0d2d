"""What is said of a package where trained models are recorded: parameters, figures, tags, files. The folder in, values out.

Everything is read from the package, so that one that was trained long ago is recorded as one that was trained now.
Invariant: the digest is the program's own (src/model/contents.rs), so `assay models list` and the record name the same bytes.
"""

import hashlib
import json
import math
import pathlib
import tomllib
from dataclasses import dataclass

import package
from fault import Fault

PACKAGE_FILES = ("baseline.json", "explanation.json", "golden.json", "manifest.toml", "model.onnx")
REPORT = "report"
# Parts of the report's figures of the test that are one number each.
TEST = ("rows", "frauds", "roc_auc", "average_precision", "brier", "log_loss")
FOLD = ("rows", "frauds", "roc_auc", "average_precision", "card_precision")


@dataclass(frozen=True)
class Record:
    """A package as it is recorded."""

    name: str
    version: str
    digest: str
    parameters: dict  # {key: text}
    figures: list  # (key, number, step)
    files: dict  # {path inside the package: where it lies}

    @property
    def key(self):
        return f"{self.name}/{self.version}"


def of(folder):
    """The record of the package in `folder`. Fault: it is none."""
    folder = pathlib.Path(folder)
    if not (folder / package.MARK).is_file():
        raise Fault(f"{folder}: there is no package: --package names the folder that has a {package.MARK}")
    try:
        manifest = tomllib.loads((folder / package.MARK).read_text(encoding="utf-8"))
        path = folder / REPORT / "report.json"
        report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        files = {name: folder / name for name in PACKAGE_FILES if (folder / name).is_file()}
        return Record(manifest["name"], manifest["version"], digest(files), parameters(manifest, report),
                      figures(manifest, report), files | reports(folder))  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Fault(f"{folder}: is no package that can be recorded: {type(error).__name__}: {error}") from error


def digest(files):
    """SHA-256 of what `sha256sum` prints of the files, in the order of their names."""
    lines = "".join(f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def reports(folder):
    """{path inside the package: where it lies} of the report."""
    inside = sorted(path for path in (folder / REPORT).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path for path in inside}


def parameters(manifest, report):
    """What the model was trained with and on."""
    training = manifest.get("training", {})
    found = dict(training.get("parameters", {}))
    data = report.get("data", {})
    found |= {f"{part}_days": data[part]["days"] for part in ("train", "validation", "test") if part in data}
    found |= {"folds": len(data["folds"])} if "folds" in data else {}
    found |= {"features": len(manifest["features"]), "source": data.get("source") or training.get("data", "unknown")}
    found |= {"threshold": manifest.get("threshold", {}).get("value"), "alerts_a_day": report.get("alerts_a_day"),
              "chosen_by": report.get("chosen_by"), "created": manifest.get("created")}  # fmt: skip
    return {key: str(value) for key, value in found.items() if value is not None}


def figures(manifest, report):
    """[(key, number, step)]: those of the manifest, the test's further ones, and each fold's with its number as the step."""
    found = {}
    for key, value in manifest.get("training", {}).get("figures", {}).items():
        inside = value.items() if isinstance(value, dict) else [(None, value)]
        found |= {(f"{key}/{name}" if name else key, 0): number for name, number in inside}
    chosen = report.get("families", {}).get(report.get("family"), {})
    test = chosen.get("test", {})
    found |= {(f"test/{name}", 0): test.get(name) for name in TEST}
    found |= {(f"test/at_threshold/{name}", 0): number for name, number in test.get("at_threshold", {}).items()}
    found[("test/calibration/expected_error", 0)] = test.get("calibration", {}).get("expected_error")
    for step, fold in enumerate(chosen.get("folds", {}).get("folds") or [], 1):
        found |= {(f"fold/{name}", step): fold.get(name) for name in FOLD}
    return [(key, float(number), step) for (key, step), number in found.items() if is_number(number)]


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
