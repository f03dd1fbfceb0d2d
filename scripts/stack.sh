#!/usr/bin/env bash
# The whole stack on this machine: Kafka, PostgreSQL and FerretDB (for MongoDB) by script, topics and table, assay between
# them, and simulated payments written to PostgreSQL and to the topic, until Ctrl-C or for STACK_SECONDS. Rows are completed
# and documents kept while you look.
#
# All programs run in process groups of their own, so that a Ctrl-C in the terminal reaches only this script. It then
# ends them in order, each by its process id: the payments, the lines, assay, and the servers that it started itself.
#   STACK_SECONDS=10                           end by itself after 10 seconds
#   STACK_RATE=50                              payments a second; 200 without it
#   STACK_CONFIG=config/stack.toml             configuration of assay
#   ASSAY_KAFKA_PORT=19092                     ports of the servers, which win over the configuration's; a server that
#   ASSAY_POSTGRES_PORT=15432                  runs already on the same data folder is used and left running
#   ASSAY_FERRETDB_PORT=27117
#   ASSAY_KAFKA_DATA, ASSAY_POSTGRES_DATA, ASSAY_FERRETDB_DATA   their data folders; below data/stack without it
#   ASSAY__MONGODB__URL=mongodb://…            another MongoDB instead of FerretDB; empty: no documents, and no Go is needed
#   ASSAY__SERVER__LISTEN=127.0.0.1:8081       listen elsewhere
set -euo pipefail
cd "$(dirname "$0")/.."

