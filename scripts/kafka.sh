#!/usr/bin/env bash
# Apache Kafka (KRaft) on 127.0.0.1, one node or three, for tests and `make stack`.
#
#   scripts/kafka.sh install                        fetch the pinned version into .cache/kafka-<version>/
#   scripts/kafka.sh start  [--nodes 1|3] [--node N]
#   scripts/kafka.sh stop   [--node N]              by process id, and only while its start time still matches
#   scripts/kafka.sh kill   [--node N]              the same with no warning, as a crash
#   scripts/kafka.sh status [--node N]              a line a node; fails unless all of them run
#   scripts/kafka.sh tool NAME WORDS…               Kafka's own console-consumer, console-producer, consumer-groups, get-offsets, topics
#
#   ASSAY_KAFKA_PORT=19092          clients of node 1; node N listens on ASSAY_KAFKA_PORT + N - 1
#   ASSAY_KAFKA_CONTROLLER_PORT     the nodes among themselves; ASSAY_KAFKA_PORT + 10 without it, + N - 1
#   ASSAY_KAFKA_PROXY_PORT          adds a second listener at ASSAY_KAFKA_PORT + 20 (+ N - 1), whose clients are told to come to
#                             ASSAY_KAFKA_PROXY_PORT (+ N - 1): where a proxy listens that forwards there
#   ASSAY_KAFKA_SECURE_PORT         adds a listener there (+ N - 1) that speaks TLS and asks for the user `assay`, by SCRAM-SHA-512,
#                             SCRAM-SHA-256 or PLAIN. What clients need lies in the data folder: secure/ca.pem, secure/password. It is
#                             to be named from the first start on a data folder on, which makes the user.
#   ASSAY_KAFKA_DATA=data/kafka     one folder a node below it: records, log and process id
#   ASSAY_KAFKA_HEAP="-Xms128m -Xmx512m"
#
# Three nodes are broker and controller each, with replication factor 3 and two replicas in sync. How many nodes there
# are is decided by the first start on a data folder. No topic appears by itself; a group settles without delay.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/process.sh

pom=scripts/kafka.pom.xml
version=$(sed -n 's/^  <version>\(.*\)<\/version>$/\1/p' "$pom")
home=.cache/kafka-$version
port=${ASSAY_KAFKA_PORT:-19092}
controller=${ASSAY_KAFKA_CONTROLLER_PORT:-$((port + 10))}
direct=$((port + 20))
proxy=${ASSAY_KAFKA_PROXY_PORT:-}
secure=${ASSAY_KAFKA_SECURE_PORT:-}
data=${ASSAY_KAFKA_DATA:-data/kafka}
heap=${ASSAY_KAFKA_HEAP:--Xms128m -Xmx512m}

fail() { echo "kafka: $*" >&2; exit 1; }

usage() { fail "usage: scripts/kafka.sh install|start|stop|kill|status [--nodes 1|3] [--node N], or tool NAME WORDS…"; }

word=${1:-}
[ $# -gt 0 ] && shift
tool=()
if [ "$word" = tool ]; then
  tool=("$@")
  set --
fi
nodes=
only=
while [ $# -gt 0 ]; do
  case $1 in
    --nodes) nodes=${2:-}; [ "$nodes" = 1 ] || [ "$nodes" = 3 ] || usage ;;
    --node) only=${2:-}; [[ "$only" =~ ^[1-3]$ ]] || usage ;;
    *) usage ;;
  esac
  shift 2
done

# Process id of node $1 while it runs.
running() { noted "$data/$1/pid"; }

install() {
  if [ -f "$home/whole" ]; then return; fi
  command -v mvn >/dev/null 2>&1 || fail "Maven is missing: install it (on Debian the package maven)"
  mkdir -p .cache
  local work
  work=$(mktemp -d .cache/kafka.XXXXXX)
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  mvn -B -q -f "$pom" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$PWD/$work/lib" >"$work/log" 2>&1 \
    || { tail -n 5 "$work/log" >&2; fail "Maven could not fetch Kafka $version"; }
  (cd "$work/lib" && sha256sum --quiet --check --strict "$OLDPWD/scripts/kafka.sha256" >&2) \
    || fail "a fetched jar is not the pinned one: scripts/kafka.sha256"
  [ "$(find "$work/lib" -type f | wc -l)" = "$(wc -l <scripts/kafka.sha256)" ] \
    || fail "Maven fetched jars that scripts/kafka.sha256 does not name"
  cat >"$work/log4j2.properties" <<'PROPERTIES'
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.target=SYSTEM_ERR
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=[%d] %p %m (%c)%n
PROPERTIES
  touch "$work/whole"
  rm -rf "$home"
  mv "$work" "$home"
  trap - EXIT
  echo "kafka: $version fetched to $home"
}

