"""Run one app in the foreground.

Stages APP with its services and runs its release command, as the daemon would. Then this process becomes its web
server, the process that --process names, or CMD, for a supervisor such as systemd or Nomad, or for CI. Logs go to
standard output and standard error. SIGTERM lets requests finish; the exit code is then 0, and 3 if the app is not ready
within its start timeout. Needs no daemon; a state directory that a daemon uses is refused. Options go before the --.
"""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from reconciler.cli.failure import Failure
from reconciler.cli.options import DURATION, ManifestsType, examples
from reconciler.inspection.printable import plain
from reconciler.settings.place import DEFAULT_SETTINGS

if TYPE_CHECKING:
    from reconciler.convergence.world import Report
    from reconciler.daemon.foreground.programs import Foreground
    from reconciler.daemon.foreground.wanted import Wanted
    from reconciler.settings.settings import Settings

_LISTENER = 3  # as of socket activation
_CLEAR_OF_IT = 10
_BACKLOG = 2048
_LOOK_EVERY_S = 0.2


@click.command(
    help=__doc__,
    epilog=examples(
        "reconciler exec shop --bind 0.0.0.0:8000",
        "reconciler exec shop --process worker",
        "reconciler exec shop -- python manage.py check --deploy",
        "reconciler exec --here .",
    ),
)
@click.argument("app", required=False)
@click.argument("cmd", nargs=-1, type=click.UNPROCESSED)
@click.option("--process", metavar="NAME", help="Run this process of APP in place of its web server.")
@click.option(
    "--here",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Run the app in this directory, without a manifest and an APP.",
)
@click.option(
    "--bind",
    metavar="[HOST:]PORT",
    help="Listen there; a PORT alone is one of the manifest's host.  [default: $PORT, the manifest's port or 8000]",
)
@click.option("--no-release", is_flag=True, help="Do not run the release command.")
@click.option(
    "--timeout", "timeout_s", type=DURATION, default="30m", show_default=True, help="Give up preparing after this long."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="RECONCILER_EXEC_STATE",
    metavar="DIR",
    help="The directory for what is staged, one that no daemon uses."
    "  [default: /var/lib/reconciler-exec for root, otherwise $XDG_STATE_HOME/reconciler-exec]",
)
@click.option(
    "--manifests",
    type=ManifestsType(),
    envvar="RECONCILER_MANIFESTS",
    metavar="DIR|URL",
    help="The directory of the manifests.  [default: ./manifests]",
)
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="RECONCILER_SETTINGS",
    metavar="FILE",
    help=f"The settings of this host.  [default: {DEFAULT_SETTINGS} if it exists]",
)
def command(  # noqa: PLR0913, PLR0917  one for each option
    app: str | None,
    cmd: tuple[str, ...],
    process: str | None,
    here: Path | None,
    bind: str | None,
    no_release: bool,
    timeout_s: float,
    state: Path | None,
    manifests: "Path | str | None",
    settings_file: Path | None,
) -> None:
    from reconciler.cli.chosen_settings import settings_to_start
    from reconciler.daemon.foreground.wanted import Wanted
    from reconciler.state.paths import default_state

    if here is not None and app is not None:  # the first word of the command
        cmd, app = (app, *cmd), None
    if here is None and app is None:
        raise click.UsageError("give the name of an APP, or --here and a directory")
    if process is not None and cmd:
        raise click.UsageError("give --process or a command, not both")
    own = default_state()
    settings = settings_to_start(manifests, state or own.with_name(f"{own.name}-exec"), settings_file)
    if here is not None:
        settings, app = _of_directory(settings, here.absolute())
    assert app is not None
    host, port = _listening(bind)
    wanted = Wanted(
        app=app, process=process or "", command=cmd, host=host, port=port, release=not no_release
    )  # fmt: skip
    _become(_prepared(settings, wanted, timeout_s), app)


def _listening(bind: str | None) -> tuple[str | None, int | None]:
    """Return the host and the port that the command line or the environment names, None for those they do not."""
    text, named = (bind, "--bind") if bind is not None else (os.environ.get("PORT", ""), "PORT")
    if not text:
        return None, None
    host, _, port = text.rpartition(":") if named == "--bind" else ("", "", text)
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 2**16):
        raise click.UsageError(f"{named}: expected a port between 1 and 65535, not '{plain(text)}'")
    host = host.removeprefix("[").removesuffix("]")
    if host and host != "localhost":
        from ipaddress import ip_address

        try:
            ip_address(host)
        except ValueError:
            raise click.UsageError(f"--bind: expected an IP address, not '{plain(host)}'") from None
    return host or None, int(port)


