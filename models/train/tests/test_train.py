"""The command from end to end: the same bytes twice, a package that the program takes, scores as in the trainer."""

import hashlib
import json
import pathlib
import tomllib
import unittest

import numpy as np
import onnxruntime
import pyarrow.parquet as pq

import assay
import families
from source import Source
from tests import support
from tests.serving import ask, server


def hashes(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(pathlib.Path(folder).rglob("*")) if path.is_file()}  # fmt: skip


class Training(unittest.TestCase):
    def test_the_same_options_give_the_same_bytes(self):
        first, second = support.trained(), support.train("second")
        for part in ("fraud", "each"):
            self.assertEqual(hashes(first / part), hashes(second / part))
        self.assertIn("report/report.txt", hashes(first / "fraud/1"))
        self.assertEqual({path.name for path in (first / "each").iterdir()}, set(support.FAMILIES))

    def test_assay_scores_every_transaction_as_the_package_says(self):
        rows, made = support.rows(), support.trained()
        source = Source(made / "work/transactions.parquet", made / "work/labels.ndjson", "canonical", "")
        for family in support.FAMILIES:
            package = made / "each" / family / "1"
            with self.subTest(family):
                assay.score(package, source, made / "scores.parquet")
                table = pq.read_table(made / "scores.parquet")
                found = dict(zip(table["transaction_id"].to_pylist(), table["score"].to_pylist()))
                score = onnxruntime.InferenceSession(package / "model.onnx").run(["score"], {"input": rows.values})[0][:, 0]
                off = np.abs(np.array([found[transaction] for transaction in rows.transaction]) - score)
                self.assertLessEqual(off.max(), 1e-6)

    def test_the_server_takes_every_package_and_gives_reasons(self):
        made = support.trained()
        for family in support.FAMILIES:
            # A second, as the machine may be busy: an explanation that is late is left out.
            serving = server(made / f"serve-{family}", made / "each" / family / "1", ASSAY__MODEL__EXPLAIN_WAIT="1s")
            with self.subTest(family), serving as address:
                at = "2026-06-01T03:00:%02dZ"
                # A burst of growing amounts on one card in one shop at night: card testing.
                answers = [ask(address, "/predict", {
                    "transaction_id": f"{family}-{second}", "occurred_at": at % second, "customer_id": "c1", "terminal_id": "t1",
                    "amount_minor": 100 if second < 30 else 90_000, "currency": "EUR", "channel": "online",
                }) for second in range(40)]  # fmt: skip
                self.assertTrue(all(0 <= answer["score"] <= 1 and answer["model_version"] == "1" for answer in answers))
                flagged = [answer for answer in answers if answer["flagged"]]
                self.assertTrue(flagged, f"{family}: nothing of the burst was flagged")
                for answer in flagged:
                    told = [reason["contribution"] for reason in answer["reasons"] if reason.get("contribution") is not None]
                    self.assertTrue(told, f"{family}: no reason with a contribution in {answer}")
                    how = answer["explanation"]
                    self.assertEqual(how["method"], families.FAMILIES[family].explanation_method)
                    self.assertAlmostEqual(how["baseline"] + sum(told) + how["other"], how["margin"], delta=1e-5)

    def test_the_manifest_and_the_report_say_the_same(self):
        package = support.trained() / "fraud/1"
        manifest = tomllib.loads((package / "manifest.toml").read_text())
        report = json.loads((package / "report/report.json").read_text())
        golden = json.loads((package / "golden.json").read_text())
        chosen = report["families"][report["family"]]
        self.assertEqual(manifest["training"]["parameters"]["algorithm"], report["family"])
        self.assertEqual(manifest["threshold"]["value"], chosen["threshold"])
        self.assertEqual(manifest["sha256"], hashes(package)["model.onnx"])
        self.assertEqual((manifest["training"]["parameters"]["warm_up_days"], report["data"]["days_before_training"]), (0, 0))
        self.assertAlmostEqual(
            manifest["training"]["figures"]["test"]["average_precision"], chosen["test"]["average_precision"], places=6
        )
        self.assertEqual(
            max(report["families"], key=lambda name: report["families"][name]["chosen_on"]["average_precision"]), report["family"]
        )
        self.assertEqual(len(golden["inputs"][0]), len(manifest["features"]))
        text = (package / "report/report.txt").read_text()
        self.assertIn(f"{chosen['test']['average_precision']:.3f}", text)
        self.assertIn("before the longest windows are full", text)
        self.assertIn("AP, known then", text)
        row = next(line for line in text.splitlines() if line.startswith(f"{report['family']} "))
        self.assertEqual(row.split()[1], f"{chosen['chosen_on']['average_precision']:.3f}")
        self.assertTrue({"curves.png", "folds.png", "calibration.png", "importance.png", "alerts.png", "cost.png", "kinds.png"}
                        <= {path.name for path in (package / "report").iterdir()})  # fmt: skip

    def test_the_baseline_of_the_scores_is_out_of_sample(self):
        report = json.loads((support.trained() / "fraud/1/report/report.json").read_text())
        baseline = json.loads((support.trained() / "fraud/1/baseline.json").read_text())
        self.assertEqual(sum(baseline["score"]["counts"]), report["data"]["validation"]["rows"])

    def test_the_threshold_gives_the_alerts_asked_for_on_the_validation_days(self):
        report = json.loads((support.trained() / "fraud/1/report/report.json").read_text())
        rows, package = support.rows(), support.trained() / "fraud/1"
        first, last = (
            np.datetime64(day).astype("datetime64[D]").astype(int) for day in report["data"]["validation"]["days"].split("..")
        )
        inside = (rows.day >= first) & (rows.day <= last)
        score = onnxruntime.InferenceSession(package / "model.onnx").run(["score"], {"input": rows.values[inside]})[0][:, 0]
        flagged = int((score >= np.float32(report["families"][report["family"]]["threshold"])).sum())
        self.assertEqual(flagged, 20 * 5)


if __name__ == "__main__":
    unittest.main()
