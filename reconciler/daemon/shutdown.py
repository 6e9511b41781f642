"""Stop the daemon of a state directory and every app it started.

Meanwhile this process holds the lock of the state directory, so that no daemon starts again what it stops.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_own
from reconciler.planning.subject import Subject
from reconciler.state.lock import acquire, holder
from reconciler.state.ownership import require_ours
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.planning.isolation.layout import Layout
    from reconciler.state.database import Database
    from reconciler.state.records import InstanceRecord

_DAEMON_S, _KILLED_S = 30.0, 30.0
_DEFAULT_STOP_S = 30.0
_MARGIN_S = 2.0
_POLL_S = 0.05
_LONGEST_PID = 20


_LEFT = "its apps were left as they are"
_ELSEWHERE = f"no such process is seen here; run this command where the daemon runs, as in its container; {_LEFT}"


class StillRunning(Exception):
    """The daemon has not ended, and nothing else was stopped; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A process marked as ours, beyond doubt: its descriptor was opened before its marks were read again."""

    pid: int
    fd: int
    app: str
    instance: str
    leads: bool
    task: str
    runner: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """What was stopped: the daemon's pid, None when none ran, and how many of what it had started.

    `instances` are those of web programs, `processes` those of an app's other programs, and a stray is of neither.
    `left` says what could not be removed.
    """

    daemon: int | None = None
    instances: int = 0
    processes: int = 0
    tasks: int = 0
    strays: int = 0
    left: str = ""


def shut_down(paths: StatePaths, warn: Callable[[str], None]) -> Stopped:
    """Stop the daemon, then every app it started, each with its own stop timeout; `warn` gets what takes too long.

    Raises StillRunning if the daemon has not ended, AlreadyRunning if another one starts meanwhile, PermissionError if
    the directory or the daemon belongs to another user.
    """
    from reconciler.serving.keeper import dismiss

    require_ours(paths.state)
    places = _layout_of_daemon(paths)
    daemon = _end_daemon(paths, warn)
    kept = ""
    with acquire(paths):
        stopped = _end_apps(paths, places)
        dismiss(paths.keeper)
        if paths.proxy.exists():
            from reconciler.routing.kept_caddy import dismiss as dismiss_proxy  # most hosts keep none

            dismiss_proxy(paths.proxy)
        if paths.network_rules.exists():
            kept = _remove_rules(paths)
    return replace(stopped, daemon=daemon, left=" and ".join(filter(None, (stopped.left, kept))))


def is_going_down(paths: StatePaths) -> bool:
    """Return whether `down` is ending this very daemon, and is about to stop its apps."""
    with contextlib.suppress(OSError, ValueError):
        return int(read_own(paths.down, _LONGEST_PID)) == os.getpid()
    return False


def _remove_rules(paths: StatePaths) -> str:
    """Remove the rules by which the kernel held apps that have ended by now; return why it keeps them, "" if not."""
    from reconciler.host.network_kernel import remove_rules

    try:
        remove_rules(paths)
    except OSError as error:
        return f"the kernel keeps the rules for network.connect: {error.strerror or error}"
    return ""


def _layout_of_daemon(paths: StatePaths) -> "Layout | None":
    """Return where the daemon makes its cells, which may be elsewhere than this process would; None without one."""
    from reconciler.isolation.cells import layout_of

    pid = holder(paths)
    return layout_of(pid) if pid else None


def _end_daemon(paths: StatePaths, warn: Callable[[str], None]) -> int | None:
    """Return the pid of the daemon once its process has ended, None if none was running. Raises StillRunning."""
    pid = holder(paths)
    if not pid:
        return None
    with contextlib.suppress(OSError):  # what the daemon says last is all that depends on it
        replace_file(paths.down, str(pid), durable=False)
    try:
        daemon = os.pidfd_open(pid)
        try:
            # Once more, so the descriptor is the daemon's, not that of a process that reused its pid.
            if holder(paths) == pid and not _is_ended(daemon, pid, warn):
                raise StillRunning(f"the daemon (pid {pid}) still runs, though it was killed: {_LEFT}")
        finally:
            os.close(daemon)
    except ProcessLookupError:
        if holder(paths) == pid:
            raise StillRunning(f"cannot stop the daemon (pid {pid}): {_ELSEWHERE}") from None
    finally:
        paths.down.unlink(missing_ok=True)
    return pid


def _is_ended(daemon: int, pid: int, warn: Callable[[str], None]) -> bool:
    """End the process of a descriptor, and return whether it has ended, with all of its threads."""
    try:
        signal.pidfd_send_signal(daemon, signal.SIGTERM)
        if _ended([daemon], time.monotonic() + _DAEMON_S):
            return True
        warn(f"the daemon (pid {pid}) did not exit within {_DAEMON_S:g} s; killing it")
        signal.pidfd_send_signal(daemon, signal.SIGKILL)
    except ProcessLookupError:
        return True
    except PermissionError as error:
        raise PermissionError(f"cannot stop the daemon (pid {pid}): it belongs to another user") from error
    return bool(_ended([daemon], time.monotonic() + _KILLED_S))


def _end_apps(paths: StatePaths, places: "Layout | None") -> Stopped:
    """End all instances and tasks, and what is marked and was left or is of none; return how many there were of each.

    A task is ended by its runner, which leaves how that went for the next daemon.

    A process that has left the session of its instance gets the same time to end, and is no instance more.
    """
    from reconciler.isolation.app_namespace import become_warded
    from reconciler.isolation.app_users import app_users
    from reconciler.isolation.cells import Cells
    from reconciler.state.records import Records
    from reconciler.state.schema import open_database, state_id

    become_warded(app_users(paths).keys())
    with contextlib.closing(open_database(paths.database, upgrade=True)) as database:
        records = Records(database)
        known = {record.id: record for record in records.instances()}
        with _marked(paths) as found:
            masters = [process for process in found if process.leads and (process.runner or not process.task)]
            cells = Cells(state_id(paths.state), places)
            trees = cells.trees_of(process.pid for process in found)
            _mark_stopping(database, [known[p.instance] for p in masters if p.instance in known])
            _end_masters(masters, known)
        left = (
            "" if cells.end_all(trees, _KILLED_S) else "the kernel keeps control groups of apps, with what is in them"
        )
        tasks = {process.task for process in masters if process.task}
        killed, alive = _kill_strays(paths)
        strays = len(killed) + sum(1 for process in masters if not (process.instance or process.task))
        _record(paths, database, known)
    ended = {process.instance for process in masters if process.instance}
    others = {each for each in ended if each in known and known[each].process}
    if alive:
        left = f"what was killed still runs: pid {', '.join(map(str, sorted(alive)))}"
    return Stopped(instances=len(ended - others), processes=len(others), tasks=len(tasks), strays=strays, left=left)


@contextlib.contextmanager
def _marked(paths: StatePaths) -> Iterator[list[_Found]]:
    """Yield every process that carries the marks of this state directory, with a descriptor."""
    from reconciler.isolation.app_users import app_users
    from reconciler.serving.marks import marked
    from reconciler.state.schema import state_id

    state, apps = state_id(paths.state), app_users(paths)
    with contextlib.ExitStack() as stack:
        descriptors: dict[int, int] = {}
        for process in marked(state, apps=apps):
            with contextlib.suppress(OSError):
                descriptors[process.pid] = fd = os.pidfd_open(process.pid)
                stack.callback(os.close, fd)
        yield [
            _Found(
                pid=process.pid,
                fd=descriptors[process.pid],
                app=process.app,
                instance=process.instance,
                leads=process.leads,
                task=process.task,
                runner=process.runner,
            )
            for process in marked(state, apps=apps)
            if process.pid in descriptors
        ]


def _mark_stopping(database: "Database", records: "list[InstanceRecord]") -> None:
    """Record that the instances are being stopped, so that the next daemon does not count their exits as crashes."""
    from reconciler.state.records import Records

    for record in records:
        stopping = record.stopping_since or time.monotonic()
        Records(database).put_instance(replace(record, stopping_since=stopping, steps=max(record.steps, 1)))


def _end_masters(masters: list[_Found], known: "dict[str, InstanceRecord]") -> None:
    """Tell each to stop, in its own way and no step a second time; at the end of it, kill its process group."""
    from reconciler.linux.processes import kill_group

    left = {process.fd: (process, _steps(known.get(process.instance))) for process in masters}
    while left:
        for process, steps in left.values():
            while steps and time.monotonic() >= steps[0][0]:
                _, name = steps.pop(0)
                if name is None:
                    kill_group(process.pid)
                    continue
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process.fd, signal.Signals[f"SIG{name}"])
        until = min((steps[0][0] for _, steps in left.values() if steps), default=float("inf"))
        for fd in _ended(list(left), until):
            del left[fd]


def _steps(record: "InstanceRecord | None") -> list[tuple[float, str | None]]:
    """Return the signals that an instance is still to get, with the monotonic time of each; None is the kill."""
    from reconciler.planning.processes.stop import one_signal, parsed

    stop_timeout_s = _DEFAULT_STOP_S if record is None else record.stop_timeout_s
    stop = (None if record is None else parsed(record.stop)) or one_signal(stop_timeout_s + _MARGIN_S)
    began, taken = time.monotonic(), 0
    if record is not None and record.process and record.stopping_since is not None:
        began, taken = record.stopping_since, record.steps
    numbers = range(taken, len(stop.steps) + 1)
    return [(began + stop.due_after_s(number), stop.next_signal(number)) for number in numbers]


def _ended(descriptors: list[int], until: float) -> set[int]:
    """Wait for processes to exit and return their descriptors; none if it is `until` first."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    left_s = min(max(0.0, until - time.monotonic()), 3600.0)
    return {fd for fd, _ in poll.poll(left_s * 1000)}


