"""What is recorded in MLflow is there once, however often it is asked for and whatever is lost on the way; against a server of the
tests' own. test_recorded.py has a real one."""

import argparse
import contextlib
import hashlib
import io
import json
import os
import pathlib
import shutil
import tempfile
import unittest
from unittest import mock

import command
import promote
import record
import runs
import tracking
from assay import ROOT
from fault import Fault
from tests.tracker import Tracker

PACKAGE = ROOT / "models/fraud/1"


class Recording(unittest.TestCase):
    def setUp(self):
        self.tracker = Tracker()
        self.addCleanup(self.tracker.close)
        self.where = tracking.Server(self.tracker.url, timeout=10.0, pauses=(0.01, 0.01, 0.01))
        self.record = record.of(PACKAGE)

    def other(self):
        """Another package: another digest."""
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "2"
        shutil.copytree(PACKAGE, folder)
        manifest = folder / "manifest.toml"
        manifest.write_text(manifest.read_text().replace('version = "1"', 'version = "2"', 1))
        return record.of(folder)

    def test_a_run_has_parameters_figures_tags_and_the_files(self):
        info, made = runs.log(self.where, self.record)
        self.assertTrue(made)
        run = self.tracker.runs[info["run_id"]]
        self.assertEqual((run["info"]["status"], list(self.tracker.experiments)), ("FINISHED", ["fraud"]))
        parameters, figures = run["data"]["params"], {key: value for key, value, *_ in run["data"]["metrics"]}
        report = json.loads((PACKAGE / "report/report.json").read_text())
        test = report["families"][report["family"]]["test"]
        for key, value in {"algorithm": report["family"], "seed": "1", "features": str(report["data"]["features"]), "max_depth": "6",
                           "source": report["data"]["source"], "train_days": report["data"]["train"]["days"],
                           "test_days": report["data"]["test"]["days"]}.items():  # fmt: skip
            self.assertEqual(parameters[key], value, key)
        self.assertEqual(figures["test/average_precision"], test["average_precision"])
        self.assertEqual(figures["test/at_threshold/recall"], test["at_threshold"]["recall"])
        folds = report["families"][report["family"]]["folds"]["folds"]
        found = {step: value for key, value, step, _ in run["data"]["metrics"] if key == "fold/roc_auc"}
        self.assertEqual(found, {step: fold["roc_auc"] for step, fold in enumerate(folds, 1)})
        tags = {one["key"]: one["value"] for one in run["data"]["tags"]}
        self.assertEqual((tags["assay.digest"], tags["assay.package"]), (self.record.digest, "fraud/1"))
        place = f"{info['experiment_id']}/{info['run_id']}/artifacts/package/"
        there = {str(path.relative_to(PACKAGE)): path.read_bytes() for path in PACKAGE.rglob("*") if path.is_file()}
        self.assertEqual({path.removeprefix(place): content for path, content in self.tracker.files.items()}, there)

    def test_each_step_changes_nothing_the_second_time(self):
        first, _ = runs.log(self.where, self.record)
        self.assertEqual(runs.register(self.where, self.record, "fraud"), ("1", True))
        self.assertTrue(runs.alias(self.where, "fraud", "champion", "1"))
        self.tracker.writes()
        again, made = runs.log(self.where, self.record)
        self.assertEqual((again["run_id"], made), (first["run_id"], False))
        self.assertEqual(runs.register(self.where, self.record, "fraud"), ("1", False))
        self.assertFalse(runs.alias(self.where, "fraud", "champion", "1"))
        self.assertEqual(self.tracker.writes(), [])
        # Another package is another run and version; the same one in another model is another version.
        self.assertEqual(runs.register(self.where, self.other(), "fraud", "fraud"), ("2", True))
        self.assertEqual(runs.register(self.where, self.record, "rehearsal"), ("1", True))
        self.assertEqual((len(self.tracker.runs), len(self.tracker.versions)), (2, 3))
        self.assertTrue(runs.alias(self.where, "fraud", "champion", "2"))
        self.assertEqual(self.tracker.models["fraud"], {"champion": "2"})

    def test_what_training_did_not_record_is_recorded_first(self):
        self.assertIsNone(runs.registered(self.where, self.record, "fraud"))
        self.assertEqual(runs.register(self.where, self.record, "fraud"), ("1", True))
        (run,), (version,) = self.tracker.runs.values(), self.tracker.versions
        self.assertEqual(version["run_id"], run["info"]["run_id"])
        self.assertEqual(version["source"], f"{run['info']['artifact_uri']}/package")

    def test_what_fails_for_a_moment_is_tried_again_and_what_is_refused_is_not(self):
        for what in (503, 429, "lost"):
            with self.subTest(what):
                self.tracker.faults = [("experiments/get-by-name", 2, what)]
                self.assertEqual(runs.experiment(self.where, "one"), "0")
        for what, part, tries in ((500, "experiments/get-by-name", 4), (400, "experiments/get-by-name", 1), (302, "log-batch", 1)):
            with self.subTest(what):
                self.tracker.faults, self.tracker.asked = [(part, 99, what)], []
                with self.assertRaisesRegex(Fault, f"MLflow at {self.tracker.url}: .*{part}: status {what}: in trouble"):
                    runs.log(self.where, self.record, "one")
                self.assertEqual(sum(part in path for _, path in self.tracker.asked), tries)
        self.assertNotIn("/elsewhere", [path for _, path in self.tracker.asked])

    def test_a_server_that_is_silent_holds_nobody(self):
        self.tracker.faults = [("experiments", 99, "silent")]
        with self.assertRaisesRegex(tracking.Away, "timed out"):
            runs.experiment(tracking.Server(self.tracker.url, timeout=0.1, pauses=(0.01,)), "one")
        self.assertEqual(len(self.tracker.asked), 2)

    def test_what_was_made_by_a_request_whose_answer_is_lost_is_there_once(self):
        for part in ("experiments/create", "runs/create", "registered-models/create", "model-versions/create", "log-batch",
                     "model.onnx", "runs/update"):  # fmt: skip
            self.tracker.faults.append((part, 1, "lost"))
        number, _ = runs.register(self.where, self.record, "fraud")
        self.assertEqual((number, [left for _, left, _ in self.tracker.faults]), ("1", [0] * 7))
        self.assertEqual((len(self.tracker.runs), len(self.tracker.versions), len(self.tracker.models)), (1, 1, 1))

    def test_an_unfinished_run_is_finished_and_nothing_is_there_twice(self):
        self.tracker.faults = [("model.onnx", 4, 500)]
        with self.assertRaises(tracking.Away):
            runs.log(self.where, self.record)
        (run,) = self.tracker.runs.values()
        self.assertEqual(run["info"]["status"], "FAILED")
        figures = set(run["data"]["metrics"])
        info, made = runs.log(self.where, self.record)
        self.assertEqual((len(self.tracker.runs), run["info"]["status"], made), (1, "FINISHED", True))
        self.assertEqual((info["run_id"], run["data"]["metrics"]), (run["info"]["run_id"], figures))

    def test_a_version_is_waited_for_until_it_is_ready(self):
        self.tracker.pending = 3
        with mock.patch.object(runs, "LOOK", 0.01):
            self.assertEqual(runs.register(self.where, self.record, "fraud"), ("1", True))
            self.tracker.pending = 99
            with mock.patch.object(runs, "PATIENCE", 0.0), self.assertRaisesRegex(Fault, "version 1 of fraud is PENDING"):
                runs.register(self.where, self.record, "fraud")

    def test_a_version_that_failed_is_none(self):
        self.tracker.failed = True
        with self.assertRaises(Fault):
            runs.register(self.where, self.record, "fraud")
        self.tracker.versions, self.tracker.failed = self.tracker.versions[:1], False
        self.assertEqual(runs.register(self.where, self.record, "fraud"), ("2", True))

    def test_the_token_is_sent_and_never_told(self):
        where = tracking.Server(self.tracker.url, "hush", pauses=())
        self.tracker.faults = [("runs/create", 1, 401)]
        with self.assertRaisesRegex(Fault, "MLFLOW_TRACKING_TOKEN") as refused:
            runs.log(where, self.record)
        self.assertNotIn("hush", str(refused.exception))
        self.assertEqual(self.tracker.tokens, {"Bearer hush"})

    def test_artifacts_that_mlflow_does_not_hand_out_are_refused(self):
        self.tracker.place = "s3://bucket"
        with self.assertRaisesRegex(Fault, "--serve-artifacts"):
            runs.log(self.where, self.record)
        for uri in ("mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts://host:5000/1/r/artifacts"):
            self.assertEqual(runs.artifacts(uri), "1/r/artifacts")

    def test_a_deleted_experiment_and_an_answer_that_is_none_are_named(self):
        runs.experiment(self.where, "one")
        self.tracker.experiments["one"]["lifecycle_stage"] = "deleted"
        with self.assertRaisesRegex(Fault, "experiment one is deleted"):
            runs.log(self.where, self.record, "one")
        with mock.patch.object(self.tracker, "answer", lambda *_: (200, [])), self.assertRaisesRegex(Fault, "is not MLflow's"):
            runs.log(self.where, self.record)

    def promote(self, *words):
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = promote.main([*words, f"--package={PACKAGE}", f"--mlflow={self.tracker.url}/"])
        return status, output.getvalue() + errors.getvalue()

    def test_promotion_registers_and_moves_the_alias(self):
        status, said = self.promote("alias", "--alias=champion")
        self.assertEqual((status, "the step `register` makes it one" in said), (1, True), said)
        self.assertEqual(self.promote("register"), (0, "promote: fraud/1 is registered as version 1 of fraud\n"))
        self.assertEqual(self.promote("register"), (0, "promote: fraud/1 is registered already as version 1 of fraud\n"))
        self.assertEqual(self.promote("alias", "--alias=champion"), (0, "promote: champion of fraud now names version 1, fraud/1\n"))
        self.assertEqual(self.promote("alias", "--alias=champion"), (0, "promote: champion of fraud names already version 1, fraud/1\n"))

    def test_activation_moves_the_alias_afterwards_and_nothing_where_it_cannot(self):
        done = []
        with mock.patch.object(promote, "models", lambda options, *words, **_: done.append(words[:2]) or (0, {})):
            self.assertEqual(self.promote("activate", "--alias=champion", "--model=ours")[0], 1)
            self.assertEqual(done, [])
            self.promote("register", "--model=ours")
            self.assertEqual(self.promote("activate", "--alias=champion", "--model=ours")[0], 0)
        self.assertEqual((done, self.tracker.models["ours"]), ([("activate", "fraud/1")], {"champion": "1"}))

    def test_training_says_with_its_status_that_the_package_is_not_recorded(self):
        options = argparse.Namespace(output=PACKAGE, experiment=None)
        errors = io.StringIO()
        self.tracker.faults = [("runs/create", 99, 500)]
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(command.recorded(self.where, options, 0), tracking.UNRECORDED)
            self.tracker.faults = []
            self.assertEqual(command.recorded(self.where, options, 0), 0)
        self.assertRegex(errors.getvalue(), r"the package stands, but .* status 500(.|\n)*promote.py register --package")


