"""Find the daemons that run on this host by the locks that they hold, whatever their command lines say."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.proc_files import read_proc
from reconciler.linux.process_table import arguments_of
from reconciler.state.paths import StatePaths, default_state


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningDaemon:
    """A daemon, and the state directory that it uses."""

    pid: int
    state: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDaemon:
    """A daemon of another user, whose state directory this user may not see."""

    pid: int
    user: str


def running_daemons() -> tuple[RunningDaemon, ...]:
    """Return the daemons whose descriptors this user may see, ordered by state directory."""
    found = {(daemon.state, daemon.pid): daemon for pid in _lockers() for daemon in _states_of(pid)}
    return tuple(daemon for _, daemon in sorted(found.items()))


def default_state_among(daemons: Iterable[RunningDaemon]) -> Path:
    """Return the state directory for a command that names none: that of the only daemon, otherwise the default one."""
    states = {daemon.state for daemon in daemons}
    return states.pop() if len(states) == 1 else default_state()


def foreign_daemons() -> tuple[ForeignDaemon, ...]:
    """Return the daemons of other users, recognised by their command lines; none for root, who sees all of them."""
    return tuple(_foreign(sorted(_lockers()))) if os.geteuid() else ()


def _foreign(pids: list[int]) -> Iterator[ForeignDaemon]:
    for pid in pids:
        with suppress(OSError):
            uid = Path(f"/proc/{pid}").stat().st_uid
            words = arguments_of(pid)
            if uid != os.geteuid() and "run" in words and any(Path(word).name == "reconciler" for word in words):
                yield ForeignDaemon(pid=pid, user=_user(uid))


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user id {uid}"


def _lockers() -> frozenset[int]:
    """Return the processes that hold an exclusive lock of flock(2), by proc_locks(5); 0 is one of another namespace."""
    try:
        lines = read_proc("/proc/locks").splitlines()
    except OSError:
        return frozenset()
    fields = (line.split() for line in lines if "FLOCK" in line)
    return frozenset(int(held[4]) for held in fields if held[1] == "FLOCK" and held[3] == "WRITE") - {0, os.getpid()}


def _states_of(pid: int) -> Iterator[RunningDaemon]:
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                path = Path(entry.path).readlink()
                if path == StatePaths(state=path.parent).lock and StatePaths(state=path.parent).database.exists():
                    yield RunningDaemon(pid=pid, state=path.parent)