java_is_new_enough() {
  command -v java >/dev/null 2>&1 || fail "Java 17 or newer is missing: install it (on Debian the package openjdk-17-jre-headless)"
  local found
  found=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
  [ "${found:-0}" -ge 17 ] || fail "Java 17 or newer is needed, here is ${found:-another}"
}

# A CA of this data folder's own, a certificate for all its nodes, and the user's password.
make_secrets() {
  local folder=$data/secure log=$data/secure/log
  if [ -f "$folder/whole" ]; then return; fi
  [ ! -s "$data/nodes" ] || fail "$data was made without a secure listener: choose another folder with ASSAY_KAFKA_DATA"
  command -v openssl >/dev/null 2>&1 || fail "openssl is missing: install it (on Debian the package openssl)"
  mkdir -p "$folder"
  chmod 700 "$folder"
  {
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=assay test CA" \
      -keyout "$folder/ca.key" -out "$folder/ca.pem" &&
    openssl req -newkey rsa:2048 -nodes -subj "/CN=localhost" -keyout "$folder/broker.key" -out "$folder/broker.csr" &&
    openssl x509 -req -days 3650 -in "$folder/broker.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial \
      -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$folder/broker.crt"
  } >"$log" 2>&1 || { tail -n 5 "$log" >&2; fail "openssl could not make certificates"; }
  cat "$folder/broker.key" "$folder/broker.crt" >"$folder/broker.pem"
  head -c 18 /dev/urandom | base64 | tr '+/' 'ab' | tr -d '\n' >"$folder/password"
  touch "$folder/whole"
}

# What the secure listener is, as properties.
secure_properties() {
  local own=listener.name.secure login=org.apache.kafka.common.security password
  password=$(cat "$data/secure/password")
  cat <<PROPERTIES
$own.ssl.keystore.type=PEM
$own.ssl.keystore.location=$data/secure/broker.pem
$own.sasl.enabled.mechanisms=SCRAM-SHA-512,SCRAM-SHA-256,PLAIN
$own.scram-sha-512.sasl.jaas.config=$login.scram.ScramLoginModule required;
$own.scram-sha-256.sasl.jaas.config=$login.scram.ScramLoginModule required;
$own.plain.sasl.jaas.config=$login.plain.PlainLoginModule required user_assay="$password";
PROPERTIES
}

# The nodes that are meant: the one asked for, or all of this data folder.
meant() { if [ -n "$only" ]; then echo "$only"; else seq "$(cat "$data/nodes" 2>/dev/null || echo 0)"; fi; }

properties() {
  local node=$1 of=$2 factor=$2 least=1 voters="" n
  [ "$of" = 3 ] && least=2
  for n in $(seq "$of"); do voters+="${voters:+,}$n@127.0.0.1:$((controller + n - 1))"; done
  local client=$((port + node - 1)) listeners advertised map
  listeners="PLAINTEXT://127.0.0.1:$client,CONTROLLER://127.0.0.1:$((controller + node - 1))"
  advertised="PLAINTEXT://127.0.0.1:$client"
  map="PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
  if [ -n "$proxy" ]; then
    listeners+=",PROXIED://127.0.0.1:$((direct + node - 1))"
    advertised+=",PROXIED://127.0.0.1:$((proxy + node - 1))"
    map+=",PROXIED:PLAINTEXT"
  fi
  if [ -n "$secure" ]; then
    listeners+=",SECURE://127.0.0.1:$((secure + node - 1))"
    advertised+=",SECURE://127.0.0.1:$((secure + node - 1))"
    map+=",SECURE:SASL_SSL"
    secure_properties
  fi
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$voters
listeners=$listeners
advertised.listeners=$advertised
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=$map
log.dirs=$data/$node/records
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
num.partitions=8
default.replication.factor=$factor
min.insync.replicas=$least
offsets.topic.replication.factor=$factor
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$factor
transaction.state.log.min.isr=$least
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$factor
share.coordinator.state.topic.min.isr=$least
PROPERTIES
}

