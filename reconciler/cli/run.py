"""`reconciler run`: the daemon, in the foreground."""

import asyncio
import sys
from pathlib import Path

import click

from reconciler.cli.options import manifests_option, settings_of, state_option
from reconciler.cli.table import STATE_COLOURS, coloured, plain


@click.command()
@manifests_option
@state_option
def command(manifests: Path, state: Path | None) -> None:
    """Keep this host as the manifests ask, until Ctrl-C or SIGTERM; the apps go on without the daemon.

    Prints each event on a line of its own, and each app with its URL as it comes up. SIGHUP looks at the manifests now.
    """
    from reconciler.daemon import run  # noqa: PLC0415  start-up time of the other commands
    from reconciler.ownership import AlreadyRunning  # noqa: PLC0415
    from reconciler.records import DatabaseTooNew  # noqa: PLC0415

    settings = settings_of(manifests, state)
    try:
        asyncio.run(run(settings, _announce))
    except (AlreadyRunning, DatabaseTooNew, OSError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"the daemon ended; the apps go on. 'reconciler run' takes them up again (state in {settings.layout.state})")


def _announce(daemon: object) -> None:
    from reconciler.converge import Report  # noqa: PLC0415
    from reconciler.daemon import Daemon  # noqa: PLC0415
    from reconciler.journal import as_line  # noqa: PLC0415

    assert isinstance(daemon, Daemon)
    shown: dict[str, str] = {}
    click.echo(f"manifests in {daemon.settings.manifests}, state in {daemon.settings.layout.state}")

    def tell(name: str, report: Report | None) -> None:
        if report is None or not report.settled or shown.get(name) == report.wanted:
            return
        shown[name] = report.wanted or ""
        app = daemon.catalog.apps.get(name)
        at = f"  http://{app.address}/" if app is not None and report.state == "running" else ""
        state = click.style(report.state, fg=STATE_COLOURS[report.state]) if coloured() else report.state
        click.echo(f"{name} is {state}{at}")
        sys.stdout.flush()

    daemon.told.append(tell)
    daemon.journal.followers.append(lambda event: click.echo(plain(as_line(event))))
