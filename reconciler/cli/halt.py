"""Ends a state directory's daemon and every app it started: `python -m reconciler.cli.halt`, which `make stop` runs.

While it works it keeps the state directory itself, so that no daemon starts what it ends.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import paths_of, reading, state_option
from reconciler.inspection.printable import counted
from reconciler.planning.subject import Subject
from reconciler.state.lock import AlreadyRunning, acquire, holder
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.state.database import Database
    from reconciler.state.records import InstanceRecord

_DAEMON_S = 30.0
_DEFAULT_STOP_S = 30.0
_MARGIN_S = 2.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A marked process that is certainly ours: the descriptor was taken before the marks were read again."""

    pid: int
    fd: int
    instance: str
    leads: bool


@click.command()
@state_option
def command(state: Path | None) -> None:
    """End the daemon of a state directory, then every app it started, as gently as each app asks for."""
    from reconciler.serving.keeper import dismiss

    paths = paths_of(state)
    if not paths.database.exists():
        click.echo(f"nothing to stop: nothing was ever run in {paths.state}")
        return
    daemon = _end_daemon(paths)
    try:
        with reading(paths), acquire(paths):
            masters, strays = _end_apps(paths)
            dismiss(paths.keeper)
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}; it was started just now: try again") from error
    ended = [f"the daemon (pid {daemon})"] if daemon else []
    ended += [counted(masters, "app instance")] if masters else []
    ended += [counted(strays, "stray process").replace("processs", "processes")] if strays else []
    click.echo(f"stopped {' and '.join(ended)}" if ended else "nothing to stop: nothing runs")


def _end_daemon(paths: StatePaths) -> int | None:
    """The pid of the daemon that was ended, None when none ran."""
    pid = holder(paths)
    if not pid:
        return None
    deadline = time.monotonic() + _DAEMON_S
    _signal_daemon(paths, pid, signal.SIGTERM)
    while holder(paths) == pid:
        if time.monotonic() > deadline:
            click.echo(f"the daemon (pid {pid}) did not end within {_DAEMON_S:g} s and is killed", err=True)
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
        raise click.ClickException(f"cannot end the daemon (pid {pid}): it is another user's") from error
    finally:
        os.close(fd)


def _end_apps(paths: StatePaths) -> tuple[int, int]:
    """How many masters, and how many marked processes without one, were ended."""
    from reconciler.state.records import Records
    from reconciler.state.schema import open_database, state_id

    with contextlib.closing(open_database(paths.database, upgrade=True)) as database:
        records = Records(database)
        known = {record.id: record for record in records.instances()}
        state = state_id(paths.state)
        with _marked(state) as found:
            masters = [process for process in found if process.leads]
            _tell_stopping(database, [known[p.instance] for p in masters if p.instance in known])
            _end_masters(masters, known)
        strays = _kill_rest(state)
        _settle(paths, database, known)
    return len(masters), strays


@contextlib.contextmanager
def _marked(state: str) -> Iterator[list[_Found]]:
    """Every process that carries the marks of this state directory, held by a descriptor."""
    from reconciler.linux.processes import marked

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


def _tell_stopping(database: "Database", records: "list[InstanceRecord]") -> None:
    """So that whoever finds them gone knows that they did not die of themselves."""
    from reconciler.state.records import Records

    for record in records:
        stopping = record.stopping_since or time.monotonic()
        Records(database).put_instance(replace(record, stopping_since=stopping))


def _end_masters(masters: list[_Found], known: "dict[str, InstanceRecord]") -> None:
    """SIGTERM for each; its own stop timeout later, SIGKILL for its whole group."""
    from reconciler.linux.processes import kill_group

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
    """Those whose process has ended, once there is one; none when it is `until`."""
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, select.POLLIN)
    left_s = min(max(0.0, until - time.monotonic()), 3600.0)
    return {fd for fd, _ in poll.poll(left_s * 1000)}


def _kill_rest(state: str) -> int:
    """SIGKILL for whatever still carries the marks; returns how many that were."""
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


def _settle(paths: StatePaths, database: "Database", known: "dict[str, InstanceRecord]") -> None:
    """Leave no record of what is gone, and tell `status` and `events` that it was meant."""
    import shutil

    from reconciler.serving import request_counters
    from reconciler.state.journal import Journal
    from reconciler.state.records import Records

    records, journal = Records(database), Journal(database)
    for record in known.values():
        records.drop_instance(record.id)
        request_counters.keep(paths.readiness(record.app) / record.id)
        shutil.rmtree(paths.readiness(record.app) / record.id, ignore_errors=True)
        journal.write(
            Subject("app", record.app),
            "stopped",
            f"gunicorn {record.pid or 0} stopped",
            "everything here was told to stop",
        )
    now = time.time()  # noqa: TID251  shown to people, never subtracted
    for name, standing in records.app_statuses().items():
        if any(record.app == name for record in known.values()):
            told = "stopped with the daemon; 'reconciler run' starts it again"
            halted = replace(standing, state="stopped", message=told, since=now, next_try_at=None)
            records.set_app_status(name, halted)


if __name__ == "__main__":
    command(prog_name="reconciler.cli.halt")
