"""A model of the whole catalogue on the Fraud Detection Handbook's data: what the features are worth on a problem that others have
published figures for. Measuring only: nothing that is made here goes into the project.

    ASSAY_HANDBOOK=<folder> .cache/train/bin/python models/train/handbook_model.py

In: transactions.parquet of the folder that ASSAY_HANDBOOK names (CONTRIBUTING.md). Out: the figures of every candidate over the
folds; the chosen one against XGBoost on the handbook's 15 features, with its bootstrap interval; then, once, the test week.

Everything is chosen on FOLDS, the four weeks that end on 2018-07-31: none of their days is in the test week, and at its first
day all their labels are known. The features of a candidate are chosen anew in each fold, from its training rows alone. Every
period leaves out the cards that are known as defrauded, as the handbook does (chapter 3), whatever the days of training.
"""

import itertools
import os
import pathlib
import sys
import tempfile
from dataclasses import dataclass

import numpy as np
import xgboost

from families.lightgbm import LightGBM
from fault import Fault
from figures import Judge
from handbook import DELAY, FEATURES, TEST, TRAIN, rows, tested
from split import Fold, Period, date

WEEK = 7
FOLDS = [
    Fold(Period(TRAIN.first - back, TRAIN.last - back), Period(TEST.first - back, TEST.last - back))
    for back in (2 * WEEK, 3 * WEEK, 4 * WEEK, 5 * WEEK)
]
# Published for the test week: the best of each figure (chapter 5, the baseline).
PUBLISHED_BEST = (0.871, 0.658, 0.291)
BAR = (0.88, 0.69, 0.295)
SEED = 0
COMMON = {"n_estimators": 500, "learning_rate": 0.03, "min_child_samples": 20, "reg_lambda": 5.0, "colsample_bytree": 0.4}
# The model whose gain chooses the features.
CHOOSING = {"n_estimators": 100, "learning_rate": 0.08, "num_leaves": 15}


@dataclass(frozen=True)
class Candidate:
    """`days` of training that end where the handbook's end, the `most` features of the highest gain, `leaves` a tree."""

    days: int
    most: int
    leaves: int

    def __str__(self):
        return f"{self.days} days, {self.most} features, {self.leaves} leaves"

    def scores(self, values, label, day, fold, picked):
        """Probabilities of the rows `picked` by a model of the training rows of `fold`, and its features' columns."""
        train = Period(fold.train.last - self.days + 1, fold.train.last).of(day)
        columns = np.arange(values.shape[1])
        if self.most < len(columns):
            first = LightGBM.fit(values[train], label[train], seed=SEED, parameters={**COMMON, **CHOOSING}, threads=1)
            columns = np.sort(np.argsort(-first.gain(), kind="stable")[: self.most])
        parameters = {**COMMON, "num_leaves": self.leaves}
        model = LightGBM.fit(values[np.ix_(train, columns)], label[train], seed=SEED, parameters=parameters, threads=1)
        return 1 / (1 + np.exp(-model.margin(values[np.ix_(picked, columns)]))), columns


CANDIDATES = [Candidate(*each) for each in itertools.product((7, 28), (35,), (7, 15))]


def reference(values, label, day, fold, picked):
    """XGBoost on the handbook's 15 features, as in handbook.py."""
    train = fold.train.of(day)
    model = xgboost.XGBClassifier(tree_method="exact", base_score=0.5, random_state=0, n_jobs=2)
    return model.fit(values[train], label[train]).predict_proba(values[picked])[:, 1]


def over_folds(found, judge, name, score):
    """Writes the scores of all folds as one file. `score`: (fold, row numbers) to probabilities."""
    picked = [tested(found, fold.train, fold.validation) for fold in FOLDS]
    scores = [score(fold, part) for fold, part in zip(FOLDS, picked)]
    names = np.concatenate([np.full(len(part), str(fold.validation)) for fold, part in zip(FOLDS, picked)])
    part = np.concatenate(picked)
    return judge.write(found, part, np.concatenate(scores), found.label[part], name=name, folds=names)


def triple(figures):
    card = figures["card_precision"]
    return figures["roc_auc"], figures["average_precision"], card["mean"] if isinstance(card, dict) else card


def words(figures):
    return " / ".join(f"{figure:.4f}" for figure in figures)


def run(folder, work):
    whole, judge = rows(folder, work, None), Judge(work, (100,), 5.0)
    fifteen = whole.values[:, [whole.names.index(name) for name in FEATURES]]
    informative = np.flatnonzero(whole.values.min(axis=0) < whole.values.max(axis=0))
    values, label, day = whole.values[:, informative], whole.label, whole.day
    print(f"{len(whole.names)} features of the catalogue, {len(informative)} of them with more than one value in this data")

    base = over_folds(whole, judge, "reference", lambda fold, part: reference(fifteen, label, day, fold, part))
    print(f"ROC AUC / average precision / card precision at 100, mean over {len(FOLDS)} folds to {FOLDS[0].validation}")
    print(f"  XGBoost, 15 features: {words(triple(judge.figures(base)['mean']))}", flush=True)
    best, chosen, file = 0.0, None, None
    for place, candidate in enumerate(CANDIDATES):
        path = over_folds(
            whole, judge, f"candidate-{place}", lambda fold, part: candidate.scores(values, label, day, fold, part)[0]
        )
        figures = triple(judge.figures(path)["mean"])
        print(f"  {candidate}: {words(figures)}", flush=True)
        # Why the sum: what is caught within the alerts that can be looked at counts as much as the ranking of all.
        if figures[1] + figures[2] > best:
            best, chosen, file = figures[1] + figures[2], candidate, path
    print(f"chosen: {chosen}")
    for name, figure in judge.compare(base, file, SEED)["mean"].items():
        print(f"  {name}: {figure}")

    fold = Fold(TRAIN, TEST)
    part = tested(whole)
    scores, columns = chosen.scores(values, label, day, fold, part)
    figures = triple(judge.figures(judge.write(whole, part, scores, label[part], name="test")))
    print(f"test week {TEST}, trained to {date(TRAIN.last)}: {words(figures)}")
    print(f"  published best {words(PUBLISHED_BEST)}, aimed at {words(BAR)}")
    print(f"  features: {', '.join(whole.names[informative[column]] for column in columns)}")


def main():
    folder = os.environ.get("ASSAY_HANDBOOK")
    if not folder:
        print("handbook: ASSAY_HANDBOOK names no folder (CONTRIBUTING.md says which)", file=sys.stderr)
        return 1
    try:
        with tempfile.TemporaryDirectory() as work:
            run(folder, pathlib.Path(work))
    except Fault as fault:
        print(f"handbook: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
