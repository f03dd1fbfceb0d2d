#!/usr/bin/env bash
# The tests of training, in its environment and with the built program, and where ASSAY_HANDBOOK names a folder the comparison with
# the handbook's published figures.
set -euo pipefail
cd "$(dirname "$0")/../.."

models/train/setup.sh
# One thread, as other tests may run beside these.
export PYTHONDONTWRITEBYTECODE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
.cache/train/bin/python -m unittest discover --start-directory models/train/tests --top-level-directory models/train
if [ -n "${ASSAY_HANDBOOK:-}" ]; then .cache/train/bin/python models/train/handbook.py; fi
