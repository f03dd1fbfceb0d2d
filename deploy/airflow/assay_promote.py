"""The way of a model from training to force, a task a step: models/train/promote.py does the work and this only orders it.

Airflow's variables say where: `assay_root` (the project), `assay_registry` (the folder of versions), `assay_admin` (an instance's
listener for commands), `assay_train` (what models/train/run.sh is given, quoted as for a shell; empty or absent takes the package
that is there), `assay_mlflow` (MLflow's address; empty or absent records and registers nothing), `assay_alias` (the alias that then
names the version there, `champion` unless it says otherwise; empty moves none). The token of the listener is the environment variable
ASSAY__ADMIN__TOKEN of the worker, that of MLflow MLFLOW_TRACKING_TOKEN.

Its parameters are the package, `least` (transactions to compare), `wait` (seconds for them), `rules` (further options of `compare`,
such as `--labels-needed --loss 0.01`) and `watch` (seconds that the version must stay in force: what models.watch says).

A gate that refuses the version (exit status 3) and a comparison that it does not pass (4) fail their task for good; the comparison is
ended either way, and the active version stays. The figures are in the log of `compare`. The alias moves last, once the watch is over.
"""

import datetime

from airflow.sdk import DAG
from airflow.providers.standard.operators.bash import BashOperator

# Values come by the environment: none of them is read by the shell as its own words.
VALUES = {
    "ROOT": "{{ var.value.assay_root }}",
    "REGISTRY": "{{ var.value.assay_registry }}",
    "ADMIN": "{{ var.value.assay_admin }}",
    "TRAIN": "{{ var.value.get('assay_train', '') }}",
    "MLFLOW": "{{ var.value.get('assay_mlflow', '') }}",
    "ALIAS": "{{ var.value.get('assay_alias', 'champion') }}",
    "PACKAGE": "{{ params.package }}",
    "LEAST": "{{ params.least }}",
    "WAIT": "{{ params.wait }}",
    "WATCH": "{{ params.watch }}",
    "RULES": "{{ params.rules }}",
    "WHY": "{{ run_id }}",
}
# Exit status 99 is Airflow's for a task that is skipped.
PROMOTE = (
    '%s cd "$ROOT" && "${ASSAY_PYTHON:-.cache/train/bin/python}" models/train/promote.py %s --package="$PACKAGE" '
    '--registry="$REGISTRY" --url="$ADMIN" --mlflow="$MLFLOW" --by=airflow --why="$WHY" %s'
)


def step(word, more="", needs=(), **options):
    """A task of one word of promote.py; skipped where one of the values that it needs is empty."""
    first = "".join(f'[ -n "${value}" ] || exit 99; ' for value in needs)
    return BashOperator(task_id=word, bash_command=PROMOTE % (first, word, more), env=VALUES, append_env=True, **options)


with DAG(
    dag_id="assay_promote",
    schedule=None,
    start_date=datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    catchup=False,
    max_active_runs=1,
    params={"package": "", "least": 1000, "wait": 3600, "watch": 600, "rules": ""},
    # What was skipped holds nothing up.
    default_args={"retries": 0, "trigger_rule": "none_failed"},
) as dag:
    train = step("train", '--training="$TRAIN"', needs=["TRAIN"])
    publish = step("publish")
    verify = step("verify")
    register = step("register", needs=["MLFLOW"])
    shadow = step("shadow")
    compare = step("compare", '--least="$LEAST" --wait="$WAIT" --rules="$RULES"')
    activate = step("activate")
    watch = step("watch", '--watch="$WATCH"')
    alias = step("alias", '--alias="$ALIAS"', needs=["MLFLOW", "ALIAS"])
    # Whatever came before it: nothing scores besides when the run is over.
    stop = step("stop", trigger_rule="one_failed")
    train >> publish >> verify >> register >> shadow >> compare >> activate >> watch >> alias
    [shadow, compare, activate] >> stop
