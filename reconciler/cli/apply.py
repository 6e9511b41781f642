"""`reconciler apply`: converge once, without a daemon, and leave the apps running."""

import asyncio
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.options import DURATION, examples, host_options, open_snapshot
from reconciler.cli.progress import Console, is_under_way, phase_of
from reconciler.inspection.printable import ago, counted, plain
from reconciler.settings.settings import Settings
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.convergence.world import Report
    from reconciler.manifests.catalog import Catalog
    from reconciler.planning.subject import Subject

_TRIES = 3


class ApplyProgress:
    """Counts down the apps that are not yet as asked; `done` is set when every one has settled or failed for good.

    `before` are the revisions that served at the start: an app that still serves its own is not worth a line.
    """

    def __init__(self, console: Console, before: dict[str, str]) -> None:
        self.done = asyncio.Event()
        self.last: dict[str, Report] = {}
        self._console = console
        self._before = before
        self._told: dict[str, tuple[str, str]] = {}
        self._known: set[str] = set()
        self._open: set[str] | None = None

    @property
    def open(self) -> frozenset[str]:
        """The apps still to wait for."""
        return frozenset(self._open or ())

    def expect(self, names: Iterable[str]) -> None:
        """These are all there are to wait for."""
        self._known = set(names)
        self._open = {name for name in self._known if not self._closed(self.last.get(name))}
        self._console.widen(self._known)
        self._check()

    def tell(self, subject: "Subject", report: "Report | None") -> None:
        """Note how an app or a service stands, and print what is new about it."""
        name = str(subject)
        if report is None:
            self.last.pop(name, None)
            self._console.app(name, "removed")
        else:
            self.last[name] = report
            self._show(name, report)
        if self._open is not None and (report is None or self._closed(report)):
            self._open.discard(name)
            self._check()

    def _show(self, name: str, report: "Report") -> None:
        if is_under_way(report) or not (report.settled or report.failures or report.next_try_at is not None):
            self._console.working(name, report, self._under_way(name, report))
            return
        self._console.idle(name)
        now = (report.state, report.message)
        unchanged = report.settled and name not in self._told and self._before.get(name) == (report.wanted or "")
        if not unchanged and self._told.get(name) != now:
            self._told[name] = now
            tried = f" (try {report.failures} of {_TRIES})" if report.failures else ""
            self._console.app(name, report.state, f"{report.message}{tried}")

    def _under_way(self, name: str, report: "Report") -> str:
        total = len(self._known)
        doing = f"{name}: {phase_of(report)}"
        return doing if self._open is None else f"{total - len(self._open)} of {total} done · {doing}"

    def _closed(self, report: "Report | None") -> bool:
        return report is not None and (report.settled or report.failures >= _TRIES)

    def _check(self) -> None:
        if not self._open:
            self._console.bottom("")
            self.done.set()


@click.command(epilog=examples("reconciler apply --manifests /srv/manifests --timeout 2m"))
@host_options
@click.option(
    "--timeout", "timeout_s", type=DURATION, default="5m", show_default=True, help="The longest to wait for all apps."
)
def command(settings: Settings, timeout_s: float) -> None:
    """Make the manifests true once, show progress, and leave the apps running.

    Exits with 0 when every app is as asked, with 1 and the reasons otherwise. Needs no daemon; where one runs, it is
    what does this, and apply says so.
    """
    from reconciler.daemon.process import apply
    from reconciler.state.lock import AlreadyRunning
    from reconciler.state.schema import OtherVersion

    console = Console(time.monotonic)
    counters = ApplyProgress(console, _serving(settings.paths))
    began = time.monotonic()
    try:
        catalog = asyncio.run(apply(settings, counters, timeout_s))
    except AlreadyRunning as error:
        raise click.ClickException(f"{error}, and does all this by itself: see 'reconciler status'") from error
    except (OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    finally:
        console.bottom("")
    took_s = time.monotonic() - began
    _conclude(settings.paths, catalog, counters, ago(timeout_s) if took_s >= timeout_s else "")


def _serving(paths: StatePaths) -> dict[str, str]:
    """The revision that serves of each app before anything is done."""
    if not paths.database.exists():
        return {}
    with open_snapshot(paths) as snapshot:
        return {
            name: records[0].revision
            for name, records in snapshot.instances.items()
            if len(records) == 1 and records[0].ready_at is not None
        }


def _conclude(paths: StatePaths, catalog: "Catalog", counters: ApplyProgress, waited: str) -> None:
    """Print how everything stands now; exits with 1 when that is not as asked."""
    from reconciler.cli.status import show_apps

    with open_snapshot(paths) as snapshot:
        facts: dict[str, Any] = snapshot.status()
    click.echo()
    show_apps(facts)
    wanting = {name for name in catalog.apps if not _settled(counters.last.get(name))} | counters.open
    if wanting:
        why = f" within {waited}" if waited else ""
        click.echo(f"not as asked{why}: {', '.join(plain(name) for name in sorted(wanting))}", err=True)
    refused = sum(len(entry.problems) for entry in catalog.files.values())
    if wanting or refused or catalog.notice:
        raise SystemExit(1)
    click.echo(f"{counted(len(catalog.apps), 'app')}, all as asked" if catalog.apps else "no app is asked for")


def _settled(report: "Report | None") -> bool:
    return report is not None and report.settled
