"""An MLflow server by its REST API, without its client.

In: an address and a request. Out: the answer, or a `Fault` with MLflow's own words. What is asked for stands in runs.py.
Invariants: a request that fails for a moment is tried again, a bounded number of times, and each has a time-out; what a request made
whose answer was lost is found and not made twice; a token goes to the configured server and nowhere else.
"""

import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from fault import Fault

# Training's exit status where the package stands and is not recorded.
UNRECORDED = 5
TIMEOUT = 30.0
# Pauses before the further tries of a request that failed for a moment, in seconds.
PAUSES = (0.5, 1.0, 2.0)
# The most bytes of an answer.
ANSWER = 16 << 20
# Its own words for what is there already and what is not.
EXISTS, UNKNOWN = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"


class Away(Fault):
    """It may be well in a moment."""


class Refused(Fault):
    """MLflow said no. `code`: its own word for it."""

    def __init__(self, message, status, code):
        super().__init__(message)
        self.status, self.code = status, code


class NoFollowing(urllib.request.HTTPRedirectHandler):
    """The token is for the configured server: nobody is followed elsewhere with it."""

    def redirect_request(self, *_):
        return None


@dataclass(frozen=True)
class Server:
    """How MLflow is reached."""

    url: str
    token: str | None = None
    timeout: float = TIMEOUT
    pauses: tuple = PAUSES

    def get(self, path, **query):
        return self.ask("GET", f"{path}?{urllib.parse.urlencode(query)}")

    def post(self, path, **body):
        return self.ask("POST", path, body)

    def ask(self, method, path, body=None):
        """One request to the API that may be sent twice, tried again where it fails for a moment."""
        return self.patient(lambda: self.ask_once(method, path, body))

    def ask_once(self, method, path, body=None):
        content = None if body is None else json.dumps(body).encode()
        answer = self.send(method, f"api/2.0/mlflow/{path}", content, {"content-type": "application/json"})
        try:
            found = json.loads(answer)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise Fault(f"MLflow at {self.url}: {path}: the answer is not MLflow's: is this the address of its server?")
        return found

    def upload(self, place, file):
        """A file to a place among the artifacts that MLflow hands out."""

        def once():
            headers = {"content-type": "application/octet-stream", "content-length": str(file.stat().st_size)}
            with file.open("rb") as content:
                self.send("PUT", f"api/2.0/mlflow-artifacts/artifacts/{urllib.parse.quote(place)}", content, headers)

        self.patient(once)

    def send(self, method, path, content, headers):
        if self.token:
            headers = {**headers, "authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}/{path}", content, headers, method=method)
        where = f"MLflow at {self.url}: {path.split('?')[0]}"
        try:
            with urllib.request.build_opener(NoFollowing).open(request, timeout=self.timeout) as reply:
                answer = reply.read(ANSWER + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise refusal(where, error) from error
        except (OSError, http.client.HTTPException) as error:
            raise Away(f"{where}: {getattr(error, 'reason', None) or error or type(error).__name__}") from error
        if len(answer) > ANSWER:
            raise Fault(f"{where}: the answer has more than {ANSWER} bytes")
        return answer

    def patient(self, act):
        for pause in (*self.pauses, None):
            try:
                return act()
            except Away:
                if pause is None:
                    raise
            time.sleep(pause)

    def ensure(self, find, path, body):
        """What `find` finds, else what a POST makes and `find` finds then; (it, whether it was made here). The POST is not sent again
        blindly: where its answer was lost, or somebody else was faster, `find` has it."""
        made = False
        for pause in (*self.pauses, None):
            found = find()
            if found is not None:
                return found, made
            if made:
                # It is there, and what searches does not know it yet.
                time.sleep(pause or 0)
                continue
            try:
                self.ask_once("POST", path, body)
                made, found = True, find()
                if found is not None:
                    return found, made
            except Away:
                if pause is None:
                    raise
            except Refused as refused:
                if refused.code != EXISTS or pause is None:
                    raise
            time.sleep(pause or 0)
        raise Away(f"MLflow at {self.url}: {path}: what was made is not found")


def refusal(where, error):
    """The exception for an answer that is not 2xx, with MLflow's own words, short."""
    try:
        told = json.loads(error.read(ANSWER))
    except (ValueError, OSError, http.client.HTTPException):
        told = {}
    told = told if isinstance(told, dict) else {}
    text = f"{where}: status {error.code}: {str(told.get('message') or 'no reason is given').splitlines()[0][:300]}"
    if error.code == 429 or error.code >= 500:
        return Away(text)
    if error.code in (401, 403):
        text += " (the environment variable MLFLOW_TRACKING_TOKEN has the token)"
    return Refused(text, error.code, told.get("error_code"))


def options(add):
    """The options that say where, for training and for promotion."""
    add("--mlflow", metavar="URL", default=os.environ.get("MLFLOW_TRACKING_URI", ""),
        help="an MLflow server, http://host:port; default: MLFLOW_TRACKING_URI; '' for none. Its token: MLFLOW_TRACKING_TOKEN")  # fmt: skip
    add("--experiment", default=os.environ.get("MLFLOW_EXPERIMENT_NAME") or None,
        help="MLflow's experiment; default: MLFLOW_EXPERIMENT_NAME, else the model's name")  # fmt: skip


def server(url):
    """The server of --mlflow; None where there is none."""
    if not url:
        return None
    try:
        parts = urllib.parse.urlsplit(url)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        whole = False
    if "@" in url:
        raise Fault("--mlflow: give an address without user and password; the token is MLFLOW_TRACKING_TOKEN")
    if not whole or parts.query or parts.fragment:
        raise Fault(f"--mlflow {url}: give http://host:port or https://host, or '' for none (MLFLOW_TRACKING_URI is its default)")
    return Server(url.rstrip("/"), os.environ.get("MLFLOW_TRACKING_TOKEN") or None)


def pick(answer, *keys):
    """A value deep inside an answer."""
    for key in keys:
        answer = answer.get(key) if isinstance(answer, dict) else None
    if answer is None:
        raise Fault(f"MLflow: an answer has no {'.'.join(keys)}: is its version 2.3 or newer?")
    return answer


def missing(act, *keys):
    """What `act` gets; None where MLflow says that it does not exist."""
    try:
        return pick(act(), *keys)
    except Refused as refused:
        if refused.code == UNKNOWN:
            return None
        raise
