"""The log of a server as a source: what was paid and labelled over HTTP comes out, and can be trained on."""

import json
import unittest

import pyarrow.parquet as pq

import assay
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


if __name__ == "__main__":
    unittest.main()
