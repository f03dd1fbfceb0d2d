#!/usr/bin/env bash
# Says in one line what this machine lacks, and how to get it. Prints nothing when all is there.
#   scripts/prerequisites.sh            what the build needs
#   scripts/prerequisites.sh servers    and what Kafka, PostgreSQL and FerretDB need, for the tests and `make stack`
set -euo pipefail

missing=()
least="1.95"

if ! command -v cargo >/dev/null 2>&1 || ! command -v rustc >/dev/null 2>&1; then
  missing+=("Rust $least or newer (install it with rustup)")
else
  found=$(rustc --version | sed 's/^rustc \([0-9]*\.[0-9]*\).*/\1/')
  oldest=$(printf '%s\n%s\n' "$least" "$found" | sort -t. -k1,1n -k2,2n | head -n 1)
  [ "$oldest" = "$least" ] || missing+=("Rust $least or newer, here is $found (rustup update stable)")
fi
if ! command -v python3 >/dev/null 2>&1; then
  missing+=("Python 3 with venv (your system's packages python3 and python3-venv)")
elif ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
  missing+=("Python's venv (your system's package python3-venv)")
fi
if ! command -v cc >/dev/null 2>&1; then
  missing+=("a C compiler named cc (your system's package gcc or clang)")
fi
# Asked by name too, since this script also runs without make.
if ! command -v make >/dev/null 2>&1; then
  missing+=("make (your system's package make)")
fi
# The clients of Kafka and PostgreSQL are linked with OpenSSL.
if ! command -v pkg-config >/dev/null 2>&1; then
  missing+=("pkg-config (your system's package pkg-config)")
elif ! pkg-config --exists openssl; then
  missing+=("OpenSSL's headers (your system's package libssl-dev or openssl-devel)")
fi

if [ "${1:-}" = servers ]; then
  if ! command -v java >/dev/null 2>&1; then
    missing+=("Java 17 or newer for Kafka (on Debian the package openjdk-17-jre-headless)")
  else
    java=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p' | head -n 1)
    [ "${java:-0}" -ge 17 ] || missing+=("Java 17 or newer for Kafka, here is ${java:-another}")
  fi
  command -v mvn >/dev/null 2>&1 || compgen -G ".cache/kafka-*/whole" >/dev/null || missing+=("Maven, which fetches Kafka (on Debian the package maven)")
  postgres=$(find /usr/lib/postgresql -maxdepth 1 -name '[0-9]*' -printf '%f\n' 2>/dev/null | sort -n | tail -n 1)
  [ -n "$postgres" ] || postgres=$(postgres --version 2>/dev/null | sed 's/.* \([0-9]*\)\..*/\1/')
  [ "${postgres:-0}" -ge 15 ] || missing+=("PostgreSQL 15 or newer (on Debian the package postgresql)")
  if ! compgen -G ".cache/ferretdb-*/ferretdb" >/dev/null; then
    if ! command -v go >/dev/null 2>&1; then
      missing+=("Go 1.24 or newer, which builds FerretDB for the tests of MongoDB (golang-go of your system's packages)")
    else
      go=$(go env GOVERSION 2>/dev/null | sed 's/^go1\.\([0-9]*\).*/\1/')
      [ "${go:-0}" -ge 24 ] || missing+=("Go 1.24 or newer, which builds FerretDB for the tests of MongoDB, here is 1.${go:-?}")
    fi
  fi
fi

if [ "${#missing[@]}" -gt 0 ]; then
  line=$(printf '; %s' "${missing[@]}")
  echo "missing on this machine: ${line:2}" >&2
  exit 1
fi
