"""End the daemon of a state directory, then every app it started, each as gently as the app's manifest says.

Ending the apps takes the lock of the state directory, so that no daemon starts what is being ended.
"""

import contextlib
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from reconciler.linux.processes import kill_group
from reconciler.planning.subject import Subject
from reconciler.serving import request_counters
from reconciler.serving.keeper import dismiss
from reconciler.serving.marks import marked
from reconciler.state.database import Database
from reconciler.state.journal import Journal
from reconciler.state.lock import acquire, holder
from reconciler.state.paths import StatePaths
from reconciler.state.records import InstanceRecord, Records, open_database, state_id

_DAEMON_S = 30.0
_DEFAULT_STOP_S = 30.0
_MARGIN_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What was ended: the daemon's pid, None when none ran; gunicorn masters; and marked processes without one."""

    daemon: int | None
    instances: int
    strays: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A marked process that is certainly ours: the descriptor was taken before the marks were read again."""

    pid: int
    fd: int
    instance: str
    leads: bool


def shut_down(paths: StatePaths, note: Callable[[str], None]) -> Ended:
    """End the daemon and its apps; `note` gets what an operator should know meanwhile.

    Raises AlreadyRunning when a daemon is started meanwhile, PermissionError when the daemon is another user's.
    """
    daemon = _end_daemon(paths, note)
    with acquire(paths):
        instances, strays = _end_apps(paths)
        dismiss(paths.keeper)
    return Ended(daemon=daemon, instances=instances, strays=strays)


def _end_daemon(paths: StatePaths, note: Callable[[str], None]) -> int | None:
    """Return the pid of the daemon that was ended, None when none ran."""
    pid = holder(paths)
    if not pid:
        return None
    deadline = time.monotonic() + _DAEMON_S
    _signal_daemon(paths, pid, signal.SIGTERM)
    while holder(paths) == pid:
        if time.monotonic() > deadline:
            note(f"the daemon (pid {pid}) did not end within {_DAEMON_S:g} s and is killed")
            _signal_daemon(paths, pid, signal.SIGKILL)
            deadline += _DAEMON_S
        time.sleep(_POLL_S)
    return pid


def _signal_daemon(paths: StatePaths, pid: int, number: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if holder(paths) == pid:  # so the descriptor is the daemon's, and not a successor's of its pid
            signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        pass
    except PermissionError as error:
        raise PermissionError(f"cannot end the daemon (pid {pid}): it belongs to another user") from error
    finally:
        os.close(fd)


def _end_apps(paths: StatePaths) -> tuple[int, int]:
    """Return how many masters, and how many marked processes without one, were ended."""
    with contextlib.closing(open_database(paths.database, upgrade=True)) as database:
        records = Records(database)
        known = {record.id: record for record in records.instances()}
        state = state_id(paths.state)
        with _marked(state) as found:
            masters = [process for process in found if process.leads]
            _mark_stopping(records, [known[p.instance] for p in masters if p.instance in known])
            _end_masters(masters, known)
        strays = _kill_rest(state)
        _record_end(paths, database, known)
    return len(masters), strays


@contextlib.contextmanager
def _marked(state: str) -> Iterator[list[_Found]]:
    """Find every process that carries the marks of this state directory, and hold a descriptor of each."""
    with contextlib.ExitStack() as stack:
        descriptors: dict[int, int] = {}
        for process in marked(state):
            with contextlib.suppress(OSError):
                descriptors[process.pid] = fd = os.pidfd_open(process.pid)
                stack.callback(os.close, fd)
        yield [
            _Found(pid=process.pid, fd=descriptors[process.pid], instance=process.instance, leads=process.leads)
            for process in marked(state)
            if process.pid in descriptors
        ]


def _mark_stopping(records: Records, instances: list[InstanceRecord]) -> None:
    """Note on record that these are stopped, and do not exit by themselves."""
    for record in instances:
        stopping = record.stopping_since or time.monotonic()
        records.put_instance(replace(record, stopping_since=stopping))


def _end_masters(masters: list[_Found], known: dict[str, InstanceRecord]) -> None:
    """Send SIGTERM to each; its own stop timeout later, SIGKILL to its whole group."""
    began = time.monotonic()
    deadlines: dict[int, tuple[float, int]] = {}
    for process in masters:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process.fd, signal.SIGTERM)
        record = known.get(process.instance)
        patience_s = (record.stop_timeout_s if record else _DEFAULT_STOP_S) + _MARGIN_S
        deadlines[process.fd] = (began + patience_s, process.pid)
    while deadlines:
        ended = _ended(list(deadlines), min(until for until, _ in deadlines.values()))
        for fd, (until, pid) in list(deadlines.items()):
            if fd in ended:
                del deadlines[fd]
            elif time.monotonic() >= until:
                kill_group(pid)
                deadlines[fd] = (float("inf"), pid)


def _ended(descriptors: list[int], until: float) -> set[int]:
    """Return those whose process has ended, once there is one; none when it is `until`."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    left_s = min(max(0.0, until - time.monotonic()), 3600.0)
    return {fd for fd, _ in poll.poll(left_s * 1000)}


def _kill_rest(state: str) -> int:
    """Send SIGKILL to what still carries the marks; return how many processes that were."""
    ended: set[int] = set()
    while True:
        with _marked(state) as found:
            if not found:
                return len(ended)
            for process in found:
                ended.add(process.pid)
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process.fd, signal.SIGKILL)
        time.sleep(_POLL_S)


def _record_end(paths: StatePaths, database: Database, known: dict[str, InstanceRecord]) -> None:
    """Drop the records of what was ended, and tell `status` and `events` that an operator ended it."""
    records, journal = Records(database), Journal(database)
    for record in known.values():
        records.drop_instance(record.id)
        request_counters.keep(paths.readiness(record.app) / record.id)
        shutil.rmtree(paths.readiness(record.app) / record.id, ignore_errors=True)
        journal.write(
            Subject("app", record.app),
            "stopped",
            f"gunicorn {record.pid or 0} stopped",
            "an operator ended the daemon and its apps",
        )
    now = time.time()  # noqa: TID251  shown to people, never subtracted
    for name, status in records.app_statuses().items():
        if any(record.app == name for record in known.values()):
            message = "stopped with the daemon; 'reconciler run' starts it"
            stopped = replace(status, state="stopped", message=message, reason="", since=now, next_try_at=None)
            records.set_app_status(name, stopped)
