"""A training that is recorded: in a real MLflow, read back over its REST API; and one whose MLflow is away, which keeps its package."""

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import unittest
import urllib.parse
import urllib.request

import record
import tracking
from assay import ROOT
from tests import support
from tests.serving import free_address
from tests.tracker import Tracker

SMALL = [*support.SHORT, "--families", "logistic", "--folds", "1"]


@contextlib.contextmanager
def mlflow(folder):
    """Yields the address of a server of this test alone."""
    address = free_address()
    environment = {**os.environ, "ASSAY_MLFLOW_DATA": str(folder / "mlflow"), "ASSAY_MLFLOW_PORT": address.rpartition(":")[2]}

    def script(word):
        done = subprocess.run([ROOT / "scripts/mlflow.sh", word], env=environment, text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
        if done.returncode:
            raise AssertionError(f"scripts/mlflow.sh {word}: {done.stderr[-2000:]}")

    script("install")
    script("start")
    try:
        yield f"http://{address}"
    finally:
        script("stop")


def get(url, **query):
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return answer.read()


def promote(*words):
    """As a pipeline runs it: a process of its own; what it says."""
    done = subprocess.run([sys.executable, support.TRAINING / "promote.py", *map(str, words)], text=True, capture_output=True,
                          stdin=subprocess.DEVNULL)  # fmt: skip
    if done.returncode:
        raise AssertionError(f"promote.py {words[0]}: {done.stderr}")
    return done.stdout


class Recorded(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.package = self.folder / "fraud/7"

    def train(self, *words):
        return support.run(*SMALL, "--work", self.folder / "work", "--output", self.package, *words)

    def test_where_mlflow_is_away_the_package_stands_and_is_recorded_later(self):
        done = self.train("--mlflow", f"http://{free_address()}")
        self.assertEqual(done.returncode, tracking.UNRECORDED, done.stderr)
        self.assertIn("the package stands, but MLflow has no whole run of it", done.stderr)
        self.assertTrue((self.package / "manifest.toml").is_file())
        tracker = Tracker()
        self.addCleanup(tracker.close)
        self.assertIn("registered as version 1 of fraud", promote("register", "--package", self.package, "--mlflow", tracker.url))

    def test_a_training_is_recorded_registered_and_named(self):
        if not os.environ.get("ASSAY_LONG"):
            # MLflow and what it needs are 700 MB.
            support.undone("a training that is recorded in a real MLflow: only in the long form, ASSAY_LONG=1")
            return
        with mlflow(self.folder) as url:
            done = self.train("--mlflow", url, "--experiment", "it's ours")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(f"train: recorded at {url} as run ", done.stdout)
            run = self.read_back(url)
            where = ["--package", self.package, "--mlflow", url, "--experiment", "it's ours"]
            self.assertEqual(promote("register", *where), "promote: fraud/7 is registered as version 1 of fraud\n")
            self.assertEqual(promote("register", *where), "promote: fraud/7 is registered already as version 1 of fraud\n")
            self.assertIn("now names version 1", promote("alias", "--alias", "champion", *where))
            self.assertIn("names already version 1", promote("alias", "--alias", "champion", *where))
            api = f"{url}/api/2.0/mlflow"
            named = json.loads(get(f"{api}/registered-models/alias", name="fraud", alias="champion"))["model_version"]
            self.assertEqual((named["version"], named["status"], named["run_id"]), ("1", "READY", run["info"]["run_id"]))
            # The same bytes are the same run, and nobody registers twice.
            self.assertIn("recorded already", self.train("--mlflow", url, "--experiment", "it's ours").stdout)
            self.assertEqual(self.read_back(url), run)
            # What no training recorded.
            manifest = self.package / "manifest.toml"
            manifest.write_text(manifest.read_text().replace('version = "7"', 'version = "8"', 1))
            self.assertEqual(promote("register", *where), "promote: fraud/8 is registered as version 2 of fraud\n")
            named = json.loads(get(f"{api}/registered-models/alias", name="fraud", alias="champion"))["model_version"]
            self.assertEqual(named["version"], "1")

    def read_back(self, url):
        """The only run of the experiment, held against the package."""
        found = record.of(self.package)
        api = f"{url}/api/2.0/mlflow"
        identity = json.loads(get(f"{api}/experiments/get-by-name", experiment_name="it's ours"))["experiment"]["experiment_id"]
        body = json.dumps({"experiment_ids": [identity]}).encode()
        request = urllib.request.Request(f"{api}/runs/search", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            (run,) = json.load(answer)["runs"]
        data = {part: {one["key"]: one["value"] for one in run["data"][part]} for part in ("params", "metrics", "tags")}
        manifest = tomllib.loads((self.package / "manifest.toml").read_text())
        trained = {key: str(value) for key, value in manifest["training"]["parameters"].items()}
        self.assertLessEqual(trained.items(), data["params"].items())
        self.assertEqual(data["params"], found.parameters)
        # Of a figure with steps MLflow shows the last.
        self.assertEqual(data["metrics"], {key: value for key, value, _ in found.figures})
        self.assertEqual((data["tags"]["assay.digest"], data["tags"]["assay.package"]), (found.digest, "fraud/7"))
        self.assertEqual((run["info"]["status"], run["info"]["run_name"]), ("FINISHED", "fraud/7"))
        place = run["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path, file in found.files.items():
            stored = get(f"{url}/api/2.0/mlflow-artifacts/artifacts/{place}/package/{path}")
            self.assertEqual(hashlib.sha256(stored).hexdigest(), hashlib.sha256(file.read_bytes()).hexdigest(), path)
        self.assertIn("report/report.txt", found.files)
        return run


if __name__ == "__main__":
    unittest.main()
