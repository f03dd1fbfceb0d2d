"""What decides whether a challenger comes into force, and the steps against a running server."""

import argparse
import contextlib
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from unittest import mock

import promote
import record
import tracking
from assay import ROOT, program

COMPARED = {
    "champion": "fraud/1", "challenger": "fraud/2", "compared": 2000, "dropped": 0, "failed": 0, "agreement": 0.99, "shift": 0.02,
    "both_flagged": 20, "champion_only": 10, "challenger_only": 10,
    "labels": {"labelled": 300, "fraud": 60}, "champion_precision": 0.8, "challenger_precision": 0.85, "champion_recall": 0.7,
    "challenger_recall": 0.7,
}  # fmt: skip


def options(**more):
    known = {"least": 1000, "most_failed": 0.0, "least_agreement": 0.95, "most_shift": 0.25, "least_frauds": 50, "loss": 0.0,
             "labels_needed": False, "most_ratio": 2.0}  # fmt: skip
    return argparse.Namespace(**{**known, **more})


class Rules(unittest.TestCase):
    def test_a_good_challenger_passes(self):
        self.assertEqual(promote.rules(COMPARED, options()), [])

    def test_each_rule_stops(self):
        for change, word in [
            ({"compared": 999}, "999 transactions"),
            ({"failed": 1}, "no score"),
            ({"agreement": 0.9}, "flag alike"),
            ({"shift": 0.3}, "shift"),
            ({"both_flagged": 0, "champion_only": 20, "challenger_only": 0}, "it flags 0"),
            ({"both_flagged": 30, "champion_only": 0, "challenger_only": 46}, "it flags 76"),
            ({"challenger_precision": 0.79}, "precision"),
            ({"challenger_precision": None}, "precision"),
            ({"challenger_recall": 0.69}, "recall"),
        ]:
            with self.subTest(change):
                faults = promote.rules({**COMPARED, **change}, options())
                self.assertEqual(len(faults), 1, faults)
                self.assertIn(word, faults[0])

    def test_a_handful_of_flagged_ones_says_nothing(self):
        self.assertEqual(promote.rules({**COMPARED, "both_flagged": 0, "champion_only": 4, "challenger_only": 0}, options()), [])

    def test_few_labels_count_only_where_they_are_needed(self):
        few = {**COMPARED, "labels": {"labelled": 3, "fraud": 2}, "challenger_precision": 0.0}
        self.assertEqual(promote.rules(few, options()), [])
        self.assertIn("2 frauds", promote.rules(few, options(labels_needed=True))[0])

    def test_a_loss_may_be_allowed(self):
        self.assertEqual(promote.rules({**COMPARED, "challenger_recall": 0.69}, options(loss=0.02)), [])


def version(folder, number, change=lambda text: text):
    """The shipped package as another version."""
    shutil.copytree(ROOT / "models/fraud/1", folder)
    manifest = folder / "manifest.toml"
    manifest.write_text(change(manifest.read_text().replace('version = "1"', f'version = "{number}"', 1)))
    return folder


