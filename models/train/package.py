"""A package on disk, whole or not at all.

In: the texts and pictures of a package. Out: the folder models/<name>/<version>, put in place by a rename.
"""

import shutil

from fault import Fault

MARK = "manifest.toml"


def write(folder, files):
    """`files`: {path inside the folder: text or bytes}. A package that stands there is replaced; anything else is refused."""
    if folder.exists() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise Fault(f"{folder}: is no package and not empty: give another folder with --output")
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    for name, content in files.items():
        path = beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside.rename(folder)
