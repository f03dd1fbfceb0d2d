"""A server of the tests' own: `assay serve` on a free port with a folder of its own."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import assay


def free_address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def server(folder, package, **more):
    """Yields its address once it is ready. AssertionError, with its log: it did not start or did not end in order."""
    address = free_address()
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "ASSAY__SERVER__LISTEN": address, "ASSAY__STORE__PATH": str(folder / "assay.sqlite"),
                   "ASSAY__HISTORY__HASH_KEY_FILE": str(folder / "history.key"), "ASSAY__MODEL__DIRECTORY": str(package),
                   "ASSAY__HISTORY__CLOCK": "stream", **more}  # fmt: skip
    log = folder / "serve.log"
    with log.open("w") as output:
        running = subprocess.Popen([assay.program(), "serve"], cwd=assay.ROOT, env=environment, stdout=output, stderr=output,
                                   stdin=subprocess.DEVNULL)  # fmt: skip
    try:
        wait(running, address, log)
        yield address
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            status = running.wait(timeout=40)
        except subprocess.TimeoutExpired:
            running.kill()
            status = running.wait()
    if status:
        raise AssertionError(f"the server ended with status {status}:\n{log.read_text()[-2000:]}")


def wait(running, address, log):
    for _ in range(300):
        if running.poll() is not None:
            raise AssertionError(f"the server ended with status {running.returncode}:\n{log.read_text()[-2000:]}")
        try:
            if ask(address, "/health/ready") is not None:
                return
        except (urllib.error.URLError, OSError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"the server was not ready within 30 seconds:\n{log.read_text()[-2000:]}")


def ask(address, path, body=None):
    """The JSON answer; of a plain one the text."""
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{address}{path}", content, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        text = reply.read().decode()
    try:
        return json.loads(text)
    except ValueError:
        return text
