#!/usr/bin/env bash
# A FerretDB server of this project's own, on 127.0.0.1, for tests: it speaks MongoDB's protocol and keeps documents in SQLite.
#
#   scripts/ferretdb.sh install|start|stop|kill|status|url   (kill: with no warning, as a crash; url: where clients find it)
#   ASSAY_FERRETDB_DATA=.cache/ferretdb/data   the data folder; made at the first start
#   ASSAY_FERRETDB_PORT=27117                  the port
# `install` builds the pinned version from its Go module, whose hash Go checks. The log and the file with the process id
# lie beside the data folder. The server is stopped by that id, and only while the process's start time is still the one noted.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/process.sh

version=v1.24.2
data=${ASSAY_FERRETDB_DATA:-.cache/ferretdb/data}
port=${ASSAY_FERRETDB_PORT:-27117}
case $data in /*) ;; *) data=$PWD/$data ;; esac
pid_file=$data.pid
log=$data.log
program=$PWD/.cache/ferretdb-$version/ferretdb

fail() { echo "ferretdb: $*" >&2; exit 1; }

# One build at a time: tests may ask for it side by side.
install() {
  if [ -x "$program" ]; then echo "ferretdb: $version"; return; fi
  mkdir -p "${program%/*}"
  exec 9>"${program%/*}/lock"
  flock 9
  if [ -x "$program" ]; then echo "ferretdb: $version"; return; fi
  command -v go >/dev/null 2>&1 || fail "Go 1.24 or newer is missing: it builds FerretDB"
  local source=${program%/*}/source module name
  module=$(cd / && GOFLAGS=-mod=mod go mod download -json "github.com/FerretDB/FerretDB@$version" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
  [ -d "$module" ] || fail "the module of FerretDB $version could not be fetched"
  rm -rf "$source"
  cp -r "$module" "$source"
  chmod -R u+w "$source"
  # The module lacks what FerretDB's own build writes; without it the program ends at its start.
  echo "$version" >"$source/build/version/version.txt"
  for name in commit branch package; do echo unknown >"$source/build/version/$name.txt"; done
  # This version keeps a connection of its pool for each update that finds a document until the whole command ends; some
  # fifty in one command stop the server. Each is given back at once.
  local update=$source/internal/handler/msg_update.go
  sed -i 's|^\(\t*\)result, err := common.UpdateDocument(ctx, c, "update", iter, &u)$|&\n\1closer.Close()|' "$update"
  [ "$(grep -c '^[[:space:]]*closer.Close()$' "$update")" = 1 ] || fail "the correction of $version does not fit its source"
  (cd "$source" && CGO_ENABLED=0 GOTOOLCHAIN=local go build -buildvcs=false -trimpath -o "$program.new" ./cmd/ferretdb) ||
    fail "FerretDB could not be built"
  mv "$program.new" "$program"
  rm -rf "$source"
  echo "ferretdb: $version"
}

start() {
  [ -x "$program" ] || fail "it is not built: scripts/ferretdb.sh install"
  local pid code=0
  if pid=$(noted "$pid_file"); then echo "ferretdb: runs already, process $pid"; return; fi
  if listens "$port"; then fail "port $port is taken: name another in ASSAY_FERRETDB_PORT"; fi
  mkdir -p "$data/state" "$data/sqlite"
  DO_NOT_TRACK=1 setsid "$program" --telemetry=disable "--listen-addr=127.0.0.1:$port" --debug-addr=- "--state-dir=$data/state" \
    --log-level=warn --mode=normal --handler=sqlite "--sqlite-url=file:$data/sqlite/" >"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  note "$pid_file" "$pid"
  answers "$pid_file" "$log" 30 listens "$port" || code=$?
  case $code in
    0) echo "ferretdb: 127.0.0.1:$port, process $pid" ;;
    1) fail "the server ended by itself; the last lines of its log stand above" ;;
    *) stop; fail "not ready within 30 s: $log" ;;
  esac
}

stop() {
  local pid
  pid=$(noted "$pid_file") || { rm -f "$pid_file"; echo "ferretdb: does not run"; return; }
  kill -TERM "$pid"
  # Its orderly end waits for its clients; after three seconds they are left.
  ended "$pid_file" 13 3 "$pid" || fail "process $pid did not end within 13 s"
  echo "ferretdb: stopped"
}

kill_it() {
  local pid
  pid=$(noted "$pid_file") || { echo "ferretdb: does not run"; return; }
  kill -KILL "$pid"
  ended "$pid_file" 10 || fail "process $pid did not end within 10 s"
  echo "ferretdb: killed"
}

case ${1:-} in
  install) install ;;
  start) start ;;
  stop) stop ;;
  kill) kill_it ;;
  url) echo "mongodb://127.0.0.1:$port/" ;;
  status) if pid=$(noted "$pid_file"); then echo "ferretdb: up, process $pid"; else echo "ferretdb: down"; exit 3; fi ;;
  *) echo "usage: scripts/ferretdb.sh install|start|stop|kill|status|url" >&2; exit 2 ;;
esac