class Words(unittest.TestCase):
    def test_the_address_is_looked_at_before_anything_is_done(self):
        self.assertIsNone(tracking.server(""))
        with mock.patch.dict(os.environ, MLFLOW_TRACKING_TOKEN="hush"):
            self.assertEqual(tracking.server("https://mlflow.example/"), tracking.Server("https://mlflow.example", "hush"))
        for url in ("file:./mlruns", "127.0.0.1:5000", "http://", "http://host:x", "http://host?a=b"):
            with self.subTest(url), self.assertRaisesRegex(Fault, "give http://host:port"):
                tracking.server(url)
        with self.assertRaises(Fault) as refused:
            tracking.server("http://me:hush@host")
        self.assertNotIn("hush", str(refused.exception))

    def test_the_environment_is_the_default_and_an_empty_option_switches_it_off(self):
        with mock.patch.dict(os.environ, MLFLOW_TRACKING_URI="http://host:5000", MLFLOW_EXPERIMENT_NAME="cards"):
            for parser, words in ((command.parser(), []), (promote.arguments(), ["register", "--package=p"])):
                options = parser.parse_args(words)
                self.assertEqual((options.mlflow, options.experiment), ("http://host:5000", "cards"))
                self.assertEqual(parser.parse_args([*words, "--mlflow="]).mlflow, "")

    def test_the_digest_is_that_of_the_files(self):
        names = ("baseline.json", "explanation.json", "golden.json", "manifest.toml", "model.onnx")
        lines = "".join(f"{hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest()}  {name}\n" for name in names)
        self.assertEqual(record.of(PACKAGE).digest, hashlib.sha256(lines.encode()).hexdigest())

    def test_a_package_without_a_report_is_recorded_by_its_manifest(self):
        with tempfile.TemporaryDirectory() as folder:
            manifest = pathlib.Path(folder) / "manifest.toml"
            manifest.write_text('name = "a"\nversion = "7"\nfeatures = ["x"]\n[training]\ndata = "ours"\n'
                                "[training.figures]\ntest = { recall = 0.5, kind = 'x' }\nrows = 3\n")  # fmt: skip
            found = record.of(folder)
            self.assertEqual((found.key, found.parameters), ("a/7", {"features": "1", "source": "ours"}))
            self.assertEqual(found.figures, [("test/recall", 0.5, 0), ("rows", 3.0, 0)])
            manifest.write_text("name = 3")
            with self.assertRaisesRegex(Fault, "no package that can be recorded"):
                record.of(folder)
        with self.assertRaisesRegex(Fault, "there is no package"):
            record.of(folder)


if __name__ == "__main__":
    unittest.main()
