#!/usr/bin/env bash
# Load test: /predict on one keep-alive connection against an empty handler in the same run, on a fresh server with a
# data folder and a port of its own and `durability = "queued"`. Arguments go to `loadtest compare`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --release --locked --workspace
source scripts/server.sh
start_server "$(mktemp -d)" queued wall
# A server that wakes on its client's processor answers some 50 µs sooner than one on another, and which it is changes
# from run to run: so both servers are put on one processor, all their threads, and the client on another.
if [ "$(nproc)" -ge 2 ] && command -v taskset >/dev/null; then
  taskset -acp 1 "$server" >/dev/null
  exec_on=(taskset -c 0)
  set -- --servers-on 1 "$@"
else
  exec_on=()
  echo "one processor, or no taskset: the servers' placement is left to chance"
fi
"${exec_on[@]}" target/release/loadtest compare --url "$url/predict" "$@"
