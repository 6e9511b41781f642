"""Compare the source of a build with that of another one, or with a source as it is: files, and lines in them.

What staging, the release command and the app wrote beside the source is left out: the kernel's change time tells, which
no program sets. Everything is bounded, in files, bytes and time; what a bound cuts is said to be incomplete. Blocks.
"""

import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, field
from itertools import chain
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.encodable import encodable
from reconciler.linux.regular_files import read_file
from reconciler.staging.source.tree import entries, files_below
from reconciler.staging.staged import marked_ns

_CODE = "code"
_COPIED = "copied"
_MOST_ENTRIES = 20_000
_LARGEST_TEXT = 256 << 10
_LARGEST_COMPARED = 16 << 20
_MOST_BYTES = 128 << 20
# The lines of two texts that are matched with each other, their numbers multiplied; more are counted, not matched.
_MOST_MATCHED = 250_000
_MOST_PAIRS = 3_000_000
_LONGEST_S = 5.0
_MOST_NAMED = 3
_MOST_STORED = 30
_LONGEST_PATH = 200

FileChange: TypeAlias = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedFile:
    """A file that differs; `path` can be printed. Lines are None where they are not counted: binary, or too large."""

    path: str
    change: FileChange
    lines_added: int | None = None
    lines_removed: int | None = None
    binary: bool = False

    def __str__(self) -> str:
        if self.change == "removed":
            return f"{self.path} removed"
        if self.change == "added":
            return f"{self.path} new"
        if self.lines_added is None:
            return f"{self.path} {'(binary)' if self.binary else '(large)'}"
        if not self.lines_added and not self.lines_removed:
            return f"{self.path} (mode)"
        return f"{self.path} +{self.lines_added} \N{MINUS SIGN}{self.lines_removed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDifference:
    """The files that differ, by path, or the first of them, and how many there are.

    Not `complete` says that a bound cut the comparison: there may be more.
    """

    files: tuple[ChangedFile, ...] = ()
    added: int = 0
    removed: int = 0
    changed: int = 0
    complete: bool = True

    @property
    def summary(self) -> str:
        """The first files that differ, and how many others: `app.py +3 -1, base.html new and 4 more`."""
        shown = ", ".join(map(str, self.files[:_MOST_NAMED]))
        others = self.added + self.removed + self.changed - min(len(self.files), _MOST_NAMED)
        more = f" and {others} more" if others else ""
        return f"{shown}{more}" if self.complete else f"{shown}{more} at least"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files and links of a source below `root`, by path, and the paths that were `written` after it was copied."""

    root: str
    entries: Mapping[str, os.stat_result] = field(repr=False)
    written: frozenset[str] = frozenset()
    complete: bool = True


def mark_copied(build: Path) -> None:
    """Record that the source was copied into a build: what is written from now on is none of it. Raises OSError."""
    (build / _COPIED).touch()


def tree_of_build(build: Path) -> Tree | None:
    """Return the source in a build; None if there is no such build."""
    copied_ns = marked_ns(build, _COPIED)
    if copied_ns is None:
        return None
    root = str(build / _CODE)
    found: dict[str, os.stat_result] = {}
    written: set[str] = set()
    for number, (path, stats) in enumerate(_files(root)):
        if number >= _MOST_ENTRIES:
            return Tree(root=root, entries=found, written=frozenset(written), complete=False)
        if stats.st_ctime_ns <= copied_ns:
            found[path] = stats
        else:
            written.add(path)
    return Tree(root=root, entries=found, written=frozenset(written))


def tree_of_source(path: str) -> Tree | None:
    """Return a directory's source as staging would copy it now; None for an archive. Raises OSError or SourceError."""
    root = os.path.realpath(path)
    if not Path(root).is_dir():
        return None
    found: dict[str, os.stat_result] = {}
    for entry in entries(Path(root)):
        if len(found) >= _MOST_ENTRIES:
            return Tree(root=root, entries=found, complete=False)
        if entry.kind != "directory":
            found[entry.path] = entry.stat
    return Tree(root=root, entries=found)


def compare(before: Tree, after: Tree, within_s: float = _LONGEST_S, most: int = 1000) -> SourceDifference:
    """Return the files that differ between two sources, at most so many of them."""
    ends_at = time.monotonic() + within_s
    found: list[ChangedFile] = []
    compared_bytes = 0
    for path in _paths(before, after):
        old, new = before.entries.get(path), after.entries.get(path)
        if len(found) >= most or compared_bytes > _MOST_BYTES or time.monotonic() > ends_at:
            return _of(found, complete=False)
        if old is not None and new is not None:
            compared_bytes += min(old.st_size, _LARGEST_COMPARED)
        changed = _changed(path, before, after)
        if changed is not None:
            found.append(changed)
    return _of(found, complete=before.complete and after.complete)


def _of(files: list[ChangedFile], *, complete: bool) -> SourceDifference:
    counts = Counter(each.change for each in files)
    return SourceDifference(
        files=tuple(files),
        added=counts["added"],
        removed=counts["removed"],
        changed=counts["changed"],
        complete=complete,
    )


def stored(difference: SourceDifference, redact: Callable[[str], str]) -> str:
    """Return a difference as JSON to be kept, with the first of its files."""
    files = [{**asdict(each), "path": redact(each.path)[:_LONGEST_PATH]} for each in difference.files[:_MOST_STORED]]
    return json.dumps({**asdict(difference), "files": files})