class Steps(unittest.TestCase):
    """The whole way with the built program: a version that is as good comes into force, one that is not does not."""

    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.registry = self.folder / "versions"
        self.registry.mkdir()
        version(self.registry / "1", 1)
        environment = {**os.environ, "ASSAY__SERVER__LISTEN": "127.0.0.1:0", "ASSAY__ADMIN__LISTEN": "127.0.0.1:0",
                       "ASSAY__STORE__PATH": str(self.folder / "assay.sqlite"), "ASSAY__MODEL__DIRECTORY": str(self.registry),
                       "ASSAY__HISTORY__HASH_KEY_FILE": str(self.folder / "key"), "ASSAY__MODELS__COPIES": str(self.folder / "copies"),
                       "ASSAY__MODELS__LATENCY_BUDGET": "10s", "ASSAY__LOG__FORMAT": "json"}  # fmt: skip
        self.log = (self.folder / "log").open("w+")
        server = subprocess.Popen([program(), "serve"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.addCleanup(self.log.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.terminate)
        self.address = server.stdout.readline().strip().removeprefix("listening on ")
        lines = [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
        at = [line["address"] for line in lines if "commands to the models" in line.get("message", "")]
        self.admin = f"http://{at[0]}"

    def pay(self, first, count):
        for number in range(first, first + count):
            body = {"transaction_id": f"tx-{number}", "occurred_at": None, "customer_id": f"c-{number % 50}", "terminal_id": "t-1",
                    "amount_minor": 500 + number, "currency": "EUR"}  # fmt: skip
            body["occurred_at"] = int(time.time() * 1000)
            request = urllib.request.Request(f"{self.address}/predict", json.dumps(body).encode(),
                                             {"content-type": "application/json"})  # fmt: skip
            urllib.request.urlopen(request, timeout=10).read()

    def promote(self, *words):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = promote.main([*map(str, words), "--url", self.admin, "--by", "test"])
        return status, errors.getvalue()

    def active(self):
        with urllib.request.urlopen(f"{self.address}/model", timeout=10) as answer:
            return json.load(answer)["model_version"]

    def test_a_version_comes_into_force_step_by_step(self):
        package = version(self.folder / "new", 2)
        where = ["--package", package, "--registry", self.registry]
        for step in ("publish", "publish", "verify", "shadow"):
            self.assertEqual(self.promote(step, *where), (0, ""), step)
        status, said = self.promote("compare", *where, "--least", 50, "--wait", 0)
        self.assertEqual(status, promote.STOPPED, said)
        self.pay(0, 60)
        figures = self.folder / "compared.json"
        self.assertEqual(self.promote("compare", *where, "--least", 50, "--wait", 30, "--figures", figures), (0, ""))
        self.assertEqual(json.loads(figures.read_text())["agreement"], 1.0)
        self.assertEqual(self.promote("activate", *where), (0, ""))
        self.assertEqual(self.active(), "2")
        # Whoever runs it again finds the work done.
        self.assertEqual(self.promote("all", *where, "--watch", 0, "--wait", 0), (0, ""))
        self.assertEqual(self.promote("stop", *where), (0, ""))
        with urllib.request.urlopen(f"{self.admin}/models/fraud/2", timeout=10) as answer:
            self.assertEqual(json.load(answer)["digest"], record.of(package).digest)

    def test_figures_of_another_challenger_decide_nothing(self):
        one, other = version(self.folder / "one", 2), version(self.folder / "other", 3)
        where, elsewhere = (["--package", package, "--registry", self.registry] for package in (one, other))
        for step in ("publish", "verify", "shadow"):
            self.assertEqual(self.promote(step, *where), (0, ""), step)
        for step in ("publish", "shadow"):
            self.assertEqual(self.promote(step, *elsewhere), (0, ""), step)
        self.pay(0, 60)
        status, said = self.promote("compare", *where, "--least", 50, "--wait", 30)
        self.assertEqual((status, "fraud/3 is compared by now" in said), (promote.STOPPED, True), said)

    def test_one_that_is_rolled_back_is_told(self):
        package = version(self.folder / "new", 2)
        where = ["--package", package, "--registry", self.registry]
        for step in ("publish", "activate"):
            self.assertEqual(self.promote(step, *where), (0, ""), step)
        self.assertEqual(self.promote("watch", *where, "--watch", 0), (0, ""))
        words = [program(), "models", "rollback", "--by", "test", "--why", "it is slow", "--url", self.admin]
        subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
        status, said = self.promote("watch", *where, "--watch", 60)
        self.assertEqual((status, "it is slow" in said), (promote.STOPPED, True), said)

    def compares(self):
        try:
            urllib.request.urlopen(f"{self.admin}/models/compare", timeout=10).close()
        except urllib.error.HTTPError as error:
            error.close()
            return error.code != 409
        return True

    def test_nothing_scores_besides_after_a_signal(self):
        package = version(self.folder / "new", 2)
        words = ["all", "--package", package, "--registry", self.registry, "--url", self.admin, "--by", "test"]
        command = [sys.executable, ROOT / "models/train/promote.py", *words]
        waiting = subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        until = time.monotonic() + 60
        while not self.compares():
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)
        waiting.terminate()
        self.assertEqual(waiting.wait(60), 128 + signal.SIGTERM)
        self.assertFalse(self.compares())

    def test_nothing_scores_besides_after_a_fault(self):
        package = version(self.folder / "new", 2)
        where = ["--package", package, "--registry", self.registry]
        with mock.patch.object(promote, "compare", side_effect=promote.Fault("the network is gone")):
            self.assertEqual(self.promote("all", *where)[0], 1)
        self.assertFalse(self.compares())

    def test_one_that_flags_otherwise_is_stopped_and_one_that_is_wrong_refused(self):
        flags_all = version(self.folder / "flags", 3, lambda text: text.replace("value = 0.5265483856201172", "value = 0.0"))
        where = ["--package", flags_all, "--registry", self.registry]
        for step in ("publish", "verify", "shadow"):
            self.assertEqual(self.promote(step, *where), (0, ""), step)
        self.pay(1000, 40)
        status, said = self.promote("all", *where, "--rules", "--least 30 --wait 30")
        self.assertEqual((status, "flag alike" in said, "it flags 40" in said), (promote.STOPPED, True, True), said)
        wrong = version(self.folder / "wrong", 4)
        golden = json.loads((wrong / "golden.json").read_text())
        golden["scores"][0] = 0.5
        (wrong / "golden.json").write_text(json.dumps(golden))
        status, said = self.promote("all", "--package", wrong, "--registry", self.registry)
        self.assertEqual((status, "golden row 0" in said), (promote.REFUSED, True), said)
        self.assertEqual(self.active(), "1")

    def test_the_dag_and_the_jenkinsfile_call_every_step(self):
        for path in ("deploy/airflow/assay_promote.py", "deploy/Jenkinsfile"):
            text = (ROOT / path).read_text()
            for word in promote.STEPS:
                self.assertRegex(text, rf"(step|promote)\(['\"]{word}\b", path)

    def test_no_value_is_read_by_the_shell_as_its_own_words(self):
        for path in ("deploy/airflow/assay_promote.py", "deploy/Jenkinsfile"):
            for line in (ROOT / path).read_text().splitlines():
                # A value stands in double quotes, and those in the single quotes of the language around it.
                for found in re.finditer(r"\$\{?[A-Z]", line.partition("# ")[0].partition("// ")[0]):
                    before = line[: found.start()]
                    self.assertEqual(before.count('"') % 2, 1, f"{path}: {line}")
        self.assertNotIn("${params", (ROOT / "deploy/Jenkinsfile").read_text())


class Training(unittest.TestCase):
    """The words of a training reach it as they were given."""

    def trained(self, *words, status=0):
        """(exit status, the words that models/train/run.sh got)"""
        asked = []

        def run(command, **_):
            asked.extend(command)
            return argparse.Namespace(returncode=status)

        with mock.patch.object(promote.subprocess, "run", run), contextlib.redirect_stdout(io.StringIO()) as said:
            with contextlib.redirect_stderr(said):
                done = promote.main(["train", "--package", "models/fraud/9", *words])
        self.said = said.getvalue()
        return done, asked[1:]

    def test_words_behind_the_dashes_and_quoted_words(self):
        there = ["--output", str(pathlib.Path("models/fraud/9").resolve())]
        self.assertEqual(self.trained("--", "--days", "60"), (0, ["--days", "60", *there, "--mlflow="]))
        words = "--training=--input 'my payments.parquet' --set a.b=$(x)"
        self.assertEqual(self.trained(words), (0, ["--input", "my payments.parquet", "--set", "a.b=$(x)", *there, "--mlflow="]))
        self.assertEqual(self.trained("--training="), (0, [*there, "--mlflow="]))
        given = self.trained("--mlflow", "http://h:1", "--experiment", "cards", "--", "--seed", "2")
        self.assertEqual(given, (0, ["--seed", "2", *there, "--mlflow=http://h:1", "--experiment=cards"]))
        with self.assertRaises(SystemExit):
            self.trained("--training='")

    def test_a_package_that_is_not_recorded_is_trained_and_one_that_is_not_there_is_not(self):
        self.assertEqual(self.trained(status=tracking.UNRECORDED)[0], 0)
        self.assertIn("not recorded yet", self.said)
        self.assertEqual(self.trained(status=1)[0], 1)


if __name__ == "__main__":
    unittest.main()
