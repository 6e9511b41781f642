"""Read files of /proc whose readers a process can keep waiting: its environment, its arguments, its memory.

The kernel locks the memory of a process while that changes it and while one of these is read, and a process may change
it without a pause: a reader waits for minutes, and SIGKILL alone ends that. So a thread reads. Where it comes to a
stop, a process of its own reads the rest, all at a time, and is killed once nothing more comes.
"""

import contextlib
import os
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from reconciler.linux import held_files_main
from reconciler.linux.proc_files import MOST_GIVEN, proc_bytes

T = TypeVar("T")

_SLOW_S = 1.0  # for one file, twice
_SILENT_S = 3.0  # from a process that has begun to read
_BEGINS_S = 20.0
_LEFT_ALONE_S = 30.0
_MOST_STUCK = 4  # threads
_AT_A_TIME = 256
_MOST_BY_PROCESS = 512 << 10  # bytes of a file, as it may have all of them at once
_PART = 1 << 20
_HEAD = struct.Struct(held_files_main.HEAD)
_PROGRAM = (sys.executable, "-I", "-S", held_files_main.__file__)

_stuck: "list[threading.Thread]" = []
_held: dict[str, float] = {}  # until when a file is not read again, in seconds of the monotonic clock


def contents(paths: Sequence[str], kept: Callable[[bytes], T], most: int = MOST_GIVEN) -> dict[str, T]:
    """Return what is `kept` of each of these files, without those that cannot be read, or not in time. Blocks.

    A file of more than `most` bytes cannot be read. One that holds up its reader is left alone for half a minute.
    """
    now = time.monotonic()
    for path, until in list(_held.items()):  # other threads may add to it
        if until < now:
            _held.pop(path, None)
    asked = [path for path in paths if path not in _held] if _held else paths
    if not asked:
        return {}
    _stuck[:] = [thread for thread in _stuck if thread.is_alive()]
    found: dict[str, T] = {}
    with contextlib.suppress(RuntimeError):  # no thread left
        if len(_stuck) < _MOST_STUCK:
            found, at = _Reading(asked, kept, most).read()
            if at == len(asked):
                return found
            asked = asked[at:]
    for first in range(0, len(asked), _AT_A_TIME):
        found |= _by_process(asked[first : first + _AT_A_TIME], kept, min(most, _MOST_BY_PROCESS))
    return found


def _leave_alone(path: str) -> None:
    _held[path] = time.monotonic() + _LEFT_ALONE_S


class _Reading(Generic[T]):
    """A thread that reads files in their order, and is left alone once it comes to a stop."""

    def __init__(self, paths: Sequence[str], kept: Callable[[bytes], T], most: int) -> None:
        self._paths, self._kept, self._most = paths, kept, most
        self._found: dict[str, T] = {}
        self._at = 0
        self._ended, self._is_left = threading.Event(), False

    def read(self) -> tuple[dict[str, T], int]:
        """Return what was kept, and the number of files that have been read or cannot be. Raises RuntimeError."""
        thread = threading.Thread(target=self._run, name="proc", daemon=True)
        thread.start()
        before = -1
        while not self._ended.wait(_SLOW_S):
            if self._at == before:
                self._is_left = True
                _stuck.append(thread)
                break
            before = self._at
        return dict(self._found), len(self._paths) if self._ended.is_set() else self._at

    def _run(self) -> None:
        for path in self._paths:
            with contextlib.suppress(OSError):
                content = proc_bytes(path, self._most)
                if self._is_left:
                    return
                self._found[path] = self._kept(content)
            self._at += 1
        self._ended.set()


def _by_process(paths: Sequence[str], kept: Callable[[bytes], T], most: int) -> dict[str, T]:
    """Have a process read files, each in a thread of its own; those that it does not tell of in time are left alone."""
    found: dict[str, T] = {}
    told = set[int]()
    pipe = subprocess.PIPE
    with subprocess.Popen((*_PROGRAM, str(most)), stdin=pipe, stdout=pipe, env={}, cwd="/") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write("\n".join((*paths, "", "")).encode())
            process.stdin.flush()
            for number, content in _told(process.stdout.fileno()):
                told.add(number)
                if content is not None:
                    found[paths[number]] = kept(content)
        except TimeoutError:
            for number in {*range(len(paths))} - told:
                _leave_alone(paths[number])
        except BrokenPipeError:  # it could not begin
            pass
        finally:
            process.kill()
    return found


def _told(pipe: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield the number of each file that a process tells of, with its content, None for one that cannot be read.

    Raises TimeoutError if it has begun and tells of no more.
    """
    said = b""
    begun = select.select([pipe], [], [], _BEGINS_S)[0]
    while begun and (part := os.read(pipe, _PART)):
        said += part
        while len(said) >= _HEAD.size:
            number, size = _HEAD.unpack_from(said)
            end = _HEAD.size + max(size, 0)
            if len(said) < end:
                break
            if number >= 0:
                yield number, said[_HEAD.size : end] if size >= 0 else None
            said = said[end:]
        if not select.select([pipe], [], [], _SILENT_S)[0]:
            raise TimeoutError
