"""Find the daemons that run on this host by the locks that they hold, whatever their command lines say.

Only a daemon of this very user counts, whose state directory is this user's: what another user could put there would be
read, and by root obeyed.
"""

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from shlex import quote as quoted

from reconciler.linux.dataclass import dataclass
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
    """A daemon of another user, whose state directory is not looked into."""

    pid: int
    user: str


class SeveralDaemons(Exception):
    """More than one daemon is running, so a command has to be told which one it is about."""

    def __init__(self, daemons: Collection[RunningDaemon]) -> None:
        listed = "".join(f"\n  --state {quoted(str(each.state))}   (pid {each.pid})" for each in daemons)
        super().__init__(f"{len(daemons)} daemons are running on this host; choose one with --state:{listed}")


def running_daemons() -> tuple[RunningDaemon, ...]:
    """Return the daemons of this user, ordered by state directory."""
    found = {
        (daemon.state, daemon.pid): daemon for pid in _lockers() if _user_of(pid) == os.geteuid()
        for daemon in _states_of(pid)
    }  # fmt: skip
    return tuple(daemon for _, daemon in sorted(found.items()))


def default_state_among(daemons: Collection[RunningDaemon]) -> Path:
    """Return the state directory for a command that names none: that of the only daemon, the default one without any.

    Raises SeveralDaemons.
    """
    if len({daemon.state for daemon in daemons}) > 1:
        raise SeveralDaemons(daemons)
    return next((daemon.state for daemon in daemons), default_state())


def foreign_daemons() -> tuple[ForeignDaemon, ...]:
    """Return the daemons of other users, recognised by their command lines."""
    return tuple(_foreign(sorted(_lockers())))


def _foreign(pids: list[int]) -> Iterator[ForeignDaemon]:
    for pid in pids:
        with suppress(OSError):
            uid = _user_of(pid)
            words = arguments_of(pid)
            if (
                uid is not None
                and uid != os.geteuid()
                and "run" in words
                and any(Path(word).name == "reconciler" for word in words)
            ):
                yield ForeignDaemon(pid=pid, user=_user(uid))


def _user_of(pid: int) -> int | None:
    """Return the user id of a process, None when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


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
                paths = StatePaths(state=path.parent)
                if path == paths.lock and paths.state.stat().st_uid == os.geteuid() and paths.database.exists():
                    yield RunningDaemon(pid=pid, state=path.parent)
