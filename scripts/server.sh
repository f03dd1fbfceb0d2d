# Sourced: a server for a measurement, on a free port of 127.0.0.1, with its own data folder. Stopped by process id when
# the shell ends.
#   start_server FOLDER committed|queued wall|stream   sets $url and $server; returns when /health/ready says so

server=""
stop_server() {
  if [ -n "$server" ]; then
    kill -TERM "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=""
  fi
}
trap stop_server EXIT

start_server() {
  local folder=$1
  ASSAY__STORE__PATH="$folder/assay.sqlite" ASSAY__HISTORY__HASH_KEY_FILE="$folder/history.key" \
    ASSAY__STORE__DURABILITY=$2 ASSAY__HISTORY__CLOCK=$3 ASSAY__SERVER__LISTEN=127.0.0.1:0 \
    target/release/assay serve --config config/embedded.toml >"$folder/serve.log" 2>&1 &
  server=$!
  for _ in $(seq 3000); do
    url=$(sed -n 's/^listening on //p' "$folder/serve.log")
    if [ -n "$url" ]; then return; fi
    if ! kill -0 "$server" 2>/dev/null; then
      tail -n 5 "$folder/serve.log" >&2
      exit 1
    fi
    sleep 0.02
  done
  echo "the server was not ready within 60 s: $folder/serve.log" >&2
  exit 1
}
