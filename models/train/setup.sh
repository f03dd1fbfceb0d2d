#!/bin/sh
# A virtual environment for models/train in .cache/train, which git ignores. In: requirements.txt. Out: the environment,
# and one line. It is made anew when the requirements changed; otherwise nothing is fetched.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$root/models/train/requirements.txt
folder=$root/.cache/train

fail() {
    echo "train: $1" >&2
    exit 1
}

if [ -f "$folder/checked" ] && cmp -s "$pins" "$folder/requirements.txt"; then
    echo "train: the environment is at ${folder#"$root"/}"
    exit 0
fi
command -v python3 >/dev/null 2>&1 || fail "python3 is missing: install Python 3.11 or newer with its venv module"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "python3 is older than 3.11"
python3 -c 'import venv, ensurepip' 2>/dev/null || fail "python3 has no venv module: install it (on Debian the package python3-venv)"

"$root/scripts/environment.sh" "$pins" "$folder" || fail "the environment could not be made"
"$folder/bin/python" -m pip check --disable-pip-version-check >"$folder/log" 2>&1 || {
    cat "$folder/log" >&2
    fail "models/train/requirements.txt is not complete"
}
# LightGBM takes OpenMP from the system; every C compiler but clang alone brings it.
"$folder/bin/python" -c 'import lightgbm' >"$folder/log" 2>&1 || {
    cat "$folder/log" >&2
    fail "LightGBM cannot be loaded: install OpenMP (on Debian the package libgomp1)"
}
touch "$folder/checked"
echo "train: the environment is ready at ${folder#"$root"/}"