def restored(text: str) -> SourceDifference | None:
    """Return a difference that was stored; None if it is empty or was written by another version."""
    try:
        facts = json.loads(text)
        return SourceDifference(**{**facts, "files": tuple(ChangedFile(**each) for each in facts["files"])})
    except (ValueError, TypeError, KeyError):
        return None


def texts(before: Tree, after: Tree, changed: ChangedFile) -> tuple[bytes, bytes]:
    """Return the contents of a file of which lines differ, empty where it is missing; raises OSError."""
    if not (changed.lines_added or changed.lines_removed):
        return b"", b""
    path = next((each for each in chain(before.entries, after.entries) if encodable(each) == changed.path), None)
    if path is None:
        return b"", b""
    return _text(before, path) or b"", _text(after, path) or b""


def unified(changed: ChangedFile, old: bytes, new: bytes) -> Iterator[str]:
    """Yield the lines of a unified difference of a file's contents, without line ends; none if it takes too long."""
    before_lines, after_lines = (content.decode("utf-8", "replace").splitlines() for content in (old, new))
    if _pairs(before_lines, after_lines) > _MOST_PAIRS:
        return
    from difflib import unified_diff  # the same

    yield from unified_diff(before_lines, after_lines, f"a/{changed.path}", f"b/{changed.path}", lineterm="")


def _pairs(old: list[str], new: list[str]) -> int:
    """Return how many pairs of equal lines difflib looks at: it leaves out those that are in a hundredth of a text."""
    counts, most = Counter(new), len(new) // 100 + 1 if len(new) >= 200 else len(new)
    return sum(counts[line] for line in old if counts[line] <= most)


def _paths(before: Tree, after: Tree) -> Iterable[str]:
    left_out = before.written | after.written
    return sorted((before.entries.keys() | after.entries.keys()) - left_out)


def _changed(path: str, before: Tree, after: Tree) -> ChangedFile | None:
    """Return how a file differs, None if it does not, or vanished meanwhile."""
    old, new = before.entries.get(path), after.entries.get(path)
    change: FileChange = "removed" if new is None else "added" if old is None else "changed"
    shown = encodable(path)
    if any(stats is not None and not stat.S_ISREG(stats.st_mode) for stats in (old, new)):
        if old is not None and new is not None and _link(before, path) == _link(after, path):
            return None
        return ChangedFile(path=shown, change=change, lines_added=0, lines_removed=0)
    if max(stats.st_size for stats in (old, new) if stats is not None) > _LARGEST_TEXT:
        same = old is not None and new is not None and _are_equal(before, after, path, old, new)
        return None if same else ChangedFile(path=shown, change=change)
    try:
        contents = _text(before, path), _text(after, path)
    except OSError:
        return None
    if contents[0] == contents[1]:
        modes = {bool(stats.st_mode & stat.S_IXUSR) for stats in (old, new) if stats is not None}
        return None if len(modes) < 2 else ChangedFile(path=shown, change=change, lines_added=0, lines_removed=0)
    if any(content is not None and b"\0" in content for content in contents):
        return ChangedFile(path=shown, change=change, binary=True)
    added, removed = _counted(*((content or b"").splitlines() for content in contents))
    return ChangedFile(path=shown, change=change, lines_added=added, lines_removed=removed)


def _text(tree: Tree, path: str) -> bytes | None:
    return read_file(f"{tree.root}/{path}", _LARGEST_TEXT, within=tree.root) if path in tree.entries else None


def _link(tree: Tree, path: str) -> str:
    with suppress(OSError):
        return os.readlink(f"{tree.root}/{path}")  # noqa: PTH115 -- a Path would normalise the target
    return ""


def _are_equal(before: Tree, after: Tree, path: str, old: os.stat_result, new: os.stat_result) -> bool:
    """Tell whether two large files are equal; of the largest, size and time tell, which a copy keeps."""
    if old.st_size != new.st_size:
        return False
    if old.st_size > _LARGEST_COMPARED:
        return old.st_mtime_ns == new.st_mtime_ns
    try:
        contents = [read_file(f"{tree.root}/{path}", _LARGEST_COMPARED, within=tree.root) for tree in (before, after)]
    except OSError:
        return True
    return contents[0] == contents[1]


def _counted(old: list[bytes], new: list[bytes]) -> tuple[int, int]:
    """Return how many lines were added and removed."""
    first = 0
    while first < min(len(old), len(new)) and old[first] == new[first]:
        first += 1
    last = 0
    while last < min(len(old), len(new)) - first and old[-1 - last] == new[-1 - last]:
        last += 1
    old, new = old[first : len(old) - last], new[first : len(new) - last]
    if len(old) * len(new) > _MOST_MATCHED:
        kept = sum((Counter(old) & Counter(new)).values())
    else:
        from difflib import SequenceMatcher  # a build like the one before it needs none

        kept = sum(block.size for block in SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks())
    return len(new) - kept, len(old) - kept


def _files(top: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield each file and relative link; an absolute link leads to what every build shares."""
    for path, stats in files_below(top):
        if stat.S_ISREG(stats.st_mode) or _is_relative_link(f"{top}/{path}", stats):
            yield path, stats


def _is_relative_link(path: str, stats: os.stat_result) -> bool:
    with suppress(OSError):  # it vanished
        return stat.S_ISLNK(stats.st_mode) and not os.readlink(path).startswith("/")  # noqa: PTH115 -- the target as it is
    return False
