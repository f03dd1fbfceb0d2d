#!/usr/bin/env bash
# Load test: /predict on one keep-alive connection against an empty handler in the same run, on a fresh server with a
# data folder and a port of its own and `durability = "queued"`. Arguments go to `loadtest compare`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked --workspace
source scripts/server.sh
start_server "$(mktemp -d)" queued wall
target/release/loadtest compare --url "$url/predict" "$@"
