"""Trains a fraud model and writes it as a package that `assay serve` loads. docs/TRAINING.md tells the whole of it.

    models/train/run.sh                                   payments simulated: 60 days, 5,000 customers
    models/train/run.sh --input payments.parquet --labels labels.ndjson
    models/train/run.sh --store data/assay.sqlite         what a running or stopped server has seen

The same source, options and machine give the same bytes. Exit status 5: the package stands, but MLflow could not record it.
"""

import argparse
import pathlib
import sys
import time

import assay
import build
import families
import read
import record
import runs
import source
import tracking
import training
from fault import Fault
from figures import Judge

ALERTS = (10, 25, 50, 100, 200, 400, 800)


def parser():
    form = argparse.ArgumentParser(
        prog="models/train/run.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    group = form.add_argument_group("where the transactions come from; simulated without any of these")
    add = group.add_argument
    add("--input", type=pathlib.Path, help="file of transactions: .parquet, .csv, .ndjson")
    add("--connector", default="canonical", help="how the file speaks: canonical, major, stripe, handbook, or a mapping file")
    add(
        "--labels",
        type=pathlib.Path,
        help="its verdicts, NDJSON as POST /labels takes them; without it the column is_fraud counts",
    )
    add("--store", type=pathlib.Path, help="the log of assay serve, such as data/assay.sqlite; it is only read")
    add("--rates", type=pathlib.Path, help="exchange rates, as assay features takes them")
    add("--reference", type=pathlib.Path, help="folder of reference data, as assay features takes it")
    add("--base-currency", help="currency in which amounts are compared")
    add("--days", type=positive, default=60, help="simulated days (default 60)")
    add("--customers", type=positive, default=5000, help="simulated customers (default 5000)")
    add = form.add_argument_group("what is learnt").add_argument
    add("--features", help="inputs in order, a,b,c, or @file with one a line; default: the whole catalogue")
    add("--families", default="all", help=f"which are trained and compared: all, or some of {','.join(families.FAMILIES)}")
    add("--family", choices=list(families.FAMILIES), help="which becomes the package; default: the best over the folds")
    add("--choose-by", default="average_precision", choices=("average_precision", "card_precision"), help="what best means")
    add("--set", action="append", default=[], metavar="FAMILY.PARAMETER=VALUE", help="such as xgboost.max_depth=8")
    add("--seed", type=int, default=1)
    add("--threads", type=positive, default=2, help="part of what makes the bytes repeat (default 2)")
    add = form.add_argument_group("which days teach, choose and judge").add_argument
    add("--label-delay-days", type=positive, default=7, help="gap before validation and before the test (default 7)")
    add("--warm-up-days", type=not_negative, default=0, help="first days of the data, which only fill windows (default 0)")
    add("--validation-days", type=positive, default=7, help="days that calibrate and choose the threshold (default 7)")
    add("--test-days", type=positive, default=7, help="newest days, only measured (default 7)")
    add("--train-days", type=positive, help="at most so many days of training; default: all that are left")
    add("--folds", type=positive, default=3, help="prequential folds, going back in time (default 3)")
    add = form.add_argument_group("the policy").add_argument
    add("--alerts-per-day", type=positive, default=100, help="alerts a day that the threshold allows (default 100)")
    add("--review-cost", type=float, default=5.0, help="cost of looking at one alert, for the cost curve (default 5)")
    add = form.add_argument_group("what is written").add_argument
    add(
        "--output",
        type=pathlib.Path,
        default=assay.ROOT / "data/models/fraud/2",
        help="package: models/<name>/<version> (default data/models/fraud/2)",
    )
    add("--each", type=pathlib.Path, metavar="FOLDER", help="write a package of every family as well, FOLDER/<family>/<version>")
    add("--name", help="default: the name of the folder above --output")
    add("--version", help="default: the name of --output")
    add("--command", default="models/train/run.sh", help="how to make it again, for the manifest")
    add(
        "--work",
        type=pathlib.Path,
        default=assay.ROOT / ".cache/training",
        help="folder for files on the way (default .cache/training)",
    )
    tracking.options(form.add_argument_group("where the package of --output is recorded; nowhere without a server").add_argument)
    return form


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def not_negative(text):
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is below 0")
    return number


def settings(options):
    trained = families.chosen(options.families)
    if options.family and options.family not in [family.name for family in trained]:
        raise Fault(f"--family {options.family} is not among --families {options.families}")
    return training.Settings(
        families=trained, parameters=families.settings(options.set), family=options.family, choose_by=options.choose_by,
        alerts=options.alerts_per_day, gap=options.label_delay_days, validation=options.validation_days, test=options.test_days,
        train=options.train_days, folds=options.folds, seed=options.seed, threads=options.threads, warm_up=options.warm_up_days,
    )  # fmt: skip


def wanted(text):
    """--features → names, or None for the whole catalogue."""
    if text and text.startswith("@"):
        path = pathlib.Path(text[1:])
        if not path.is_file():
            raise Fault(f"--features {text}: there is no such file")
        return path.read_text(encoding="utf-8").split()
    return text.split(",") if text else None


def train(options, say):
    how = settings(options)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    come = source.of(options, work)
    say(f"transactions: {come.about}")
    features = work / "features.parquet"
    told = source.with_late_verdicts(come, work, options.label_delay_days)
    assay.features(told, features, names=wanted(options.features))
    say("features: written by assay features")
    rows = read.rows(features, labels=come.labels, kinds=come.kinds(), delay_days=options.label_delay_days)
    say(f"features: {len(rows.names)} of {len(rows.time)} transactions are read")
    line = training.fit(rows, how, say)
    for name in line.candidates:
        training.finish(line, name)
    say("exports: verified row by row against the trainers")
    training.measure(line, Judge(work, ALERTS, options.review_cost, options.base_currency or "EUR"))
    say("figures: measured by assay evaluate")
    return build.packages(line, come, options)


def recorded(where, options, begun):
    """Records the package in MLflow; the exit status. It stands by now, and stays whatever MLflow says."""
    try:
        info, made = runs.log(where, record.of(options.output.resolve()), options.experiment, begun)
    except (Fault, OSError) as fault:
        print(f"train: the package stands, but MLflow has no whole run of it: {fault}\n"
              f"train: models/train/promote.py register --package {options.output} records it once MLflow answers", file=sys.stderr)  # fmt: skip
        return tracking.UNRECORDED
    print(f"train: {'recorded' if made else 'recorded already'} at {where.url} as run {info['run_id']}", flush=True)
    return 0


def main(words=None):
    options = parser().parse_args(words)
    begun, date = time.monotonic(), time.time()
    try:
        where = tracking.server(options.mlflow)
        for text in train(options, lambda text: print(f"train: {time.monotonic() - begun:3.0f} s  {text}", flush=True)):
            print(text, flush=True)
    except Fault as fault:
        print(f"train: {fault}", file=sys.stderr)
        return 1
    return recorded(where, options, date) if where else 0