start_node() {
  local node=$1 of=$2 folder=$data/$1 used users=()
  if running "$node" >/dev/null; then echo "kafka: node $node runs already"; return; fi
  for used in $((port + node - 1)) $((controller + node - 1)) ${proxy:+$((direct + node - 1))} ${secure:+$((secure + node - 1))}; do
    if listens "$used"; then fail "port $used is in use: end what listens there, or choose others with ASSAY_KAFKA_PORT"; fi
  done
  mkdir -p "$folder"
  (umask 077 && properties "$node" "$of" >"$folder/server.properties")
  if [ ! -f "$folder/records/meta.properties" ]; then
    if [ -n "$secure" ]; then
      for used in SCRAM-SHA-512 SCRAM-SHA-256; do
        users+=(--add-scram "$used=[name=assay,password=$(cat "$data/secure/password")]")
      done
    fi
    java -Dlog4j2.configurationFile="$home/log4j2.properties" -cp "$home/lib/*" kafka.tools.StorageTool format \
      --cluster-id "$(cat "$data/cluster")" --config "$folder/server.properties" "${users[@]}" >"$folder/format.log" 2>&1 \
      || { tail -n 5 "$folder/format.log" >&2; fail "node $node could not make its data folder"; }
  fi
  # shellcheck disable=SC2086
  setsid java $heap -XX:+UseG1GC -Djava.net.preferIPv4Stack=true -Dlog4j2.configurationFile="$home/log4j2.properties" \
    -cp "$home/lib/*" kafka.Kafka "$folder/server.properties" >>"$folder/server.log" 2>&1 </dev/null &
  note "$folder/pid" $!
}

# Until every node answers clients, which it does when it has joined.
wait_for() {
  local node pid waited=0
  for node in "$@"; do
    until listens $((port + node - 1)); do
      pid=$(running "$node") || { tail -n 20 "$data/$node/server.log" >&2; fail "node $node ended before it was ready; the lines above are the end of its log"; }
      waited=$((waited + 1))
      [ "$waited" -le 600 ] || fail "node $node was not ready after 60 seconds: $data/$node/server.log"
      sleep 0.1
    done
    echo "kafka: node $node runs on 127.0.0.1:$((port + node - 1))"
  done
}

start() {
  java_is_new_enough
  install
  mkdir -p "$data"
  if [ -n "$secure" ]; then make_secrets; fi
  if [ ! -s "$data/nodes" ]; then
    echo "${nodes:-1}" >"$data/nodes"
    # A cluster's id is 16 bytes in Base64 without the characters that need quoting, and does not begin with a dash.
    echo "A$(head -c 16 /dev/urandom | base64 | tr '+/' 'ab' | head -c 21)" >"$data/cluster"
  fi
  local of node
  of=$(cat "$data/nodes")
  [ -z "$nodes" ] || [ "$nodes" = "$of" ] || fail "$data holds a cluster of $of: choose another folder with ASSAY_KAFKA_DATA"
  for node in $(meant); do start_node "$node" "$of"; done
  # shellcheck disable=SC2046
  wait_for $(meant)
}

# Runs a tool of Kafka against node 1.
use_tool() {
  local class
  case ${1:-} in
    console-consumer) class=consumer.ConsoleConsumer ;;
    console-producer) class=ConsoleProducer ;;
    consumer-groups) class=consumer.group.ConsumerGroupCommand ;;
    get-offsets) class=GetOffsetShell ;;
    topics) class=TopicCommand ;;
    *) usage ;;
  esac
  shift
  exec java -Xmx256m -cp "$home/lib/*" "org.apache.kafka.tools.$class" --bootstrap-server "127.0.0.1:$port" "$@"
}

# Ends node $1 with signal $2.
stop_node() {
  local node=$1 pid waited=0
  pid=$(running "$node") || { rm -f "$data/$node/pid"; return 0; }
  kill "-$2" "$pid" 2>/dev/null || true
  while running "$node" >/dev/null; do
    waited=$((waited + 1))
    if [ "$waited" -eq 300 ]; then kill -KILL "$pid" 2>/dev/null || true; fi
    sleep 0.1
  done
  rm -f "$data/$node/pid"
  echo "kafka: node $node ended"
}

case $word in
  install)
    install
    echo "kafka: $version is at $home"
    ;;
  start) start ;;
  tool) use_tool "${tool[@]}" ;;
  stop | kill)
    signal=TERM
    [ "$word" = stop ] || signal=KILL
    # All at once: a controller that waits for a majority that has left would wait for nothing.
    for node in $(meant); do stop_node "$node" "$signal" & done
    wait
    ;;
  status)
    all=0
    for node in $(meant); do
      if pid=$(running "$node"); then
        echo "kafka: node $node runs on 127.0.0.1:$((port + node - 1)), process $pid"
      else
        echo "kafka: node $node does not run"
        all=1
      fi
    done
    [ -n "$(meant)" ] || { echo "kafka: no data at $data"; all=1; }
    exit "$all"
    ;;
  *) usage ;;
esac
