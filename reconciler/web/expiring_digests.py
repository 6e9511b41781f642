"""A list of digests on disk, each with the time until which it holds, that a later web process goes on with."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record

_MOST = 200
_LARGEST = 1024 * 1024


class ExpiringDigests:
    """The digests in a file, each for `lasts_s` after it was added; beyond the most, the oldest ones are dropped.

    When the file cannot be written, as on a full disk, they are kept in memory; and when one cannot be struck off, all
    are.
    """

    def __init__(self, file: Path, lasts_s: float) -> None:
        self._file = file
        self._lasts_s = lasts_s
        self._read_of: tuple[int, ...] | None = None
        self._ends: dict[str, float] = {}

    def add(self, digest: str) -> None:
        """Add a digest."""
        with self._changing() as ends:
            ends[digest] = _now() + self._lasts_s

    def holds(self, digest: str) -> bool:
        """Return whether a digest was added, and neither removed nor outlived."""
        self._read()
        return self._ends.get(digest, 0.0) > _now()

    def remove(self, digest: str) -> bool:
        """Remove a digest; return whether it held, which is true for one caller only, whatever process asks."""
        with self._changing() as ends:
            return ends.pop(digest, 0.0) > _now()

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, float]]:
        """Change the list, one process at a time: another may still be answering its last requests."""
        with self._locked():
            self._read()
            yield self._ends
            self._write()

    def _write(self) -> None:
        now = _now()
        current = {digest: end for digest, end in self._ends.items() if now < end <= now + self._lasts_s}
        self._ends = dict(sorted(current.items(), key=lambda item: item[1])[-_MOST:])
        try:
            replace_file(self._file, json.dumps(self._ends), durable=False)
        except OSError:
            with contextlib.suppress(OSError):  # rather none than one that was removed
                self._file.unlink()
        self._read_of = self._identity()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> None:
        """Read the list again if it is another by now."""
        identity = self._identity()
        if identity is None or identity == self._read_of:
            return
        try:
            found = read_record(self._file, _LARGEST)
            self._ends = {str(digest): float(end) for digest, end in found.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            self._ends = {}
        self._read_of = identity

    def _identity(self) -> tuple[int, ...] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _now() -> float:
    return time.time()  # noqa: TID251  it outlives this process and, as cookies do, this boot
