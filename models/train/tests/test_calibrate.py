"""Platt's calibration against scikit-learn's logistic regression; the threshold against a count."""

import unittest

import numpy as np
from sklearn.linear_model import LogisticRegression

import calibrate
from fault import Fault


class Platt(unittest.TestCase):
    def test_it_is_the_logistic_regression_on_the_margin(self):
        dice = np.random.default_rng(1)
        margin = dice.normal(-4, 3, size=20_000)
        label = (dice.random(len(margin)) < calibrate.sigmoid(0.7 * margin + 0.4)).astype(np.int8)
        found = calibrate.platt(margin, label)
        known = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(margin[:, None], label)
        self.assertAlmostEqual(float(found.slope), known.coef_[0, 0], delta=2e-3)
        self.assertAlmostEqual(float(found.intercept), known.intercept_[0], delta=2e-3)

    def test_perfectly_separated_rows_keep_finite_numbers(self):
        found = calibrate.platt(np.r_[np.full(1000, -30.0), np.full(10, 40.0)], np.r_[np.zeros(1000), np.ones(10)])
        self.assertTrue(0 < found.slope < 10)

    def test_one_class_or_a_wrong_order_is_refused(self):
        with self.assertRaisesRegex(Fault, "0 frauds and 5 others"):
            calibrate.platt(np.arange(5.0), np.zeros(5))
        with self.assertRaisesRegex(Fault, "the slope is"):
            calibrate.platt(np.arange(100.0), np.r_[np.ones(50), np.zeros(50)])


class Threshold(unittest.TestCase):
    def test_as_many_alerts_as_allowed_and_never_more(self):
        dice = np.random.default_rng(2)
        for levels in (3, 40, 100_000):
            scores = (dice.integers(0, levels, size=5000) / levels).astype(np.float32)
            for days, alerts in ((1, 1), (5, 20), (7, 100), (10, 10_000)):
                found = np.float32(calibrate.threshold(scores, days, alerts))
                flagged = int((scores >= found).sum())
                self.assertLessEqual(flagged, days * alerts)
                # One level lower would be too many.
                below = scores[scores < found]
                if len(below):
                    self.assertGreater(int((scores >= below.max()).sum()), days * alerts)


if __name__ == "__main__":
    unittest.main()
