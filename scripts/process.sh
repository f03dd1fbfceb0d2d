# Sourced by the scripts of servers. A process is known by its id and its start time, which name it for good: one that has
# taken over the id of one that ended is never touched. Both stand in a file beside the server's data.
# shellcheck shell=bash

# Start time of process $1, in clock ticks since the machine's.
started_at() { sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20; }

# Notes process $2 in file $1.
note() { echo "$2 $(started_at "$2")" >"$1"; }

# The process id in file $1, while that process runs.
noted() {
  local pid since
  [ -s "$1" ] || return 1
  read -r pid since <"$1"
  [ -n "$since" ] && [ "$(started_at "$pid")" = "$since" ] && echo "$pid"
}

# Whether somebody listens on port $1 of this machine.
listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Waits until the process of file $1 answers the command $4…, at most $3 seconds. Status 1: it ended by itself, and the end of its log $2
# is shown; 2: it runs and does not answer.
answers() {
  local file=$1 log=$2 seconds=$3
  shift 3
  for _ in $(seq $((seconds * 10))); do
    if "$@" 2>/dev/null; then return; fi
    if ! noted "$file" >/dev/null; then
      rm -f "$file"
      tail -n 5 "$log" >&2
      return 1
    fi
    sleep 0.1
  done
  return 2
}

# Waits until the process of file $1 has ended, at most $2 seconds; after $3 of them, where named, all of $4 is killed (a process id, or
# `-` and the id of a group).
ended() {
  local tenth
  for tenth in $(seq $(($2 * 10))); do
    if ! noted "$1" >/dev/null; then rm -f "$1"; return; fi
    if [ -n "${3:-}" ] && [ "$tenth" -eq $(($3 * 10)) ]; then kill -KILL -- "$4" 2>/dev/null || true; fi
    sleep 0.1
  done
  return 1
}
