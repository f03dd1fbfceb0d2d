#!/usr/bin/env bash
# Checks the Dockerfile as far as a machine without a container engine allows: runs its steps in empty Debian roots,
# then starts the result as its user, on a read-only root with only its volumes writable, and asks /health/ready.
#
# Needs root, Debian or Ubuntu (debootstrap is installed where it is missing) and the network. What stands in for an
# image: a minimal Debian made by debootstrap; for `rust`, the same with this machine's toolchain in /usr/local.
# Ways out that this machine has configured (apt sources, cargo, pip, proxies, certificates) are lent to the steps,
# in folders under .cache/docker-check only.
#   DOCKER_CHECK_FILE=<Dockerfile>   another file to check (no start is tried when its last stage has no entry point)
set -euo pipefail
cd "$(dirname "$0")/.."

file=${DOCKER_CHECK_FILE:-Dockerfile}
suite=bookworm
top=$PWD/.cache/docker-check
bases=$top/bases
work=$top/work

fail() { echo "docker-check: $*" >&2; exit 1; }

[ "$(id -u)" -eq 0 ] || fail "needs root: chroot and mounts"
if [ -z "${DOCKER_CHECK_INSIDE:-}" ]; then
  command -v unshare >/dev/null 2>&1 || fail "unshare is missing (util-linux)"
  # Every mount below lives in a namespace of its own and ends with it.
  DOCKER_CHECK_INSIDE=1 exec unshare --mount --propagation private "$0" "$@"
fi

python3 scripts/dockerfile.py lint "$file"

if ! command -v debootstrap >/dev/null 2>&1; then
  command -v apt-get >/dev/null 2>&1 || fail "debootstrap is missing and there is no apt to install it with"
  apt-get update --quiet && apt-get install --yes --quiet --no-install-recommends debootstrap
fi

mkdir -p "$bases"
rm -rf "$work"
mkdir -p "$work"

# 1. The stand-ins. The mirror is the one this machine's own apt uses, else debootstrap's own choice.
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
  sed -n -e 's/^URIs: *\(http[^ ]*\).*/\1/p' -e 's/^deb  *\(\[[^]]*\] \)\{0,1\}\(http[^ ]*\).*/\2/p' | grep -m 1 '/debian/\{0,1\}$' || true)
if [ ! -e "$bases/debian.done" ]; then
  rm -rf "$bases/debian"
  echo "docker-check: an empty Debian $suite"
  debootstrap --variant=minbase "$suite" "$bases/debian" ${mirror:+"$mirror"} >"$top/debootstrap.log" 2>&1 ||
    { tail -n 20 "$top/debootstrap.log" >&2; fail "debootstrap failed; its log ends above"; }
  touch "$bases/debian.done"
fi

