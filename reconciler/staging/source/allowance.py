"""Bound a look at what strangers wrote: how many files and bytes it reads, how long it takes, whether it is wanted.

Every reader of a source asks the allowance of its thread before each file and each block, so that no source keeps a
thread busy whose result nothing waits for.
"""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import field
from resource import RLIMIT_AS, prlimit
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import shown_size
from reconciler.staging.errors import StagingError

_LOOK_EVERY_S = 0.05
_MOST_FILES = 10_000
_MOST_BYTES = 64 << 20
# Of large Python files: a mebibyte takes seconds. Of all that is parsed in this process, where it goes on by turns with
# all else, a mebibyte takes one or two.
_MOST_PARSED, _MOST_PARSED_HERE = 8 << 20, 1 << 20


class _Stopped(Exception):
    """The end of a look; no error of a file, so that a reader that goes on without a file does not go on."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True, kw_only=True)
class Allowance:
    """What a look may take: `within_s` seconds from now on, and as long as `should_continue` returns True.

    `parsed` holds the documents it has read, so that each is parsed once.
    """

    within_s: float = float("inf")
    should_continue: Callable[[], bool] = lambda: True
    files: int = _MOST_FILES
    size: int = _MOST_BYTES
    parsing: int = _MOST_PARSED
    parsing_here: int = _MOST_PARSED_HERE
    parsed: dict[tuple[str, ...], Any] = field(default_factory=dict)
    _until: float = field(init=False)

    def __post_init__(self) -> None:
        self._until = time.monotonic() + self.within_s

    def check(self, name: str) -> None:
        """End the look if it is not wanted any more, or takes too long; `name` is what is being read."""
        if not self.should_continue():
            raise _Stopped(InterruptedError("the look at the source was cancelled"))
        if time.monotonic() > self._until:
            limit = f"{self.within_s:g} s (staging.timeout of the host's settings)"
            why = f"reading the source took longer than {limit}; {name} was being read"
            raise _Stopped(StagingError(why, retry="later"))

    def take(self, name: str, size: int) -> None:
        """Count a file of that size; end the look if there were too many, or too large ones."""
        self.files -= 1
        self.size -= size
        if self.files < 0:
            raise _Stopped(StagingError(f"more than {_MOST_FILES} files would have to be read, {name} among them"))
        if self.size < 0:
            most = shown_size(_MOST_BYTES)
            raise _Stopped(StagingError(f"more than {most} of files would have to be read, {name} among them"))

    def take_parsed(self, name: str, size: int) -> None:
        """Count a large Python file of that size; end the look if it is one too many."""
        self.parsing -= size
        if self.parsing < 0:
            most = shown_size(_MOST_PARSED)
            raise _Stopped(StagingError(f"more than {most} of large Python files would be parsed, {name} among them"))

    def take_parsed_here(self, size: int) -> bool:
        """Count what is parsed in this process; return False if it is too much in all."""
        self.parsing_here -= size
        return self.parsing_here >= 0


_allowance: ContextVar[Allowance | None] = ContextVar("allowance", default=None)


@contextmanager
def allowing(allowance: Allowance) -> Iterator[None]:
    """Bound every look at a source in this context; raises StagingError or InterruptedError where it ends."""
    token = _allowance.set(allowance)
    try:
        yield
    except _Stopped as stopped:
        raise stopped.error from None
    finally:
        _allowance.reset(token)


def check(name: str) -> None:
    """End the look of this context if its time is over or it was cancelled."""
    allowance = _allowance.get()
    if allowance is not None:
        allowance.check(name)


def take(name: str, size: int) -> None:
    """Count a file that this context's look reads, and end the look if that is too much."""
    allowance = _allowance.get()
    if allowance is not None:
        allowance.take(name, size)


def take_parsed(name: str, size: int) -> None:
    """Count a large Python file that this context's look parses, and end the look if that is too much."""
    allowance = _allowance.get()
    if allowance is not None:
        allowance.take_parsed(name, size)


def take_parsed_here(size: int) -> bool:
    """Count what this context's look parses in this process; return False if that is too much."""
    allowance = _allowance.get()
    return allowance is None or allowance.take_parsed_here(size)


def parsed_once(key: tuple[str, ...], parse: Callable[[], Any]) -> Any:
    """Return what `parse` returns, computed once in a look; without an allowance, each time."""
    allowance = _allowance.get()
    if allowance is None:
        return parse()
    if key not in allowance.parsed:
        allowance.parsed[key] = parse()
    return allowance.parsed[key]


def run_child(argv: Sequence[str], name: str, within_s: float, memory: int, **options: Any) -> tuple[int, bytes]:
    """Run a command of at most so much time and memory; return its exit status and output.

    It is killed when the look of this context ends. `options` are those of Popen, with `input`. Raises OSError, and
    subprocess.TimeoutExpired.
    """
    from tempfile import TemporaryFile  # most sources are read without a child

    given = options.pop("input", b"")
    until = time.monotonic() + within_s
    # From a file: what is left of a pipe's input after a time limit is never sent.
    with TemporaryFile() as stdin:
        stdin.write(given)
        stdin.seek(0)
        with subprocess.Popen(argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options) as child:
            try:
                prlimit(child.pid, RLIMIT_AS, (memory, memory))
                while True:
                    try:
                        output, _ = child.communicate(timeout=_LOOK_EVERY_S)
                    except subprocess.TimeoutExpired:
                        check(name)
                        if time.monotonic() > until:
                            raise
                    else:
                        return child.returncode, output
            except BaseException:
                child.kill()
                raise
