"""One life of a daemon, in a process forked from one that has everything loaded: other settings, or a death on cue."""

import asyncio
import ctypes
import os
import signal
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import reconciler.daemon
from reconciler.cli.run import _announce
from reconciler.daemon import run
from reconciler.records import open_database
from reconciler.settings import Layout, Settings

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

# What changes something that outlives the daemon, as CPython's audit hooks tell it just before it happens.
_EFFECTS = frozenset((
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.posix_spawn", "os.kill", "os.killpg",
    "os.truncate", "shutil.rmtree", "socket.bind", "subprocess.Popen",
))  # fmt: skip


def live(
    manifests: str, state: str, settings: dict[str, Any], console: str, die_at: int | None, rotate_every_s: float | None
) -> None:
    """Run the daemon until it is told to end, or until it is about to do the `die_at`th thing that lasts."""
    os.setsid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))  # when the tests are killed, so is this
    descriptor = os.open(console, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    if rotate_every_s is not None:
        reconciler.daemon._ROTATE_EVERY_S = rotate_every_s
    if die_at is not None:
        _die_at(die_at)
    here = Settings(manifests=Path(manifests), layout=Layout(state=Path(state)))
    asyncio.run(run(replace(here, **settings), _announce))


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

    def opened(file: Path, *, read_only: bool = False) -> sqlite3.Connection:
        database = open_database(file, read_only=read_only)
        database.set_trace_callback(executed)
        return database

    vars(reconciler.daemon)["open_database"] = opened
    sys.addaudithook(audited)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
