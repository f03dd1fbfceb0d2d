"""The line of training with a family that only writes down what it is given: who sees which rows, and which labels."""

import unittest
from unittest import mock

import numpy as np

import calibrate
import read
import report
import training
from fault import Fault
from tests.test_split import made_rows


class Spy:
    """Scores by the truth and some noise, and remembers every call of `fit`."""

    name, tolerance, splits, explanation_method, defaults = "spy", 1e-6, False, "linear_shap", {}
    calls = []

    @classmethod
    def fit(cls, values, label, *, seed, parameters=None, threads=2):
        cls.calls.append((values[:, 0].copy(), label.copy()))
        return cls()

    def margin(self, values):
        return np.sin(values[:, 0].astype(np.float64))


def settings(**changed):
    found = {
        "families": [Spy],
        "parameters": {},
        "family": None,
        "choose_by": "average_precision",
        "alerts": 10,
        "gap": 7,
        "warm_up": 0,
        "validation": 7,
        "test": 7,
        "train": None,
        "folds": 3,
        "seed": 1,
        "threads": 1,
        **changed,
    }
    return training.Settings(**found)


class WhoSeesWhat(unittest.TestCase):
    def setUp(self):
        Spy.calls = []
        self.rows = made_rows()
        # The value of a row is its number, so that the spy knows which rows it got.
        self.rows.values[:, 0] = np.arange(len(self.rows.time))
        self.line = training.fit(self.rows, settings(), lambda text: None)

    def test_each_fold_is_fitted_on_its_days_with_the_labels_known_when_validation_began(self):
        self.assertEqual(len(Spy.calls), 3)
        for fold, (numbers, label) in zip(self.line.folds, Spy.calls):
            numbers = numbers.astype(int)
            self.assertEqual((self.rows.day[numbers].min(), self.rows.day[numbers].max()), (fold.train.first, fold.train.last))
            begun = fold.validation.first * 86_400_000
            for row, seen in zip(numbers, label):
                mine = self.rows.verdicts.row == row
                known = [
                    (at, fraud)
                    for at, fraud in zip(self.rows.verdicts.labelled_at[mine], self.rows.verdicts.is_fraud[mine])
                    if at <= begun
                ]
                self.assertEqual(seen, max(known, default=(0, 0))[1])

    def test_calibration_sees_the_labels_known_when_the_test_began(self):
        inside = self.line.split.validation.of(self.rows.day)
        with mock.patch.object(calibrate, "platt", side_effect=InterruptedError) as platt, self.assertRaises(InterruptedError):
            training.finish(self.line, "spy")
        margin, label = platt.call_args.args
        np.testing.assert_array_equal(margin, np.sin(self.rows.values[inside, 0].astype(np.float64)))
        np.testing.assert_array_equal(label, self.rows.known(self.line.split.test.first * 86_400_000)[inside])
        self.assertLess(label.sum(), self.rows.label[inside].sum())

    def test_no_fold_trains_on_the_days_of_warm_up(self):
        self.assertEqual(self.line.lead, 0)
        Spy.calls = []
        line = training.fit(self.rows, settings(warm_up=9), lambda text: None)
        self.assertEqual((line.lead, line.split.train.first, line.split.test), (9, 9, self.line.split.test))
        for numbers, _ in Spy.calls:
            self.assertEqual(self.rows.day[numbers.astype(int)].min(), 9)
        with self.assertRaisesRegex(Fault, "is too short.*give more days"):
            training.parts(self.rows, settings(warm_up=35))
        with self.assertRaisesRegex(Fault, "60 days are too few: the first 61"):
            training.parts(self.rows, settings(warm_up=61))

    def test_days_whose_verdicts_are_not_in_yet_are_not_judged(self):
        # As on the last day: verdicts take 1 to 20 days, and those that are later than the data are not there.
        rows = self.rows
        there = rows.verdicts.labelled_at < 60 * 86_400_000
        rows.verdicts = read.Verdicts(*(column[there] for column in vars(rows.verdicts).values()))
        rows.label, rows.reported = rows.verdicts.newest(len(rows.time), 60 * 86_400_000), True
        for gap in (7, 10):
            whole, folds = training.parts(rows, settings(gap=gap, folds=1))
            self.assertEqual((whole.test.last, whole.test.days), (59 - gap, 7))
            self.assertEqual(whole.test.first - folds[0].validation.last - 1, gap)
        rows.reported = False
        self.assertEqual(training.parts(rows, settings(folds=1))[0].test.last, 59)
        rows.reported = True
        with self.assertRaisesRegex(Fault, "60 days are too few: .* the last 60 are not in yet"):
            training.parts(rows, settings(gap=60))

    def test_the_family_with_the_best_folds_is_chosen_unless_one_is_asked_for(self):
        folds = {"a": (0.3, 0.5), "b": (0.6, 0.4), "c": (0.5, 0.1)}
        for asked, choose_by, expected in (
            (None, "average_precision", "b"),
            (None, "card_precision", "a"),
            ("c", "average_precision", "c"),
        ):
            candidates = {
                name: training.Candidate(None, chosen_on={"mean": {"average_precision": ap, "card_precision": cards}})
                for name, (ap, cards) in folds.items()
            }
            line = training.Line(None, settings(family=asked, choose_by=choose_by), None, [], candidates)
            self.assertEqual(line.chosen, expected)

    def test_the_report_says_from_when_windows_are_full_and_what_is_not_judged(self):
        self.assertIn("before the longest windows are full", report.warm_up(0))
        self.assertIn("The newest 7 days are in no period", report.not_judged(7)[0])
        self.assertEqual(report.not_judged(0), [])
        self.assertIn("The first 9 days of the data only fill windows", report.warm_up(9))


if __name__ == "__main__":
    unittest.main()
