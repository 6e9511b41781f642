"""A finished environment in; whether it is still what was installed, out: every file by its size and time of change.

Packages are links into the installer's cache, so a file that somebody damaged is damaged there as well: the packages it
belongs to are named, to be fetched anew.
"""

import os
from collections.abc import Iterator
from pathlib import Path

LIST = "files.txt"


def write_list(directory: Path, roots: tuple[str, ...]) -> None:
    """Note every file below `roots` of the environment, but for what Python writes there itself."""
    with (directory / LIST).open("w", encoding="utf-8", errors="surrogateescape") as file:
        for root in roots:
            for path in _files(f"{directory}/{root}"):
                facts = os.lstat(path)
                file.write(f"{facts.st_size} {facts.st_mtime_ns} {path[len(str(directory)) + 1 :]}\n")


def damaged(directory: Path) -> tuple[str, ...]:
    """The files, relative to the environment, that are missing or not what they were; the list itself without one."""
    found = []
    try:
        text = (directory / LIST).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return (LIST,)
    prefix = f"{directory}/"
    for line in text.splitlines():
        size, changed, path = line.split(" ", 2)
        try:
            facts = os.lstat(prefix + path)
        except OSError:
            found.append(path)
            continue
        if facts.st_size != int(size) or facts.st_mtime_ns != int(changed):
            found.append(path)
    return tuple(found)


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


def _files(root: str) -> Iterator[str]:
    with os.scandir(root) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != "__pycache__":
                yield from _files(entry.path)
        elif not entry.name.endswith(".pyc"):
            yield entry.path
