#!/usr/bin/env bash
# Every test of the workspace, then the README's commands. Closing lines say what ran and what did not.
#   ASSAY_HANDBOOK=<folder>   reference data that some tests compare with; without it they say that they did not run
#   ASSAY_LONG=1              the tests take their long form (make test-full)
# Invariant: nothing is skipped in silence. An ignored test is a failure here.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p .cache
output=.cache/test-output.txt

# `--nocapture` is not used: only a failing test needs its output. What a test leaves undone it reports by
# appending one line to the file ASSAY_UNDONE.
undone="$PWD/.cache/test-undone.txt"
: >"$undone"
export ASSAY_UNDONE="$undone"

cargo test --release --workspace --locked --no-fail-fast 2>&1 | tee "$output"
python3 scripts/readme_check.py

sum() { sed -n "s/^test result: .* \([0-9]*\) $1.*/\1/p" "$output" | awk '{ all += $1 } END { print all + 0 }'; }
passed=$(sum passed)
ignored=$(sum ignored)

echo
echo "tests passed: $passed, ignored: $ignored, long form: $([ -n "${ASSAY_LONG:-}" ] && echo yes || echo no)"
if [ -z "${ASSAY_HANDBOOK:-}" ]; then
  echo "NOT RUN: the comparisons with reference data, because ASSAY_HANDBOOK names no folder (docs in CONTRIBUTING.md)"
else
  echo "reference data: compared with the folder that ASSAY_HANDBOOK names"
fi
if [ -s "$undone" ]; then sort -u "$undone" | sed 's/^/NOT RUN: /'; fi
if [ "$ignored" -ne 0 ]; then
  echo "test: $ignored tests are marked ignored: run them or remove them" >&2
  exit 1
fi
