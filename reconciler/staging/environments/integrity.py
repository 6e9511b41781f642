"""A finished environment in; whether it is still what was installed, out: every file by its size and time of change.

Packages are links into the installer's cache, so a file that somebody damaged is damaged there as well: the packages it
belongs to are named, to be fetched anew.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

LIST = "files.txt"
# Tens of thousands of files are looked at before every reuse: find does it in a fraction of Python's time.
_FIND = ("-name", "__pycache__", "-prune", "-o", "!", "-type", "d", "!", "-name", "*.pyc", "-printf", "%s %T@ %p\\n")
_TIMEOUT_S = 60


def write_list(directory: Path, roots: tuple[str, ...]) -> None:
    """Note every file below `roots` of the environment, but for what Python writes there itself."""
    (directory / LIST).write_bytes(b"".join(f"{root}\n".encode() for root in roots) + b"\n" + _seen(directory, roots))


def damaged(directory: Path) -> tuple[str, ...]:
    """The files, relative to the environment, that are missing or not what they were; the list itself without one."""
    try:
        head, _, noted = (directory / LIST).read_bytes().partition(b"\n\n")
    except OSError:
        return (LIST,)
    roots = tuple(head.decode().split("\n"))
    now = _seen(directory, roots)
    if now == noted:
        return ()
    # Files that were added do no harm: only what was installed must be there.
    gone = set(noted.splitlines()) - set(now.splitlines())
    return tuple(sorted(os.fsdecode(line.split(b" ", 2)[2]) for line in gone))


def _seen(directory: Path, roots: tuple[str, ...]) -> bytes:
    """Size, time of change and path of each file, in the order the file system has them."""
    find = ("find", *roots, *_FIND)
    try:
        return subprocess.run(find, cwd=directory, capture_output=True, check=True, timeout=_TIMEOUT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return b"".join(line for root in roots for line in _by_hand(directory, root))


def owners(directory: Path, paths: tuple[str, ...]) -> frozenset[str]:
    """The packages that these files belong to, by the records of what was installed."""
    names = set()
    for record in directory.glob("lib/*/site-packages/*.dist-info/RECORD"):
        try:
            owned = {line.split(",", 1)[0] for line in record.read_text(encoding="utf-8").splitlines()}
        except (OSError, ValueError):
            continue
        site = record.parents[1].relative_to(directory).as_posix()
        if any(path.removeprefix(f"{site}/") in owned for path in paths):
            names.add(record.parent.name.partition("-")[0])
    dist_infos = (path.split("/site-packages/")[-1].split("/")[0] for path in paths)
    return frozenset(names | {name.partition("-")[0] for name in dist_infos if name.endswith(".dist-info")})


def _by_hand(directory: Path, root: str) -> Iterator[bytes]:
    """The same without find, or with one that cannot print times."""
    for here, names, files in os.walk(directory / root):
        names[:] = [name for name in names if name != "__pycache__"]
        for name in files:
            if not name.endswith(".pyc"):
                path = f"{here}/{name}"
                facts = os.lstat(path)
                seconds, ns = divmod(facts.st_mtime_ns, 10**9)
                yield os.fsencode(f"{facts.st_size} {seconds}.{ns:09}0 {path[len(str(directory)) + 1 :]}\n")
