"""Count the requests that an app has answered, from the files that its workers write, and tell when it last did.

An app's figures are those of its instances, read from the workers' files, and of earlier instances, from a ledger
beside them. An instance is added to the ledger, and named there, before its files are removed, so that it is counted
once whatever instruction the daemon dies at: a total goes back only if a ledger could not be written.
"""

import contextlib
import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import is_leftover, replace_file
from reconciler.linux.listing import names_in
from reconciler.linux.regular_files import read_own, read_record, still_has
from reconciler.serving.gate_figures import SPANS, VERSION

_FORMAT = struct.Struct(f"QQdd{5 * SPANS}Q")
_WAITS = struct.Struct(f"d{SPANS}Q")  # behind it; workers that a daemon of before started write none
_SIZE = _FORMAT.size + _WAITS.size
_NO_WAITS = (0.0, (0,) * SPANS)
_UNKNOWN = (0.0, 1)  # it could not write on a full disk, or is just about to: take it for busy
_LEDGER = "figures.json"
_NAMED = 64
_MOST_OF_A_LEDGER = 64 * 1024
_LOOKS = 10
_MOST_FILES = 2000  # an app may put any number of others beside them
_MOST_INSTANCES = 20


# The files of workers, and what they held.
Contents: TypeAlias = Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """`classes` counts what was answered with 1xx to 5xx; `buckets` what took up to each of BOUNDS_S, and longer.

    `seconds` is what they took in all; `busy` how many workers are at work, of so many `workers`. `waits` counts those
    requests of which a worker could tell how long they had waited for it, by the same bounds, `waited_s` is the sum.
    """

    classes: tuple[int, ...] = (0,) * 5
    buckets: tuple[int, ...] = (0,) * SPANS
    seconds: float = 0.0
    in_flight: int = 0
    busy: int = 0
    workers: int = 0
    waits: tuple[int, ...] = (0,) * SPANS
    waited_s: float = 0.0

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            classes=_sums(self.classes, other.classes),
            buckets=_sums(self.buckets, other.buckets),
            seconds=self.seconds + other.seconds,
            in_flight=self.in_flight + other.in_flight,
            busy=self.busy + other.busy,
            workers=self.workers + other.workers,
            waits=_sums(self.waits, other.waits),
            waited_s=self.waited_s + other.waited_s,
        )

    @property
    def requests(self) -> int:
        """The number of requests answered."""
        return sum(self.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFigures:
    """One worker: requests answered, requests in flight, and when it last answered one or began, in monotonic seconds.

    The answers of exited workers whose file it continues are among its own.
    """

    requests: int
    in_flight: int
    ended: float


def of_workers(directory: Path) -> dict[int, WorkerFigures | None]:
    """Return the workers of an instance that have passed their gate, by pid; None for one that counts nothing."""
    found: dict[int, WorkerFigures | None] = {}
    for path in _listing(directory, _MOST_FILES):
        if path.name.isdecimal():
            numbers = None
            with contextlib.suppress(OSError):
                numbers = _numbers(path)
            found[int(path.name)] = numbers and WorkerFigures(
                requests=sum(numbers.cells), in_flight=numbers.in_flight, ended=numbers.ended
            )
    return found


def of_app(readiness: Path) -> Figures:
    """Return the figures of an app; `readiness` holds its instances' directories. Blocks for a few small files."""
    instances = {place.name: of_instance(place) for place in _listing(readiness, _MOST_INSTANCES)}
    ledger = _Ledger.read(readiness.parent)  # after them: what went meanwhile is in it
    return sum((figures for name, figures in instances.items() if name not in ledger.named), ledger.figures)


def of_instance(directory: Path) -> Figures:
    """Return the figures of all workers of one instance, exited ones included."""
    for _ in range(_LOOKS):
        names = [path for path in _listing(directory, _MOST_FILES) if _tells(path.name)]
        with contextlib.suppress(FileNotFoundError):  # a worker took over the file of another: look again
            return sum((_of_worker(path) for path in names), Figures())
    return Figures()


def contents(files: Iterable[str]) -> Contents:
    """Return what workers have written into their files, for `is_unchanged`. Blocks for a few small files."""
    found = {}
    for path in files:
        with contextlib.suppress(OSError):
            found[path] = read_own(path, _FORMAT.size)
    return found


def tells(seen: Contents) -> bool:
    """Whether these workers are all of those that count: no worker, or one that does not, tells nothing of rest."""
    return bool(seen) and all(seen.values())


def is_unchanged(before: Contents) -> bool:
    """Whether these workers tell, are still there, and have neither begun nor answered a request since."""
    if not tells(before):
        return False
    with contextlib.suppress(OSError):
        return all(still_has(path, content, _FORMAT.size) for path, content in before.items())
    return False


def keep(passed: Path) -> None:
    """Add the figures of an instance that is about to be forgotten to its app's ledger, once."""
    directory = passed.parent.parent
    ledger = _Ledger.read(directory)
    figures = of_instance(passed)
    if passed.name in ledger.named or not figures.requests:
        return
    named = (*ledger.named, passed.name)[-_NAMED:]
    with contextlib.suppress(OSError):  # a full disk must not keep an app from being removed
        _Ledger(figures=ledger.figures + figures, named=named).write(directory)


def counting(files: Iterable[str]) -> bool:
    """Whether any of these workers writes down when it is at work."""
    for file in files:
        with contextlib.suppress(OSError):
            if os.stat(file).st_size >= _FORMAT.size:
                return True
    return False


def work(files: Iterable[Path]) -> tuple[tuple[int, float], ...]:
    """Return, for each of these workers, its requests in flight and when it last answered one."""
    found = []
    for file in files:
        with contextlib.suppress(OSError):
            if numbers := _numbers(file):
                found.append((numbers.in_flight, numbers.ended))
    return tuple(found)


def last_busy(files: Iterable[Path]) -> float | None:
    """Return when any of these workers was last busy, now if one is; None if none writes that down."""
    latest = None
    for file in files:
        try:
            numbers = _numbers(file)
        except OSError:
            continue
        at, working_on = (numbers.ended, numbers.in_flight) if numbers else _UNKNOWN
        moment = time.monotonic() if working_on > 0 else at
        latest = moment if latest is None else max(latest, moment)
    return latest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ledger:
    """The figures of earlier instances, and the ids of the last of them."""

    figures: Figures = Figures()
    named: tuple[str, ...] = ()

    @classmethod
    def read(cls, directory: Path) -> "_Ledger":
        try:
            stored = read_record(directory / _LEDGER, _MOST_OF_A_LEDGER)
            figures = Figures(
                classes=_whole(stored["classes"], 5),
                buckets=_whole(stored["buckets"], SPANS),
                seconds=float(stored["seconds"]),
                waits=_whole(stored.get("waits", (0,) * SPANS), SPANS),
                waited_s=float(stored.get("waited", 0.0)),
            )
            return cls(figures=figures, named=tuple(map(str, stored["instances"])))
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return cls()

    def write(self, directory: Path) -> None:
        stored = {
            "classes": self.figures.classes,
            "buckets": self.figures.buckets,
            "seconds": self.figures.seconds,
            "waits": self.figures.waits,
            "waited": self.figures.waited_s,
            "instances": self.named,
        }
        replace_file(directory / _LEDGER, json.dumps(stored), durable=False)


def _of_worker(path: Path) -> Figures:
    """Return the figures of one worker, none for a file of another layout. Raises FileNotFoundError."""
    alive = path.name.isdecimal()
    try:
        numbers = _numbers(path)
    except FileNotFoundError:
        raise
    except OSError:  # the app put something else there
        numbers = None
    if not numbers:
        return Figures(workers=int(alive))
    cells = numbers.cells
    return Figures(
        classes=tuple(sum(cells[at : at + SPANS]) for at in range(0, 5 * SPANS, SPANS)),
        buckets=tuple(sum(cells[at::SPANS]) for at in range(SPANS)),
        seconds=numbers.took,
        in_flight=numbers.in_flight if alive else 0,
        busy=int(alive and numbers.in_flight > 0),
        workers=int(alive),
        waits=numbers.waits,
        waited_s=numbers.waited,
    )


class _Numbers(NamedTuple):
    """A worker's file, number by number but for the version."""

    in_flight: int
    ended: float
    took: float
    cells: tuple[int, ...]
    waited: float
    waits: tuple[int, ...]


def _numbers(path: Path) -> _Numbers | None:
    content = read_own(path, _SIZE)
    if len(content) < _FORMAT.size:
        return None
    version, in_flight, ended, took, *cells = _FORMAT.unpack_from(content)
    waited, waits = _NO_WAITS
    if len(content) >= _SIZE:
        waited, *counts = _WAITS.unpack_from(content, _FORMAT.size)
        waits = tuple(counts)
    return _Numbers(in_flight, ended, took, tuple(cells), waited, waits) if version == VERSION else None


def _tells(name: str) -> bool:
    """Whether a file is a worker's: its name is the pid, after "done-" or "left-" once the worker has exited."""
    return name.removeprefix("done-").removeprefix("left-").isdecimal()


def _whole(numbers: Iterable[object], count: int) -> tuple[int, ...]:
    found = tuple(int(str(number)) for number in numbers)
    if len(found) != count:
        raise ValueError(found)
    return found


def _sums(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(a + b for a, b in zip(one, other, strict=True))


def _listing(directory: Path, most: int) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from (directory / name for name in names_in(directory, most) if not is_leftover(name))
