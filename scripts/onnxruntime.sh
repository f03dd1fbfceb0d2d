#!/bin/sh
# Puts ONNX Runtime's shared library at .cache/onnxruntime/<version>/libonnxruntime.so, where the program finds it.
#   scripts/onnxruntime.sh        the one for the CPU
#   scripts/onnxruntime.sh gpu    the one with CUDA, at .cache/onnxruntime-gpu/<version>/, its providers beside it
#
# In: scripts/onnxruntime.txt or onnxruntime-gpu.txt (version, and the SHA-256 of each platform's wheel). Out: the
# library, and one line. It appears by a rename, whole or not at all, after what it needs beside it; when it is there
# already, nothing is fetched.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
    '') name=onnxruntime providers= ;;
    gpu) name=onnxruntime-gpu providers='libonnxruntime_providers_shared.so libonnxruntime_providers_cuda.so' ;;
    *) echo "usage: onnxruntime.sh [gpu]" >&2 && exit 2 ;;
esac
pins=$root/scripts/$name.txt
version=$(sed -n "s/^$name==\([0-9.]*\).*/\1/p" "$pins")
folder=$root/.cache/$name/$version
library=$folder/libonnxruntime.so

fail() {
    echo "$name: $1" >&2
    exit 1
}

if [ -s "$library" ]; then
    echo "$name: $version is at ${library#"$root"/}"
    exit 0
fi

[ "$(uname -s)" = Linux ] || fail "no wheel is pinned for $(uname -s); set ORT_DYLIB_PATH to a libonnxruntime of version $version"
case $(uname -m) in
    x86_64 | amd64) platform=manylinux_2_28_x86_64 ;;
    aarch64 | arm64)
        platform=manylinux_2_28_aarch64
        [ -z "$providers" ] || fail "no wheel with CUDA is pinned for $(uname -m); set ORT_DYLIB_PATH to a libonnxruntime of version $version"
        ;;
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
# shellcheck disable=SC2086 # the names are words
"$work/venv/bin/python" - "$work/wheel" "$version" "$work" $providers <<'PYTHON' || fail "the wheel lacks a library of $version"
import pathlib, shutil, sys, zipfile

folder, version, target, *providers = sys.argv[1:]
(wheel,) = pathlib.Path(folder).glob("*.whl")
named = {"libonnxruntime.so": f"libonnxruntime.so.{version}", **{name: name for name in providers}}
with zipfile.ZipFile(wheel) as archive:
    for name, stored in named.items():
        with archive.open(f"onnxruntime/capi/{stored}") as source, open(pathlib.Path(target, name), "wb") as library:
            shutil.copyfileobj(source, library)
PYTHON
for file in $providers libonnxruntime.so; do
    chmod 0755 "$work/$file"
    mv "$work/$file" "$folder/$file"
done
echo "$name: $version fetched to ${library#"$root"/}"
