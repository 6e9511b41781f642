"""Check that an environment still is what was installed: each file by its size and time of change.

Packages that earlier versions linked into the installer's cache are damaged there as well: the packages that own a
damaged file are named, to be fetched again.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_file
from reconciler.staging.errors import StagingError

LIST = "files.txt"
# Tens of thousands of files are checked before each reuse: find does it in a fraction of Python's time.
_FIND = ("-name", "__pycache__", "-prune", "-o", "!", "-type", "d", "!", "-name", "*.pyc", "-printf", "%s %T@ %p\\n")
_TIMEOUT_S = 60
_MOST_OF_SETTINGS = 1 << 16
_MOST_OF_A_LIST = 64 << 20  # a hundred bytes for each of half a million files


def write_list(directory: Path, roots: tuple[str, ...]) -> None:
    """Record each file below `roots` of the environment, except for the bytecode that Python writes there."""
    head = b"".join(f"{root}\n".encode() for root in roots)
    content = head + b"\n" + _listing(directory, roots)
    replace_file(directory / LIST, content, mode=0o644, durable=False)


def own_python(directory: Path) -> tuple[str, bytes]:
    """Return where the Python of an environment leads, and its settings: what an isolated app sees depends on both."""
    python = directory / "bin" / "python"
    return os.path.realpath(python), read_file(directory / "pyvenv.cfg", _MOST_OF_SETTINGS)


def require_own(directory: Path, own: tuple[str, bytes], site: Path) -> None:
    """Raise StagingError unless the Python is as `own` has it, and the packages in `site` are no link's.

    Code of packages may have changed that while they were installed.
    """
    real = Path(os.path.realpath(directory))
    try:
        is_own = own_python(directory) == own
    except OSError:
        is_own = False
    if not is_own or any(
        os.path.realpath(path) != str(real / path.relative_to(directory)) for path in (site, directory / "bin")
    ):
        raise StagingError("code of a package changed the Python of the environment that it is installed in")


def damaged(directory: Path) -> tuple[str, ...]:
    """Return the files, relative to the environment, that are missing or changed; the list itself if it is missing."""
    try:
        head, _, recorded = read_file(directory / LIST, _MOST_OF_A_LIST).partition(b"\n\n")
    except OSError:
        return (LIST,)
    roots = tuple(head.decode().split("\n"))
    current = _listing(directory, roots)
    if current == recorded:
        return ()
    # Added files do no harm: only what was installed must be there.
    missing = set(recorded.splitlines()) - set(current.splitlines())
    return tuple(sorted(os.fsdecode(line.split(b" ", 2)[2]) for line in missing))


def _listing(directory: Path, roots: tuple[str, ...]) -> bytes:
    """Return size, time of change and path of each file, in the order of the file system."""
    find = ("find", *roots, *_FIND)
    try:
        return subprocess.run(find, cwd=directory, capture_output=True, check=True, timeout=_TIMEOUT_S).stdout
    except (OSError, subprocess.SubprocessError):
        return b"".join(line for root in roots for line in _walk(directory, root))


def owners(directory: Path, paths: tuple[str, ...]) -> frozenset[str]:
    """Return the packages that own these files, according to the records of what was installed."""
    names = set()
    for record in directory.glob("lib/*/site-packages/*.dist-info/RECORD"):
        try:
            owned = {line.split(",", 1)[0] for line in read_file(record, _MOST_OF_A_LIST).decode().splitlines()}
        except (OSError, ValueError):
            continue
        site = record.parents[1].relative_to(directory).as_posix()
        if any(path.removeprefix(f"{site}/") in owned for path in paths):
            names.add(record.parent.name.partition("-")[0])
    dist_infos = (path.split("/site-packages/")[-1].split("/")[0] for path in paths)
    return frozenset(names | {name.partition("-")[0] for name in dist_infos if name.endswith(".dist-info")})


def shared(directory: Path, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the damaged files that have other names: the cache has the same damage."""
    return tuple(path for path in paths if _has_other_names(directory / path))


def _has_other_names(path: Path) -> bool:
    try:
        return path.lstat().st_nlink > 1
    except OSError:
        return False


def _walk(directory: Path, root: str) -> Iterator[bytes]:
    """Yield the same lines without find, for hosts without one that can print times."""
    for here, names, files in os.walk(directory / root):
        names[:] = [name for name in names if name != "__pycache__"]
        for name in files:
            if not name.endswith(".pyc"):
                path = f"{here}/{name}"
                facts = os.lstat(path)
                seconds, ns = divmod(facts.st_mtime_ns, 10**9)
                yield os.fsencode(f"{facts.st_size} {seconds}.{ns:09}0 {path[len(str(directory)) + 1 :]}\n")
