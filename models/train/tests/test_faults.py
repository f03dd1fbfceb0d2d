"""Broken input ends in one sentence that names what is wrong and what to do, with status 1 and without a package."""

import json
import pathlib
import tempfile
import unittest

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import read
from fault import Fault
from tests import support


class Command(unittest.TestCase):
    def setUp(self):
        self.kept = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.kept.name)
        self.addCleanup(self.kept.cleanup)

    def refused(self, words, *more):
        """Runs the command; its message must match `words`, and no package may stand there."""
        output = self.folder / "fraud/1"
        status, printed, errors = support.called("--work", self.folder / "work", "--output", output, *more)
        self.assertEqual(status, 1, printed + errors)
        self.assertRegex(errors, words)
        self.assertFalse(output.exists())

    def transactions(self, change):
        table = change(pq.read_table(support.trained() / "work/transactions.parquet"))
        pq.write_table(table, self.folder / "payments.parquet")
        return self.folder / "payments.parquet"

    def test_no_labels(self):
        file = self.transactions(lambda table: table.drop_columns(["is_fraud"]))
        self.refused(
            "is_fraud is null in .* rows: every row needs its label, or give the verdicts with --labels", "--input", file
        )

    def test_one_class(self):
        def genuine(table):
            return table.set_column(table.column_names.index("is_fraud"), "is_fraud", pa.array([False] * table.num_rows))

        self.refused("no row is labelled as fraud", "--input", self.transactions(genuine))

    def test_too_short(self):
        def short(table):
            return table.filter(
                pc.less(table["occurred_at"], pa.scalar(1_767_225_600_000 + 10 * 86_400_000).cast(table["occurred_at"].type))
            )

        self.refused(
            "2026-01-01..2026-01-10 is too short: 29 days are needed: .* give more days", "--input", self.transactions(short)
        )

    def test_no_fraud_in_a_part(self):
        def late(table):
            frauds = pc.and_(
                table["is_fraud"],
                pc.greater(table["occurred_at"], pa.scalar(1_767_225_600_000 + 30 * 86_400_000).cast(table["occurred_at"].type)),
            )
            return table.set_column(table.column_names.index("is_fraud"), "is_fraud", frauds)

        self.refused(
            "training of fold 1, .*: .* rows, 0 of them known as fraud", "--input", self.transactions(late), *support.SHORT
        )

    def test_a_required_column_is_missing(self):
        self.refused(
            "assay features ended with status 1: .*terminal_id",
            "--input",
            self.transactions(lambda table: table.drop_columns(["terminal_id"])),
        )

    def test_no_file_and_no_log(self):
        self.refused("nowhere.parquet: there is no such file", "--input", self.folder / "nowhere.parquet")
        self.refused("nowhere.sqlite: there is no such log", "--store", self.folder / "nowhere.sqlite")
        (self.folder / "text.sqlite").write_text("no log at all, " * 100)
        self.refused("text.sqlite: is no log of assay", "--store", self.folder / "text.sqlite")

    def test_labels_of_another_file(self):
        labels = self.folder / "labels.ndjson"
        labels.write_text(json.dumps({"transaction_id": "x", "is_fraud": True, "labelled_at": 1}) + "\n")
        self.refused("no verdict on any of the", "--input", self.transactions(lambda table: table), "--labels", labels)

    def test_words_that_do_not_fit(self):
        self.refused("there is no family 'forest'", "--families", "forest")
        self.refused("--family mlp is not among", "--families", "xgboost", "--family", "mlp")
        self.refused("--set xgboost.depth=3: give family.parameter=value", "--set", "xgboost.depth=3")
        self.refused("--set xgboost.max_depth=x: 'x' is no int", "--set", "xgboost.max_depth=x")
        self.refused(
            "assay features ended with status 1: .*no_such_feature",
            "--input",
            self.transactions(lambda table: table),
            "--features",
            "no_such_feature",
        )

    def test_a_folder_that_is_no_package_is_left_alone(self):
        (self.folder / "fraud/1").mkdir(parents=True)
        (self.folder / "fraud/1/diary.txt").write_text("mine")
        work = support.trained() / "work"
        status, _, errors = support.called(
            *support.SHORT,
            "--input",
            work / "transactions.parquet",
            "--labels",
            work / "labels.ndjson",
            "--families",
            "logistic",
            "--folds",
            1,
            "--work",
            self.folder / "work",
            "--output",
            self.folder / "fraud/1",
        )
        self.assertEqual(status, 1)
        self.assertRegex(errors, "is no package and not empty")
        self.assertEqual((self.folder / "fraud/1/diary.txt").read_text(), "mine")

    def test_a_process_of_its_own_ends_with_status_1_and_one_line(self):
        done = support.run(
            "--store", self.folder / "nowhere.sqlite", "--work", self.folder / "work", "--output", self.folder / "fraud/1"
        )
        self.assertEqual((done.returncode, done.stderr.count("\n"), done.stdout), (1, 1, ""))


class Reading(unittest.TestCase):
    def file(self, **changed):
        columns = {
            "transaction_id": ["a", "b"],
            "occurred_at": [1, 2],
            "is_fraud": [True, False],
            "customer_id": ["c", "c"],
            "base_amount_minor": [1, 2],
            "amount": [0.01, 0.02],
            **changed,
        }
        path = pathlib.Path(self.kept.name) / "features.parquet"
        pq.write_table(pa.table({name: column for name, column in columns.items() if column is not None}), path)
        return path

    def setUp(self):
        self.kept = tempfile.TemporaryDirectory()
        self.addCleanup(self.kept.cleanup)

    def test_a_file_that_is_right_is_read_in_order_of_time(self):
        rows = read.rows(self.file(occurred_at=[2, 1]))
        self.assertEqual((rows.transaction.tolist(), rows.label.tolist(), rows.names), (["b", "a"], [0, 1], ["amount"]))
        self.assertEqual(rows.amount.tolist(), [2, 1])

    def test_a_verdict_counts_where_is_fraud_is_null_and_only_there(self):
        labels = pathlib.Path(self.kept.name) / "labels.ndjson"
        verdicts = [{"transaction_id": name, "is_fraud": name != "a", "labelled_at": 9} for name in "abc"]
        labels.write_text("".join(json.dumps(verdict) + "\n" for verdict in verdicts))
        three = {"transaction_id": ["c", "b", "a"], "occurred_at": [3, 2, 1], "customer_id": ["c"] * 3,
                 "base_amount_minor": [1, 2, 3], "amount": [0.01, 0.02, 0.03]}  # fmt: skip
        for truth, label, reported in (
            ([None, False, True], [1, 0, 1], True),
            ([None, None, None], [0, 1, 1], True),
            ([False, False, True], [1, 0, 0], False),
        ):
            rows = read.rows(self.file(**three, is_fraud=pa.array(truth, pa.bool_())), labels=labels)
            self.assertEqual((rows.label.tolist(), rows.reported), (label, reported))

    def test_what_is_missing_or_wrong_is_named(self):
        for words, changed in (
            ("the column customer_id is missing", {"customer_id": None}),
            ("there is no feature column", {"amount": None}),
            ("amount is null in 1 rows", {"amount": [0.5, None]}),
            ("amount is not finite as a 32-bit float in row 1", {"amount": [0.5, 1e300]}),
            ("amount is not finite", {"amount": [float("nan"), 0.5]}),
            ("is_fraud is null in 1 of 2 rows", {"is_fraud": [True, None]}),
        ):
            with self.subTest(words), self.assertRaisesRegex(Fault, words):
                read.rows(self.file(**changed))


if __name__ == "__main__":
    unittest.main()
