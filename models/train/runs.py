"""What is recorded in MLflow: a package as a run, a run's package as a version of a registered model, and an alias that names one.

In: a server and a record of a package. Out: the run with parameters, figures, tags and the package's files; the version's number,
once it is READY. Invariant: asked again, each finds what is there and changes nothing; a run that was left unfinished is finished.
"""

import time

import assay
from fault import Fault
from tracking import missing, pick

# How long a version may take until it is READY, and how often that is looked at, in seconds.
PATIENCE = 120.0
LOOK = 1.0
# The most letters of a parameter and entries of one request that every version of MLflow takes.
LETTERS = 500
BATCH = 100
# The scheme of artifacts that MLflow itself hands out, and where a package lies among them.
SERVED = "mlflow-artifacts:"
PLACE = "package"
DIGEST, KEY, PROGRAM = "assay.digest", "assay.package", "assay.version"


def experiment(where, name):
    """The experiment's id; it is made where there is none."""

    def find():
        return missing(lambda: where.get("experiments/get-by-name", experiment_name=name), "experiment")

    found, _ = where.ensure(find, "experiments/create", {"name": name})
    if found.get("lifecycle_stage") == "deleted":
        raise Fault(f"MLflow's experiment {name} is deleted: restore it, or name another with --experiment")
    return pick(found, "experiment_id")


def logged(where, record, identity):
    """The run that has this package, the earliest where there are several; None where none has."""
    asked = {"experiment_ids": [identity], "filter": f"tags.`{DIGEST}` = '{record.digest}'", "max_results": 1,
             "order_by": ["attributes.start_time ASC"]}  # fmt: skip
    return next(iter(where.post("runs/search", **asked).get("runs") or []), None)


def log(where, record, name=None, begun=None):
    """The package as a run of the experiment `name`; (the run's info, whether anything was written)."""
    identity = experiment(where, name or record.name)
    tags = {DIGEST: record.digest, KEY: record.key, **program()}
    body = {"experiment_id": identity, "start_time": milliseconds(begun), "run_name": record.key, "tags": entries(tags)}
    run, _ = where.ensure(lambda: logged(where, record, identity), "runs/create", body)
    info = pick(run, "info")
    if info.get("status") == "FINISHED":
        return info, False
    run_id, place = pick(info, "run_id"), artifacts(pick(info, "artifact_uri"))
    try:
        fill(where, record, run_id, info.get("start_time") or 0)
        for path, file in record.files.items():
            where.upload(f"{place}/{PLACE}/{path}", file)
        where.post("runs/update", run_id=run_id, status="FINISHED", end_time=milliseconds())
    except (Fault, OSError):
        abandon(where, run_id)
        raise
    return info, True


def fill(where, record, run_id, moment):
    """Parameters and figures. `moment` is the run's own: what is said twice is then the same, and is there once."""
    told = entries({key: value[:LETTERS] for key, value in record.parameters.items()})
    for batch in batches(told):
        where.post("runs/log-batch", run_id=run_id, params=batch)
    figures = [{"key": key, "value": value, "step": step, "timestamp": moment} for key, value, step in record.figures]
    for batch in batches(figures):
        where.post("runs/log-batch", run_id=run_id, metrics=batch)


def abandon(where, run_id):
    """Says of a run that it broke off, if that can be said."""
    try:
        where.ask_once("POST", "runs/update", {"run_id": run_id, "status": "FAILED", "end_time": milliseconds()})
    except Fault:
        pass


def artifacts(uri):
    """The path of a run's artifacts behind MLflow's own address of them."""
    if not uri.startswith(SERVED):
        raise Fault(f"its artifacts lie at {uri}, which MLflow does not hand out: run it with --serve-artifacts")
    rest = uri.removeprefix(SERVED)
    # mlflow-artifacts:/1/… or mlflow-artifacts://host/1/…: the host is the configured one.
    return rest.removeprefix("//").partition("/")[2] if rest.startswith("//") else rest.strip("/")


def registered(where, record, model):
    """The version of `model` that has this package, the first where there are several; None where none has. One whose registration
    failed is none."""
    found, page = [], ""
    while True:
        asked = {"page_token": page} if page else {}
        answer = where.get("model-versions/search", filter=f"tags.`{DIGEST}` = '{record.digest}'", max_results=1000, **asked)
        found += [one for one in answer.get("model_versions") or [] if one.get("name") == model]
        page = answer.get("next_page_token") or ""
        if not page:
            break
    usable = [one for one in found if one.get("status") != "FAILED_REGISTRATION"]
    return min(usable, key=lambda one: int(one["version"]), default=None)


def register(where, record, model, name=None):
    """The package as a version of `model` that is READY; (MLflow's number, whether it was made here). What has no run gets one."""

    def find():
        return registered(where, record, model)

    def find_model():
        return missing(lambda: where.get("registered-models/get", name=model), "registered_model")

    version, made = find(), False
    if version is None:
        info, _ = log(where, record, name)
        where.ensure(find_model, "registered-models/create", {"name": model})
        body = {"name": model, "source": f"{pick(info, 'artifact_uri').rstrip('/')}/{PLACE}", "run_id": pick(info, "run_id"),
                "tags": entries({DIGEST: record.digest, KEY: record.key})}  # fmt: skip
        version, made = where.ensure(find, "model-versions/create", body)
    return ready(where, model, version), made


def ready(where, model, version):
    """Waits until a version can be downloaded; its number."""
    number, until = pick(version, "version"), time.monotonic() + PATIENCE
    while True:
        # An empty status is that of servers which do not tell one.
        status = version.get("status") or "READY"
        if status == "READY":
            return str(number)
        if status == "FAILED_REGISTRATION":
            raise Fault(f"version {number} of {model} failed: {version.get('status_message') or 'no reason is given'}")
        if time.monotonic() > until:
            raise Fault(f"version {number} of {model} is {status} after {PATIENCE:.0f} s, not READY: ask again later")
        time.sleep(LOOK)
        version = pick(where.get("model-versions/get", name=model, version=number), "model_version")


def alias(where, model, name, version):
    """Lets the alias name this version; whether it named another."""
    # Of the model's own list, as the answer about an alias that names nothing has no code of its own.
    told = pick(where.get("registered-models/get", name=model), "registered_model").get("aliases") or []
    if any(one.get("alias") == name and str(one.get("version")) == str(version) for one in told):
        return False
    where.post("registered-models/alias", name=model, alias=name, version=str(version))
    return True


def program():
    """The tag that names the program, where there is one."""
    try:
        return {PROGRAM: assay.run("--version").strip().removeprefix("assay ")}
    except Fault:
        return {}


def entries(values):
    return [{"key": key, "value": value} for key, value in values.items()]


def batches(found):
    return [found[first : first + BATCH] for first in range(0, len(found), BATCH)]


def milliseconds(moment=None):
    return int((time.time() if moment is None else moment) * 1000)
