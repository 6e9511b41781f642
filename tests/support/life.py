"""One life of a daemon, in a process forked from one that has everything loaded: other settings, or a death on cue."""

import asyncio
import ctypes
import os
import random
import signal
import sqlite3
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import reconciler.daemon.log_rotation
import reconciler.manifests.directory_origin
import reconciler.planning.services.backups
import reconciler.staging.source.snapshot
import reconciler.state.schema
from reconciler.cli.run import print_progress
from reconciler.daemon.process import run
from reconciler.manifests.directory_origin import Directory
from reconciler.manifests.origin import Look
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# What changes something that outlives the daemon, as CPython's audit hooks tell it just before it happens.
_EFFECTS = frozenset((
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.posix_spawn", "os.kill", "os.killpg",
    "os.truncate", "shutil.rmtree", "socket.bind", "subprocess.Popen",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Cues:
    """What is to happen in one life that a test cannot bring about from outside.

    `die_at`: it is killed when it is about to do the so manieth thing that lasts. `kill_first`: a process it knows
    that ends before it has looked at the manifests for the first time. `jumping`: the time of day is a month off,
    forwards or back, and another way at every look. `backing_up_at_once`: first backups are not spread over some
    seconds.
    """

    die_at: int | None = None
    kill_first: int | None = None
    rotate_every_s: float | None = None
    jumping: bool = False
    backing_up_at_once: bool = False


def live(manifests: str, state: str, settings: dict[str, Any], console: str, cues: Cues) -> None:
    """Run the daemon until it is told to end."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))  # when the tests are killed, so is this
    descriptor = os.open(console, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    if cues.rotate_every_s is not None:
        reconciler.daemon.log_rotation._LOOK_AT_ALL_EVERY_S = cues.rotate_every_s
    if cues.die_at is not None:
        _die_at(cues.die_at)
    if cues.kill_first is not None:
        _kill_first(cues.kill_first)
    if cues.jumping:
        _jump()
    if cues.backing_up_at_once:
        reconciler.planning.services.backups._SPREAD_PART = 0.0
    here = Settings(manifests=Path(manifests), paths=StatePaths(state=Path(state)))
    asyncio.run(run(replace(here, **settings), print_progress))


def _die_at(number: int) -> None:
    """SIGKILL just before the given effect, counted from 1: on files, processes, sockets or the database."""
    left, last_words = iter(range(number - 1)), iter((True,))

    def one_more(what: str) -> None:
        if next(left, None) is None and next(last_words, False):  # to write and to kill are effects, too
            os.write(2, f"killed before effect {number}: {what}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

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
    chance, real, real_ns = random.Random(4711), time.time, time.time_ns  # noqa: TID251  that very clock

    def jump_s() -> int:
        return chance.choice((-1, 1)) * chance.randrange(30 * 24 * 3600)

    vars(time)["time"] = lambda: real() + jump_s()
    vars(time)["time_ns"] = lambda: real_ns() + jump_s() * 10**9
    vars(reconciler.staging.source.snapshot)["time_ns"] = lambda: real_ns() + jump_s() * 10**9


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
