#!/usr/bin/env bash
# A Python environment that holds exactly the packages of a list, made anew when the list changes; otherwise nothing is fetched.
#
#   scripts/environment.sh REQUIREMENTS FOLDER     the programs are then in FOLDER/bin
# Several may ask for one side by side: one makes it.
set -euo pipefail

pins=$1 folder=$2
fail() { echo "environment: $*" >&2; exit 1; }

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock"
flock 9
if cmp -s "$pins" "$folder/requirements.txt"; then exit; fi
rm -rf "$folder"
mkdir -p "$folder"
# --no-deps: the list is complete, and nothing else is to come in.
{ python3 -m venv "$folder" && "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --no-deps \
  --requirement "$pins"; } >"$folder/log" 2>&1 || { cat "$folder/log" >&2; fail "the environment of $pins could not be made"; }
cp "$pins" "$folder/requirements.txt"