def _of_directory(settings: "Settings", path: Path) -> "tuple[Settings, str]":
    """Return settings with a manifest for a directory and no other, and the app's name."""
    import json
    from dataclasses import replace

    from reconciler.documents.names import name_from
    from reconciler.linux.files import make_below, replace_file
    from reconciler.state.ownership import require_ours

    name = name_from(path.resolve().name) or "app"
    state = settings.paths.state
    with _failures(settings):
        state.parent.mkdir(parents=True, exist_ok=True)
        state.mkdir(mode=0o700, exist_ok=True)
        require_ours(state)
        directory = make_below(state, Path("here", name))
        replace_file(directory / f"{name}.yaml", json.dumps({"name": name, "path": str(path)}), durable=False)
    return replace(settings, manifests=directory, origins=(), repositories={}, short_origin=None), name


def _prepared(settings: "Settings", wanted: "Wanted", timeout_s: float) -> "Foreground":
    """Return what to become, once it is ready to run. Raises Failure."""
    import asyncio

    from reconciler.daemon.foreground.prepare import prepare
    from reconciler.daemon.foreground.preparing import NotPrepared
    from reconciler.state.lock import AlreadyRunning

    said = _Said(wanted.app)
    until = time.monotonic() + timeout_s
    with _failures(settings):
        while True:
            try:
                return asyncio.run(prepare(settings, wanted, said.report, max(0.0, until - time.monotonic())))
            except NotPrepared as error:
                raise Failure(error.reason, f"cannot run {wanted.app}: {plain(str(error))}") from error
            except AlreadyRunning as running:
                if _is_daemon(running.pid) or time.monotonic() > until:
                    state = settings.paths.state
                    what = f"a daemon (pid {running.pid}) uses {state}: it runs its apps by itself"
                    raise Failure("refused", f"{what}; name another directory with --state") from running
                said.waits(f"another command (pid {running.pid}) stages in {settings.paths.state}")
            time.sleep(_LOOK_EVERY_S)


@contextlib.contextmanager
def _failures(settings: "Settings") -> Iterator[None]:
    """Raise ClickException for what the state directory cannot do."""
    import sqlite3

    from reconciler.state.ownership import NotOurs
    from reconciler.state.schema import OtherVersion

    try:
        yield
    except NotOurs as error:
        raise Failure("not-allowed", str(error)) from error
    except (OtherVersion, OSError) as error:
        raise click.ClickException(str(error)) from error
    except sqlite3.Error as error:
        raise click.ClickException(f"cannot use {settings.paths.database}: {error}") from error


def _is_daemon(pid: int) -> bool:
    from reconciler.linux.process_table import arguments_of

    with contextlib.suppress(OSError):
        return "run" in arguments_of(pid)
    return False


class _Said:
    """Says on standard error what is under way, each phase once and none that ends soon."""

    def __init__(self, app: str) -> None:
        from reconciler.cli.progress import Phases

        self._app = app
        self._phases = Phases()
        self._waits = ""

    def report(self, report: "Report") -> None:
        from reconciler.cli.progress import phase_of

        if not report.settled and self._phases.is_due(self._app, report, time.monotonic()):
            self._say(phase_of(report))

    def waits(self, what: str) -> None:
        if what != self._waits:
            self._waits = what
            self._say(f"waiting: {what}")

    def _say(self, text: str) -> None:
        click.echo(f"reconciler: {self._app}: {plain(text)}", err=True)


def _become(found: "Foreground", app: str) -> NoReturn:
    """Replace this process. Raises ClickException if that cannot be."""
    import fcntl

    lock = fcntl.fcntl(found.lock, fcntl.F_DUPFD, _CLEAR_OF_IT)  # inherited: the directory is in use until it ends
    for each in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(each, signal.SIG_DFL)  # Python ignores them, and a program would inherit that
    try:
        if found.address is not None:
            listener = _listener(found.address.host, found.address.port)
            os.dup2(listener.detach(), _LISTENER)
            os.set_inheritable(_LISTENER, True)  # which dup2 leaves as it is where that is the number already
        os.execve(found.argv[0], list(found.argv), dict(found.environment))  # noqa: S606  that is its purpose
    except OSError as error:
        os.close(lock)
        what = f"listen on {found.address}" if found.address is not None else f"run {found.argv[0]}"
        raise click.ClickException(f"cannot run {app}: cannot {what}: {error.strerror}") from error


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((host, port))
    opened.listen(_BACKLOG)
    return opened
