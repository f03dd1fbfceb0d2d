#!/bin/sh
# Puts ONNX Runtime's shared library at .cache/onnxruntime/<version>/libonnxruntime.so, where the program finds it.
#
# In: scripts/onnxruntime.txt (version, and the SHA-256 of each platform's wheel). Out: the library, and one line.
# The file appears by a rename, whole or not at all; when it is there already, nothing is fetched.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
pins=$root/scripts/onnxruntime.txt
version=$(sed -n 's/^onnxruntime==\([0-9.]*\).*/\1/p' "$pins")
folder=$root/.cache/onnxruntime/$version
library=$folder/libonnxruntime.so

fail() {
    echo "onnxruntime: $1" >&2
    exit 1
}

if [ -s "$library" ]; then
    echo "onnxruntime: $version is at ${library#"$root"/}"
    exit 0
fi

[ "$(uname -s)" = Linux ] || fail "no wheel is pinned for $(uname -s); set ORT_DYLIB_PATH to a libonnxruntime of version $version"
case $(uname -m) in
    x86_64 | amd64) platform=manylinux_2_28_x86_64 ;;
    aarch64 | arm64) platform=manylinux_2_28_aarch64 ;;
    *) fail "no wheel is pinned for $(uname -m); set ORT_DYLIB_PATH to a libonnxruntime of version $version" ;;
esac
command -v python3 >/dev/null 2>&1 || fail "python3 is missing: install Python 3 with its venv module"
python3 -c 'import venv, ensurepip' 2>/dev/null || fail "python3 has no venv module: install it (on Debian the package python3-venv)"

mkdir -p "$folder"
work=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python3 -m venv "$work/venv" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "python3 could not make a virtual environment"
}
"$work/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --implementation cp --python-version 3.11 --platform "$platform" --require-hashes \
    --dest "$work/wheel" --requirement "$pins" >"$work/log" 2>&1 || {
    cat "$work/log" >&2
    fail "the wheel of $version could not be fetched, or its hash is not the pinned one"
}
"$work/venv/bin/python" - "$work/wheel" "$version" "$work/libonnxruntime.so" <<'PYTHON' || fail "the wheel holds no libonnxruntime.so.$version"
import pathlib, shutil, sys, zipfile

folder, version, target = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
with zipfile.ZipFile(wheel) as archive, open(target, "wb") as library:
    shutil.copyfileobj(archive.open(f"onnxruntime/capi/libonnxruntime.so.{version}"), library)
PYTHON
chmod 0755 "$work/libonnxruntime.so"
mv "$work/libonnxruntime.so" "$library"
echo "onnxruntime: $version fetched to ${library#"$root"/}"
