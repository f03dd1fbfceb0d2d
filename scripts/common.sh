# What run.sh and stack.sh share: sourced, with `host`, `port` and `address` of the service set.
# shellcheck shell=bash disable=SC2154

say() { printf '%s\n' "$*"; }

# Status line of GET $1, or nothing. Speaks HTTP by itself: no other program is needed.
status() {
  (
    exec 3<>"/dev/tcp/$host/$port"
    printf 'GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" "$address" >&3
    IFS= read -r -t 2 line <&3
    printf '%s' "$line"
  ) 2>/dev/null || true
}

alive() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null; }

# Ends process $1 with signal $2 and waits for it; its exit status is the function's.
# A signal to this script cuts a wait short with a status above 128: it is then waited for again.
end() {
  local code=0 again
  kill "-$2" "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || code=$?
  while alive "$1"; do
    again=0
    wait "$1" 2>/dev/null || again=$?
    code=$again
  done
  return "$code"
}
