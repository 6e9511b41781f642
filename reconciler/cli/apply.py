"""`reconciler apply`: converge once, without a daemon, and leave the apps running."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import DURATION, manifests_option, settings_of, state_option
from reconciler.cli.table import plain

if TYPE_CHECKING:
    from reconciler.converge import Report

_TRIES = 3


class Tally:
    """Counts down the apps that are not yet as asked; `done` is set when every one has settled or failed for good."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.last: dict[str, Report] = {}
        self._open: set[str] | None = None

    def expect(self, names: Iterable[str]) -> None:
        """These are all there are to wait for."""
        self._open = {name for name in names if not self._closed(self.last.get(name))}
        self._check()

    def tell(self, name: str, report: "Report | None") -> None:
        """Note how an app stands, and print what is new about it."""
        before = self.last.get(name)
        if report is None:
            self.last.pop(name, None)
            click.echo(f"{name}  removed")
        else:
            self.last[name] = report
            if before is None or (before.state, before.message) != (report.state, report.message):
                click.echo(plain(f"{name}  {report.state}{'  ' if report.message else ''}{report.message}"))
        if self._open is not None and (report is None or self._closed(report)):
            self._open.discard(name)
            self._check()

    def _closed(self, report: "Report | None") -> bool:
        return report is not None and (report.settled or report.failures >= _TRIES)

    def _check(self) -> None:
        if not self._open:
            self.done.set()


@click.command()
@manifests_option
@state_option
@click.option(
    "--timeout", "timeout_s", type=DURATION, default="5m", show_default=True, help="The longest to wait for all apps."
)
def command(manifests: Path, state: Path | None, timeout_s: float) -> None:
    """Make the manifests true once, show progress, and leave the apps running.

    Exits with 0 when every app is as asked, with 1 and the reasons otherwise. Needs no daemon; one that runs is refused.

    \b
    Examples:
      reconciler apply --manifests /srv/manifests --timeout 2m
    """
    from reconciler.cli.status import show_apps  # noqa: PLC0415
    from reconciler.daemon import apply  # noqa: PLC0415  start-up time of the other commands
    from reconciler.glimpse import Glimpse  # noqa: PLC0415
    from reconciler.ownership import AlreadyRunning  # noqa: PLC0415
    from reconciler.records import DatabaseTooNew  # noqa: PLC0415

    settings, tally = settings_of(manifests, state), Tally()
    try:
        catalog = asyncio.run(apply(settings, tally, timeout_s))
    except (AlreadyRunning, DatabaseTooNew, OSError) as error:
        raise click.ClickException(str(error)) from error
    facts = Glimpse(settings.layout).status()
    show_apps(facts)
    wanting = [name for name, report in tally.last.items() if name in catalog.apps and not report.settled]
    refused = [problem for entry in catalog.files.values() for problem in entry.problems]
    for problem in refused:
        click.echo(f"refused: {plain(problem)}", err=True)
    if catalog.notice:
        click.echo(plain(catalog.notice), err=True)
    if wanting:
        click.echo(f"not as asked: {', '.join(sorted(wanting))}", err=True)
    if wanting or refused or catalog.notice:
        raise SystemExit(1)
