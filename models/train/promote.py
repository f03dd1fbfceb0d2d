"""From a trained package to the version that decides: publish, verify, register, shadow, compare, activate, watch, alias; or stop.

In: a package (or what to train one from), the folder of versions of running instances, the listener for commands of one of
them, and an MLflow server where there is one. Out: the version in force, or the reason why not and an exit status for Jenkins and
Airflow:

    0  the version is in force
    3  a gate refused it
    4  it was compared and is not good enough, there was too little to compare it by, it was rolled back, or the instance says that
       the step makes no sense as things stand
    1  anything else

Each step is a word of its own, so that a pipeline shows where it stands; `all` does one after the other. A step that ran before may run
again and finds its work done; of a version that is in force already `shadow` and `compare` ask nothing more. What decides is `rules`, pure.

The instances must say `models.activate = "command"`: with "newest" one would put in force what is published. `register` makes a version
of the package in MLflow, `alias` names it there: an instance that takes its versions from MLflow (mlflow.url) follows the alias, so it
moves last, after `watch`. `activate --alias NAME` does both at once, and `all --alias NAME` at its end.
"""

import argparse
import json
import os
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib

import record
import runs
import tracking
from assay import ROOT, program
from fault import Fault

REFUSED = 3
STOPPED = 4
# How often it is asked whether enough was compared, or it is still in force.
LOOK = 2.0
# An instance that does not answer for so long, seconds, is not waited for: a restart is done by then.
PATIENCE = 60.0
# Counts of flagged transactions are taken so much higher before they are compared: a handful says nothing.
HANDFUL = 5


class Stop(Exception):
    """The pipeline ends here: an exit status and a sentence."""

    def __init__(self, status, reason):
        super().__init__(reason)
        self.status = status


def rules(compared, options):
    """Why the challenger must not come into force, a sentence each; empty when it may. `compared` is what `assay models compare --json` says."""
    faults = []
    if compared["compared"] < options.least:
        faults.append(f"{compared['compared']} transactions were compared, and {options.least} are needed")
        return faults
    if compared["failed"] > options.most_failed * compared["compared"]:
        faults.append(f"the challenger gave {compared['failed']} rows no score")
    if compared["agreement"] < options.least_agreement:
        faults.append(f"both flag alike in {compared['agreement']:.4f} of the cases, and {options.least_agreement} is the bound")
    champion, challenger = (compared["both_flagged"] + compared[f"{which}_only"] for which in ("champion", "challenger"))
    ratio = (challenger + HANDFUL) / (champion + HANDFUL)
    if not 1 / options.most_ratio <= ratio <= options.most_ratio:
        faults.append(f"it flags {challenger} transactions where the active version flags {champion}, "
                      f"and {options.most_ratio} times as many or as few is the bound")  # fmt: skip
    if compared["shift"] > options.most_shift:
        faults.append(f"the scores shift by {compared['shift']:.4f}, and {options.most_shift} is the bound")
    if compared["labels"]["fraud"] >= options.least_frauds:
        for figure in ("precision", "recall"):
            champion, challenger = compared[f"champion_{figure}"], compared[f"challenger_{figure}"]
            if champion is not None and (challenger or 0.0) < champion - options.loss:
                faults.append(f"its {figure} is {challenger or 0.0:.4f}, and the active version's is {champion:.4f}")
    elif options.labels_needed:
        faults.append(f"{compared['labels']['fraud']} frauds are labelled, and {options.least_frauds} are needed")
    return faults


def identity(package):
    with open(package / "manifest.toml", "rb") as file:
        manifest = tomllib.load(file)
    return manifest["name"], manifest["version"]


