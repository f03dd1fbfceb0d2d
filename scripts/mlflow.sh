#!/usr/bin/env bash
# An MLflow server of this project's own, on 127.0.0.1, for tests: registry in SQLite, artifacts handed out by the server.
#
#   scripts/mlflow.sh install|start|stop|status
#   ASSAY_MLFLOW_DATA=.cache/mlflow-server/data   the data folder; made at the first start
#   ASSAY_MLFLOW_PORT=15000                       the port
# `install` makes a virtual environment of scripts/mlflow.txt. The log and the file with the process id lie beside the data folder.
# The server is stopped by that id, with what it has started, and only while the process's start time is still the one noted.
set -euo pipefail
cd "$(dirname "$0")/.."

data=${ASSAY_MLFLOW_DATA:-.cache/mlflow-server/data}
port=${ASSAY_MLFLOW_PORT:-15000}
case $data in /*) ;; *) data=$PWD/$data ;; esac
pid_file=$data.pid
log=$data.log
pins=scripts/mlflow.txt
folder=$PWD/.cache/mlflow

fail() { echo "mlflow: $*" >&2; exit 1; }

started_at() { awk '{ print $22 }' "/proc/$1/stat" 2>/dev/null || true; }

# Whether the noted process runs; sets pid and start.
running() {
  [ -s "$pid_file" ] || return 1
  read -r pid start <"$pid_file"
  [ -n "$start" ] && [ "$(started_at "$pid")" = "$start" ]
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; }

# One at a time: tests may ask for it side by side.
install() {
  mkdir -p "$folder"
  exec 9>"$folder.lock"
  flock 9
  if cmp -s "$pins" "$folder/requirements.txt"; then echo "mlflow: installed"; return; fi
  rm -rf "$folder"
  # --no-deps: the list is complete, and nothing else is to come in.
  python3 -m venv "$folder" && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-deps \
    --requirement "$pins" || fail "the environment of $pins could not be made"
  cp "$pins" "$folder/requirements.txt"
  echo "mlflow: installed"
}

start() {
  [ -f "$folder/requirements.txt" ] || fail "it is not installed: scripts/mlflow.sh install"
  if running; then echo "mlflow: runs already, process $pid"; return; fi
  if listens; then fail "port $port is taken: name another in ASSAY_MLFLOW_PORT"; fi
  mkdir -p "$data/artifacts"
  DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false setsid "$folder/bin/mlflow" server \
    --host 127.0.0.1 --port "$port" --workers 1 --backend-store-uri "sqlite:///$data/mlflow.db" \
    --artifacts-destination "$data/artifacts" --serve-artifacts >"$log" 2>&1 </dev/null 9>&- &
  local server=$!
  echo "$server $(started_at "$server")" >"$pid_file"
  for _ in $(seq 900); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && grep -q OK <&3) 2>/dev/null; then
      echo "mlflow: 127.0.0.1:$port, process $server"
      return
    fi
    if ! kill -0 "$server" 2>/dev/null; then
      rm -f "$pid_file"
      tail -n 5 "$log" >&2
      fail "the server ended by itself; the last lines of its log stand above"
    fi
    sleep 0.1
  done
  stop
  fail "not ready within 90 s: $log"
}

stop() {
  if ! running; then rm -f "$pid_file"; echo "mlflow: does not run"; return; fi
  # It leads a session of its own: its workers go with it.
  kill -TERM -- "-$pid" 2>/dev/null || true
  for tenth in $(seq 100); do
    if [ "$(started_at "$pid")" != "$start" ]; then rm -f "$pid_file"; echo "mlflow: stopped"; return; fi
    if [ "$tenth" -eq 50 ]; then kill -KILL -- "-$pid" 2>/dev/null || true; fi
    sleep 0.1
  done
  fail "process $pid did not end within 10 s"
}

case ${1:-} in
  install) install ;;
  start) start ;;
  stop) stop ;;
  status) if running; then echo "mlflow: up, process $pid"; else echo "mlflow: down"; exit 3; fi ;;
  *) echo "usage: scripts/mlflow.sh install|start|stop|status" >&2; exit 2 ;;
esac
