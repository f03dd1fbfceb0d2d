#!/usr/bin/env bash
# Says in one line what this machine lacks, and how to get it. Prints nothing when all is there.
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

if [ "${#missing[@]}" -gt 0 ]; then
  line=$(printf '; %s' "${missing[@]}")
  echo "missing on this machine: ${line:2}" >&2
  exit 1
fi
