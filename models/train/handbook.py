"""Reproduces rows of the Fraud Detection Handbook with assay's features and assay's figures: a check of the split, the windows and
the metric against published numbers. Measuring only: nothing that is made here goes into the project.

    ASSAY_HANDBOOK=<folder> .cache/train/bin/python models/train/handbook.py

In: transactions.parquet of the folder that ASSAY_HANDBOOK names (CONTRIBUTING.md). Out: a line a model; status 1 when a figure is
further than TOLERANCE from the published one.

Handbook, chapters 3 and 5 (Le Borgne, Siblini, Lebichot, Bontempi): train 2018-07-25..31, 7 days of delay, test 2018-08-08..14
without the cards that are known as defrauded, its 15 features, scikit-learn's and XGBoost's defaults of that time.
"""

import os
import pathlib
import sys
import tempfile

import numpy as np
import xgboost
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import assay
import read
from fault import Fault
from figures import Judge
from source import Source
from split import Period, number, without_known_frauds

TRAIN = Period(number("2018-07-25"), number("2018-07-31"))
TEST = Period(number("2018-08-08"), number("2018-08-14"))
DELAY = 7
FEATURES = ["amount", "is_weekend", "is_night"] + [
    f"{entity}_{figure}_{days}d"
    for entity, figures in (("customer", ("tx_count", "amount_mean")), ("terminal", ("tx_count", "fraud_share")))
    for days in (1, 7, 30) for figure in figures
]  # fmt: skip
# ROC AUC, average precision, card precision at 100: chapter 5, the baseline of the test week.
PUBLISHED = {"xgboost": (0.862, 0.639, 0.273), "logistic": (0.871, 0.606, 0.291)}
TOLERANCE = 0.003


def models():
    yield "xgboost", xgboost.XGBClassifier(tree_method="exact", base_score=0.5, random_state=0, n_jobs=2), False
    yield "logistic", LogisticRegression(random_state=0), True


def rows(folder, work, names=FEATURES):
    """The features `names` (None: the whole catalogue) of every transaction of the handbook, as `read.Rows`."""
    source = Source(pathlib.Path(folder).resolve() / "transactions.parquet", None, "handbook", "the handbook's transactions")
    if not source.transactions.is_file():
        raise Fault(f"{source.transactions}: there is no such file: ASSAY_HANDBOOK names the folder of the reference data")
    features = pathlib.Path(work) / "features.parquet"
    assay.features(source, features, names=names)
    return read.rows(features, delay_days=DELAY)


def tested(found, train=TRAIN, test=TEST):
    """Row numbers of a test period by the handbook's own split."""
    return np.flatnonzero(without_known_frauds(found.day, found.customer, found.label, train, test, DELAY))


def measure(found, judge):
    """(name, (ROC AUC, average precision, card precision)) of each model."""
    train, test = TRAIN.of(found.day), tested(found)
    for name, model, scaled in models():
        prepare = StandardScaler().fit(found.values[train]) if scaled else None
        values = prepare.transform(found.values) if scaled else found.values
        model.fit(values[train], found.label[train])
        scores = model.predict_proba(values[test])[:, 1]
        figures = judge.figures(judge.write(found, test, scores, found.label[test], name=name))
        yield name, (figures["roc_auc"], figures["average_precision"], figures["card_precision"]["mean"])


def main():
    folder = os.environ.get("ASSAY_HANDBOOK")
    if not folder:
        print("handbook: ASSAY_HANDBOOK names no folder (CONTRIBUTING.md says which)", file=sys.stderr)
        return 1
    far = 0
    try:
        with tempfile.TemporaryDirectory() as work:
            found = rows(folder, work)
            for name, figures in measure(found, Judge(pathlib.Path(work), (100,), 5.0)):
                off = max(abs(mine - theirs) for mine, theirs in zip(figures, PUBLISHED[name]))
                far += off > TOLERANCE
                words = " / ".join(f"{figure:.4f}" for figure in figures)
                theirs = " / ".join(f"{figure:.3f}" for figure in PUBLISHED[name])
                print(f"{name}: {words} (published {theirs}, off by at most {off:.4f}; {TOLERANCE} is allowed)")
    except Fault as fault:
        print(f"handbook: {fault}", file=sys.stderr)
        return 1
    return 1 if far else 0


if __name__ == "__main__":
    sys.exit(main())
