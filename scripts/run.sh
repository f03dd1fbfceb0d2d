#!/usr/bin/env bash
# Serves on config/embedded.toml and sends simulated payments to it over HTTP until Ctrl-C, or for RUN_SECONDS.
#
# Both programs run in process groups of their own, so that a Ctrl-C in the terminal reaches only this script.
# It then ends the payments first and the server second, each by its process id, and waits for both.
#   RUN_SECONDS=10                             end by itself after 10 seconds
#   RUN_RATE=50                                payments a second; 200 without it
#   ASSAY__SERVER__LISTEN=127.0.0.1:8081       listen elsewhere
set -euo pipefail
cd "$(dirname "$0")/.."

assay=target/release/assay
config=config/embedded.toml
address=${ASSAY__SERVER__LISTEN:-127.0.0.1:8080}
host=${address%:*}
port=${address##*:}
rate=${RUN_RATE:-200}
log=.cache/run/serve.log
server=
payments=
stopping=

# shellcheck source=scripts/common.sh
. scripts/common.sh

fail() {
  say "run: $*" >&2
  if alive "$payments"; then end "$payments" TERM || true; fi
  if alive "$server"; then end "$server" TERM || true; fi
  exit 1
}

trap 'stopping=1' INT TERM HUP

if (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; then
  say "run: $address is in use: end what listens there, or choose another address: ASSAY__SERVER__LISTEN=127.0.0.1:8081 make run" >&2
  exit 1
fi

mkdir -p "$(dirname "$log")"
say "starting   assay serve --config $config   (its log: $log)"
set -m
"$assay" serve --config "$config" >"$log" 2>&1 </dev/null &
server=$!
set +m

waited=0
until [[ "$(status /health/ready)" == *" 200 "* ]]; do
  if [ -n "$stopping" ]; then end "$server" TERM || true; exit 0; fi
  alive "$server" || { tail -n 20 "$log" >&2; fail "the server ended before it was ready; the lines above are the end of its log"; }
  waited=$((waited + 1))
  [ "$waited" -le 300 ] || { tail -n 20 "$log" >&2; fail "the server was not ready after 60 seconds; the lines above are the end of its log"; }
  sleep 0.2 || true
done

say "ready      http://$address"
say "look at    http://$address/health/ready    whether it can answer"
say "           http://$address/model           the model in force"
say "           http://$address/metrics         counters and timings"
say "           http://$address/openapi.json    the interface"
say "sending    $rate simulated payments a second to http://$address/predict; Ctrl-C ends both"

set -m
"$assay" replay --simulate --rate "$rate" --url "http://$address" </dev/null &
payments=$!
set +m

began=$SECONDS
while [ -z "$stopping" ] && alive "$server" && alive "$payments"; do
  if [ -n "${RUN_SECONDS:-}" ] && [ $((SECONDS - began)) -ge "$RUN_SECONDS" ]; then break; fi
  sleep 0.2 || true
done

alive "$server" || { tail -n 20 "$log" >&2; fail "the server ended by itself; the lines above are the end of its log"; }
alive "$payments" || fail "the simulated payments ended by themselves; their last lines stand above"

say "ending     the payments, then the server"
# The client may report an interrupted run by its exit status; what counts is that it ended when asked.
end "$payments" INT || true
if end "$server" TERM; then
  say "ended      cleanly; the decisions stay in data/"
else
  code=$?
  tail -n 20 "$log" >&2
  fail "the server ended with status $code; the lines above are the end of its log"
fi
