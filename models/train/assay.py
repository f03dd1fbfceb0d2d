"""The program: every feature and every figure comes out of it, none is computed here a second time.

In: files. Out: files and parsed JSON. A command that fails is a `Fault` with the program's own words.
The program is target/release/assay, or what the environment variable ASSAY names.
"""

import json
import os
import pathlib
import subprocess

from fault import Fault

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program():
    path = pathlib.Path(os.environ.get("ASSAY") or ROOT / "target/release/assay")
    if not path.is_file():
        raise Fault(f"{path}: there is no such program: `make build` makes it, or ASSAY names another")
    return path.resolve()


def run(*words, environment=None):
    """Runs `assay WORDS` in the project's root and returns what it printed on standard output."""
    words = [str(word) for word in words]
    done = subprocess.run([program(), *words], cwd=ROOT, env={**os.environ, **(environment or {})}, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
    if done.returncode:
        raise Fault(f"assay {words[0]} ended with status {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def simulate(transactions, labels, *, days, customers, seed, more=()):
    return run("simulate", "--days", days, "--customers", customers, "--seed", seed,
               "--out", transactions, "--labels", labels, *more)  # fmt: skip


def features(source, output, *, names=None, keep=("occurred_at", "is_fraud", "customer_id", "base_amount_minor")):
    """Features of every transaction of `source` (source.Source); all of the catalogue unless `names` lists some."""
    words = ["features", "--connector", source.connector, "--input", source.transactions, "--output", output]
    words += ["--keep", ",".join(keep), *source.options]
    words += ["--labels", source.labels] if source.labels else []
    words += ["--features", ",".join(names)] if names else []
    return run(*words)


def score(model, source, output):
    words = ["score", "--model", model, "--connector", source.connector, "--input", source.transactions]
    words += ["--output", output, *source.options, *(["--labels", source.labels] if source.labels else [])]
    return run(*words)


def explain(model, feature_file, output):
    return run("explain", "--model", model, "--features", feature_file, "--output", output)


def evaluate(file, *, threshold=None, alerts=(), review=None, curve=None, kind=None, fold=None, currency=None):
    """The figures of a file of scores and labels, as `assay evaluate --json` gives them. `kind`, `fold`: columns."""
    words = [*given("--threshold", threshold), *given("--review-cost", review), *given("--curve-points", curve)]
    words += given("--alerts-per-day", ",".join(str(number) for number in alerts) or None)
    words += [*given("--kind", kind), *given("--fold", fold), *given("--currency", currency)]
    return json.loads(run("evaluate", file, "--json", "-", *words))


def compare(first, second, *, seed=1, fold=None):
    """second − first for the same rows, with bootstrap intervals, as `assay evaluate --compare --json` gives them."""
    return json.loads(run("evaluate", "--compare", first, second, "--json", "-", "--seed", seed, *given("--fold", fold)))


def given(option, value):
    return [] if value is None else [option, value]
