#!/usr/bin/env bash
# Every test of the workspace, then those of training, then the README's commands. Closing lines say what ran and what did not.
#   ASSAY_HANDBOOK=<folder>   reference data that some tests compare with; without it they say that they did not run
#   ASSAY_LONG=1              the tests take their long form (make test-full)
# Invariant: nothing is skipped in silence. An ignored test is a failure here.
set -euo pipefail
cd "$(dirname "$0")/.."

# Tests start Kafka, PostgreSQL and FerretDB by the project's scripts.
scripts/prerequisites.sh servers

mkdir -p .cache
output=.cache/test-output.txt

# Cargo shows the output of failing tests only. So what a test leaves undone it also appends, as one line, to the file
# that ASSAY_UNDONE names.
undone="$PWD/.cache/test-undone.txt"
: >"$undone"
export ASSAY_UNDONE="$undone"

failed=
cargo test --release --workspace --locked --no-fail-fast 2>&1 | tee "$output" || failed="a test failed, or did not compile"
if [ -z "$failed" ]; then
  # Against the program that the tests have just judged: if there is anything to compile, it is another one.
  cargo build --release --locked --workspace 2>&1 | tee .cache/build-output.txt
  if grep -q '^ *Compiling' .cache/build-output.txt; then
    failed="the program was built again after its tests: give the crates named first the features that tests give them (Cargo.toml)"
  fi
  models/train/test.sh || failed="a test of training failed"
  python3 scripts/readme_check.py || failed="a command of the README failed"
  if [ -n "${ASSAY_LONG:-}" ]; then python3 scripts/walkthrough_check.py || failed="a command of docs/WALKTHROUGH.md failed"; fi
  if [ -n "${ASSAY_LONG:-}" ]; then python3 scripts/airflow_check.py || failed="the DAG of deploy/airflow failed"; fi
fi

sum() { sed -n "s/^test result: .* \([0-9]*\) $1.*/\1/p" "$output" | awk '{ all += $1 } END { print all + 0 }'; }
passed=$(sum passed)
ignored=$(sum ignored)

echo
echo "tests passed: $passed and those of training, ignored: $ignored, long form: $([ -n "${ASSAY_LONG:-}" ] && echo yes || echo no)"
if [ -z "${ASSAY_HANDBOOK:-}" ]; then
  echo "NOT RUN: the comparisons with reference data, because ASSAY_HANDBOOK names no folder (CONTRIBUTING.md says which)"
else
  echo "reference data: compared with the folder that ASSAY_HANDBOOK names"
fi
if [ -s "$undone" ]; then sort -u "$undone" | sed 's/^/NOT RUN: /'; fi
if [ -z "$failed" ] && [ "$ignored" -ne 0 ]; then failed="$ignored tests are marked ignored: run them or remove them"; fi
if [ -z "$failed" ] && [ "$passed" -eq 0 ]; then failed="no test ran"; fi
if [ -n "$failed" ]; then
  echo "test: FAILED: $failed" >&2
  exit 1
fi
echo "test: all passed"