# What this machine has configured to reach the outside. Lent at check time; ends up in no image and no repository.
lend() { # lend <file or folder of this machine> <root>
  if [ -e "$1" ]; then mkdir -p "$2$(dirname "$1")" && cp --recursive --dereference "$1" "$2$(dirname "$1")/"; fi
}
lent=$bases/debian
lend /etc/resolv.conf "$lent"
lend /etc/hosts "$lent"
lend /etc/pip.conf "$lent"
for place in /etc/apt/apt.conf.d/*proxy* /etc/apt/apt.conf.d/99* /etc/apt/auth.conf.d; do lend "$place" "$lent"; done
if grep -qs "^VERSION_CODENAME=$suite" /etc/os-release; then
  rm -f "$lent"/etc/apt/sources.list "$lent"/etc/apt/sources.list.d/*
  for place in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do lend "$place" "$lent"; done
fi
borrow=http_proxy,https_proxy,no_proxy,HTTP_PROXY,HTTPS_PROXY,NO_PROXY,PIP_INDEX_URL,PIP_EXTRA_INDEX_URL
bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -f "$bundle" ]; then
  # Beside the system's own bundle, which a step may install or write anew.
  install -D --mode=0644 "$bundle" "$lent/usr/local/share/lent/ca.crt"
  export SSL_CERT_FILE=/usr/local/share/lent/ca.crt PIP_CERT=/usr/local/share/lent/ca.crt CARGO_HTTP_CAINFO=/usr/local/share/lent/ca.crt
  borrow=$borrow,SSL_CERT_FILE,PIP_CERT,CARGO_HTTP_CAINFO
fi

rm -rf "$bases/rust"
cp --archive "$bases/debian" "$bases/rust"
toolchain=$(rustc --print sysroot)
mkdir -p "$bases/rust/usr/local/toolchain" "$bases/rust/usr/local/cargo/bin"
for part in bin lib libexec; do [ ! -d "$toolchain/$part" ] || cp --archive "$toolchain/$part" "$bases/rust/usr/local/toolchain/"; done
for program in cargo rustc rustdoc; do ln -s "../../toolchain/bin/$program" "$bases/rust/usr/local/cargo/bin/$program"; done
for place in "${CARGO_HOME:-$HOME/.cargo}/config.toml" "${CARGO_HOME:-$HOME/.cargo}/config"; do
  if [ -f "$place" ]; then install -D --mode=0644 "$place" "$bases/rust/usr/local/cargo/$(basename "$place")"; fi
done
export CARGO_HOME=/usr/local/cargo
borrow=$borrow,CARGO_HOME

# 2. The steps.
python3 scripts/dockerfile.py run "$file" --bases "$bases" --work "$work" --borrow "$borrow"

# 3. The start: the image's user, environment and entry point; root read-only, volumes writable.
python3 - "$work" <<'PYTHON'
import json, os, pathlib, shutil, signal, socket, subprocess, sys, time, urllib.error, urllib.request

work = pathlib.Path(sys.argv[1])
image = json.loads((work / "image.json").read_text())
if not image["entrypoint"]:
    print("docker-check: the last stage has no entry point: nothing is started")
    sys.exit(0)
root = work / image["stage"]
for number, volume in enumerate(image["volumes"]):
    inside = root / volume.lstrip("/")
    # A new volume starts as a copy of what the image has there, owner and mode too.
    subprocess.run(["cp", "--archive", str(inside), str(work / f"volume{number}")], check=True)
subprocess.run(["mount", "--bind", str(root), str(root)], check=True)
for number, volume in enumerate(image["volumes"]):
    subprocess.run(["mount", "--bind", str(work / f"volume{number}"), str(root / volume.lstrip("/"))], check=True)
subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)
subprocess.run(["mount", "--bind", "/dev", str(root / "dev")], check=True)
subprocess.run(["mount", "-o", "remount,bind,ro", str(root)], check=True)

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", **image["environment"], "ASSAY__SERVER__LISTEN": f"127.0.0.1:{port}"}
command = image["entrypoint"] + image["command"]
print(f"docker-check: starting {' '.join(command)} as {image['user']} on a read-only root", flush=True)
user, group = map(int, image["user"].split(":"))

server = subprocess.Popen(
    [shutil.which("chroot"), f"--userspec={user}:{group}", "--groups=", str(root), "/bin/sh", "-c",
     'cd "$0" && if touch /probe 2>/dev/null; then echo "the root is writable" >&2; exit 99; fi; exec "$@"',
     image["work"], *command], env=environment)
answer = None
for _ in range(150):
    if server.poll() is not None:
        sys.exit(f"docker-check: the program ended with status {server.returncode} before it was ready")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2) as reply:
            answer = reply.status
            break
    except (urllib.error.URLError, OSError):
        time.sleep(0.2)
server.send_signal(signal.SIGTERM)
try:
    status = server.wait(timeout=40)
except subprocess.TimeoutExpired:
    server.kill()
    server.wait()
    sys.exit("docker-check: the program did not end within 40 seconds of SIGTERM")
if answer != 200:
    sys.exit("docker-check: /health/ready did not answer 200 within 30 seconds")
if status != 0:
    sys.exit(f"docker-check: the program ended with status {status} after SIGTERM")
print("docker-check: /health/ready answered 200 and SIGTERM ended the program with status 0")
PYTHON
