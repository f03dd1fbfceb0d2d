"""What the tests share: a small simulated source, and a training run on it whose packages are made once a process."""

import atexit
import contextlib
import functools
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pyarrow.parquet as pq

import assay
import command
import read

TRAINING = pathlib.Path(__file__).resolve().parents[1]
FAMILIES = ("xgboost", "lightgbm", "logistic", "mlp")
# Long enough for three folds, small enough for a minute in all.
DAYS, CUSTOMERS = 38, 800
# Some of each kind; `make train` and `make model` take the whole catalogue.
FEATURES = ["amount", "is_night", "hour", "is_online", "customer_tx_count_1d", "customer_amount_mean_7d", "customer_tx_count_30d",
            "terminal_fraud_share_7d", "terminal_fraud_share_30d", "terminal_tx_count_7d", "customer_seconds_since_last",
            "customer_tx_count_5m", "customer_amount_sum_1h", "customer_amount_max_30d", "customer_amount_ratio_30d",
            "customer_amount_zscore_30d", "customer_distinct_terminals_1d", "customer_first_at_terminal_30d",
            "terminal_tx_count_5m", "terminal_tx_count_1h", "terminal_seconds_since_last"]  # fmt: skip
SHORT = ["--days", str(DAYS), "--customers", str(CUSTOMERS), "--validation-days", "5", "--test-days", "5", "--folds", "2",
         "--alerts-per-day", "20", "--label-delay-days", "7", "--threads", "1", "--features", ",".join(FEATURES)]  # fmt: skip


# One thread, as many tests run beside other work; set before the first library with threads is loaded.
os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


@functools.cache
def folder():
    made = pathlib.Path(tempfile.mkdtemp(prefix="assay-training-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def run(*words):
    """Runs the command as a person would, in a process of its own."""
    return subprocess.run([sys.executable, TRAINING, *(str(word) for word in words)], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)  # fmt: skip


def called(*words):
    """(status, standard output, standard error) of the same command inside this process, which saves seconds of loading."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = command.main([str(word) for word in words])
    return status, output.getvalue(), errors.getvalue()


def train(name, *words):
    """A run with all families into folder()/name; returns that folder: fraud/1 is the chosen one, each/<family>/1 every one."""
    made = folder() / name
    done = run(*SHORT, "--work", made / "work", "--output", made / "fraud/1", "--each", made / "each", *words)
    if done.returncode:
        raise AssertionError(f"training ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    return made


@functools.cache
def trained():
    return train("first")


@functools.cache
def rows():
    """The rows that `trained` was trained on."""
    work = trained() / "work"
    return read.rows(work / "features.parquet", labels=work / "labels.ndjson")


def feature_file(names, values, path):
    """A file such as `assay features` writes, with N made-up rows."""
    import pyarrow as pa

    columns = {"transaction_id": pa.array([f"t{row}" for row in range(len(values))])}
    columns |= {name: pa.array(values[:, index].astype("float64")) for index, name in enumerate(names)}
    pq.write_table(pa.table(columns), path)
    return path


def undone(line):
    """Says what was left undone, also where the output of a passing test is not shown."""
    print(f"NOT RUN: {line}", file=sys.stderr)
    if os.environ.get("ASSAY_UNDONE"):
        with open(os.environ["ASSAY_UNDONE"], "a", encoding="utf-8") as lines:
            lines.write(line + "\n")


def knows(word):
    """Whether the program has the command `word`."""
    return subprocess.run([assay.program(), word, "--help"], capture_output=True).returncode == 0
