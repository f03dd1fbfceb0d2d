"""Runs the DAG of deploy/airflow with a real Airflow and a real MLflow: a version that is as good as the active one comes into force
and the alias names it, one that flags otherwise does neither, one is trained on the way, and nothing scores besides when a run is over.

Airflow lies in .cache/airflow, made of scripts/airflow.txt, MLflow where scripts/mlflow.sh puts it; their state and the server's files
in a folder that goes.
Exit 1 says what did not come out as it should.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOME = ROOT / ".cache/airflow"
PAYMENTS_A_SECOND = 100
# A training of seconds: what comes of it is nothing to put in force.
TRAINING = ("--days 38 --customers 800 --validation-days 5 --test-days 5 --folds 1 --families logistic --threads 1 "
            "--features amount,is_night,hour,customer_tx_count_1d,customer_amount_mean_7d,terminal_fraud_share_7d")  # fmt: skip


class Fault(Exception):
    pass


def package(folder, version, change=lambda text: text):
    shutil.copytree(ROOT / "models/fraud/1", folder)
    manifest = folder / "manifest.toml"
    manifest.write_text(change(manifest.read_text().replace('version = "1"', f'version = "{version}"', 1)))
    return folder


class Server:
    """The program on a folder of versions, and somebody who pays all the time."""

    def __init__(self, folder):
        self.log = (folder / "log").open("w")
        self.registry = folder / "versions"
        self.registry.mkdir()
        package(self.registry / "1", 1)
        environment = {**os.environ, "ASSAY__SERVER__LISTEN": "127.0.0.1:0", "ASSAY__ADMIN__LISTEN": "127.0.0.1:0",
                       "ASSAY__STORE__PATH": str(folder / "assay.sqlite"), "ASSAY__MODEL__DIRECTORY": str(self.registry),
                       "ASSAY__HISTORY__HASH_KEY_FILE": str(folder / "key"), "ASSAY__MODELS__COPIES": str(folder / "copies"),
                       "ASSAY__MODELS__LATENCY_BUDGET": "10s", "ASSAY__MODELS__MAX_SHIFT": "0", "ASSAY__MODELS__WATCH": "0s",
                       "ASSAY__LOG__FORMAT": "json"}  # fmt: skip
        self.process = subprocess.Popen([ROOT / "target/release/assay", "serve"], cwd=ROOT, env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=self.log)  # fmt: skip
        self.address = self.process.stdout.readline().strip().removeprefix("listening on ")
        lines = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
        self.admin = "http://" + next(line["address"] for line in lines if "commands to the models" in line.get("message", ""))
        self.ended = threading.Event()
        self.payer = threading.Thread(target=self.pay)
        self.payer.start()

    def pay(self):
        number = 0
        while not self.ended.wait(1 / PAYMENTS_A_SECOND):
            number += 1
            body = {"transaction_id": f"tx-{number}", "occurred_at": int(time.time() * 1000), "customer_id": f"c-{number % 50}",
                    "terminal_id": "t-1", "amount_minor": 500 + number, "currency": "EUR"}  # fmt: skip
            request = urllib.request.Request(f"{self.address}/predict", json.dumps(body).encode(),
                                             {"content-type": "application/json"})  # fmt: skip
            urllib.request.urlopen(request, timeout=10).read()

    def get(self, address):
        with urllib.request.urlopen(address, timeout=10) as answer:
            return json.load(answer)

    def active(self):
        return self.get(f"{self.address}/model")["model_version"]

    def compares(self):
        try:
            self.get(f"{self.admin}/models/compare")
        except urllib.error.HTTPError as error:
            return error.code != 409
        return True

    def stop(self):
        self.ended.set()
        self.payer.join()
        self.process.terminate()
        self.process.wait(timeout=60)
        self.log.close()


class Mlflow:
    """A server of this check alone."""

    def __init__(self, folder):
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {**os.environ, "ASSAY_MLFLOW_DATA": str(folder / "mlflow"), "ASSAY_MLFLOW_PORT": str(port)}
        self.script("install")
        self.script("start")

    def script(self, word):
        subprocess.run([ROOT / "scripts/mlflow.sh", word], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def get(self, path, **query):
        with urllib.request.urlopen(f"{self.url}/api/2.0/mlflow/{path}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
            return json.load(answer)

    def champion(self):
        """The package that the alias names, as it is tagged."""
        version = self.get("registered-models/alias", name="fraud", alias="champion")["model_version"]
        return tag(version, "assay.package")

    def packages(self):
        """The packages that are registered, and whether each has a run of its own that is finished."""
        versions = self.get("model-versions/search", filter="name='fraud'").get("model_versions", [])
        runs = [self.get("runs/get", run_id=version["run_id"])["run"]["info"]["status"] for version in versions]
        return {tag(version, "assay.package"): run == "FINISHED" for version, run in zip(versions, runs)}

    def stop(self):
        self.script("stop")


def tag(version, key):
    return next(one["value"] for one in version["tags"] if one["key"] == key)


def airflow(folder, server, *words, **more):
    environment = {**os.environ, "AIRFLOW_HOME": str(folder / "airflow"), "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "deploy/airflow"),
                   "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW_VAR_ASSAY_ROOT": str(ROOT),
                   "AIRFLOW_VAR_ASSAY_REGISTRY": str(server.registry), "AIRFLOW_VAR_ASSAY_ADMIN": server.admin,
                   "ASSAY_PYTHON": sys.executable, **more}  # fmt: skip
    done = subprocess.run([HOME / "bin/airflow", *words], cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)  # fmt: skip
    return done.returncode, done.stdout


def promote(folder, server, package, **more):
    words = ["dags", "test", "assay_promote", "--conf", json.dumps({"package": str(package), "least": 100, "wait": 60, "watch": 3})]
    return airflow(folder, server, *words, **more)


def told(said):
    """What the steps said, or the end of what Airflow said."""
    return "\n".join(line for line in said.splitlines() if "promote:" in line) or said[-3000:]


def check(folder):
    mlflow = Mlflow(folder)
    try:
        check_with(folder, mlflow)
    finally:
        mlflow.stop()


def check_with(folder, mlflow):
    server = Server(folder)
    recorded = {"AIRFLOW_VAR_ASSAY_MLFLOW": mlflow.url}
    try:
        status, said = airflow(folder, server, "db", "migrate")
        if status:
            raise Fault(f"Airflow's own database cannot be made:\n{said[-2000:]}")
        # A name that a shell would read as words of its own.
        _, said = promote(folder, server, package(folder / "it's; good", 2), **recorded)
        if server.active() != "2":
            raise Fault(f"the version that is as good did not come into force:\n{told(said)}")
        if mlflow.champion() != "fraud/2":
            raise Fault(f"the alias does not name the version that is in force:\n{told(said)}")
        flags_all = package(folder / "bad", 3, lambda text: text.replace("value = 0.5265483856201172", "value = 0.0"))
        _, said = promote(folder, server, flags_all, **recorded)
        if server.active() != "2" or "flag alike" not in said:
            raise Fault(f"the version that flags everything was not stopped:\n{told(said)}")
        if server.compares():
            raise Fault("a version scores besides although its run is over")
        _, said = promote(folder, server, folder / "fraud/4", AIRFLOW_VAR_ASSAY_TRAIN=TRAINING, **recorded)
        if mlflow.packages() != {"fraud/2": True, "fraud/3": True, "fraud/4": True} or "fraud/4 passed" not in said:
            raise Fault(f"the version that is trained on the way was not recorded and registered:\n{mlflow.packages()}\n{told(said)}")
        if mlflow.champion() != "fraud/2":
            raise Fault(f"the alias moved to a version that no comparison passed:\n{told(said)}")
        # Without MLflow: its steps are left out, and what comes after them is not.
        _, said = promote(folder, server, package(folder / "plain", 5))
        if server.active() != "5" or len(mlflow.packages()) != 3:
            raise Fault(f"the version did not come into force where no MLflow is named:\n{told(said)}")
    finally:
        server.stop()


def main():
    subprocess.run([ROOT / "scripts/environment.sh", ROOT / "scripts/airflow.txt", HOME], check=True)
    with tempfile.TemporaryDirectory(prefix="assay-airflow-") as made:
        try:
            check(pathlib.Path(made))
        except Fault as fault:
            print(f"airflow: {fault}", file=sys.stderr)
            return 1
    print("airflow: the DAG put a good version in force, in MLflow too, stopped one that is not, and trained one")
    return 0


if __name__ == "__main__":
    sys.exit(main())
