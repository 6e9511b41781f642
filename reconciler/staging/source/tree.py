"""List the entries of a source directory that belong to a build, in the same order on every machine.

Left out are the names that `ignored` knows, virtual environments, state directories of daemons, and what
`.reconcilerignore` lists (gitignore syntax; `!name` includes what is ignored by default). Symbolic links are never
followed.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.linux.dataclass import dataclass
from reconciler.linux.encodable import encodable
from reconciler.linux.named_files import state_owner
from reconciler.linux.regular_files import shown_size
from reconciler.staging.errors import SourceError
from reconciler.staging.source import allowance
from reconciler.staging.source.names import IGNORE_FILE
from reconciler.staging.source.reading import read_source

if TYPE_CHECKING:
    from reconciler.staging.source.ignore_rules import IgnoreRules

_LARGEST_IGNORE_FILE = 64 << 10
_DEEPEST = 256
_MOST_HOLES = 1 << 30

EntryKind: TypeAlias = Literal["file", "directory", "link"]

_IGNORED = frozenset(
    (
        *(".git", ".hg", ".svn", "__pycache__", ".venv", "venv", ".tox", ".nox", "node_modules"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".ipynb_checkpoints"),
        *(".DS_Store", ".idea", ".vscode"),
    )
)
# What editors, shells and file systems leave behind; a directory of such a name was meant.
_DROPPINGS = frozenset(("4913", "nohup.out", ".coverage", "Thumbs.db", "desktop.ini", ".netrwhist", ".directory"))
_DROPPED_ENDS = ("~", ".swp", ".swo", ".swx", ".kate-swp", ".pyc")
_DROPPED_STARTS = (".#", ".nfs", ".fuse_hidden", ".goutputstream-", ".coverage.", "._", ".~lock.")
_SPECIAL_FILES = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link; `path` is relative to the tree. Positional, as there may be very many."""

    path: str
    kind: EntryKind
    stat: os.stat_result
    target: str = ""

    @property
    def executable(self) -> bool:
        return self.kind == "file" and bool(self.stat.st_mode & stat.S_IXUSR)


def ignored(name: str) -> bool:
    """Tell whether files and directories of this name are left out of every snapshot."""
    return name in _IGNORED or name.endswith(".pyc")


def is_dropping(name: str) -> bool:
    """Tell whether files of this name are an editor's, a shell's or a file system's, and no part of the source."""
    if name in _DROPPINGS or name.endswith(_DROPPED_ENDS) or name.startswith(_DROPPED_STARTS):
        return True
    return name.startswith("#") and name.endswith("#")


def entries(root: Path) -> Iterator[Entry]:
    """Yield the entries of `root` that belong to a snapshot, each directory before its content.

    Raises OSError or SourceError.
    """
    holes = 0
    for entry in _walk(str(root), "", _rules(root), 0):
        allowance.check(entry.path)
        if entry.kind == "file":
            holes += _missing(entry.stat)
            if holes > _MOST_HOLES and _has_a_hole(f"{root}/{entry.path}", entry.stat.st_size):
                raise SourceError(
                    f"{printable(entry.path)} is a sparse file: a copy would take {shown_size(entry.stat.st_size)},"
                    f" {shown_size(_missing(entry.stat))} more than it does; remove it, or list it in {IGNORE_FILE}"
                )
        yield entry


def refuse_sparse(archive: Path) -> None:
    """Raise SourceError for an archive whose holes take hours to read, and OSError."""
    stats = archive.stat()
    if _missing(stats) > _MOST_HOLES and _has_a_hole(str(archive), stats.st_size):
        raise SourceError(f"it is a sparse file of {shown_size(stats.st_size)}: it is no complete archive")


def printable(path: str) -> str:
    """Return a path as text that can be printed, with escapes for bytes that are not UTF-8."""
    return encodable(path)


def _missing(stats: os.stat_result) -> int:
    """Return how many bytes of a file take no room."""
    return max(0, stats.st_size - 512 * stats.st_blocks)


