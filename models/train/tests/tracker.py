"""A small MLflow of the tests' own: the requests that runs.py sends, answered as MLflow 3.17 answers them, and faults on demand."""

import contextlib
import http.server
import json
import re
import threading
import time
import urllib.parse

API = "/api/2.0/mlflow/"
FILES = "/api/2.0/mlflow-artifacts/artifacts/"


class Tracker(http.server.ThreadingHTTPServer):
    """`faults`: (part of a path, how often, what): a status, "lost" (done, and no answer), "silent" (no answer for a second)."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments, self.runs, self.models, self.versions, self.files = {}, {}, {}, [], {}
        self.asked, self.faults, self.tokens = [], [], set()
        self.place, self.pending, self.failed = "mlflow-artifacts:", 0, False
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self):
        self.shutdown()
        self.thread.join()
        self.server_close()

    def fault(self, path):
        for number, (part, left, what) in enumerate(self.faults):
            if part in path and left:
                self.faults[number] = (part, left - 1, what)
                return what
        return None

    def writes(self):
        """The requests so far that change something; forgets all of them."""
        asked, self.asked = self.asked, []
        return [path for method, path in asked if method != "GET" and not path.endswith("/search")]

    def answer(self, method, path, query, body):
        """(status, answer)"""
        known = getattr(self, re.sub(r"\W", "_", f"{method.lower()}_{path}"), None)
        return known({**query, **body}) if known else (404, {"error_code": "ENDPOINT_NOT_FOUND", "message": path})

    def get_experiments_get_by_name(self, asked):
        name = asked["experiment_name"]
        if name not in self.experiments:
            return unknown(name)
        return 200, {"experiment": self.experiments[name]}

    def post_experiments_create(self, asked):
        if asked["name"] in self.experiments:
            return exists(asked["name"])
        made = {"experiment_id": str(len(self.experiments)), "name": asked["name"], "lifecycle_stage": "active"}
        self.experiments[asked["name"]] = made
        return 200, {"experiment_id": made["experiment_id"]}

    def post_runs_search(self, asked):
        digest = re.fullmatch(r"tags\.`assay\.digest` = '(\w+)'", asked["filter"])[1]
        tag = {"key": "assay.digest", "value": digest}
        found = [run for run in self.runs.values()
                 if run["info"]["experiment_id"] in asked["experiment_ids"] and tag in run["data"]["tags"]]  # fmt: skip
        # As MLflow: no key without a run.
        return 200, {"runs": [{"info": run["info"]} for run in found[: asked["max_results"]]]} if found else {}

    def post_runs_create(self, asked):
        run_id = f"run{len(self.runs)}"
        info = {"run_id": run_id, "experiment_id": asked["experiment_id"], "status": "RUNNING", "start_time": asked["start_time"],
                "artifact_uri": f"{self.place}/{asked['experiment_id']}/{run_id}/artifacts"}  # fmt: skip
        self.runs[run_id] = {"info": info, "data": {"tags": asked["tags"], "params": {}, "metrics": set()}}
        return 200, {"run": {"info": info}}

    def post_runs_log_batch(self, asked):
        data = self.runs[asked["run_id"]]["data"]
        for one in asked.get("params", []):
            if data["params"].setdefault(one["key"], one["value"]) != one["value"]:
                return 400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "changing a parameter"}
        data["metrics"] |= {(one["key"], one["value"], one["step"], one["timestamp"]) for one in asked.get("metrics", [])}
        return 200, {}

    def post_runs_update(self, asked):
        self.runs[asked["run_id"]]["info"]["status"] = asked["status"]
        return 200, {}

    def get_registered_models_get(self, asked):
        if asked["name"] not in self.models:
            return unknown(asked["name"])
        aliases = [{"alias": alias, "version": version} for alias, version in self.models[asked["name"]].items()]
        return 200, {"registered_model": {"name": asked["name"], **({"aliases": aliases} if aliases else {})}}

    def post_registered_models_create(self, asked):
        if asked["name"] in self.models:
            return exists(asked["name"])
        self.models[asked["name"]] = {}
        return 200, {}

    def post_registered_models_alias(self, asked):
        self.models[asked["name"]][asked["alias"]] = asked["version"]
        return 200, {}

    def get_model_versions_search(self, asked):
        digest = re.fullmatch(r"tags\.`assay\.digest` = '(\w+)'", asked["filter"])[1]
        found = [one for one in self.versions if {"key": "assay.digest", "value": digest} in one["tags"]]
        # A page has one.
        first = int(asked.get("page_token", 0))
        more = {"next_page_token": str(first + 1)} if first + 1 < len(found) else {}
        return 200, {"model_versions": found[first : first + 1], **more} if found else {}

    def post_model_versions_create(self, asked):
        number = str(1 + sum(one["name"] == asked["name"] for one in self.versions))
        status = "PENDING_REGISTRATION" if self.pending else "READY"
        self.versions.append({**asked, "version": number, "status": "FAILED_REGISTRATION" if self.failed else status})
        return 200, {"model_version": self.versions[-1]}

    def get_model_versions_get(self, asked):
        found = next(one for one in self.versions if (one["name"], one["version"]) == (asked["name"], asked["version"]))
        self.pending -= 1
        return 200, {"model_version": {**found, "status": "PENDING_REGISTRATION" if self.pending > 0 else "READY"}}


def unknown(name):
    return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{name} not found"}


def exists(name):
    return 400, {"error_code": "RESOURCE_ALREADY_EXISTS", "message": f"{name} already exists."}


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def act(self):
        tracker, parts = self.server, urllib.parse.urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        tracker.asked.append((self.command, parts.path))
        tracker.tokens.add(self.headers.get("authorization"))
        fault = tracker.fault(parts.path)
        if isinstance(fault, int):
            more = {"location": f"{tracker.url}/elsewhere"} if fault == 302 else {}
            self.reply(fault, b'{"error_code": "TROUBLE", "message": "in trouble"}', more)
            return
        if fault == "silent":
            time.sleep(1)
        if parts.path.startswith(FILES):
            tracker.files[urllib.parse.unquote(parts.path.removeprefix(FILES))] = content
            status, answer = 200, {}
        else:
            query = dict(urllib.parse.parse_qsl(parts.query))
            body = json.loads(content) if content else {}
            status, answer = tracker.answer(self.command, parts.path.removeprefix(API), query, body)
        if fault is None:
            self.reply(status, json.dumps(answer).encode(), {})

    def reply(self, status, content, headers):
        self.send_response(status)
        for key, value in {"content-length": str(len(content)), **headers}.items():
            self.send_header(key, value)
        # Who asked may have gone.
        with contextlib.suppress(ConnectionError):
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = act