def _kill_strays(paths: StatePaths) -> tuple[set[int], set[int]]:
    """Send SIGKILL to every process that still carries the marks; return each, and those that have not ended of it."""
    ended, until = set[int](), time.monotonic() + _KILLED_S
    while True:
        with _marked(paths) as found:
            alive = {process.pid for process in found}
            ended |= alive
            for process in found:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process.fd, signal.SIGKILL)
        if not alive or time.monotonic() > until:
            return ended - alive, alive
        time.sleep(_POLL_S)


def _record(paths: StatePaths, database: "Database", known: "dict[str, InstanceRecord]") -> None:
    """Remove the records of the instances, and record for `status` and `events` that they were stopped."""
    from reconciler.linux.remove_tree import remove_tree
    from reconciler.serving import gate_figures_reader
    from reconciler.state.journal import Journal
    from reconciler.state.records import Records

    records, journal = Records(database), Journal(database)
    for record in known.values():
        records.drop_instance(record.id)
        if not record.has_program:
            continue
        readiness = paths.readiness(record.app) / record.id
        text = f"{_name_of(record, readiness)} stopped"
        gate_figures_reader.keep(readiness)
        remove_tree(readiness)
        journal.write(Subject("app", record.app), "stopped", text, "the daemon and all apps were stopped")
    now = time.time()  # noqa: TID251  shown to people, never subtracted
    for name, last in records.app_statuses().items():
        if any(record.app == name for record in known.values()):
            message = "stopped with the daemon; 'reconciler run' starts it again"
            stopped = replace(last, state="stopped", reason="", message=message, since=now, next_try_at=None)
            records.set_app_status(name, stopped)


def _name_of(record: "InstanceRecord", readiness: Path) -> str:
    from reconciler.serving.live_instance import program_of

    pid = record.pid or 0
    return f"{record.process}.{record.slot} (pid {pid})" if record.process else f"{program_of(readiness)} {pid}"
