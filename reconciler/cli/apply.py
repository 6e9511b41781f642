"""Apply the manifests once, and leave the apps running.

Shows the progress, then the status. Exits with 0 when every app is up to date; otherwise prints the reasons and exits
with 1. Needs no daemon; a running one applies the manifests by itself, so this command has it look at them now and
waits for it, as 'reconciler wait' does.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from reconciler.cli.failure import Told
from reconciler.cli.options import DURATION, examples, host_options, open_snapshot, paths_to_change
from reconciler.cli.progress import Console, Silent, is_retry, is_under_way, phase_of
from reconciler.inspection.printable import ago, json_text, plain
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.cli.waiting import Row
    from reconciler.convergence.world import Report
    from reconciler.planning.subject import Subject

_TRIES = 3


class ApplyProgress:
    """Waits for the apps that are not up to date; `done` is set once each is settled, or failed for good or too often.

    `before` are the revisions that served at the start: an app that keeps serving the same one gets no line.
    """

    def __init__(self, console: Console, before: dict[str, str]) -> None:
        self.done = asyncio.Event()
        self.last: dict[str, Report] = {}
        self._console = console
        self._before = before
        self._printed: dict[str, tuple[str, str]] = {}
        self._expected: set[str] = set()
        self._open: set[str] | None = None

    def expect(self, names: Iterable[str]) -> None:
        """Wait for these apps and services, and for no others."""
        self._expected = set(names)
        self._open = {name for name in self._expected if not self._is_closed(self.last.get(name))}
        self._console.align(self._expected)
        self._check()

    def tell(self, subject: "Subject", report: "Report | None") -> None:
        """Take a report on an app or a service, and print what is new in it."""
        name = str(subject)
        if report is None:
            self.last.pop(name, None)
            self._console.milestone(name, "removed")
        else:
            self.last[name] = report
            self._show(name, report)
        if self._open is not None and (report is None or self._is_closed(report)):
            self._open.discard(name)
            self._check()

    def _show(self, name: str, report: "Report") -> None:
        is_told = report.settled or report.failures or report.next_try_at is not None
        if is_under_way(report) or is_retry(report) or not is_told:
            self._console.working(name, report, self._under_way(name, report))
            return
        self._console.idle(name)
        now = (report.state, report.message)
        unchanged = report.settled and name not in self._printed and self._before.get(name) == (report.wanted or "")
        if not unchanged and self._printed.get(name) != now:
            self._printed[name] = now
            of = f" of {_TRIES}" if report.failures <= _TRIES else ""  # more, while others are not done
            attempt = f" (try {report.failures}{of})" if report.failures and not report.withheld else ""
            self._console.milestone(name, report.state, f"{report.message}{attempt}")

    def _under_way(self, name: str, report: "Report") -> str:
        total = len(self._expected)
        work = f"{name}: {phase_of(report)}"
        return work if self._open is None else f"{total - len(self._open)} of {total} done · {work}"

    def _is_closed(self, report: "Report | None") -> bool:
        if report is None:
            return False
        return report.settled or report.failures >= _TRIES or (report.withheld and not is_under_way(report))

    def _check(self) -> None:
        if not self._open:
            self._console.bottom("")
            self.done.set()


@click.command(help=__doc__, epilog=examples("reconciler apply --manifests /srv/manifests --timeout 2m"))
@host_options
@click.option("--timeout", "timeout_s", type=DURATION, default="5m", show_default=True, help="Give up after this long.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per app and service at the end.")
def command(settings: Settings, timeout_s: float, as_json: bool) -> None:
    from reconciler.daemon.process import apply
    from reconciler.linux import loops
    from reconciler.state.lock import AlreadyRunning
    from reconciler.state.schema import OtherVersion

    if settings.paths.database.exists():
        paths_to_change(settings.paths.state)
    if not as_json:
        click.echo(plain(f"manifests in {settings.manifests}, state in {settings.paths.state}"))
    console = Silent() if as_json else Console(time.monotonic)
    progress = ApplyProgress(console, _serving(settings.paths))
    began = time.monotonic()
    try:
        rows = loops.run(apply(settings, progress, timeout_s))
    except AlreadyRunning as running:
        _wait_for_daemon(settings, running.pid, timeout_s - (time.monotonic() - began), as_json=as_json)
        return
    except (OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        console.bottom("")
    took_s = time.monotonic() - began
    _conclude(settings.paths, rows, ago(timeout_s) if took_s >= timeout_s else "", as_json=as_json)


def _wait_for_daemon(settings: Settings, pid: int, timeout_s: float, *, as_json: bool) -> None:
    """Wait until the daemon has applied the manifests. Raises ClickException if it follows others."""
    from reconciler.cli.waiting import Terms, Waiting, wait
    from reconciler.state.daemon_record import recorded

    used = recorded(settings.paths)
    if used is not None and used.manifests != settings.manifests:
        what = f"the daemon (pid {pid}) of {settings.paths.state} applies the manifests in {used.manifests}"
        raise click.ClickException(f"{what}, not those in {settings.manifests}")
    if not as_json:
        click.echo(f"the daemon (pid {pid}) applies the manifests; waiting for it")
    console = None if as_json else Console(time.monotonic)
    wait(Waiting(paths=settings.paths, terms=Terms(timeout_s=timeout_s), console=console), as_json=as_json)


def _serving(paths: StatePaths) -> dict[str, str]:
    """Return the revision of each app that serves before anything is done."""
    if not paths.database.exists():
        return {}
    with open_snapshot(paths) as snapshot:
        return {
            name: records[0].revision
            for name, records in snapshot.instances.items()
            if len(records) == 1 and records[0].ready_at is not None
        }


def _conclude(paths: StatePaths, rows: "Sequence[Row]", waited: str, *, as_json: bool) -> None:
    """Print the status, or with `as_json` the outcomes as 'wait --json' does. Raises Told unless all are up to date."""
    from reconciler.cli.status import show_status
    from reconciler.cli.waiting import Terms, facts, subject_of
    from reconciler.inspection.status import status

    terms = Terms(timeout_s=0.0, probation=False)
    if as_json:
        for row in rows:
            click.echo(json_text(facts({**row, "retry_in_s": None}, terms)))  # nothing is tried after this
    else:
        with open_snapshot(paths) as snapshot:
            found = status(snapshot)
        click.echo()
        show_status(found)
    behind = ", ".join(plain(subject_of(row)) for row in rows if not terms.is_met(row))
    if behind:
        reason = f"not up to date{waited and f' after {waited}'}: {behind}"
        if not as_json:
            click.echo(reason, err=True)
        raise Told("not-up-to-date", reason)
    if not as_json:
        apps = sum(row["kind"] == "app" for row in rows)
        click.echo(f"{counted(apps, 'app')}, all up to date" if apps else "there are no apps to run")
