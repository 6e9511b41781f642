"""A source directory in, its entries out, in one order on every machine, without what no release needs.

Left out: what `ignored` names, directories that are virtual environments, and what `.reconcilerignore` says (gitignore
syntax; `!name` brings back what is ignored by default). Symbolic links are never followed.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from pathspec import GitIgnoreSpec

from reconciler.staging.errors import SourceError

IGNORE_FILE = ".reconcilerignore"

EntryKind: TypeAlias = Literal["file", "directory", "link"]

_IGNORED = frozenset(
    (
        ".git",
        ".hg",
        ".svn",
        "__pycache__",
        ".venv",
        "venv",
        ".tox",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        "node_modules",
        ".DS_Store",
    )
)
_ODD = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file, directory or link; `path` is relative to the tree. Positional: there may be very many."""

    path: str
    kind: EntryKind
    stat: os.stat_result
    target: str = ""

    @property
    def executable(self) -> bool:
        return self.kind == "file" and bool(self.stat.st_mode & stat.S_IXUSR)


def ignored(name: str) -> bool:
    """Whether a file or directory of this name is left out of every snapshot, wherever it is."""
    return name in _IGNORED or name.endswith(".pyc")


def entries(root: Path) -> Iterator[Entry]:
    """Everything in `root` that belongs to a snapshot, each directory before what it holds; OSError, SourceError."""
    return _walk(str(root), "", _rules(root))


def shown(path: str) -> str:
    """A path as it can be printed, whatever bytes it is made of."""
    return path.encode("utf-8", "backslashreplace").decode()


def _walk(directory: str, prefix: str, rules: GitIgnoreSpec | None) -> Iterator[Entry]:
    with os.scandir(directory) as found:
        here = sorted(found, key=lambda entry: entry.name)
    for entry in here:
        path = prefix + entry.name
        is_directory = entry.is_dir(follow_symlinks=False)
        if _left_out(entry, path, rules, is_directory=is_directory):
            continue
        facts = entry.stat(follow_symlinks=False)
        if is_directory:
            yield Entry(path, "directory", facts)
            yield from _walk(entry.path, f"{path}/", rules)
        elif entry.is_symlink():
            yield Entry(path, "link", facts, _target(entry.path, path, directory[: len(directory) - len(prefix)]))
        elif entry.is_file(follow_symlinks=False):
            yield Entry(path, "file", facts)
        else:
            kind = _ODD.get(stat.S_IFMT(facts.st_mode), "no file")
            raise SourceError(f"{shown(path)} is {kind}: remove it, or name it in {IGNORE_FILE}")


def _rules(root: Path) -> GitIgnoreSpec | None:
    try:
        text = (root / IGNORE_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise SourceError(f"{IGNORE_FILE} is not UTF-8: {error}") from error
    try:
        return GitIgnoreSpec.from_lines(text.splitlines())
    except ValueError as error:
        raise SourceError(f"{IGNORE_FILE} cannot be understood: {error}") from error


def _left_out(entry: os.DirEntry[str], path: str, rules: GitIgnoreSpec | None, *, is_directory: bool) -> bool:
    if rules is not None:
        said = rules.check_file(f"{path}/" if is_directory else path).include
        if said is not None:
            return said
    return ignored(entry.name) or (is_directory and os.path.lexists(f"{entry.path}/pyvenv.cfg"))


def _target(link: str, path: str, root: str) -> str:
    target = os.readlink(link)  # noqa: PTH115 -- a Path would tidy the target up
    # Resolved, not only read: `a/../..` leaves the tree when `a` is a link to a deeper or a shallower place.
    resolved, top = os.path.realpath(link), os.path.realpath(root)
    if target.startswith("/") or not (resolved == top or resolved.startswith(f"{top}/")):
        raise SourceError(
            f"{shown(path)} is a link to {shown(target)}, outside the source: "
            f"copy what it points to, or name the link in {IGNORE_FILE}"
        )
    return target


ENDINGS = (".zip", ".whl", ".bundle", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar")


def is_archive(name: str) -> bool:
    """Whether a file of this name would be unpacked."""
    return name.endswith(ENDINGS)
