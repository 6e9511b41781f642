"""List the entries of a source directory that belong to a build, in the same order on every machine.

Left out are the names that `ignored` knows, virtual environments, state directories of daemons, and what
`.reconcilerignore` lists (gitignore syntax; `!name` includes what is ignored by default). Symbolic links are never
followed.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pathspec import GitIgnoreSpec

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.staging.errors import SourceError

IGNORE_FILE = ".reconcilerignore"

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
    return _walk(str(root), "", _rules(root))


def printable(path: str) -> str:
    """Return a path as text that can be printed, with escapes for bytes that are not UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def _walk(directory: str, prefix: str, rules: GitIgnoreSpec | None) -> Iterator[Entry]:
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
            yield from _walk(entry.path, f"{path}/", rules)
        elif entry.is_symlink():
            yield Entry(path, "link", stats, _target(entry.path, path, directory[: len(directory) - len(prefix)]))
        elif entry.is_file(follow_symlinks=False):
            yield Entry(path, "file", stats)
        else:
            kind = _SPECIAL_FILES.get(stat.S_IFMT(stats.st_mode), "a special file")
            raise SourceError(f"{printable(path)} is {kind}: remove it, or list it in {IGNORE_FILE}")


def _rules(root: Path) -> GitIgnoreSpec | None:
    try:
        text = decoded((root / IGNORE_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except Undecodable as error:
        raise SourceError(f"{IGNORE_FILE} is {error}") from error
    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        raise SourceError(f"{IGNORE_FILE} is not valid: {error}") from error


def _excluded(entry: os.DirEntry[str], path: str, rules: GitIgnoreSpec | None, *, is_directory: bool) -> bool:
    if rules is not None:
        excluded = rules.check_file(f"{path}/" if is_directory else path).include
        if excluded is not None:
            return excluded
    if ignored(entry.name):
        return True
    return _is_environment_or_state(entry.path) if is_directory else is_dropping(entry.name)


def _is_environment_or_state(directory: str) -> bool:
    """Return whether it is a virtual environment, or a state directory of a daemon, which holds every app."""
    lies = os.path.lexists
    return lies(f"{directory}/pyvenv.cfg") or (lies(f"{directory}/reconciler.db") and lies(f"{directory}/lock"))


def _target(link: str, path: str, root: str) -> str:
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
