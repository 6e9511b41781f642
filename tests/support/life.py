"""One life of a daemon, in a process forked from one that has everything loaded: other settings, or a death on cue."""

import asyncio
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import reconciler.daemon.log_rotation
import reconciler.manifests.directory_origin
import reconciler.planning.services.backups
import reconciler.staging.source.snapshot
import reconciler.state.schema
from reconciler.cli.run import print_progress
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.process import run
from reconciler.manifests.directory_origin import Directory
from reconciler.manifests.origin import Look
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.commands import die_with_the_tests

# What changes something that outlives the daemon, as CPython's audit hooks tell it just before it happens.
_EFFECTS = frozenset((
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.posix_spawn", "os.kill", "os.killpg",
    "os.truncate", "shutil.rmtree", "socket.bind", "subprocess.Popen",
))  # fmt: skip
_BALLAST, _RELIEVED = "ballast", "relieved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """What is to happen in one life that a test cannot bring about from outside.

    `die_at`: it is killed when it is about to do the so manieth thing that lasts; `trouble_at`: from then on its disk
    is full, or its database is locked, until `relieve` is called. `since` are some words of the first of those things
    that counts. `kill_first`: a process it knows that ends before it has looked at the manifests for the first time.
    `jumping`: the time of day is a month off, forwards or back, and another way at every look; `ahead_s`: it is so many
    seconds off. `backing_up_at_once`: first backups are not spread over some seconds. `constants` are other values of
    module constants, by their dotted names. `reads_on`: a thread of its loop reads something that never ends.
    """

    die_at: int | None = None
    trouble_at: int | None = None
    trouble: Literal["full", "locked"] = "full"
    since: str = ""
    kill_first: int | None = None
    rotate_every_s: float | None = None
    jumping: bool = False
    backing_up_at_once: bool = False
    ahead_s: float | None = None
    constants: Mapping[str, float] = field(default_factory=dict)
    reads_on: bool = False


def relieve(state: Path) -> None:
    """Give the disk of a state directory its room back, and its database its lock."""
    (state / _BALLAST).unlink(missing_ok=True)
    (state / _RELIEVED).touch()


def before_a_minute(lead_s: float, *, after: float = 0.0) -> tuple[float, str]:
    """How far ahead a clock has to be for a minute to begin in `lead_s` seconds, and that minute as tasks are told it.

    It is hours ahead: nothing has happened then. With `after`, an earlier answer, it is a later minute.
    """
    now = time.time()  # noqa: TID251  the time of day of the host
    minute = (now + max(4 * 3600.0, after + lead_s)) // 60 * 60 + 60
    return minute - now - lead_s, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(minute))


def live(manifests: str, state: str, settings: dict[str, Any], console: str, cues: Cues) -> None:
    """Run the daemon until it is told to end."""
    os.setsid()
    die_with_the_tests()
    descriptor = os.open(console, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    if cues.rotate_every_s is not None:
        reconciler.daemon.log_rotation._LOOK_AT_ALL_EVERY_S = cues.rotate_every_s
    for name, value in cues.constants.items():
        module, _, constant = name.rpartition(".")
        vars(import_module(module))[constant] = value
    if cues.die_at is not None:
        _before_effect(cues.die_at, cues.since, lambda: True, then=_die)
    if cues.trouble_at is not None:
        place = Path(state)
        (place / _RELIEVED).unlink(missing_ok=True)
        _before_effect(cues.trouble_at, cues.since, lambda: _fill(place) if cues.trouble == "full" else _lock(place))
    if cues.kill_first is not None:
        _kill_first(cues.kill_first)
    if cues.jumping:
        _jump()
    if cues.backing_up_at_once:
        reconciler.planning.services.backups._SPREAD_PART = 0.0
    if cues.ahead_s is not None:
        _set_clock(lambda ahead_s=cues.ahead_s: ahead_s)  # type: ignore[misc]
    here = Settings(manifests=Path(manifests), paths=StatePaths(state=Path(state)))
    asyncio.run(run(replace(here, **settings), _read_on if cues.reads_on else print_progress))


def _read_on(daemon: Daemon) -> None:
    print_progress(daemon)
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)


def _before_effect(
    number: int, since: str, what_happens: Callable[[], object], then: Callable[[], object] = bool
) -> None:
    """Have something happen just before the given effect, counted from 1: on files, processes, sockets, the database.

    It is told once it has happened, and `then` something else happens. What says no by None is tried before the next
    effect.
    """
    left, counts, under_way = iter(range(number - 1)), not since, False

    def one_more(what: str) -> None:
        nonlocal counts, under_way
        counts = counts or since in what
        if not counts or under_way or next(left, None) is not None:
            return
        under_way = True  # what happens has effects, too
        under_way = what_happens() is not None
        if under_way:
            os.write(2, f"before effect {number}: {what}\n".encode())
            then()

    def audited(event: str, arguments: tuple[object, ...]) -> None:
        if event in _EFFECTS or (event == "open" and _writes(arguments)):
            one_more(f"{event} {arguments[:1]}")

    def executed(statement: str) -> None:
        if not statement.startswith(("SELECT", "PRAGMA", "--")):
            one_more(statement[:60])

    def opened(file: Path, *, read_only: bool = False, upgrade: bool = False) -> sqlite3.Connection:
        database = open_database(file, read_only=read_only, upgrade=upgrade)
        database.set_trace_callback(executed)
        return database

    vars(reconciler.state.schema)["open_database"] = opened
    sys.addaudithook(audited)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fill(state: Path) -> bool:
    """Leave no block free on the disk of the state directory, a small one of the test's own."""
    assert shutil.disk_usage(state).total < 2**30
    with (state / _BALLAST).open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(bytes(65536)):
            pass
    return True


def _lock(state: Path) -> bool | None:
    """Lock the database as another program may; None while this process itself is writing to it."""
    other = sqlite3.connect(state / "reconciler.db", isolation_level=None, timeout=0, check_same_thread=False)
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        other.close()
        return None

    def release() -> None:
        while not (state / _RELIEVED).exists():
            time.sleep(0.01)
        other.close()

    threading.Thread(target=release, daemon=True).start()
    return True


def _kill_first(pid: int) -> None:
    """Kill a process before the first look at the manifests, and let the daemon notice before it looks."""
    victims = [pid]

    class Dawdling(Directory):
        async def look(self) -> Look:
            while victims:
                os.kill(victims.pop(), signal.SIGKILL)
                await asyncio.sleep(0.5)
            return await super().look()

    vars(reconciler.manifests.directory_origin)["Directory"] = Dawdling


def _jump() -> None:
    """Have everybody who asks for the time of day here told another one."""
    chance = random.Random(4711)
    _set_clock(lambda: chance.choice((-1, 1)) * chance.randrange(30 * 24 * 3600))


def _set_clock(ahead_s: Callable[[], float]) -> None:
    """Have the time of day be so many seconds ahead, for everybody here who asks for it."""
    real, real_ns = time.time, time.time_ns  # noqa: TID251  that very clock

    vars(time)["time"] = lambda: real() + ahead_s()
    vars(time)["time_ns"] = lambda: real_ns() + int(ahead_s() * 10**9)
    vars(reconciler.staging.source.snapshot)["time_ns"] = time.time_ns


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
