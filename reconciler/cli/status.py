"""Show the state of every app.

Shows each APP, or every app and service: state, URL, running revision, and any problem. Needs no daemon.
RESTARTS counts the instances that served and exited on their own; SINCE is the time in this state. Both count from zero
again when another revision serves. With --check, exits with 1 when anything is not as its manifest asks, and with 3
when everything is, but no daemon is running.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import (
    all_option,
    examples,
    json_option,
    open_snapshot,
    paths_in_use,
    refuse_both,
    state_option,
)
from reconciler.cli.table import is_terminal, lines, show_json, styled, width, wrapped
from reconciler.inspection.printable import ago, json_text, plain, workers_of
from reconciler.linux.standard_streams import is_read
from reconciler.version import VERSION

if TYPE_CHECKING:
    from reconciler.inspection.process_rows import ProcessRow
    from reconciler.inspection.status import AppRow, HostStatus, ServiceRow
    from reconciler.state.paths import StatePaths

_COLUMNS = ("APP", "STATE", "URL", "REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "MESSAGE")
ORIGIN_COLUMNS = ("ORIGIN", "STATE", "IN FORCE", "HEAD", "SINCE", "MESSAGE")
_SERVICE_COLUMNS = ("SERVICE", "TYPE", "STATE", "MESSAGE")
_SPARE = ("REVISION", "RUNTIME", "PID", "WORKERS", "RESTARTS", "SINCE", "URL")
_REFRESH_S = 1.0


_UNKNOWN: Mapping[str, float] = {}


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler status",
        "reconciler status blog 'shop-*' --json",
        "reconciler status --watch",
        "reconciler status --check",
    ),
)
@click.argument("apps", metavar="[APP]...", nargs=-1)
@all_option("Every app and service; the same as no name.")
@click.option(
    "--watch",
    is_flag=True,
    help="Keep it up to date: a live screen on a terminal (press ? for its keys), otherwise every change on new lines.",
)
@click.option("--check", is_flag=True, help="Exit with 1 when anything is not as its manifest asks.")
@json_option
@state_option
def command(  # noqa: PLR0913, PLR0917  one for each option
    apps: Sequence[str], everything: bool, watch: bool, check: bool, as_json: bool, state: Path | None
) -> None:
    refuse_both(apps, everything=everything)
    if watch and check:
        raise click.UsageError("--check looks once: it cannot be combined with --watch")
    from reconciler.inspection.status import names_of, status

    paths = paths_in_use(state)
    with open_snapshot(paths) as snapshot:
        if apps:
            from reconciler.cli.app_names import existing_apps

            apps = existing_apps(names_of(snapshot), apps)
        found = status(snapshot, apps)
    if watch and is_terminal() and not as_json:
        from reconciler.cli.live.watch import watch as show_live

        show_live(paths, apps)
    elif watch:
        _repeat(paths, apps, as_json=as_json)
    elif as_json:
        show_json(found.facts(VERSION))
    else:
        show_status(found, _busy(paths, found))
    if check:
        _check(found, paths)


def _check(found: "HostStatus", paths: "StatePaths") -> None:
    """Exit with 1 when something is not up to date, and with 3 when no daemon is running."""
    from reconciler.cli.daemon_client import NoDaemon
    from reconciler.inspection.up_to_date import not_up_to_date

    if behind := [*not_up_to_date(found)]:
        raise Failure("not-up-to-date", f"not up to date: {', '.join(behind)}")
    if found.daemon is None:
        raise NoDaemon(paths.state)


def _busy(paths: "StatePaths", found: "HostStatus") -> Mapping[str, float]:
    """Return the share of their time that the workers of apps with a range work, which only the daemon knows."""
    if found.daemon is None or all(app.worker_range is None for app in found.apps):
        return {}
    from reconciler.control.socket import ask  # most hosts have no app with a range

    try:
        return dict(ask(paths.control, {"do": "metrics"}).get("workers_busy", {}))
    except OSError:  # the status is told all the same
        return {}


def show_status(status: "HostStatus", busy: Mapping[str, float] = _UNKNOWN) -> None:
    """Print the tables of apps and services, refused manifests, and whether a daemon is running.

    `busy` is the share of their time that the workers of apps with a range work.
    """
    for line in _screen(status, width(), busy):
        click.echo(line)


def _status(paths: "StatePaths", apps: Sequence[str]) -> "HostStatus":
    from reconciler.inspection.status import status

    with open_snapshot(paths) as snapshot:
        return status(snapshot, apps)


def _screen(status: "HostStatus", limit: int | None, busy: Mapping[str, float] = _UNKNOWN) -> list[str]:
    """Return all of it as lines; messages that a terminal's width cuts in the table follow in full below it."""
    rows = [_cells(app, busy.get(app.name)) for app in status.apps]
    table = lines(_COLUMNS, rows, limit, _SPARE) if rows else ["no apps"]
    below: list[str] = []
    for row, line in zip(rows, table[1:], strict=True):
        name, state, message = row[0], row[1], row[-1]
        # The errors of a refused manifest are among the notes.
        if message not in line and state != "invalid":
            below += wrapped(f"{name}: {message}", limit)
    if len(status.apps) == 1 and status.apps[0].processes:
        below += [plain(line) for line in process_lines(status.apps[0].processes)]
    if len(status.apps) == 1 and status.apps[0].user is not None:
        below.append(f"runs as user {status.apps[0].user}, which no other app has")
    if len(status.apps) == 1 and status.apps[0].persist:
        below += wrapped(f"persists {plain(', '.join(status.apps[0].persist))}", limit)
    if status.services:
        services = [_service_cells(service) for service in status.services]
        below += ["", *lines(_SERVICE_COLUMNS, services, limit)]
    if status.origins:
        below += ["", *lines(ORIGIN_COLUMNS, [origin_cells(origin) for origin in status.origins], limit)]
    if status.domains:
        from reconciler.cli.domains import COLUMNS, domain_cells

        below += ["", *lines(COLUMNS, [domain_cells(domain) for domain in status.domains], limit)]
    for note, colour in _notes(status):
        below += [styled(line, fg=colour) for line in wrapped(note, limit)]
    return [*table, *below]


