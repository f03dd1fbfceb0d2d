"""Amounts in figures are those of the base currency, whichever features are picked."""

import pathlib
import tempfile
import unittest

import assay
import read
from figures import Judge
from source import Source

RATES = "published,currency,rate\n2026-01-01,USD,2.0\n"


class Amounts(unittest.TestCase):
    def judged(self, base, words):
        """Figures of one found fraud of 300 and one missed fraud of 200 in two currencies, as features are made and read."""
        payment = '{{"transaction_id":"{}","occurred_at":"2026-01-02T0{}:00:00Z","customer_id":"c","terminal_id":"t",' \
                  '"amount_minor":{},"currency":"{}","is_fraud":{}}}\n'  # fmt: skip
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            (folder / "rates.csv").write_text(RATES)
            rows = (("a", 1, 60000, "USD", "true"), ("b", 2, 20000, "EUR", "true"), ("c", 3, 100, "EUR", "false"))
            rows = rows if base == "EUR" else [(one, hour, amount // 100, "JPY", fraud) for one, hour, amount, _, fraud in rows]
            (folder / "payments.ndjson").write_text("".join(payment.format(*row) for row in rows))
            source = Source(folder / "payments.ndjson", None, "canonical", "", words(folder))
            # Without the feature `amount`.
            assay.features(source, folder / "features.parquet", names=["is_night", "hour"])
            found = read.rows(folder / "features.parquet")
            self.assertEqual(found.names, ["is_night", "hour"])
            judge = Judge(folder, (1,), 5.0, base)
            scores = (found.transaction == "a") * 0.9
            path = judge.write(found, [0, 1, 2], scores, found.label, name="scores")
            return judge.figures(path, 0.5)

    def test_amounts_of_several_currencies_are_added_up_in_the_base_currency(self):
        found = self.judged("EUR", lambda folder: ("--rates", folder / "rates.csv"))
        self.assertAlmostEqual(found["at_threshold"]["amount_recall"], 300 / 500)
        costs = sorted(point["cost"] for point in found["cost"]["points"])
        # Three reviews and no fraud missed; one review and 200 euros missed; no review.
        self.assertEqual([round(cost, 6) for cost in costs], [15, 5 + 200, 500])

    def test_a_base_currency_without_minor_units(self):
        found = self.judged("JPY", lambda folder: ("--base-currency", "JPY"))
        self.assertAlmostEqual(max(point["cost"] for point in found["cost"]["points"]), 600 + 200)


if __name__ == "__main__":
    unittest.main()
