"""Runs every command of docs/WALKTHROUGH.md, in its order, against a stack of its own on free ports.

Each fenced block of shell commands says above itself how it is checked:

    <!-- check: stack -->            it ends with status 0
    <!-- check: stack: PATTERN -->   and what it prints holds the regular expression; asked again until it does
    <!-- check: none: why -->        not run, for the reason given

Exit 1 names each block that did not do what the page says.
"""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from readme_check import BLOCK, ROOT, Fault, free_address, undone

PAGE = ROOT / "docs/WALKTHROUGH.md"
# The addresses of the page, and the words in the environment that move them.
PLACES = {"19092": "ASSAY_KAFKA_PORT", "15432": "ASSAY_POSTGRES_PORT", "27117": "ASSAY_FERRETDB_PORT"}
HTTP = "8080"
MONGOSH = "mongosh@2.12.0"
# A station is reached within milliseconds; a busy machine and Kafka's own tools take seconds.
PATIENCE = 60


def free_port():
    return free_address().rpartition(":")[2]


def settings(folder):
    """The ports by those of the page, and the environment of the stack and of the commands."""
    ports = {there: free_port() for there in [*PLACES, HTTP]}
    environment = dict(os.environ)
    # Kafka's nodes speak with each other ten ports above their clients'.
    environment["ASSAY_KAFKA_CONTROLLER_PORT"] = free_port()
    for there, name in PLACES.items():
        environment[name] = ports[there]
    for server in ("KAFKA", "POSTGRES", "FERRETDB"):
        environment[f"ASSAY_{server}_DATA"] = str(folder / server.lower())
    # The page's commands read the shipped configuration, which has the page's port.
    environment["ASSAY__POSTGRES__PORT"] = ports["15432"]
    environment["ASSAY__SERVER__LISTEN"] = f"127.0.0.1:{ports[HTTP]}"
    environment["ASSAY__STREAM__SNAPSHOT_DIRECTORY"] = str(folder / "snapshots")
    environment["ASSAY__HISTORY__HASH_KEY_FILE"] = str(folder / "history.key")
    environment["ASSAY__MODELS__JOURNAL"] = str(folder / "models.journal")
    environment["ASSAY__MODELS__COPIES"] = str(folder / "models")
    environment["ASSAY__ADMIN__LISTEN"] = "127.0.0.1:0"
    environment["STACK_RATE"] = "50"
    return ports, environment


def run(text, pattern, environment):
    """Runs a block until it prints what it must."""
    until = time.monotonic() + PATIENCE
    while True:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=ROOT, env=environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
        fits = done.returncode == 0 and re.search(pattern, done.stdout)
        if fits:
            return
        if time.monotonic() > until:
            raise Fault(f"status {done.returncode} of:\n{text}{done.stdout[-2000:]}{done.stderr[-1000:]}")
        time.sleep(1)


def wait_until_ready(stack, log):
    until = time.monotonic() + 300
    while "\nready " not in "\n" + log.read_text():
        if stack.poll() is not None or time.monotonic() > until:
            raise Fault(f"the stack did not become ready:\n{log.read_text()[-3000:]}")
        time.sleep(0.2)


def check(blocks, page, folder):
    """What is wrong, a sentence each."""
    ports, environment = settings(folder)
    log = folder / "stack.log"
    with log.open("w") as output:
        stack = subprocess.Popen(["scripts/stack.sh"], cwd=ROOT, env=environment, stdout=output, stderr=output,
                                 stdin=subprocess.DEVNULL)
    faults = []
    try:
        wait_until_ready(stack, log)
        for block in blocks:
            how, _, pattern = (block["how"] or "").strip().partition(": ")
            line = page.count("\n", 0, block.start()) + 1
            if how == "none":
                print(f"walkthrough: not run: line {line}, {pattern}")
                continue
            text = block["text"]
            for there, here in ports.items():
                text = text.replace(f"127.0.0.1:{there}", f"127.0.0.1:{here}")
            try:
                if how != "stack":
                    raise Fault("the block does not say how it is checked")
                run(text, pattern, environment)
            except (Fault, subprocess.TimeoutExpired) as fault:
                faults.append(f"line {line}: {fault}")
    finally:
        # Not SIGINT: what is started in the background of a shell ignores it, and so does whatever that starts.
        stack.send_signal(signal.SIGTERM)
        try:
            status = stack.wait(timeout=120)
        except subprocess.TimeoutExpired:
            stack.kill()
            status = stack.wait()
    if status != 0:
        faults.append(f"the stack ended with status {status}:\n{log.read_text()[-2000:]}")
    return faults


def main():
    for program in ("curl", "psql", "npm"):
        if not shutil.which(program):
            undone(f"docs/WALKTHROUGH.md: there is no {program} on this machine")
            return 0
    subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", ".cache/mongosh", MONGOSH], cwd=ROOT,
                   check=True, stdin=subprocess.DEVNULL, timeout=600)
    page = PAGE.read_text(encoding="utf-8")
    blocks = [block for block in BLOCK.finditer(page) if block["language"] == "sh"]
    # Beside the checkout, where every user may come: PostgreSQL runs as one of its own.
    # What a stack that would not end still writes there must not hide why.
    with tempfile.TemporaryDirectory(prefix="assay-walk-", ignore_cleanup_errors=True) as made:
        os.chmod(made, 0o755)
        faults = check(blocks, page, pathlib.Path(made))
    for fault in faults:
        print(f"walkthrough: docs/WALKTHROUGH.md, {fault}", file=sys.stderr)
    if not faults:
        print(f"walkthrough: {len(blocks)} blocks of docs/WALKTHROUGH.md did what the page says")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
