#!/usr/bin/env bash
# Trains a model in the environment of setup.sh: models/train/run.sh --help. The program must be built (make build).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh" >&2
# Why: sums of several threads come in an order of their own; a fixed number of them keeps the bytes of a model.
export OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=2 PYTHONDONTWRITEBYTECODE=1
# Threads that wait sleep: spinning would take the core from whoever has work, which on a busy machine is the other thread.
export OMP_WAIT_POLICY=passive
exec "$here/../../.cache/train/bin/python" "$here" "$@"