assay=target/release/assay
loadtest=target/release/loadtest
config=${STACK_CONFIG:-config/stack.toml}
address=${ASSAY__SERVER__LISTEN:-127.0.0.1:8080}
host=${address%:*}
port=${address##*:}
rate=${STACK_RATE:-200}
export ASSAY_KAFKA_PORT=${ASSAY_KAFKA_PORT:-19092} ASSAY_KAFKA_DATA=${ASSAY_KAFKA_DATA:-data/stack/kafka}
export ASSAY_POSTGRES_PORT=${ASSAY_POSTGRES_PORT:-15432} ASSAY_POSTGRES_DATA=${ASSAY_POSTGRES_DATA:-data/stack/postgres}
export ASSAY_FERRETDB_PORT=${ASSAY_FERRETDB_PORT:-27117} ASSAY_FERRETDB_DATA=${ASSAY_FERRETDB_DATA:-data/stack/ferretdb}
names=(kafka postgres)
if [ -z "${ASSAY__MONGODB__URL+named}" ]; then names+=(ferretdb); fi
export ASSAY__MONGODB__URL=${ASSAY__MONGODB__URL-mongodb://127.0.0.1:$ASSAY_FERRETDB_PORT}
export ASSAY__KAFKA__BROKERS=127.0.0.1:$ASSAY_KAFKA_PORT ASSAY__POSTGRES__HOST=127.0.0.1 ASSAY__POSTGRES__PORT=$ASSAY_POSTGRES_PORT
servers=(--kafka "127.0.0.1:$ASSAY_KAFKA_PORT" --postgres "postgres://postgres@127.0.0.1:$ASSAY_POSTGRES_PORT/payments")
documents=()
if [ -n "$ASSAY__MONGODB__URL" ]; then documents=(--mongodb "$ASSAY__MONGODB__URL"); fi
logs=.cache/stack
log=$logs/serve.log
keys=${ASSAY_FERRETDB_DATA%/*}/keys
server=
payments=
watch=
started=()
stopping=

# shellcheck source=scripts/common.sh
. scripts/common.sh

# Ends the servers that this script started, the last one first, untouched by a Ctrl-C.
end_servers() {
  local n
  for ((n = ${#started[@]} - 1; n >= 0; n--)); do
    setsid --wait "scripts/${started[n]}.sh" stop >>"$logs/servers.log" 2>&1 || true
  done
  started=()
}

# Ends everything, in order; the exit status of assay is the function's.
end_all() {
  local code=0
  # Not INT: what is started in the background of a shell ignores it.
  if alive "$payments"; then end "$payments" TERM || true; fi
  if alive "$watch"; then end "$watch" TERM || true; fi
  if alive "$server"; then end "$server" TERM || code=$?; fi
  end_servers
  return "$code"
}

fail() {
  say "stack: $*" >&2
  end_all || true
  exit 1
}

tail_and_fail() {
  tail -n 20 "$log" >&2
  fail "$*; the lines above are the end of its log"
}

stop_if_asked() {
  if [ -n "$stopping" ]; then end_all || true; exit 0; fi
}

trap 'stopping=1' INT TERM HUP

for program in "$assay" "$loadtest"; do
  [ -x "$program" ] || { say "stack: $program is not built: make build" >&2; exit 1; }
done
[ -f "$config" ] || { say "stack: there is no $config" >&2; exit 1; }
if (exec 3<>"/dev/tcp/$host/$port") 2>/dev/null; then
  say "stack: $address is in use: end what listens there, or choose another address: ASSAY__SERVER__LISTEN=127.0.0.1:8081 make stack" >&2
  exit 1
fi

mkdir -p "$logs"
: >"$logs/servers.log"
for name in "${names[@]}"; do
  if "scripts/$name.sh" status >/dev/null 2>&1; then
    say "uses       $name, which runs already"
  else
    say "starting   $name   (scripts/$name.sh; its messages: $logs/servers.log)"
    if [ "$name" = ferretdb ]; then scripts/ferretdb.sh install >>"$logs/servers.log" 2>&1 || { tail -n 5 "$logs/servers.log" >&2; fail "FerretDB could not be built: ASSAY__MONGODB__URL= make stack does without"; }; fi
    setsid --wait "scripts/$name.sh" start >>"$logs/servers.log" 2>&1 || { tail -n 5 "$logs/servers.log" >&2; fail "$name did not start"; }
    started+=("$name")
  fi
  stop_if_asked
done

"$loadtest" stack prepare "${servers[@]}" || fail "the topics or the table could not be made"
stop_if_asked

# The keys of pseudonyms and of raw events, made once: what was written with them is read with them.
if [ -n "$ASSAY__MONGODB__URL" ]; then
  (
    umask 077
    mkdir -p "$keys"
    for name in pseudonyms raw; do
      [ -s "$keys/$name" ] || printf 'first:%s\n' "$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')" >"$keys/$name"
    done
  )
  export ASSAY__MONGODB__PSEUDONYM_KEYS_FILE=${ASSAY__MONGODB__PSEUDONYM_KEYS_FILE:-$keys/pseudonyms}
  export ASSAY__MONGODB__RAW_COLLECTION=${ASSAY__MONGODB__RAW_COLLECTION-events}
  export ASSAY__MONGODB__RAW_KEYS_FILE=${ASSAY__MONGODB__RAW_KEYS_FILE:-$keys/raw}
fi

say "starting   assay serve --config $config   (its log: $log)"
set -m
"$assay" serve --config "$config" >"$log" 2>&1 </dev/null &
server=$!
set +m

waited=0
until [[ "$(status /health/ready)" == *" 200 "* ]]; do
  stop_if_asked
  alive "$server" || tail_and_fail "assay ended before it was ready"
  waited=$((waited + 1))
  [ "$waited" -le 300 ] || tail_and_fail "assay was not ready after 60 seconds"
  sleep 0.2 || true
done

say "ready      http://$address"
say "look at    http://$address/health/ready    whether it can answer"
say "           http://$address/metrics         counters and timings"
say "           psql ${servers[3]} -c 'TABLE payments LIMIT 10'"
if [ -n "$ASSAY__MONGODB__URL" ]; then say "           mongosh $(sed 's|//[^/]*@|//|' <<<"$ASSAY__MONGODB__URL")/assay --eval 'db.decisions.findOne()'"; fi
say "           docs/WALKTHROUGH.md             every station of a payment, with the commands to look at it"
say "sending    $rate simulated payments a second to PostgreSQL and to the topic transactions; Ctrl-C ends everything"

set -m
"$loadtest" stack pay "${servers[@]}" --rate "$rate" --count 5000000 </dev/null &
payments=$!
"$loadtest" stack watch "${servers[@]}" "${documents[@]}" --every 2s </dev/null &
watch=$!
set +m

began=$SECONDS
while [ -z "$stopping" ] && alive "$server" && alive "$payments" && alive "$watch"; do
  if [ -n "${STACK_SECONDS:-}" ] && [ $((SECONDS - began)) -ge "$STACK_SECONDS" ]; then break; fi
  sleep 0.2 || true
done

alive "$server" || tail_and_fail "assay ended by itself"
alive "$payments" || fail "the simulated payments ended by themselves; their last lines stand above"
alive "$watch" || fail "the lines about the table ended by themselves; the last ones stand above"

say "ending     the payments, then assay, then the servers"
if end_all; then
  say "ended      cleanly; payments and decisions stay in ${ASSAY_KAFKA_DATA%/*}/"
else
  code=$?
  tail -n 20 "$log" >&2
  say "stack: assay ended with status $code; the lines above are the end of its log" >&2
  exit 1
fi
