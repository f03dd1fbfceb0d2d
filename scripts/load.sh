#!/usr/bin/env bash
# Load test: the generator of loadtest/ against a fresh server on a data folder and a port of its own.
# Arguments go to `loadtest compare`, which also starts an empty handler in the same run to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked --package loadtest
exec target/release/loadtest compare --assay target/release/assay "$@"
