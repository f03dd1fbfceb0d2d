"""A package on disk, whole or not at all.

In: the texts and pictures of a package. Out: the folder models/<name>/<version>, put in place by a rename. The package that stood
there is renamed out of the way just before, and is removed only when the new one stands. What lies beside for that while is named
.<version>.part and .<version>.old: an instance that watches the folder of versions passes over names that begin with a dot.
"""

import shutil

from fault import Fault

MARK = "manifest.toml"


def write(folder, files):
    """`files`: {path inside the folder: text or bytes}. A package that stands there is replaced; anything else is refused."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        # What a run left that was killed between the two renames.
        old.rename(folder)
    if folder.exists() and not (folder / MARK).is_file() and any(folder.iterdir()):
        raise Fault(f"{folder}: is no package and not empty: give another folder with --output")
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    for name, content in files.items():
        path = beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        beside.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
