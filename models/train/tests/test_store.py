"""The log of a server as a source: what was paid and labelled over HTTP comes out, and can be trained on."""

import json
import re
import sqlite3
import unittest

import pyarrow.parquet as pq

import assay
import read
import source
import store
from tests import support
from tests.serving import server

PAYMENTS = 3000


class Store(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        made = support.trained()
        cls.folder = support.folder() / "store"
        cls.log = cls.folder / "assay.sqlite"
        cls.labels = made / "work/labels.ndjson"
        cls.payments = pq.read_table(made / "work/transactions.parquet").slice(0, PAYMENTS)
        cls.folder.mkdir()
        pq.write_table(cls.payments, cls.folder / "payments.parquet")
        with server(cls.folder, made / "fraud/1") as address:
            assay.run(
                "replay",
                "--input",
                cls.folder / "payments.parquet",
                "--labels",
                cls.labels,
                "--url",
                f"http://{address}",
                "--rate",
                "2000",
                "--connections",
                "1",
            )
            # Read while the server runs: it is only read.
            cls.found = store.export(cls.log, cls.folder / "transactions.parquet", cls.folder / "labels.ndjson")

    def test_every_transaction_comes_out_as_it_was_paid(self):
        self.assertEqual(self.found, (PAYMENTS, "2026-01-01", "2026-01-02"))
        exported = pq.read_table(self.folder / "transactions.parquet")
        paid = {row["transaction_id"]: row for row in self.payments.drop_columns(["is_fraud"]).to_pylist()}
        for row in exported.to_pylist():
            expected = paid.pop(row["transaction_id"])
            self.assertEqual(row, {name: expected.get(name) for name in row})
        self.assertFalse(paid)

    def test_verdicts_come_out_as_they_were_given(self):
        given = {
            (verdict["transaction_id"], verdict["is_fraud"]) for verdict in map(json.loads, self.labels.read_text().splitlines())
        }
        found = [json.loads(line) for line in (self.folder / "labels.ndjson").read_text().splitlines()]
        self.assertGreater(len(found), 0)
        self.assertLessEqual({(verdict["transaction_id"], verdict["is_fraud"]) for verdict in found}, given)

    def test_the_command_takes_the_log(self):
        status, printed, errors = support.called(
            "--store",
            self.log,
            "--work",
            self.folder / "work",
            "--output",
            self.folder / "fraud/2",
            "--families",
            "logistic",
            "--folds",
            1,
            "--label-delay-days",
            1,
            "--validation-days",
            1,
            "--test-days",
            1,
        )
        # Two days are too few to train on; that they were read is what the message shows.
        self.assertEqual(status, 1)
        self.assertRegex(printed, f"transactions: {PAYMENTS} transactions of the log, 2026-01-01 to 2026-01-02")
        self.assertRegex(errors, "is too short")


class Long(unittest.TestCase):
    """A log of weeks, written as the server would have, up to its last day: later verdicts are not there yet."""

    def log(self, path):
        made = support.trained() / "work"
        payments = pq.read_table(made / "transactions.parquet")
        now = int(read.milliseconds(payments["occurred_at"]).max())
        payments = payments.set_column(
            payments.column_names.index("occurred_at"), "occurred_at", [read.milliseconds(payments["occurred_at"])]
        )
        columns = [name for name in ("occurred_at", "amount_minor", *store.TEXT) if name in payments.column_names]
        schema = (assay.ROOT / "src/store/sqlite/schema.rs").read_text(encoding="utf-8")
        migrations = re.search(r"MIGRATIONS: .*? = \[\n(.*?)\n\];", schema, re.DOTALL)[1]
        log = sqlite3.connect(path)
        for step in re.findall(r'"(\n.*?)",', migrations, re.DOTALL):
            log.executescript(step)
        marks = ", ".join("?" * len(columns))
        log.executemany(f"INSERT INTO transactions ({', '.join(columns)}, base_minor, rate) VALUES ({marks}, 0, 0)",
                        zip(*(payments[name].to_pylist() for name in columns)))  # fmt: skip
        verdicts = [json.loads(line) for line in (made / "labels.ndjson").read_text().splitlines()]
        given = [(one["transaction_id"], read.moment(one["labelled_at"]), int(one["is_fraud"])) for one in verdicts]
        there = [one for one in given if one[1] <= now]
        self.assertTrue(0 < len(there) < len(given))
        log.executemany("INSERT INTO labels (transaction_id, labelled_at, is_fraud, source) VALUES (?, ?, ?, 'test')", there)
        log.commit()
        log.close()
        return payments.num_rows

    def test_a_log_that_is_long_enough_gives_a_package(self):
        folder = support.folder() / "long"
        folder.mkdir()
        count = self.log(folder / "assay.sqlite")
        status, printed, errors = support.called(*support.SHORT, "--store", folder / "assay.sqlite", "--work", folder / "work",
                                                 "--families", "logistic", "--folds", 1, "--output", folder / "fraud/2")  # fmt: skip
        self.assertEqual(status, 0, printed + errors)
        found = json.loads((folder / "fraud/2/report/report.json").read_text())["data"]
        self.assertEqual((found["rows"], found["days_not_judged"], found["test"]["days"]), (count, 7, "2026-01-27..2026-01-31"))
        # Frauds that nobody reported by the last day are not known, and their verdicts are what figures are against.
        self.assertEqual(found["test"]["frauds"], found["test"]["known_frauds"])
        self.assertIn("The newest 7 days are in no period", (folder / "fraud/2/report/report.txt").read_text())
        # The program takes the package: its golden rows are scored anew.
        work = folder / "work"
        come = source.Source(work / "transactions.parquet", work / "labels.ndjson", "canonical", "")
        assay.score(folder / "fraud/2", come, folder / "scores.parquet")
        self.assertEqual(pq.read_table(folder / "scores.parquet").num_rows, count)


if __name__ == "__main__":
    unittest.main()
