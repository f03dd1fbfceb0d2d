#!/usr/bin/env bash
# Fuzzes every reader with coverage guidance, FUZZ_SECONDS (default 60) each, starting from the kept corpus.
# Needs a nightly toolchain; where none is this says so and fails. cargo-fuzz is installed into .cache/ where it is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
cargo_fuzz=0.13.2
# cargo-fuzz may be installed for all of the machine or in .cache/ alone.
export PATH="$PWD/.cache/tools/bin:$PATH"

if [ ! -f fuzz/Cargo.toml ]; then
  echo "fuzz: NOT RUN: there is no crate fuzz/" >&2
  exit 1
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
  echo "fuzz: NOT RUN: no nightly toolchain (rustup toolchain install nightly)" >&2
  exit 1
fi
if ! cargo +nightly fuzz --version >/dev/null 2>&1; then
  cargo install --locked --root .cache/tools "cargo-fuzz@$cargo_fuzz"
fi

targets=$(cargo +nightly fuzz list)
[ -n "$targets" ] || { echo "fuzz: the crate has no targets" >&2; exit 1; }
for target in $targets; do
  echo "fuzz: $target, $seconds s"
  # What is found anew goes to .cache/; the kept corpus in the tree is read only. A find worth keeping is copied by hand.
  mkdir -p ".cache/fuzz/$target"
  # Without a sanitizer: assay has no unsafe code for one to find faults in, and C libraries beside it are linked only without.
  cargo +nightly fuzz run --sanitizer none "$target" ".cache/fuzz/$target" "fuzz/corpus/$target" -- "-max_total_time=$seconds" -print_final_stats=1
done
echo "fuzz: every reader ran $seconds s without a finding"
