"""Nothing is learnt from what was not known: gaps between the parts, labels as of a moment, the handbook's known cards."""

import pathlib
import tempfile
import unittest

import numpy as np

import read
import split
from fault import Fault
from split import DAY


def made_rows(days=60, a_day=50, seed=3):
    """Rows with verdicts 1 to 20 days after; some frauds are never reported, some reports are taken back."""
    dice = np.random.default_rng(seed)
    time = np.sort(dice.integers(0, days * DAY, size=days * a_day))
    label = (dice.random(len(time)) < 0.2).astype(np.int8)
    reported = np.flatnonzero((label == 1) & (dice.random(len(time)) < 0.9))
    at = time[reported] + dice.integers(DAY, 20 * DAY, size=len(reported))
    wrong = np.flatnonzero((label == 0) & (dice.random(len(time)) < 0.02))
    row = np.concatenate([reported, wrong, wrong])
    when = np.concatenate([at, time[wrong] + DAY, time[wrong] + 3 * DAY])
    fraud = np.concatenate([np.ones(len(reported)), np.ones(len(wrong)), np.zeros(len(wrong))]).astype(np.int8)
    order = np.lexsort((fraud, when, row))
    verdicts = read.Verdicts(row[order], when[order], fraud[order])
    empty = np.array([""] * len(time), dtype=object)
    values = np.zeros((len(time), 1), dtype=np.float32)
    return read.Rows(
        ["amount"],
        values,
        time,
        np.arange(len(time)).astype(str),
        empty,
        values[:, 0].astype(np.int64),
        label,
        empty,
        verdicts,
        7 * DAY,
    )


class Split(unittest.TestCase):
    def test_parts_lie_a_gap_apart_and_cover_no_day_twice(self):
        for gap in (0, 1, 7, 14):
            for last in (50, 59, 89):
                whole = split.by_time(0, last, gap=gap, validation=5, test=6)
                self.assertEqual((whole.test.last, whole.test.days, whole.validation.days), (last, 6, 5))
                for earlier, later in ((whole.train, whole.validation), (whole.validation, whole.test)):
                    self.assertEqual(later.first - earlier.last - 1, gap)

    def test_folds_go_back_in_time_and_never_reach_the_test(self):
        whole = split.by_time(0, 99, gap=7, validation=7, test=7)
        folds = split.prequential(0, whole.validation.last, folds=4, gap=7, validation=7)
        self.assertEqual(folds[0].validation, whole.validation)
        self.assertEqual(folds[0].train, whole.train)
        for newer, older in zip(folds, folds[1:]):
            self.assertEqual(older.validation.last + 1, newer.validation.first)
        for fold in folds:
            self.assertEqual(fold.validation.first - fold.train.last - 1, 7)
            self.assertLess(fold.validation.last, whole.test.first - 7)

    def test_train_days_bound_the_training(self):
        for fold in split.prequential(0, 99, folds=3, gap=7, validation=7, train=20):
            self.assertEqual(fold.train.days, 20)

    def test_too_few_days_are_refused_in_words(self):
        with self.assertRaisesRegex(Fault, "1970-01-01..1970-01-20 is too short.*give more days"):
            split.prequential(0, 19, folds=2, gap=7, validation=7)
        with self.assertRaisesRegex(Fault, "1970-01-01..1970-01-28 is too short: 29 days are needed"):
            split.by_time(0, 27)
        self.assertEqual(split.by_time(0, 28).train.days, 1)

    def test_masks_are_whole_utc_days(self):
        day = np.array([9, 10, 11, 12])
        self.assertEqual(split.Period(10, 11).of(day).tolist(), [False, True, True, False])
        self.assertEqual((split.number("2018-08-08"), split.date(17751)), (17751, "2018-08-08"))


class Known(unittest.TestCase):
    def test_a_label_counts_from_its_moment_and_the_newest_wins(self):
        rows = made_rows()
        naive = {}
        for row, at, fraud in zip(rows.verdicts.row, rows.verdicts.labelled_at, rows.verdicts.is_fraud):
            naive.setdefault(int(row), []).append((int(at), int(fraud)))
        for moment in (0, 10 * DAY, 33 * DAY + 5, 200 * DAY):
            expected = [
                max((v for v in naive.get(row, []) if v[0] <= moment), default=(0, 0))[1] for row in range(len(rows.time))
            ]
            self.assertEqual(rows.known(moment).tolist(), expected)

    def test_training_sees_no_verdict_of_the_validation_period(self):
        rows = made_rows()
        whole = split.by_time(0, 59, gap=7, validation=7, test=7)
        train = whole.train.of(rows.day)
        before = rows.known(whole.validation.start)
        # The same rows, with every later verdict turned round: what is learnt must not change.
        later = rows.verdicts.labelled_at > whole.validation.start
        self.assertTrue((later & train[rows.verdicts.row]).any())
        rows.verdicts.is_fraud[later] = 1 - rows.verdicts.is_fraud[later]
        np.testing.assert_array_equal(rows.known(whole.validation.start)[train], before[train])
        self.assertLess(before[train].sum(), rows.label[train].sum())

    def test_without_verdicts_is_fraud_counts_after_the_delay(self):
        rows = made_rows()
        rows.verdicts = None
        known = rows.known(30 * DAY)
        np.testing.assert_array_equal(known, np.where(rows.time + 7 * DAY <= 30 * DAY, rows.label, 0))

    def test_at_the_same_moment_fraud_wins(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "labels.ndjson"
            path.write_text(
                '{"transaction_id":"a","is_fraud":true,"labelled_at":5}\n{"transaction_id":"a","is_fraud":false,"labelled_at":5}\n'
            )
            verdicts = read.read_verdicts(path, ["b", "a"])
        self.assertEqual(verdicts.newest(2, 5).tolist(), [0, 1])
        self.assertEqual(verdicts.newest(2, 4).tolist(), [0, 0])


class KnownCards(unittest.TestCase):
    def test_known_defrauded_customers_are_left_out_as_in_the_handbook(self):
        dice = np.random.default_rng(5)
        day = np.sort(dice.integers(0, 30, size=4000))
        customer = dice.integers(0, 120, size=4000)
        label = (dice.random(4000) < 0.02).astype(int)
        train, test, delay = split.Period(3, 9), split.Period(17, 23), 7
        found = split.without_known_frauds(day, customer, label, train, test, delay)
        # get_train_test_set of the handbook, row by row.
        known = {customer[row] for row in range(4000) if train.first <= day[row] <= train.last and label[row]}
        expected = np.zeros(4000, dtype=bool)
        for step in range(test.days):
            known |= {customer[row] for row in range(4000) if day[row] == train.last + step and label[row]}
            for row in range(4000):
                expected[row] |= day[row] == test.first + step and customer[row] not in known
        np.testing.assert_array_equal(found, expected)
        self.assertTrue(0 < found.sum() < test.of(day).sum())


if __name__ == "__main__":
    unittest.main()