def _notes(status: "HostStatus") -> Iterator[tuple[str, str | None]]:
    """Yield what concerns the host and its manifests, each with its colour."""
    if status.notice:
        yield plain(status.notice), "red"
    for entry in status.manifests:
        for error in entry["errors"]:
            place = f"{entry['file']}:{error['line']}:{error['column']}"
            yield plain(": ".join(filter(None, ("refused", place, error["path"], error["message"])))), "red"
    if status.without_daemon:
        yield status.without_daemon, None


def _service_cells(service: "ServiceRow") -> list[str]:
    cells = [plain(cell or "-") for cell in (service.name, service.type, service.state)]
    return [*cells, plain(with_retry(service.message, service.next_try_at))]


def origin_cells(origin: Mapping[str, Any]) -> list[str]:
    """Return the cells of an origin in git; the message says if it is not signed, or its webhook may not be set."""
    in_force, head = ((origin[each] or "-")[:7] for each in ("in_force", "head"))
    since = ago(_elapsed_s(origin["since"])) if origin["since"] else "-"
    message = origin["message"] or origin["subjects"].get(origin["in_force"] or "", "")
    signature = (
        "not signed" if origin["signed"] == "no" else f"signed by {origin['signed_by']}" if origin["signed_by"] else ""
    )
    told = "; ".join(filter(None, (message, signature, (origin.get("webhook") or {}).get("doubt"))))
    return [plain(cell) for cell in (origin["name"], origin["state"], in_force, head, since, told)]


def _cells(app: "AppRow", busy: float | None) -> list[str]:
    since = ago(_elapsed_s(app.since)) if app.since else "-"
    revision = app.revision or "-"
    if app.wanted_revision and app.wanted_revision != app.revision:
        revision = f"{revision} → {app.wanted_revision}"
    workers = workers_of(app.workers, app.worker_range, busy)
    cells = [
        app.name, app.state, app.places or None, revision, app.runtime, app.pid, workers, app.restarts, since,
        message_of(app),
    ]  # fmt: skip
    return [plain("-" if cell is None else cell) for cell in cells]


def message_of(app: "AppRow") -> str:
    """Return what is to be said of an app: of one that is running, its processes come first."""
    processes = map(in_short, app.processes) if app.state == "running" or not app.message else ()
    return " · ".join((*processes, *filter(None, [with_retry(app.message, app.next_try_at)])))


def in_short(row: "ProcessRow") -> str:
    """Return a process as a few words: `beat`, `worker x 2`, `worker 1 of 2`."""
    drains = f", {row.draining} finishing" if row.draining else ""
    if row.running == row.desired and row.state == "running":
        return f"{row.name}{f' x {row.desired}' if row.desired > 1 else ''}{drains}"
    told = row.state if row.state != "running" else ""
    return f"{row.name} {row.running} of {row.desired}{told and f' ({told})'}{drains}"


def process_lines(rows: "Sequence[ProcessRow]") -> list[str]:
    """Return a line for each process: how many run, how many finish and since when, what is wrong."""
    return [f"{row.name}: {state_of(row)}" for row in rows]


def state_of(row: "ProcessRow") -> str:
    """Return the state of a process in words: `running 2 of 2, finishing 1 (for 4m)`."""
    parts = [f"{row.state} {row.running} of {row.desired}" if row.desired or row.running else row.state]
    if row.starting and row.state != "starting":
        parts.append(f"starting {row.starting}")
    if row.draining:
        parts.append(f"finishing {row.draining} (for {ago(_elapsed_s(row.draining_since or 0.0))})")
    told = with_retry(row.message, row.next_try_at) if row.message and row.reason != "handing-over" else ""
    return ", ".join(parts) + (f"; {told}" if told else "")


def with_retry(message: str, next_try_at: float | None) -> str:
    """Append when the next try is due."""
    if not next_try_at:
        return message
    left_s = -_elapsed_s(next_try_at)
    return f"{message}; retry in {ago(left_s)}" if left_s >= 1 else f"{message}; retrying now"


def _elapsed_s(since: float) -> float:
    return time.time() - since  # noqa: TID251  shown to people, never relied upon


def _repeat(paths: "StatePaths", apps: Sequence[str], *, as_json: bool) -> None:
    """Print the status whenever it changes, as JSON in one line each."""
    shown = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            found = _status(paths, apps)
            if found != shown:
                click.echo(json_text(found.facts(VERSION)) if as_json else "\n".join([*_screen(found, None), ""]))
                shown = found
            if not is_read(_REFRESH_S):
                return
