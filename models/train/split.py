"""Which days teach, which choose, which judge. Values in, values out; days are whole UTC days since the epoch.

    train ......... | gap | validation | gap | test
                                                     every gap is as long as labels take to arrive
Invariant: no day of a later part is less than `gap` whole days behind the last day of the part before it.
"""

import datetime
from dataclasses import dataclass

import numpy as np

from fault import Fault

DAY = 86_400_000
"""Milliseconds of a day."""


@dataclass(frozen=True)
class Period:
    """Days `first` to `last`, both in it."""

    first: int
    last: int

    @property
    def days(self):
        return self.last - self.first + 1

    @property
    def start(self):
        """The moment at which it begins, in ms since the epoch."""
        return self.first * DAY

    def of(self, day):
        """Mask of the rows whose day is in it."""
        return (day >= self.first) & (day <= self.last)

    def __str__(self):
        return f"{date(self.first)}..{date(self.last)}"


@dataclass(frozen=True)
class Fold:
    train: Period
    validation: Period


@dataclass(frozen=True)
class Split:
    train: Period
    validation: Period
    test: Period


def number(text):
    """The day of an ISO date: 2018-08-08 is 17751."""
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


def date(day):
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=int(day))).isoformat()


def by_time(first, last, *, gap=7, validation=7, test=7, train=None):
    """Cuts the days `first`..`last` from the newest back. `train`: at most so many training days; without it all that are left.

    Fault: nothing is left to train on.
    """
    needed = test + gap + validation + gap + 1
    if last - first + 1 < needed:
        raise Fault(
            f"{date(first)}..{date(last)} is too short: {needed} days are needed: {validation} of validation, {test} of test, a gap of "
            f"{gap} before either, and one to train on: give more days, or shorter parts"
        )
    tested = Period(last - test + 1, last)
    fold = prequential(first, tested.first - gap - 1, folds=1, gap=gap, validation=validation, train=train)[0]
    return Split(fold.train, fold.validation, tested)


def prequential(first, last, *, folds=3, gap=7, validation=7, train=None):
    """Consecutive (train, gap, validation) folds, the newest first: its validation ends on day `last`, the next ends where it began.

    Prequential validation as in the Fraud Detection Handbook, chapter 5. `train`: days of training in every fold; without it
    a fold trains on all days from `first`, so that earlier folds train on less.
    Fault: a fold has no day to train on.
    """
    found = []
    for fold in range(folds):
        validated = Period(last - validation * (fold + 1) + 1, last - validation * fold)
        end = validated.first - gap - 1
        begin = first if train is None else max(first, end - train + 1)
        if end < begin:
            raise Fault(
                f"{date(first)}..{date(last)} is too short: fold {fold + 1} validates on {validated} after a gap of {gap} days, "
                "and no day is left to train on: give more days, or shorter parts, or fewer folds"
            )
        found.append(Fold(Period(begin, end), validated))
    return found


def without_known_frauds(day, customer, label, train, test, delay):
    """Mask of the rows of `test` whose customer is not yet known as defrauded.

    As get_train_test_set of the Fraud Detection Handbook, chapter 3: a customer with a fraud in the training period is left out,
    and on test day d also one with a fraud from the end of training up to day d − delay − 1, the last whose labels are known.
    """
    day, label, customer = np.asarray(day), np.asarray(label), np.asarray(customer)
    fraud = label == 1
    kept = np.zeros(len(day), dtype=bool)
    for today in range(test.first, test.last + 1):
        known = fraud & (day >= train.first) & ((day <= train.last) | (day <= today - delay - 1))
        rows = day == today
        kept |= rows & ~np.isin(customer, np.unique(customer[known]))
    return kept
