"""Copy the static files of one build: every directory of it that can be served, and why another cannot.

A copy has regular files of the build and nothing else: no file whose name begins with a dot, and none that a link leads
out to. What is wrong with a directory is a fact about the app; only what is wrong with the disk is raised.
"""

import errno
import filecmp
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from reconciler.linux.beneath import directory, open_beneath
from reconciler.linux.error_words import in_words

ENTERED = 0o755
_READABLE = 0o644
_RANGE = 1 << 30
_DEEPEST = 64
_COMPARED = 1 << 28  # bytes; a larger file counts as changed, as a sparse one may take for ever to read
_SECOND_NS = 1_000_000_000
# A failure of the host's: it is tried again, and nothing is said of the app.
_OF_THE_HOST = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EINTR)
)
_ABSENT = frozenset((errno.ENOENT, errno.ENOTDIR))
_WHOLE, _HIDDEN = -1, -2
_WORDS = {
    errno.EXDEV: "leads out of the build",
    errno.ELOOP: "is a link that leads nowhere",
    errno.EINVAL: "is no path",
    errno.EACCES: "cannot be read",
    errno.ENAMETOOLONG: "has a path that is too long",
    errno.EISDIR: "has a file in the place of another's directory",
    _WHOLE: "is the whole of the code",
    _HIDDEN: "is hidden: a name of its path begins with a dot",
}


class Copy:
    """A copy under way below `top`, of a build that came after the one of the tree `before`."""

    def __init__(self, top: Path, before: Path | None) -> None:
        self._top = top
        self._before = before
        self._files: list[Path] = []
        self._directories: list[Path] = []

    def directories(self, code: Path, wanted: Sequence[tuple[str, str]]) -> Mapping[str, str]:
        """Copy directories of the code to their paths; return what is wrong with others, "" for one that is absent.

        Nothing of those is left in the copy. Raises OSError for what is wrong with the disk.
        """
        self._directory("")
        wrong: dict[str, str] = {}
        for path, source in wanted:
            self._files, self._directories = [], []
            try:
                with directory(code) as opened:
                    self._tree(opened, source, path.strip("/"))
            except OSError as error:
                if error.errno in _OF_THE_HOST:
                    raise
                self._undo()
                wrong[source] = "" if error.errno in _ABSENT else _WORDS.get(error.errno or 0) or f"({in_words(error)})"
        return wrong

    def _undo(self) -> None:
        for file in self._files:
            file.unlink(missing_ok=True)
        for place in reversed(self._directories):
            with suppress(OSError):  # another directory's files are in it
                place.rmdir()

    def _directory(self, path: str) -> None:
        place = self._top / path
        try:
            place.mkdir()
        except FileExistsError:
            if not stat.S_ISDIR(place.lstat().st_mode):
                raise
        else:
            self._directories.append(place)
        place.chmod(ENTERED)

    def _tree(self, code: int, source: str, path: str) -> None:
        root = open_beneath(code, source, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if os.path.samestat(os.fstat(root), os.fstat(code)):
                raise OSError(_WHOLE, _WORDS[_WHOLE], source)
            if _is_hidden(code, root):
                raise OSError(_HIDDEN, _WORDS[_HIDDEN], source)
            for parent in reversed(PurePosixPath(path).parents):
                self._directory("" if str(parent) == "." else str(parent))
            self._below(root, "", path, 0)
        finally:
            os.close(root)

    def _below(self, root: int, below: str, path: str, depth: int) -> None:
        self._directory(path)
        here = open_beneath(root, below or ".", os.O_RDONLY | os.O_DIRECTORY, links=False)
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda each: each.name)
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                inner, target = f"{below}/{entry.name}".lstrip("/"), f"{path}/{entry.name}".lstrip("/")
                if entry.is_dir(follow_symlinks=False):
                    if depth < _DEEPEST:
                        self._below(root, inner, target, depth + 1)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    self._file(root, inner, target)
        finally:
            os.close(here)

    def _file(self, root: int, inner: str, target: str) -> None:
        """Copy a regular file, also one that a link within the directory leads to; none that is hidden."""
        try:
            reading = open_beneath(root, inner)
        except OSError:  # a link that leads out, or to nothing, is no file of the app's
            return
        try:
            facts = os.fstat(reading)
            if not stat.S_ISREG(facts.st_mode) or _is_hidden(root, reading):
                return
            place = self._top / target
            writing = os.open(place, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._files.append(place)
            try:
                os.fchmod(writing, _READABLE)
                _copy_content(reading, writing, facts.st_size)
                os.utime(writing, ns=(facts.st_mtime_ns, self._changed_ns(target, facts)))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _changed_ns(self, target: str, facts: os.stat_result) -> int:
        """Return when a file was changed, from which proxies make what a client asks for a newer one by.

        It is that of the tree before for the same content, and later for another: proxies see whole seconds, and what
        they call unchanged is what is no newer than what a client has.
        """
        if self._before is None:
            return facts.st_mtime_ns
        former = self._before / target
        try:
            known = former.lstat()
        except OSError:
            return facts.st_mtime_ns
        if not stat.S_ISREG(known.st_mode):
            return facts.st_mtime_ns
        with suppress(OSError):
            if (
                known.st_size == facts.st_size <= _COMPARED
                and filecmp.cmp(former, self._top / target, shallow=False)
            ):  # fmt: skip
                return known.st_mtime_ns
        return max(facts.st_mtime_ns, known.st_mtime_ns + _SECOND_NS)


def _is_hidden(root: int, opened: int) -> bool:
    """Return whether a name of what is opened begins with a dot, on its path below the root."""
    top, found = (os.readlink(f"/proc/self/fd/{each}") for each in (root, opened))  # noqa: PTH115
    return "/." in found[len(top) :]


def _copy_content(reading: int, writing: int, size: int) -> None:
    """Copy the first `size` bytes, those that take room: holes stay holes."""
    os.ftruncate(writing, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(reading, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole is left
                return
            raise
        end = min(os.lseek(reading, at, os.SEEK_HOLE), size)
        if not _copy_range(reading, writing, at, end):
            return  # it was cut meanwhile
        at = end


def _copy_range(reading: int, writing: int, at: int, end: int) -> bool:
    """Copy the bytes between two places; return False where the file ends before."""
    with suppress(OSError):  # shares the blocks where the file system can
        while at < end and (count := os.copy_file_range(reading, writing, min(end - at, _RANGE), at, at)):
            at += count
    while at < end:
        chunk = os.pread(reading, min(end - at, 1 << 20), at)
        if not chunk:
            return False
        while chunk:
            count = os.pwrite(writing, chunk, at)
            at, chunk = at + count, chunk[count:]
    return True