def models(options, *words, change=False):
    """`assay models WORDS --json`; (status, answer)."""
    words = ["models", *words, "--json"]
    if options.url:
        words += ["--url", options.url]
    if change:
        words += ["--by", options.by, "--why", options.why]
    done = subprocess.run([program(), *words], cwd=ROOT, text=True, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode not in (0, REFUSED, STOPPED):
        raise Fault(f"assay {' '.join(words[:3])}: {(done.stderr or done.stdout).strip()[-2000:]}")
    try:
        return done.returncode, json.loads(done.stdout)
    except json.JSONDecodeError as error:
        raise Fault(f"assay {' '.join(words[:3])}: no JSON came, {error}") from error


def patient(options, *words):
    """Likewise for a question, over a restart of the instance."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return models(options, *words)
        except Fault:
            if time.monotonic() > until:
                raise
            time.sleep(LOOK)


def is_active(options, key):
    known = must(*models(options, "list"), "the versions are not told")["versions"]
    return any(f"{one['name']}/{one['version']}" == key and one["stage"] == "active" for one in known)


def must(status, answer, what):
    if status != 0:
        raise Stop(status, f"{what}: {answer.get('detail', answer)}")
    return answer


def train(options):
    """Trains into the package's folder by the words of --training and those behind `--`."""
    command = [ROOT / "models/train/run.sh", *options.train, "--output", options.package.resolve(), f"--mlflow={options.mlflow}"]
    command += [f"--experiment={options.experiment}"] if options.experiment else []
    done = subprocess.run([str(word) for word in command], cwd=ROOT, stdin=subprocess.DEVNULL)
    if done.returncode not in (0, tracking.UNRECORDED):
        raise Fault(f"training ended with status {done.returncode}")
    say(f"trained {options.package}" + (", which is not recorded yet: `register` does it" if done.returncode else ""))


def publish(options):
    """Puts the package among the versions: written beside, then renamed."""
    name, version = identity(options.package)
    place = options.registry / version
    if place.exists():
        if identity(place) != (name, version):
            raise Fault(f"{place} holds another version")
        if record.of(place).digest != record.of(options.package).digest:
            raise Fault(f"{name}/{version} is published with other content: give this one another version")
        say(f"{name}/{version} is published already")
        return
    beside = options.registry / f".{version}.{os.getpid()}"
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(options.package, beside)
    beside.rename(place)
    say(f"published {name}/{version} at {place}")


def verify(options):
    key = "/".join(identity(options.package))
    answer = must(*models(options, "verify", key), f"{key} is refused")
    say(f"{key} passed: " + ", ".join(f"{check['gate']} {check['met']}" for check in answer["checks"]))


def shadow(options):
    key = "/".join(identity(options.package))
    if is_active(options, key):
        say(f"{key} is in force already")
        return
    must(*models(options, "shadow", key, "--basis-points", str(options.share), change=True), f"{key} cannot challenge")
    say(f"{key} scores {options.share} of 10000 transactions besides")


def compare(options):
    """Waits until enough was compared, then judges. An instance has one challenger: another one's figures say nothing of this one."""
    key = "/".join(identity(options.package))
    if is_active(options, key):
        say(f"{key} is in force already")
        return
    until = time.monotonic() + options.wait
    while True:
        answer = must(*patient(options, "compare"), "there is no comparison")
        if answer["challenger"] != key:
            raise Stop(STOPPED, f"{answer['challenger']} is compared by now, and not {key}")
        enough = answer["compared"] >= options.least
        if options.labels_needed:
            enough = enough and answer["labels"]["fraud"] >= options.least_frauds
        if enough or time.monotonic() > until:
            break
        time.sleep(LOOK)
    if options.figures:
        options.figures.write_text(json.dumps(answer, indent=1) + "\n")
    say(f"compared: {json.dumps(answer)}")
    faults = rules(answer, options)
    if faults:
        raise Stop(STOPPED, "; ".join(faults))
    say(f"{key} is good enough after {answer['compared']} transactions")


def register(options):
    """Makes the package a version in MLflow, once."""
    found = record.of(options.package)
    model = options.model or found.name
    number, made = runs.register(options.mlflow_server, found, model, options.experiment)
    say(f"{found.key} is {'registered' if made else 'registered already'} as version {number} of {model}")


def registered(options):
    """(model, MLflow's number of the package's version, the package's key)."""
    found = record.of(options.package)
    model = options.model or found.name
    version = runs.registered(options.mlflow_server, found, model)
    if version is None:
        raise Fault(f"{found.key} is no version of {model} at {options.mlflow_server.url}: the step `register` makes it one")
    return model, runs.ready(options.mlflow_server, model, version), found.key


def alias(options):
    """Lets the alias name the package's version."""
    move(options, *registered(options))


def move(options, model, number, key):
    moved = runs.alias(options.mlflow_server, model, options.alias, number)
    say(f"{options.alias} of {model} {'now names' if moved else 'names already'} version {number}, {key}")


def put_in_force(options):
    key = "/".join(identity(options.package))
    must(*models(options, "activate", key, change=True), f"{key} is refused")
    say(f"{key} is in force")


def activate(options):
    # Before anything changes: an alias that cannot be moved later would leave two truths.
    named = registered(options) if options.alias else None
    put_in_force(options)
    if named:
        move(options, *named)


def watch(options):
    """Waits as long as the instances watch what came into force; stops where they rolled it back."""
    key = "/".join(identity(options.package))
    until = time.monotonic() + options.watch
    while True:
        answer = must(*patient(options, "show", key), f"{key} is not known")
        if answer["stage"] != "active":
            raise Stop(STOPPED, f"{key} is not in force any more: {answer.get('reason', 'another version is')}")
        left = until - time.monotonic()
        if left <= 0:
            break
        time.sleep(min(LOOK, left))
    say(f"{key} stayed in force")


def stop(options):
    """Ends the comparison; the active version stays."""
    key = "/".join(identity(options.package))
    status, answer = models(options, "shadow", key, "--basis-points", "0", change=True)
    if status == STOPPED:
        say(f"nothing to stop: {answer.get('detail', answer)}")
        return
    must(status, answer, f"{key} cannot be stopped")
    say(f"{key} scores nothing any more")


STEPS = {"train": train, "publish": publish, "verify": verify, "register": register, "shadow": shadow, "compare": compare,
         "activate": activate, "watch": watch, "alias": alias, "stop": stop}  # fmt: skip


def everything(options):
    if options.train:
        train(options)
    publish(options)
    verify(options)
    if options.mlflow_server:
        register(options)
    try:
        shadow(options)
        compare(options)
        put_in_force(options)
    except BaseException:
        # Whatever it was, a signal too: nothing scores besides when nobody waits for it.
        try:
            stop(options)
        except (Fault, Stop, OSError) as also:
            print(f"promote: {also}", file=sys.stderr)
        raise
    watch(options)
    if options.alias:
        alias(options)


def say(text):
    print(f"promote: {text}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="promote.py", description=__doc__.split("\n\n")[0],
                                     epilog="Behind -- stand further words for models/train/run.sh (train, all).")  # fmt: skip
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument("--package", type=pathlib.Path, required=True, help="the package's folder")
    parser.add_argument("--registry", type=pathlib.Path, help="the folder of versions (publish, all)")
    parser.add_argument("--url", help="an instance's listener for commands; without it, that of the environment (ASSAY__ADMIN__LISTEN), else http://127.0.0.1:8081")
    parser.add_argument("--by", default=os.environ.get("USER") or "promote", help="who asks for it, for the record")
    parser.add_argument("--why", default="promoted by the pipeline", help="why, for the record")
    parser.add_argument("--share", type=int, default=10_000, help="basis points of the transactions that are scored besides")
    parser.add_argument("--least", type=int, default=1_000, help="transactions that must have been compared")
    parser.add_argument("--wait", type=float, default=3_600.0, help="seconds to wait for them")
    parser.add_argument("--least-agreement", type=float, default=0.95, help="share of the cases that both flag or neither")
    parser.add_argument("--most-ratio", type=float, default=2.0, help="how many times as many or as few it may flag")
    parser.add_argument("--most-shift", type=float, default=0.25, help="population stability index of the scores")
    parser.add_argument("--most-failed", type=float, default=0.0, help="share of rows without a score")
    parser.add_argument("--labels-needed", action="store_true", help="wait for labelled frauds and judge by them")
    parser.add_argument("--least-frauds", type=int, default=50, help="labelled frauds from which precision and recall count")
    parser.add_argument("--loss", type=float, default=0.0, help="how far precision and recall may lie below the active version's")
    parser.add_argument("--rules", metavar="WORDS", help="further options, quoted as for a shell: --rules '--loss 0.01 --labels-needed'")
    parser.add_argument("--watch", type=float, default=600.0, help="seconds that it must stay in force: models.watch (watch, all)")
    parser.add_argument("--figures", type=pathlib.Path, help="write the comparison there, JSON")
    parser.add_argument("--training", metavar="WORDS", help="what models/train/run.sh is given, quoted as for a shell (train, all)")
    tracking.options(parser.add_argument)
    parser.add_argument("--model", help="the registered model in MLflow; default: the package's name")
    parser.add_argument("--alias", help="the alias that is to name the version (alias, activate, all), such as champion")
    return parser


def read(words):
    """The options. What stands behind `--` is not for argparse: it would take the words for its own."""
    words = sys.argv[1:] if words is None else list(words)
    at = words.index("--") if "--" in words else len(words)
    parser = arguments()
    options = parser.parse_args(words[:at])
    try:
        if options.rules:
            options = parser.parse_args([*words[:at], *shlex.split(options.rules)])
    except ValueError as error:
        parser.error(f"--rules {options.rules}: {error}")
    try:
        options.train = [*shlex.split(options.training or ""), *words[at + 1 :]]
    except ValueError as error:
        parser.error(f"--training {options.training}: {error}")
    if options.step in ("publish", "all") and not options.registry:
        parser.error("--registry is needed")
    if options.step == "alias" and not options.alias:
        parser.error("--alias is needed")
    if not options.mlflow and (options.step in ("register", "alias") or (options.step in ("activate", "all") and options.alias)):
        parser.error("--mlflow is needed, or MLFLOW_TRACKING_URI")
    return options


def main(words=None):
    options = read(words)
    # Ended by a pipeline, it ends what it began.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return carry_out(options)
    finally:
        signal.signal(signal.SIGTERM, before)


def carry_out(options):
    try:
        asked = options.alias or options.step in ("register", "all")
        options.mlflow_server = tracking.server(options.mlflow) if asked else None
        everything(options) if options.step == "all" else STEPS[options.step](options)
    except Stop as stopped:
        print(f"promote: {stopped}", file=sys.stderr)
        return stopped.status
    except (Fault, OSError, KeyError, tomllib.TOMLDecodeError) as fault:
        print(f"promote: {fault}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
