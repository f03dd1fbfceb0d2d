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
source scripts/process.sh

data=${ASSAY_MLFLOW_DATA:-.cache/mlflow-server/data}
port=${ASSAY_MLFLOW_PORT:-15000}
case $data in /*) ;; *) data=$PWD/$data ;; esac
pid_file=$data.pid
log=$data.log
folder=$PWD/.cache/mlflow

fail() { echo "mlflow: $*" >&2; exit 1; }

install() {
  scripts/environment.sh scripts/mlflow.txt "$folder"
  echo "mlflow: installed"
}

healthy() { (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /health HTTP/1.0\r\n\r\n' >&3 && grep -q OK <&3); }

start() {
  [ -f "$folder/requirements.txt" ] || fail "it is not installed: scripts/mlflow.sh install"
  local pid code=0
  if pid=$(noted "$pid_file"); then echo "mlflow: runs already, process $pid"; return; fi
  if listens "$port"; then fail "port $port is taken: name another in ASSAY_MLFLOW_PORT"; fi
  mkdir -p "$data/artifacts"
  DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false setsid "$folder/bin/mlflow" server \
    --host 127.0.0.1 --port "$port" --workers 1 --backend-store-uri "sqlite:///$data/mlflow.db" \
    --artifacts-destination "$data/artifacts" --serve-artifacts >"$log" 2>&1 </dev/null &
  pid=$!
  note "$pid_file" "$pid"
  answers "$pid_file" "$log" 90 healthy || code=$?
  case $code in
    0) echo "mlflow: 127.0.0.1:$port, process $pid" ;;
    1) fail "the server ended by itself; the last lines of its log stand above" ;;
    *) stop; fail "not ready within 90 s: $log" ;;
  esac
}

stop() {
  local pid
  pid=$(noted "$pid_file") || { rm -f "$pid_file"; echo "mlflow: does not run"; return; }
  # It leads a session of its own: its workers go with it.
  kill -TERM -- "-$pid" 2>/dev/null || true
  ended "$pid_file" 10 5 "-$pid" || fail "process $pid did not end within 10 s"
  echo "mlflow: stopped"
}

case ${1:-} in
  install) install ;;
  start) start ;;
  stop) stop ;;
  status) if pid=$(noted "$pid_file"); then echo "mlflow: up, process $pid"; else echo "mlflow: down"; exit 3; fi ;;
  *) echo "usage: scripts/mlflow.sh install|start|stop|status" >&2; exit 2 ;;
esac
