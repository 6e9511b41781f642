"""`reconciler run`: the daemon, in the foreground."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, host_options
from reconciler.cli.progress import Phases, is_under_way, phase_of
from reconciler.cli.table import STATE_COLOURS, is_terminal, styled, width, wrapped
from reconciler.inspection.printable import json_text, plain
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.convergence.world import Report
    from reconciler.daemon.daemon import Daemon
    from reconciler.planning.subject import Subject
    from reconciler.state.journal import Event

_ALARMING = frozenset(("failed", "exited"))
_MARGIN = " " * 10


@click.command(
    epilog=examples(
        "reconciler run", "reconciler run --manifests /srv/manifests --state /var/lib/reconciler", "kill -HUP PID"
    )
)
@click.option(
    "--stop-apps/--leave-apps",
    default=None,
    show_default="stop them as pid 1 (in a container), else leave them",
    help="What becomes of the apps when the daemon ends.",
)
@click.option(
    "--events",
    type=click.Choice(("text", "json")),
    envvar="RECONCILER_EVENTS",
    default="text",
    show_default=True,
    help="Print events for people, or only events, each as JSON on a line.",
)
@host_options
def command(settings: Settings, stop_apps: bool | None, events: str) -> None:
    """Keep this host as the manifests ask, until Ctrl-C or SIGTERM; the apps go on without the daemon,
    unless it is pid 1 or told --stop-apps.

    Prints each event on a line of its own, and each app with its URL as it comes up. SIGHUP looks at the manifests now.
    """
    import sqlite3

    from reconciler.daemon.process import run
    from reconciler.state.lock import AlreadyRunning
    from reconciler.state.schema import OtherVersion

    try:
        stops = os.getpid() == 1 if stop_apps is None else stop_apps
        asyncio.run(run(settings, _export if events == "json" else _announce, stop_apps=stops))
    except (AlreadyRunning, OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    except sqlite3.Error as error:
        raise click.ClickException(f"cannot use {settings.paths.database}: {error}") from error
    if events == "json":
        return
    kept = settings.paths.state
    if stops:
        click.echo(f"the daemon ended, and so did the apps. 'reconciler run' starts them again (state in {kept})")
        return
    click.echo(f"the daemon ended; the apps go on. 'reconciler run' takes them up again (state in {kept})")


def _announce(daemon: "Daemon") -> None:
    """Print what a daemon does from now on."""
    teller = Teller(daemon)
    click.echo(f"manifests in {daemon.settings.manifests}, state in {daemon.settings.paths.state}")
    daemon.report_listeners.append(teller.told)
    daemon.journal.followers.append(teller.happened)


def _export(daemon: "Daemon") -> None:
    """Print every event from now on as JSON, one on a line, and nothing else."""
    daemon.journal.followers.append(_print_record)


def _print_record(event: "Event") -> None:
    from reconciler.state.journal import as_record

    with contextlib.suppress(OSError):  # nobody reads it any more, or there is no room: the journal has it
        sys.stdout.write(json_text(as_record(event)) + "\n")
        sys.stdout.flush()


class Teller:
    """Prints events as they happen, long work now and then, and each app with its URL once it is as asked."""

    def __init__(self, daemon: "Daemon") -> None:
        self._daemon = daemon
        self._phases = Phases()
        self._settled: dict[str, tuple[str, str | None]] = {}
        self._failed: dict[str, str] = {}

    def told(self, subject: "Subject", report: "Report | None") -> None:
        """Take the newest report on an app or a service; None once it is gone."""
        name = str(subject)
        if report is None:
            self._settled.pop(name, None)
        elif is_under_way(report):
            if self._phases.worth_saying(name, report, time.monotonic()):
                self._say(subject, report.state, phase_of(report))
            return
        elif report.settled and self._settled.get(name) != (report.state, report.wanted):
            self._settled[name] = (report.state, report.wanted)
            self._failed.pop(name, None)
            app = self._daemon.catalog.apps.get(name) if subject.kind == "app" else None
            at = f" at http://{app.address}/" if app is not None and report.state == "running" else ""
            self._say(subject, report.state, f"{report.state}{at}")
        self._phases.over(name)

    def happened(self, event: "Event") -> None:
        """An event, as it is written down; on a terminal a failure that repeats itself is not told in full again."""
        from dataclasses import replace

        if is_terminal() and event.kind == "failed":
            if self._failed.get(str(event.subject)) == event.text:
                event = replace(event, text="the same again")
            else:
                self._failed[str(event.subject)] = event.text
        if not is_terminal() or event.kind != "listening":  # its URL is told once something answers there
            _print(event)

    def _say(self, subject: "Subject", kind: str, text: str) -> None:
        from reconciler.state.journal import Event

        at = time.time()  # noqa: TID251  shown to people, never subtracted
        _print(Event(id=0, at=at, subject=subject, kind=kind, text=text, cause=""))


def _print(event: "Event") -> None:
    with contextlib.suppress(OSError):  # nobody reads it any more, or there is no room: the journal has it
        for line in _lines(event):
            click.echo(line)
        sys.stdout.flush()


def _lines(event: "Event") -> Iterator[str]:
    """One line in a pipe; on a terminal, where the day is known and columns are few, a short one or several."""
    from reconciler.state.journal import as_line

    if not is_terminal():
        yield plain(as_line(event))
        return
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    why = f" ({event.cause})" if event.cause else ""
    who = f"{event.subject}  " if event.subject.kind != "host" else ""
    colour = "red" if event.kind in _ALARMING else STATE_COLOURS["running"] if event.kind == "running" else None
    for line in wrapped(plain(f"{at}  {who}{event.text}{why}"), width(), _MARGIN):
        yield styled(line, fg=colour)
