"""Find the files that an app has written into its build, and keep them when the build is removed.

A file counts from the moment the build first serves: what staging and the release command made is made again for the
next build. The kernel's change time tells, which no program sets. Everything here blocks: call it in a thread.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from reconciler.isolation.giving import MIXED, SERVED
from reconciler.linux.dataclass import dataclass
from reconciler.linux.encodable import encodable
from reconciler.linux.files import make_below
from reconciler.staging.source.tree import files_below
from reconciler.staging.staged import marked_ns

_CODE = "code"
# An app may write any number of files: more are not looked at.
_MOST_ENTRIES = 200_000
_MOST_FILES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenFiles:
    """Files below a build's code, by relative path, sorted; `more` says that there are others.

    `places` are the same, with a directory that holds nothing of the source, ending in `/`, for all that is in it;
    they are to be shown, so a name that is no UTF-8 has escapes in them.
    """

    paths: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    more: bool = False


def mark_served(build: Path) -> None:
    """Record that a build serves from now on; the first time counts. Raises OSError."""
    with suppress(FileExistsError):
        (build / SERVED).touch(exist_ok=False)


def served_ns(build: Path) -> int | None:
    """Return when a build first served, in nanoseconds; None if there is no build."""
    return marked_ns(build, SERVED)


def written_files(build: Path) -> WrittenFiles:
    """Return what was written into a build since it first served; nothing of one that is not there."""
    since_ns = served_ns(build)
    if since_ns is None:
        return WrittenFiles()
    found: list[str] = []
    staged: set[str] = set()
    for number, (path, changed_ns) in enumerate(_files(str(build / _CODE))):
        if number >= _MOST_ENTRIES or len(found) >= _MOST_FILES:
            return _found(found, staged, more=True)
        if changed_ns > since_ns:
            found.append(path)
        else:
            staged.update(_directories(path))
    return _found(found, staged, more=False)


def _found(paths: list[str], staged: set[str], *, more: bool) -> WrittenFiles:
    places = {next((above for above in _directories(path) if above not in staged), path) for path in paths}
    return WrittenFiles(paths=tuple(sorted(paths)), places=tuple(sorted(map(encodable, places))), more=more)


def _directories(path: str) -> Iterator[str]:
    """Yield the directories above a path, the topmost first, each ending in `/`."""
    parts = path.split("/")[:-1]
    return ("/".join(parts[: count + 1]) + "/" for count in range(len(parts)))


def has_written(code: Path, path: str) -> bool:
    """Tell whether the app has written to a file or directory in the code directory of a build that serves."""
    since_ns, place = served_ns(code.parent), code / path
    if since_ns is None or place.is_symlink():
        return False
    with suppress(OSError):
        if place.is_file():
            return place.stat().st_ctime_ns > since_ns
        return any(changed_ns > since_ns for _, changed_ns in _files(str(place)))
    return False


def keep_written(build: Path, kept: Path) -> tuple[str, ...]:
    """Move what was written into a build to the same paths below `kept`, and return them, to be shown.

    `kept` is two levels below the app's home. What lies too deep for a path there is left behind. Raises OSError.
    """
    found = written_files(build)
    while found.paths:
        moved = False
        for path in found.paths:
            moved |= _moved(build / _CODE, path, kept)
        if not found.more or not moved:
            break
        found = written_files(build)
    if found.paths:
        _to_be_given(kept.parents[1])
    return tuple(map(encodable, found.paths))


def _to_be_given(home: Path) -> None:
    """Have what was moved into a home go to the user whose it is, at the next start, if that is not ours."""
    with suppress(OSError):
        if home.lstat().st_uid != os.geteuid():
            home.chmod(0o700 | MIXED)


def _moved(code: Path, path: str, kept: Path) -> bool:
    try:
        home, below = kept.parents[1], kept.parts[-2:]
        directory = make_below(home, Path(*below, path).parent)
        (code / path).rename(directory / Path(path).name)
    except FileNotFoundError:
        return True  # it vanished, and is not found again
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False
    return True


def _files(top: str) -> Iterator[tuple[str, int]]:
    """Yield each regular file with its change time."""
    return ((path, stats.st_ctime_ns) for path, stats in files_below(top) if stat.S_ISREG(stats.st_mode))
