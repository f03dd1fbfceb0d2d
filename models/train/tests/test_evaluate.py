"""`assay evaluate` against scikit-learn and against the Fraud Detection Handbook's card precision, to 1e-9.

Every case goes through the built program as a file, in each format it reads. ASSAY names the program; without it
target/release/assay is taken. One case can be a file of your own: ASSAY_EVALUATE_FILE names a Parquet file with the
columns transaction_id, score, is_fraud, occurred_at, customer_id and amount_minor.
"""

import functools
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import pyarrow
import pyarrow.parquet
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    log_loss,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)

ROOT = pathlib.Path(__file__).resolve().parents[3]
ASSAY = os.environ.get("ASSAY") or str(ROOT / "target" / "release" / "assay")
TOLERANCE = 1e-9
DAY = 86_400_000
START = 17_000 * DAY

#: The largest difference seen, by figure; printed at the end.
LARGEST = {}


def case(name, seed, rows, rate, scores, single=False):
    """Rows with customers, days, amounts and a kind; `scores(random, labels)` gives the scores."""
    random = np.random.default_rng(seed)
    labels = random.random(rows) < rate
    labels[:2] = [True, False]
    values = np.clip(scores(random, labels), 0.0, 1.0)
    if single:
        values = values.astype(np.float32).astype(np.float64)
    return {
        "name": name,
        "single": single,
        "score": values,
        "is_fraud": labels,
        "occurred_at": START + np.sort(random.integers(0, 7 * DAY, rows)),
        "customer_id": random.integers(0, max(rows // 8, 2), rows),
        "amount_minor": random.integers(0, 50_000, rows),
    }


def calibrated(random, labels):
    """Scores that are true probabilities: the labels are drawn anew from them."""
    scores = random.beta(0.3, 8.0, len(labels))
    labels[2:] = random.random(len(labels) - 2) < scores[2:]
    return scores


CASES = [
    case("random", 1, 5_000, 0.1, lambda random, labels: random.random(len(labels))),
    case("separated", 2, 5_000, 0.05, lambda random, labels: 0.6 * labels + 0.4 * random.random(len(labels))),
    case("overlapping", 3, 20_000, 0.02, lambda random, labels: random.beta(1 + 2 * labels, 6 - 3 * labels)),
    case("ties", 4, 5_000, 0.1, lambda random, labels: np.round(random.beta(1 + 2 * labels, 5), 1)),
    case("two values", 5, 1_000, 0.2, lambda random, labels: (random.random(len(labels)) < 0.3 + 0.4 * labels) * 1.0),
    case("one value", 6, 500, 0.1, lambda random, labels: np.full(len(labels), 0.25)),
    case("one in a thousand", 7, 50_000, 0.001, lambda random, labels: random.beta(1 + 3 * labels, 30)),
    case("calibrated", 8, 20_000, 0.0, calibrated),
    case("zeros and ones", 9, 2_000, 0.1, lambda random, labels: np.round(random.random(len(labels)) * 1.2 - 0.1, 2)),
    case("mostly fraud", 10, 2_000, 0.95, lambda random, labels: random.beta(2 + labels, 2)),
    case("32-bit", 11, 20_000, 0.02, lambda random, labels: random.beta(1 + 2 * labels, 6 - 3 * labels), single=True),
    case("tiny", 12, 2, 0.5, lambda random, labels: np.array([0.3, 0.7])),
]


def write_csv(path, one, keys):
    """Numbers in full: what is read back is the same float."""
    with open(path, "w", encoding="utf-8") as file:
        file.write("transaction_id," + ",".join(keys) + "\n")
        for row in range(len(one["score"])):
            file.write(f"t{row}," + ",".join(text(one[key][row]) for key in keys) + "\n")


def write_ndjson(path, one, keys):
    with open(path, "w", encoding="utf-8") as file:
        for row in range(len(one["score"])):
            cells = {key: one[key][row].item() for key in keys}
            cells["customer_id"] = str(cells["customer_id"])
            file.write(json.dumps({"transaction_id": f"t{row}", **cells}) + "\n")


def write_parquet(path, one, keys):
    columns = {key: one[key] for key in keys}
    if one["single"]:
        columns["score"] = one["score"].astype(np.float32)
    columns["occurred_at"] = pyarrow.array(one["occurred_at"], pyarrow.timestamp("ms", "UTC"))
    columns["transaction_id"] = [f"t{row}" for row in range(len(one["score"]))]
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def text(value):
    return str(bool(value)).lower() if isinstance(value, np.bool_) else repr(value.item())


WRITERS = {"csv": write_csv, "ndjson": write_ndjson, "parquet": write_parquet}
KEYS = ["score", "is_fraud", "occurred_at", "customer_id", "amount_minor"]


def evaluate(file, *flags):
    command = [ASSAY, "evaluate", str(file), "--json", "-", *map(str, flags)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def card_precision(one, k):
    """The handbook's chapter 4: days in turn; each card's highest score and whether it had a fraud; the k highest; found
    cards are left out of later days. Ties by customer."""
    days = one["occurred_at"] // DAY
    found, by_day = set(), []
    for day in np.unique(days):
        inside = np.flatnonzero((days == day) & ~np.isin(one["customer_id"], list(found)))
        cards = {}
        for row in inside:
            score, fraud = cards.get(one["customer_id"][row], (-1.0, False))
            cards[one["customer_id"][row]] = (max(score, one["score"][row]), fraud or bool(one["is_fraud"][row]))
        highest = sorted(cards, key=lambda customer: (-cards[customer][0], customer))[:k]
        detected = [customer for customer in highest if cards[customer][1]]
        by_day.append(len(detected) / k)
        found.update(detected)
    return by_day


def each_case(check):
    """A test of every case, each under its name."""

    @functools.wraps(check)
    def checked(self):
        for one in self.cases:
            file = self.files[one["name"]]
            with self.subTest(case=one["name"], file=file.name):
                check(self, one, one["is_fraud"], one["score"], file)

    return checked


class Evaluate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        cls.cases = list(CASES)
        own = os.environ.get("ASSAY_EVALUATE_FILE")
        cls.files = {}
        for number, one in enumerate(CASES):
            # Only Parquet can say that a float has 32 bits.
            ending = "parquet" if one["single"] else sorted(WRITERS)[number % len(WRITERS)]
            path = pathlib.Path(cls.folder.name) / f"case{number}.{ending}"
            WRITERS[ending](path, one, KEYS)
            cls.files[one["name"]] = path
        if own:
            cls.cases.append(read_own(own))
            cls.files[cls.cases[-1]["name"]] = pathlib.Path(own)

    @classmethod
    def tearDownClass(cls):
        worst = ", ".join(f"{figure} {difference:.1e}" for figure, difference in sorted(LARGEST.items()))
        print(f"\nlargest differences from scikit-learn and numpy: {worst}")

    def near(self, figure, got, want):
        self.assertIsNotNone(got, figure)
        got, want = np.asarray(got, float), np.asarray(want, float)
        self.assertEqual(got.shape, want.shape, figure)
        difference = float(np.max(np.abs(got - want), initial=0.0))
        LARGEST[figure] = max(LARGEST.get(figure, 0.0), difference)
        self.assertLessEqual(difference, TOLERANCE, figure)

    @each_case
    def test_figures_without_a_threshold(self, one, labels, scores, file):
        got = evaluate(file)
        self.assertEqual((got["rows"], got["frauds"]), (len(labels), int(labels.sum())))
        self.near("ROC AUC", got["roc_auc"], roc_auc_score(labels, scores))
        self.near("average precision", got["average_precision"], average_precision_score(labels, scores))
        self.near("Brier score", got["brier"], brier_score_loss(labels, scores))
        self.near("log loss", got["log_loss"], log_loss(labels, scores, labels=[False, True]))

    @each_case
    def test_curves_point_by_point(self, one, labels, scores, file):
        got = evaluate(file, "--curve-points", 0)
        false_positives, recalls, _ = roc_curve(labels, scores, drop_intermediate=False)
        self.near("ROC curve", got["roc"], np.column_stack([false_positives, recalls]))
        precisions, recalls, _ = precision_recall_curve(labels, scores)
        want = np.column_stack([recalls, precisions])[::-1]
        self.near("precision-recall curve", got["precision_recall"], want)
        thinned = evaluate(file, "--curve-points", 50)
        for curve in ("roc", "precision_recall"):
            self.assertLessEqual(len(thinned[curve]), 50)
            self.assertTrue(all(point in got[curve] for point in thinned[curve]))

    @each_case
    def test_figures_at_a_threshold(self, one, labels, scores, file):
        middle = scores[len(scores) // 2]
        # A 32-bit score in its own digits is another 64-bit number: it must still flag its row.
        middle = str(np.float32(middle)) if one["single"] else repr(float(middle))
        for threshold in ("0.05", "0.25", "0.5", middle):
            got = evaluate(file, "--threshold", threshold)["at_threshold"]
            threshold = float(np.float32(threshold)) if one["single"] else float(threshold)
            flagged = scores >= threshold
            negatives, false, missed, caught = confusion_matrix(labels, flagged, labels=[False, True]).ravel()
            self.assertEqual(got["flagged"], int(flagged.sum()))
            self.near("recall", got["recall"], recall_score(labels, flagged))
            self.near("false positive rate", got["false_positive_rate"], false / (false + negatives))
            if flagged.any():
                self.near("precision", got["precision"], precision_score(labels, flagged))
            else:
                self.assertIsNone(got["precision"])
            self.assertEqual(got["flagged"], false + caught)
            amounts = one["amount_minor"] * labels
            if amounts.sum() > 0:
                self.near("amount recall", got["amount_recall"], amounts[flagged].sum() / amounts.sum())
            self.assertEqual(int(labels.sum()), missed + caught)

    @each_case
    def test_alerts_a_day(self, one, labels, scores, file):
        days = len(np.unique(one["occurred_at"] // DAY))
        different, rows = np.unique(scores, return_counts=True)
        above = different.tolist(), np.cumsum(rows[::-1])[::-1].tolist()
        got = evaluate(file, "--alerts-per-day", "1,10,50")
        self.assertEqual(got["days"], days)
        for at in got["alerts"]:
            # The lowest threshold that flags no more than that; tied rows together or not at all.
            allowed = [score for score, rows in zip(*above) if rows <= at["a_day"] * days]
            self.assertEqual(at["threshold"], min(allowed, default=None))
            flagged = scores >= min(allowed, default=2.0)
            self.assertEqual(at["flagged"], int(flagged.sum()))
            self.near("recall by alerts", at["recall"], recall_score(labels, flagged))
            if flagged.any():
                self.near("precision by alerts", at["precision"], precision_score(labels, flagged))

    @each_case
    def test_calibration(self, one, labels, scores, file):
        for binning, strategy in (("width", "uniform"), ("count", "quantile")):
            got = evaluate(file, "--bins", 10, "--binning", binning)["calibration"]
            rates, means = calibration_curve(labels, scores, n_bins=10, strategy=strategy)
            self.near(f"calibration, {strategy}", [row["fraud_rate"] for row in got["bins"]], rates)
            self.near(f"calibration, {strategy}", [row["mean_score"] for row in got["bins"]], means)
            rows = np.array([row["rows"] for row in got["bins"]])
            self.assertEqual(rows.sum(), len(scores))
            error = float((rows * np.abs(rates - means)).sum() / rows.sum())
            self.near("expected calibration error", got["expected_error"], error)

    @each_case
    def test_card_precision_is_the_handbooks(self, one, labels, scores, file):
        for k in (1, 5, 100):
            got = evaluate(file, "--card-precision-k", k)["card_precision"]
            want = card_precision(one, k)
            self.near("card precision", got["by_day"], want)
            self.near("card precision", got["mean"], np.mean(want))

    @each_case
    def test_cost(self, one, labels, scores, file):
        got = evaluate(file, "--review-cost", 5, "--curve-points", 0)["cost"]
        amounts = one["amount_minor"] * labels / 100
        order = np.argsort(-scores, kind="stable")
        last = np.append(scores[order][1:] != scores[order][:-1], True)
        alerts = np.append(0, np.arange(1, len(scores) + 1)[last])
        missed = amounts.sum() - np.append(0.0, np.cumsum(amounts[order])[last])
        want = 5 * alerts + missed
        self.assertEqual([point["alerts"] for point in got["points"]], alerts.tolist())
        scale = max(want.max(), 1.0)
        self.near("cost, relative", [point["cost"] / scale for point in got["points"]], want / scale)
        self.near("cost, relative", got["best"]["cost"] / scale, want.min() / scale)

    def test_comparison_estimates(self):
        one = CASES[2]
        other = {**one, "score": np.sqrt(one["score"] * np.random.default_rng(99).random(len(one["score"])))}
        a, b = self.files[one["name"]], pathlib.Path(self.folder.name) / "other.csv"
        write_csv(b, other, KEYS)
        done = subprocess.run(
            [ASSAY, "evaluate", "--compare", str(a), str(b), "--json", "-", "--bootstrap", "50"],
            capture_output=True,
            text=True,
            check=True,
        )
        got = json.loads(done.stdout)["all"]
        for figure, metric in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            of_a, of_b = metric(one["is_fraud"], one["score"]), metric(one["is_fraud"], other["score"])
            self.near(f"{figure} compared", got[figure]["a"], of_a)
            self.near(f"{figure} compared", got[figure]["difference"], of_b - of_a)
            self.assertTrue(got[figure]["low"] < got[figure]["difference"] < got[figure]["high"])
        cards = [np.mean(card_precision(scored, 100)) for scored in (one, other)]
        self.near("card precision compared", got["card_precision"]["difference"], cards[1] - cards[0])

    def test_bad_input_is_named(self):
        bad = {
            "nan.csv": ("score,is_fraud\n0.5,1\nnan,0\n", ["row 2", "score"]),
            "range.csv": ("score,is_fraud\n0.5,1\n1.5,0\n", ["row 2", "1.5"]),
            "empty.csv": ("score,is_fraud\n0.5,1\n,0\n", ["row 2", "no score"]),
            "label.csv": ("score,is_fraud\n0.5,1\n0.1,\n", ["row 2", "is_fraud"]),
            "verdict.csv": ("score,is_fraud\n0.5,1\n0.1,2\n", ["row 2", "is_fraud"]),
            "none.csv": ("score,is_fraud\n0.5,0\n0.1,0\n", ["0 of 2 rows are frauds"]),
            "unscored.csv": ("probability,is_fraud\n0.5,1\n0.1,0\n", ['"score"', "probability", "--score"]),
            "unlabelled.csv": ("score,fraud\n0.5,1\n0.1,0\n", ['"is_fraud"', "fraud", "--label"]),
            "text.ndjson": ('{"score": "0.5", "is_fraud": true}\n', ["row 1", "score"]),
        }
        for name, (content, words) in bad.items():
            path = pathlib.Path(self.folder.name) / name
            path.write_text(content, encoding="utf-8")
            done = subprocess.run([ASSAY, "evaluate", str(path)], capture_output=True, text=True)
            with self.subTest(file=name, said=done.stderr):
                self.assertEqual(done.returncode, 1)
                for word in [name, *words]:
                    self.assertIn(word, done.stderr)


def read_own(path):
    table = pyarrow.parquet.read_table(path)
    columns = {key: table[key].to_numpy() for key in KEYS}
    single = columns["score"].dtype == np.float32
    columns["score"] = columns["score"].astype(np.float64)
    columns["is_fraud"] = columns["is_fraud"].astype(bool)
    columns["occurred_at"] = columns["occurred_at"].astype("datetime64[ms]").astype(np.int64)
    columns["customer_id"] = columns["customer_id"].astype(np.int64)
    columns["amount_minor"] = columns["amount_minor"].astype(np.int64)
    return {"name": "own file", "single": single, **columns}


if __name__ == "__main__":
    unittest.main()
