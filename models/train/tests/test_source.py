"""Files that a person names from where they stand, and labels that features must not see too early."""

import os
import pathlib
import tempfile
import unittest

import pyarrow.parquet as pq

import assay
import command
import source
from split import DAY

PAYMENT = ('{{"transaction_id":"{}","occurred_at":{},"customer_id":"c{}","terminal_id":"t","amount_minor":100,'
           '"currency":"EUR","is_fraud":{}}}\n')  # fmt: skip


class Named(unittest.TestCase):
    def test_files_are_found_from_where_the_command_is_called(self):
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name).resolve()
            os.chdir(folder)
            for file in ("payments.ndjson", "rates.csv", "mapping.toml"):
                (folder / file).write_text("")
            words = ["--input", "payments.ndjson", "--rates", "rates.csv", "--connector", "mapping.toml", "--reference", "."]
            found = source.of(command.parser().parse_args(words), folder)
            self.assertEqual((found.transactions, found.connector), (folder / "payments.ndjson", str(folder / "mapping.toml")))
            self.assertEqual(found.options, ("--rates", folder / "rates.csv", "--reference", folder))
            shipped = command.parser().parse_args([*words[:2], "--connector", "major"])
            self.assertEqual(source.of(shipped, folder).connector, "major")
            os.chdir(here)


class Late(unittest.TestCase):
    def test_features_see_no_fraud_before_the_label_delay(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            # A fraud on day 0, then a payment a day at the same terminal.
            days = range(40)
            start = 1_767_225_600_000
            (folder / "payments.ndjson").write_text(
                "".join(PAYMENT.format(f"p{day}", start + day * DAY, day, str(day == 0).lower()) for day in days)
            )
            come = source.Source(folder / "payments.ndjson", None, "canonical", "")
            first = {}
            for delay in (1, 7, 12):
                told = source.with_late_verdicts(come, folder, delay)
                self.assertEqual(told == come, delay <= 7)
                assay.features(told, folder / "features.parquet", names=["terminal_fraud_share_30d"])
                share = pq.read_table(folder / "features.parquet")["terminal_fraud_share_30d"].to_pylist()
                first[delay] = next(day for day in days if share[day] > 0)
            self.assertEqual(first[1], first[7])
            self.assertGreaterEqual(first[7], 7)
            self.assertGreaterEqual(first[12], 12)
            self.assertLessEqual(first[12], 13)


if __name__ == "__main__":
    unittest.main()
