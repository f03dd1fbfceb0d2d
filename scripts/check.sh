#!/usr/bin/env bash
# Everything that can be said without running the program. Ends at the first fault.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf 'check: %s\n' "$*"; }

step "format"
cargo fmt --all --check

step "lints"
cargo clippy --release --locked --workspace --all-targets -- --deny warnings

step "rustdoc"
RUSTDOCFLAGS="--deny warnings" cargo doc --release --locked --workspace --no-deps --document-private-items --quiet

step "shell scripts"
for script in scripts/*.sh models/train/*.sh .ci/run; do
  bash -n "$script"
  [ -x "$script" ] || { echo "$script is not executable" >&2; exit 1; }
done

step "Python"
git ls-files -co --exclude-standard -z -- '*.py' | xargs -0 python3 -c '
import ast, sys
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        ast.parse(file.read(), path)
'

step "Dockerfile"
python3 scripts/dockerfile.py lint Dockerfile

step "links"
git ls-files -co --exclude-standard -z -- '*.md' | xargs -0 python3 -c '
import pathlib, re, sys
broken = 0
for name in sys.argv[1:]:
    page = pathlib.Path(name)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in link and not (page.parent / link).exists():
            print(f"{name}: the link {link} leads nowhere", file=sys.stderr)
            broken = 1
sys.exit(broken)
'

step "words"
# A tracked file names no path of the machine it was written on and holds no conflict marker.
for path in "$PWD" "$HOME" "${ASSAY_HANDBOOK:-}"; do
  if [ "${#path}" -gt 1 ] && git grep -nIF -- "$path/" -- .; then
    echo "check: the lines above name a path of this machine" >&2
    exit 1
  fi
done
if git grep -nIE '(/home/|/Users/)[A-Za-z0-9._-]+' -- . ':!scripts/check.sh'; then
  echo "check: the lines above name a home folder" >&2
  exit 1
fi
if git grep -nIE '^(<<<<<<<|>>>>>>>) ' -- .; then
  echo "check: the lines above are conflict markers" >&2
  exit 1
fi
echo "check: all well"
