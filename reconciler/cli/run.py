"""Run the daemon in the foreground.

It applies the manifests and keeps the apps running until Ctrl-C or SIGTERM. Prints each event, and each app's URL once
it serves. SIGHUP makes the daemon read the manifests now. When it exits, the apps keep serving, unless it is pid 1 or
--stop-apps is given.
"""

import contextlib
import functools
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.options import examples, start_options
from reconciler.cli.progress import Phases, is_under_way, phase_of
from reconciler.cli.table import STATE_COLOURS, is_terminal, styled, width, wrapped
from reconciler.inspection.printable import json_text, plain, quoted
from reconciler.linux.garbage import uncollected
from reconciler.planning.subject import HOST
from reconciler.planning.wording import counted
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.convergence.world import Report
    from reconciler.daemon.daemon import Daemon
    from reconciler.planning.apps.app import App
    from reconciler.planning.subject import Subject
    from reconciler.state.journal import Event

_ALARMING = frozenset(("failed", "exited"))
_MARGIN = " " * 10
# What asyncio imports for TLS, which most daemons never speak; it takes 0.9 MB.
_TLS = ("ssl", "asyncio.sslproto")


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler run",
        "reconciler run --manifests /srv/manifests --state /var/lib/reconciler",
        "reconciler run --manifests 'git+https://git.example.com/fleet.git@main#subdirectory=hosts/web1'",
        "kill -HUP PID",
    ),
)
@click.option(
    "--stop-apps/--leave-apps",
    default=None,
    help="Stop the apps when the daemon exits, or leave them running."
    "  [default: stop them as pid 1, as in a container; otherwise leave them]",
)
@click.option(
    "--events",
    type=click.Choice(("text", "json")),
    envvar="RECONCILER_EVENTS",
    default="text",
    show_default=True,
    help="Print events for people, or as one JSON object per line.",
)
@click.option(
    "--page",
    is_flag=True,
    help="Serve the page on a free port of 127.0.0.1, unless the host settings name an address: 'reconciler page'"
    " prints a link that logs in.",
)
@click.option(
    "--localhost",
    is_flag=True,
    help="Serve every app at https://NAME.localhost:8443 as well, by a Caddy of the daemon's own, if one is installed"
    " and the host settings name no proxy.",
)
@start_options
def command(settings: Settings, stop_apps: bool | None, events: str, page: bool, localhost: bool) -> None:
    import sqlite3
    from dataclasses import replace

    from reconciler.linux.late_modules import loaded_late
    from reconciler.linux.light_hashes import load_without_openssl
    from reconciler.serving.forkserver.ahead import begin

    fork_server = begin(settings.paths)  # it loads what it needs on another core while this process does
    with uncollected(), loaded_late(*_TLS):
        load_without_openssl()
        from reconciler.daemon.process import run
        from reconciler.daemon.web_process import page_of_its_own
        from reconciler.linux import loops
        from reconciler.state.lock import AlreadyRunning
        from reconciler.state.schema import OtherVersion

    if page and settings.api is None:
        settings = replace(settings, api=page_of_its_own(settings.paths))
    if localhost and settings.proxy is None:
        from reconciler.cli.localhost import with_localhost

        settings = with_localhost(settings)
    try:
        stops = os.getpid() == 1 if stop_apps is None else stop_apps
        print_text = functools.partial(print_progress, stops=stops)
        tell = _export if events == "json" else print_text
        down = loops.run(run(settings, tell, stop_apps=stops, fork_server=fork_server))
    except (AlreadyRunning, OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    except sqlite3.Error as error:
        raise click.ClickException(f"cannot use {settings.paths.database}: {error}") from error
    if events == "json":
        return
    # That it has ended, and what that means for the apps, is the last of its events, which are printed.
    following = "" if down else f"'reconciler run' {'starts' if stops else 'adopts'} them again; "
    _echo(f"{following}state in {settings.paths.state}")


def print_progress(daemon: "Daemon", *, stops: bool = False) -> None:
    """Print what the daemon does from now on; `stops` when its end stops the apps."""
    printer = EventPrinter(daemon, stops=stops)
    _echo(f"{daemon.settings.manifests_from}, state in {daemon.settings.paths.state}")
    if os.geteuid() == 0:
        from reconciler.inspection.checks.users import AS_ROOT

        with contextlib.suppress(OSError, ValueError):
            click.echo(f"warning: the daemon runs as {AS_ROOT} ('reconciler doctor' says what to do)", err=True)
    if daemon.settings.api is not None and daemon.settings.api.port:
        _echo(f"web page at {daemon.settings.api.browser_url}/")
    daemon.reports.listeners.append(printer.on_report)
    daemon.journal.followers.append(printer.on_event)


def _typed(command: str) -> str:
    """Return a command as it is typed in another terminal, in the same directory."""
    program, found = sys.argv[0], shutil.which("reconciler")
    if Path(program).name != "reconciler" or (found is not None and Path(found).samefile(program)):
        return f"'reconciler {command}'"
    path = os.path.relpath(program) if Path(program).is_relative_to(Path.cwd()) else program
    word = quoted(path)
    return f"{word} {command}" if word != path else f"'{word} {command}'"


def _export(daemon: "Daemon") -> None:
    """Print every event from now on as one JSON object per line, and nothing else."""
    daemon.journal.followers.append(_print_record)


def _print_record(event: "Event") -> None:
    from reconciler.state.journal import as_record

    _echo(json_text(as_record(event)))


class EventPrinter:
    """Prints events as they happen, long work now and then, and each app with its URL once it is up to date."""

    def __init__(self, daemon: "Daemon", *, stops: bool = False) -> None:
        self._daemon = daemon
        self._stops = stops
        self._greeted = False
        self._phases = Phases()
        self._settled: dict[str, tuple[str, str | None]] = {}
        self._failed: dict[str, str] = {}

    def on_report(self, subject: "Subject", report: "Report | None") -> None:
        """Take the newest report on an app or a service; None when it has been removed."""
        name = str(subject)
        if report is None:
            self._settled.pop(name, None)
        elif is_under_way(report):
            if self._phases.is_due(name, report, time.monotonic()):
                self._print(subject, report.state, phase_of(report))
            return
        elif report.settled and self._settled.get(name) != (report.state, report.wanted):
            self._settled[name] = (report.state, report.wanted)
            self._failed.pop(name, None)
            app = self._daemon.manifests.catalog.apps.get(name) if subject.kind == "app" else None
            at = f" at {self._url(app)}" if app is not None and app.url and report.state == "running" else ""
            self._print(subject, report.state, f"{report.state}{at}")
        self._phases.end(name)
        self._greet()

    def _url(self, app: "App") -> str:
        """Return where an app is opened: at its first domain, if a proxy serves that."""
        proxy = self._daemon.settings.proxy
        if proxy is None or app.routing is None:
            return str(app.url)
        return f"{proxy.front.url(app.routing.domains[0], tls=app.routing.tls != 'off')}{app.routing.below}"

    def _greet(self) -> None:
        """Say once, when every app is up to date for the first time, how many serve and what to type next."""
        apps = self._daemon.manifests.catalog.apps
        if self._greeted or not apps or not apps.keys() <= self._settled.keys():
            return
        self._greeted = True
        serving = sum(self._settled[name][0] in {"running", "sleeping"} for name in apps)
        what = f"{counted(serving, 'app')} {'serves' if serving == 1 else 'serve'}"
        them = "it" if serving == 1 else "them"
        ending = f"stops {them}" if self._stops else f"leaves {them} running"
        url = self._daemon.page_url
        page = f"; page: {url}" if url else ""
        link = f"{_typed('page')} logs you in there, " if url else ""
        text = f"{what}; Ctrl-C {ending}{page}; in another terminal: {link}{_typed('status')}"
        self._print(HOST, "daemon", text)

    def on_event(self, event: "Event") -> None:
        """Take an event as it is recorded; on a terminal, a repeated failure is printed in full only once."""
        from dataclasses import replace

        if is_terminal() and event.kind == "failed":
            if self._failed.get(str(event.subject)) == event.text:
                event = replace(event, text="failed again for the same reason")
            else:
                self._failed[str(event.subject)] = event.text
        if not is_terminal() or not self._is_told_otherwise(event):
            _print(event)

    def _is_told_otherwise(self, event: "Event") -> bool:
        """Return whether another line says the same: that it serves at its URL, or that it is starting."""
        first_start = str(event.subject) not in self._settled
        return event.kind in {"listening", "started"} or (event.kind == "holding" and first_start)

    def _print(self, subject: "Subject", kind: str, text: str) -> None:
        from reconciler.state.journal import Event

        at = time.time()  # noqa: TID251  shown to people, never subtracted
        _print(Event(id=0, at=at, subject=subject, kind=kind, text=text, cause=""))


def _print(event: "Event") -> None:
    _echo("\n".join(_lines(event)))


def _echo(text: str) -> None:
    """Print, if it can be: where the pipe is closed or the disk is full, the journal has the event."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _lines(event: "Event") -> Iterator[str]:
    """Yield one line for a pipe; for a terminal, where columns are few, a shorter one without the day, wrapped."""
    from reconciler.state.journal import as_line

    if not is_terminal():
        yield plain(as_line(event))
        return
    at = time.strftime("%H:%M:%S", time.localtime(event.at))
    why = f" ({event.cause})" if event.cause else ""
    subject = f"{event.subject}  " if event.subject.kind != "host" else ""
    colour = "red" if event.kind in _ALARMING else STATE_COLOURS["running"] if event.kind == "running" else None
    for line in wrapped(plain(f"{at}  {subject}{event.text}{why}"), width(), _MARGIN):
        yield styled(line, fg=colour)
