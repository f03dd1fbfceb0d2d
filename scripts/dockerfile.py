"""Reads the Dockerfile: checks its rules, or runs its steps in folders instead of an engine.

    dockerfile.py lint FILE                      the rules below; exit 1 names each line that breaks one
    dockerfile.py run FILE --bases DIR --work DIR   the steps: a folder a stage, RUN by chroot (root needed)

In `run`, as in an engine without --target, only stages are run that the last one is made of. Each stage starts as a copy of DIR/<base>, where <base> is the image's name without its tag, and ends in
WORK/<stage>. The last stage's settings (user, environment, entry point) are written to WORK/image.json.

Knows the instructions the project uses, and refuses the others: a step is never passed over.
"""

import argparse
import fnmatch
import glob
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

KNOWN = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "VOLUME", "EXPOSE", "USER", "HEALTHCHECK", "STOPSIGNAL",
         "ENTRYPOINT", "CMD"}


class Fault(Exception):
    """A line that breaks a rule, or a step that failed."""


def instructions(path):
    """Yields (line number, instruction, rest) with continued lines joined and comments dropped."""
    start, held = 0, ""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        if not held:
            start = number
        held += line
        if held.endswith("\\"):
            held = held[:-1]
            continue
        if held.strip():
            word, _, rest = held.strip().partition(" ")
            yield start, word.upper(), rest.strip()
        held = ""
    if held:
        raise Fault(f"line {start}: the last instruction is continued into nothing")


def stages(path):
    """The stages in order: name, image, and the instructions after FROM."""
    found = []
    for number, word, rest in instructions(path):
        if word not in KNOWN:
            raise Fault(f"line {number}: {word} is not an instruction this project uses")
        if word == "FROM":
            match = re.fullmatch(r"(\S+)(?:\s+[Aa][Ss]\s+(\S+))?", rest)
            if not match:
                raise Fault(f"line {number}: FROM {rest} is not `image [AS name]`")
            found.append({"line": number, "image": match[1], "name": match[2] or f"stage{len(found)}", "steps": []})
        elif not found:
            raise Fault(f"line {number}: {word} before FROM")
        else:
            found[-1]["steps"].append((number, word, rest))
    if not found:
        raise Fault("no FROM")
    return found


def copy_words(rest):
    """(source stage or None, sources, destination) of a COPY."""
    words = shlex.split(rest)
    options = [word for word in words if word.startswith("--")]
    words = [word for word in words if not word.startswith("--")]
    origin = None
    for option in options:
        if not option.startswith("--from="):
            raise Fault(f"COPY {option}: only --from= is used here")
        origin = option.removeprefix("--from=")
    if len(words) < 2:
        raise Fault(f"COPY {rest}: needs a source and a destination")
    return origin, words[:-1], words[-1]


def context(root):
    """Files a build sends: tracked or new, not ignored by git, and let through by .dockerignore."""
    listed = subprocess.run(["git", "ls-files", "-coz", "--exclude-standard"], cwd=root, check=True,
                            capture_output=True).stdout.decode().split("\0")
    rules = [line.strip() for line in (root / ".dockerignore").read_text().splitlines()]
    rules = [rule for rule in rules if rule and not rule.startswith("#")]

    def sent(name):
        keep = True
        for rule in rules:
            pattern = rule.lstrip("!").rstrip("/")
            if any(fnmatch.fnmatchcase(part, pattern) for part in [name, *map(str, pathlib.PurePath(name).parents)]):
                keep = rule.startswith("!")
        return keep

    return sorted(name for name in listed if name and sent(name) and (root / name).is_file())


def origins(stage):
    """The names of the stages it copies from."""
    return {copy_words(rest)[0] for _, word, rest in stage["steps"] if word == "COPY"} - {None}


def needed(found):
    """The names of the stages that the last one is made of, itself included."""
    names, left = {found[-1]["name"]}, [found[-1]]
    while left:
        sources = origins(left.pop()) - names
        more = [stage for stage in found if stage["name"] in sources]
        names |= {stage["name"] for stage in more}
        left += more
    return names


def lint(path):
    """Every rule that is broken, as lines of text."""
    faults = []
    found = stages(path)
    root = path.resolve().parent
    files = context(root)
    names = set()
    for stage in found:
        if ":" not in stage["image"] or stage["image"].endswith(":latest"):
            faults.append(f"line {stage['line']}: the base image {stage['image']} has no fixed tag")
        for number, word, rest in stage["steps"]:
            if word == "COPY":
                origin, sources, _ = copy_words(rest)
                if origin is not None and origin not in names:
                    faults.append(f"line {number}: COPY --from={origin}: no stage before has that name")
                for source in sources if origin is None else []:
                    if not any(name == source or name.startswith(source.rstrip("/") + "/") for name in files):
                        faults.append(f"line {number}: COPY {source}: the build is sent no such file")
            if word in ("ENTRYPOINT", "CMD"):
                try:
                    if not all(isinstance(part, str) for part in json.loads(rest)):
                        raise ValueError
                except ValueError:
                    faults.append(f"line {number}: {word} must be a JSON list, or signals go to a shell")
            if word == "WORKDIR" and not rest.startswith("/"):
                faults.append(f"line {number}: WORKDIR {rest} is not absolute")
            if word == "RUN" and "apt-get install" in rest and "rm -rf /var/lib/apt/lists" not in rest:
                faults.append(f"line {number}: apt's lists stay in the layer")
            if word == "ENV" and re.search(r"(?i)(password|token|secret|_key)=", rest):
                faults.append(f"line {number}: a secret does not belong in an image")
            if word == "RUN":
                shell = subprocess.run(["sh", "-n", "-c", rest], capture_output=True, text=True)
                if shell.returncode:
                    faults.append(f"line {number}: RUN is no shell text: {shell.stderr.strip()}")
        names.add(stage["name"])
    parts = {origin for stage in found for origin in origins(stage)}
    for stage in found:
        if stage["name"] in parts:
            continue
        # What no other stage is made of is an image that runs.
        users = [rest for _, word, rest in stage["steps"] if word == "USER"]
        if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
            faults.append(f"the stage {stage['name']} must end as USER uid:gid, in numbers, not root")
        for wanted in {"ENTRYPOINT", "CMD", "VOLUME"} - {word for _, word, _ in stage["steps"]}:
            faults.append(f"the stage {stage['name']} has no {wanted}")
    return faults