def _has_a_hole(path: str, size: int) -> bool:
    """Tell whether a part of a file takes no room; where a file system cannot say, none does."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.lseek(descriptor, 0, os.SEEK_HOLE) < size
    except OSError:
        return False
    finally:
        os.close(descriptor)


def files_below(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield all but directories and ignored names below a directory, by relative path; links are not followed.

    Unlike `entries`, it knows no `.reconcilerignore`, and leaves out what vanishes or cannot be read.
    """
    pending = [""]
    while pending:
        prefix = pending.pop()
        with suppress(OSError), os.scandir(f"{top}/{prefix}") as found:
            for entry in found:
                if ignored(entry.name):
                    continue
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{prefix}{entry.name}/")
                    else:
                        yield prefix + entry.name, entry.stat(follow_symlinks=False)


def _walk(directory: str, prefix: str, rules: "IgnoreRules | None", depth: int) -> Iterator[Entry]:
    if depth > _DEEPEST:
        top = printable("/".join(prefix.split("/")[:3]))
        raise SourceError(f"{top} is more than {_DEEPEST} directories deep; remove it, or list it in {IGNORE_FILE}")
    with os.scandir(directory) as found:
        here = sorted(found, key=lambda entry: entry.name)
    for entry in here:
        path = prefix + entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        if _excluded(entry, path, rules, is_directory=is_directory):
            continue
        stats = entry.stat(follow_symlinks=False)
        if is_directory:
            yield Entry(path, "directory", stats)
            yield from _walk(entry.path, f"{path}/", rules, depth + 1)
        elif entry.is_symlink():
            yield Entry(path, "link", stats, check_link(directory[: len(directory) - len(prefix)], path))
        elif entry.is_file(follow_symlinks=False):
            yield Entry(path, "file", stats)
        else:
            kind = _SPECIAL_FILES.get(stat.S_IFMT(stats.st_mode), "a special file")
            raise SourceError(f"{printable(path)} is {kind}: remove it, or list it in {IGNORE_FILE}")


def _rules(root: Path) -> "IgnoreRules | None":
    from reconciler.staging.source.ignore_rules import IgnoreRules

    try:
        text = decoded(read_source(root / IGNORE_FILE, most=_LARGEST_IGNORE_FILE, within=root))
    except FileNotFoundError:
        return None
    except Undecodable as error:
        raise SourceError(f"{IGNORE_FILE} is {error}") from error
    return IgnoreRules(IGNORE_FILE, text)


def _excluded(entry: os.DirEntry[str], path: str, rules: "IgnoreRules | None", *, is_directory: bool) -> bool:
    if rules is not None:
        excluded = rules.excludes(f"{path}/" if is_directory else path)
        if excluded is not None:
            return excluded
    if ignored(entry.name):
        return True
    return _is_environment_or_state(entry.path) if is_directory else is_dropping(entry.name)


def _is_environment_or_state(directory: str) -> bool:
    """Return whether it is a virtual environment, or a state directory of a daemon, which holds every app."""
    return os.path.lexists(f"{directory}/pyvenv.cfg") or state_owner(directory) is not None


def check_link(root: str, path: str) -> str:
    """Return the target of a link in a tree; raises SourceError if it leads outside."""
    link = f"{root.rstrip('/')}/{path}"
    target = os.readlink(link)  # noqa: PTH115 -- a Path would normalise the target
    # Resolved, not only read: `a/../..` can leave the tree if `a` is a link to another depth.
    resolved, top = os.path.realpath(link), os.path.realpath(root)
    if target.startswith("/") or not (resolved == top or resolved.startswith(f"{top}/")):
        raise SourceError(
            f"{printable(path)} is a link to {printable(target)}, outside the source: "
            f"replace it by what it points to, or list it in {IGNORE_FILE}"
        )
    return target


ARCHIVE_SUFFIXES = (".zip", ".whl", ".bundle", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar")


def is_archive(name: str) -> bool:
    """Tell whether a file of this name is unpacked."""
    return name.endswith(ARCHIVE_SUFFIXES)
