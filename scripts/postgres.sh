#!/usr/bin/env bash
# A PostgreSQL server of this project's own, on 127.0.0.1, for tests and for the stack on one machine.
#
#   scripts/postgres.sh install|start|stop|status
#   ASSAY_POSTGRES_DATA=.cache/postgres/data   the data folder; made at the first start, by initdb
#   ASSAY_POSTGRES_PORT=15432                  the port
#   ASSAY_POSTGRES_USER=postgres               who runs it when this script runs as root, whom initdb refuses
#   ASSAY_POSTGRES_PASSWORD=                   of the role postgres; without one every connection is trusted
# The log and the file with the process id lie beside the data folder. The server is stopped by that id, and only while
# the process's start time is still the one noted.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/process.sh

data=${ASSAY_POSTGRES_DATA:-.cache/postgres/data}
port=${ASSAY_POSTGRES_PORT:-15432}
user=${ASSAY_POSTGRES_USER:-postgres}
password=${ASSAY_POSTGRES_PASSWORD:-}
case $data in /*) ;; *) data=$PWD/$data ;; esac
pid_file=$data.pid
log=$data.log

fail() { echo "postgres: $*" >&2; exit 1; }

# The folder of the newest server programs on this machine, or nothing.
programs() {
  local folder
  for folder in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort --version-sort --reverse); do
    if [ -x "$folder/initdb" ]; then echo "$folder"; return; fi
  done
  if command -v initdb >/dev/null 2>&1; then dirname "$(command -v initdb)"; fi
}

needed() {
  bin=$(programs)
  [ -n "$bin" ] || fail "PostgreSQL 15 or newer is missing: scripts/postgres.sh install (on Debian the package postgresql)"
  local major
  major=$("$bin/postgres" --version | sed 's/.* \([0-9]*\)[.].*/\1/')
  [ "$major" -ge 15 ] || fail "PostgreSQL 15 or newer is needed, here is $major"
}

# Becomes the server's user where this is root; `exec` keeps the process id.
as_user() {
  if [ "$(id -u)" -eq 0 ]; then
    exec setpriv --reuid "$user" --regid "$user" --clear-groups -- env -C / HOME=/tmp LC_ALL=C.UTF-8 "$@"
  fi
  exec env LC_ALL=C.UTF-8 "$@"
}

install() {
  if [ -n "$(programs)" ]; then echo "postgres: $("$(programs)/postgres" --version)"; return; fi
  command -v apt-get >/dev/null 2>&1 || fail "install PostgreSQL 15 or newer with your system's packages"
  [ "$(id -u)" -eq 0 ] || fail "run as root, or: apt-get install postgresql"
  # Without this the package makes and starts a cluster of its own.
  mkdir -p /etc/postgresql-common
  grep -qs '^create_main_cluster' /etc/postgresql-common/createcluster.conf ||
    echo 'create_main_cluster = false' >>/etc/postgresql-common/createcluster.conf
  apt-get update --quiet >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends postgresql >/dev/null
  needed
  echo "postgres: $("$bin/postgres" --version)"
}

make_cluster() {
  mkdir -p "$data"
  chmod 700 "$data"
  if [ "$(id -u)" -eq 0 ]; then
    id "$user" >/dev/null 2>&1 || fail "there is no user $user on this machine: name another in ASSAY_POSTGRES_USER"
    chown "$user:" "$data"
    (as_user test -w "$data") || fail "$data cannot be reached by the user $user: let its parent folders be entered (chmod o+x), or name another in ASSAY_POSTGRES_DATA"
  fi
  local options=(-D "$data" -U postgres -E UTF8 --locale=C.UTF-8 --no-instructions) secret=
  if [ -n "$password" ]; then
    secret=$(mktemp)
    printf '%s\n' "$password" >"$secret"
    [ "$(id -u)" -ne 0 ] || chown "$user:" "$secret"
    options+=(-A scram-sha-256 "--pwfile=$secret")
  else
    options+=(-A trust)
  fi
  (as_user "$bin/initdb" "${options[@]}") >"$data.initdb.log" 2>&1 || {
    rm -f "$secret"
    tail -n 5 "$data.initdb.log" >&2
    fail "initdb failed; its last lines stand above"
  }
  rm -f "$secret"
  cat >>"$data/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
CONF
}

start() {
  needed
  local pid code=0
  if pid=$(noted "$pid_file"); then echo "postgres: runs already, process $pid"; return; fi
  if listens "$port"; then fail "port $port is taken: name another in ASSAY_POSTGRES_PORT"; fi
  [ -s "$data/PG_VERSION" ] || make_cluster
  (as_user setsid "$bin/postgres" -D "$data" -p "$port") >"$log" 2>&1 </dev/null &
  pid=$!
  note "$pid_file" "$pid"
  answers "$pid_file" "$log" 30 "$bin/pg_isready" --quiet --host 127.0.0.1 --port "$port" --username postgres || code=$?
  case $code in
    0) echo "postgres: 127.0.0.1:$port, process $pid" ;;
    1) fail "the server ended by itself; the last lines of its log stand above" ;;
    *) stop; fail "not ready within 30 s: $log" ;;
  esac
}

stop() {
  local pid
  pid=$(noted "$pid_file") || { rm -f "$pid_file"; echo "postgres: does not run"; return; }
  # INT is PostgreSQL's fast shutdown: sessions are ended, and a checkpoint is written.
  kill -INT "$pid"
  ended "$pid_file" 30 || fail "process $pid did not end within 30 s of SIGINT"
  echo "postgres: stopped"
}

case ${1:-} in
  install) install ;;
  start) start ;;
  stop) stop ;;
  status) if pid=$(noted "$pid_file"); then echo "postgres: up, process $pid"; else echo "postgres: down"; exit 3; fi ;;
  *) echo "usage: scripts/postgres.sh install|start|stop|status" >&2; exit 2 ;;
esac