def inside(folder, path, work):
    """The place in `folder` that an image calls `path`."""
    return folder / os.path.normpath(os.path.join(work, path)).lstrip("/")


def copy(folder, work, origin, sources, destination, root, files):
    """One COPY: files of the build's context, or of an earlier stage's folder `origin`."""
    into = destination.endswith("/") or destination == "." or len(sources) > 1
    target = inside(folder, destination, work)
    for source in sources:
        if origin is not None:
            matched = [pathlib.Path(name) for name in glob.glob(str(origin / source.lstrip("/")))]
            if not matched:
                raise Fault(f"COPY {source}: the stage before made no such file")
            pairs = [(name, target / name.name if into else target) for name in matched]
        else:
            pairs = []
            for name in files:
                if name == source:
                    pairs.append((root / name, target / os.path.basename(name) if into else target))
                elif name.startswith(source.rstrip("/") + "/"):
                    pairs.append((root / name, target / os.path.relpath(name, source)))
            if not pairs:
                raise Fault(f"COPY {source}: the build is sent no such file")
        for come, go in pairs:
            go.parent.mkdir(parents=True, exist_ok=True)
            if come.is_dir():
                shutil.copytree(come, go, dirs_exist_ok=True, symlinks=True)
            else:
                shutil.copy2(come, go, follow_symlinks=False)


def enter(folder, work, environment, command):
    """Runs a shell command with `folder` as its root."""
    inner = f"cd {shlex.quote(work)} && {command}"
    given = {"PATH": "/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
             "DEBIAN_FRONTEND": "noninteractive", **environment}
    done = subprocess.run(["chroot", str(folder), "/bin/sh", "-e", "-c", inner], env=given, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise Fault(f"RUN ended with status {done.returncode}: {command}")


def run(path, bases, work, borrowed):
    """Runs every stage; returns the last stage's settings. `borrowed`: environment of this machine for RUN steps."""
    root = path.resolve().parent
    files = context(root)
    folders = {}
    image = {}
    found = stages(path)
    wanted = needed(found)
    for stage in [stage for stage in found if stage["name"] in wanted]:
        base = bases / stage["image"].partition(":")[0]
        folder = work / stage["name"]
        if not base.is_dir():
            raise Fault(f"line {stage['line']}: no folder stands in for {stage['image']}")
        print(f"stage {stage['name']}: from {stage['image']}", flush=True)
        subprocess.run(["cp", "--archive", "--reflink=auto", str(base), str(folder)], check=True)
        folders[stage["name"]] = folder
        subprocess.run(["mount", "-t", "proc", "proc", str(folder / "proc")], check=True)
        subprocess.run(["mount", "--bind", "/dev", str(folder / "dev")], check=True)
        where = "/"
        image = {"stage": stage["name"], "environment": {}, "volumes": [], "entrypoint": [], "command": [], "user": "0:0"}
        for number, word, rest in stage["steps"]:
            print(f"  line {number}: {word} {rest[:100]}", flush=True)
            if word == "RUN":
                enter(folder, where, {**borrowed, **image["environment"]}, rest)
            elif word == "COPY":
                origin, sources, destination = copy_words(rest)
                copy(folder, where, folders[origin] if origin else None, sources, destination, root, files)
            elif word == "ENV":
                image["environment"].update(pair.split("=", 1) for pair in shlex.split(rest))
            elif word == "WORKDIR":
                where = rest
                inside(folder, where, "/").mkdir(parents=True, exist_ok=True)
            elif word == "VOLUME":
                image["volumes"].append(rest)
            elif word == "USER":
                image["user"] = rest
            elif word == "ENTRYPOINT":
                image["entrypoint"] = json.loads(rest)
            elif word == "CMD":
                image["command"] = json.loads(rest)
            # EXPOSE, HEALTHCHECK and STOPSIGNAL say something to an engine and do nothing to the files.
        image["work"] = where
        for point in ("dev", "proc"):
            subprocess.run(["umount", str(folder / point)], check=True)
    return image


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words = parser.add_subparsers(dest="word", required=True)
    word = words.add_parser("lint")
    word.add_argument("file", type=pathlib.Path)
    word = words.add_parser("run")
    word.add_argument("file", type=pathlib.Path)
    word.add_argument("--bases", type=pathlib.Path, required=True)
    word.add_argument("--work", type=pathlib.Path, required=True)
    word.add_argument("--borrow", default="", help="names of variables that RUN steps get from this machine, by comma")
    given = parser.parse_args()
    try:
        if given.word == "lint":
            faults = lint(given.file)
            for fault in faults:
                print(f"{given.file}: {fault}", file=sys.stderr)
            return 1 if faults else 0
        borrowed = {name: os.environ[name] for name in given.borrow.split(",") if name in os.environ}
        image = run(given.file, given.bases, given.work, borrowed)
        (given.work / "image.json").write_text(json.dumps(image, indent=2) + "\n")
        return 0
    except Fault as fault:
        print(f"{given.file}: {fault}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
