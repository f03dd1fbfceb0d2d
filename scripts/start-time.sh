#!/usr/bin/env bash
# How long a start takes with the log of a file's transactions: fills a log by sending the file to a server once (kept
# in .cache/start), then starts on it three times and says when each was ready.
#   scripts/start-time.sh FILE CONNECTOR
set -euo pipefail
cd "$(dirname "$0")/.."

file=${1:?a file of transactions} connector=${2:?its connector}
cargo build --release --locked --workspace
source scripts/server.sh
folder=.cache/start
if [ ! -e "$folder/filled" ]; then
  rm -rf "$folder" && mkdir -p "$folder"
  start_server "$folder" queued stream
  target/release/assay replay --input "$file" --connector "$connector" --url "$url" --rate 100000 --connections 16 | tail -n 1
  stop_server
  touch "$folder/filled"
fi
for _ in 1 2 3; do
  begun=$(date +%s%N)
  start_server "$folder" queued stream
  echo "ready after $((($(date +%s%N) - begun) / 1000000)) ms: $(sed -n 's/.*rebuilt=//p' "$folder/serve.log" | tail -n 1)"
  stop_server
done
