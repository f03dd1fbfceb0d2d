"""Runs the commands of README.md and holds what they print against what the README says.

Every fenced block of shell commands has a comment above it that says how it is checked:

    <!-- check: run -->      `make run` for a few seconds: the line a second is seen, and it ends with status 0
    <!-- check: server -->   run against a server of its own; where a ```json block follows, the keys must be the same
    <!-- check: files -->    run as it stands, in an empty folder, with the release binary as `assay`
    <!-- check: none: why -->  not run here, for the reason given

A block without such a comment is a fault, and so is a command that fails or an answer still marked as
unverified. Exit 1 names each fault.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
ADDRESS = "127.0.0.1:8080"
BLOCK = re.compile(r"(?:<!-- check: (?P<how>[^>]*?) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$", re.S | re.M)
# The line a second of `make run`: rate, latency, flagged count and model version, in the words the client prints.
RATE_LINE = re.compile(r"\d.*/s.*p50.*p99.*flagged.*model")
RUN_SECONDS = 10


class Fault(Exception):
    """What is wrong with a block, in one sentence."""


def undone(what):
    """Says that a check did not run; in continuous integration that is a fault."""
    if os.environ.get("CI"):
        raise Fault(f"NOT RUN: {what}")
    print(f"readme: NOT RUN: {what}")
    if "ASSAY_UNDONE" in os.environ:
        with open(os.environ["ASSAY_UNDONE"], "a", encoding="utf-8") as lines:
            lines.write(what + "\n")


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


# What the shipped model settles: the README must show these values, of other keys only the shape.
SETTLED = ("model", "model_version", "model_sha256", "threshold")


def keys(value):
    """The shape of a JSON value: keys of objects, that a list is a list, of plain values only those of SETTLED."""
    if isinstance(value, dict):
        return {name: inner if name in SETTLED else keys(inner) for name, inner in value.items()}
    return [] if isinstance(value, list) else None


def own_files(folder, address):
    """Environment of a server that touches nothing outside `folder` and listens on `address`."""
    return {**os.environ, "ASSAY__SERVER__LISTEN": address, "ASSAY__STORE__PATH": str(folder / "assay.sqlite"),
            "ASSAY__HISTORY__HASH_KEY_FILE": str(folder / "history.key"), "ASSAY__MODELS__COPIES": str(folder / "models")}


def check_run(text, folder):
    words = [line.split("#")[0].strip() for line in text.splitlines() if line.split("#")[0].strip()]
    if "make run" not in words:
        raise Fault("the block holds no `make run`")
    environment = {**own_files(folder, free_address()), "RUN_SECONDS": str(RUN_SECONDS)}
    # Why: make's own settings, among them the words it was called with, are not for the make that is checked.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        environment.pop(name, None)
    done = subprocess.run(["make", "run"], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    lines = sum(1 for line in done.stdout.splitlines() if RATE_LINE.search(line))
    if done.returncode != 0:
        raise Fault(f"`make run` ended with status {done.returncode}:\n{done.stdout[-3000:]}")
    if lines < RUN_SECONDS // 2:
        raise Fault(f"`make run` printed {lines} lines of rate and latency in {RUN_SECONDS} seconds:\n{done.stdout[-3000:]}")
    print(f"readme: `make run`: {lines} lines of rate and latency, ended with status 0")


def shell(text, folder, environment):
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=folder, env=environment, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=300)
    if done.returncode:
        raise Fault(f"status {done.returncode} of:\n{text}{done.stdout[-1000:]}{done.stderr[-1000:]}")
    return done.stdout


def wait_until_ready(server, address, log):
    for _ in range(150):
        if server.poll() is not None:
            raise Fault(f"the server ended with status {server.returncode}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"http://{address}/health/ready", timeout=2) as reply:
                if reply.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.2)
    raise Fault(f"the server was not ready within 30 seconds:\n{log.read_text()[-2000:]}")


def check_server(text, expected, folder):
    address = free_address()
    log = folder / "serve.log"
    with log.open("w") as output:
        server = subprocess.Popen([ROOT / "target/release/assay", "serve", "--config", "config/embedded.toml"], cwd=ROOT,
                                  env=own_files(folder, address), stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_until_ready(server, address, log)
        printed = shell(text.replace(ADDRESS, address), ROOT, os.environ)
        if expected is not None:
            given, promised = keys(json.loads(printed)), keys(json.loads(expected))
            if given != promised:
                raise Fault(f"the answer has another shape than the README's:\n{printed}")
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            status = server.wait(timeout=40)
        except subprocess.TimeoutExpired:
            server.kill()
            status = server.wait()
    if status != 0:
        raise Fault(f"the server ended with status {status} after SIGTERM:\n{log.read_text()[-2000:]}")
    print("readme: a block of requests answered as written" if expected else "readme: a block of requests answered")


def check_files(text, folder):
    path = f"{ROOT / 'target/release'}:{os.environ['PATH']}"
    # The model packages of the project are read from the place the README names them by.
    (folder / "models").symlink_to(ROOT / "models")
    shell(text, folder, {**os.environ, "PATH": path})
    print("readme: a block of commands on files ran")


def main():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = list(BLOCK.finditer(readme))
    faults, checked = [], 0
    for block, following in zip(blocks, [*blocks[1:], None]):
        if block["language"] not in ("sh", "bash", "shell", "console"):
            continue
        line = readme.count("\n", 0, block.start()) + 1
        how = (block["how"] or "").strip()
        expected = following["text"] if following and following["language"] == "json" else None
        with tempfile.TemporaryDirectory() as made:
            folder = pathlib.Path(made)
            try:
                if how == "run":
                    check_run(block["text"], folder)
                elif how == "server":
                    if "curl" in block["text"] and not shutil.which("curl"):
                        undone(f"README.md, line {line}: there is no curl on this machine")
                    else:
                        check_server(block["text"], expected, folder)
                elif how == "files":
                    check_files(block["text"], folder)
                elif how.startswith("none: "):
                    print(f"readme: not run: line {line}, {how.removeprefix('none: ')}")
                else:
                    raise Fault("the block does not say how it is checked")
                checked += 1
            except (Fault, ValueError, subprocess.TimeoutExpired) as fault:
                faults.append(f"README.md, line {line}: {fault}")
    if "<!-- unverified" in readme:
        faults.append("README.md: an answer is marked as unverified: put in the one the program gives, and remove the mark")
    if not checked:
        faults.append("README.md: no block of commands was found")
    for fault in faults:
        print(f"readme: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
